"""`policy eval`: evaluate a query against policies."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from policy_engine import compile as compile_policies
from policy_engine.cli import explaining, loading, profiling, schemas, signing
from policy_engine.cli.check import Ignore, patterns
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.documents import read_document
from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.syntax import nodes, parser
from policy_engine.values import UNDEFINED, Value, dumps, quote


class EvaluationFormat(enum.StrEnum):
    JSON = "json"
    PRETTY = "pretty"
    RAW = "raw"


Query = Annotated[str, typer.Argument(metavar="QUERY", show_default=False, help="Any Rego query: data.authz.allow")]
Data = Annotated[
    list[Path],
    typer.Option(
        "--data", "-d", metavar="PATH", show_default=False, help="Policies and data: file, directory, bundle."
    ),
]
Bundles = Annotated[
    list[Path],
    typer.Option(
        "--bundle", "-b", metavar="PATH", show_default=False, help="A directory or archive, read as one bundle."
    ),
]
Input = Annotated[
    Path | None,
    typer.Option("--input", "-i", metavar="FILE", show_default=False, help="The input document, JSON or YAML."),
]
StdinInput = Annotated[bool, typer.Option("--stdin-input", "-I", help="Read the input document from standard input.")]
Output = Annotated[
    EvaluationFormat,
    typer.Option(
        "--format", "-f", help="json is for programs, pretty for people, raw for scripts: strings as they are."
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict-builtin-errors", help="Make errors of builtins errors of the query, as the gateway does."),
]
Fail = Annotated[bool, typer.Option("--fail", help="Exit with 1 if the query is undefined.")]
FailDefined = Annotated[bool, typer.Option("--fail-defined", help="Exit with 1 if the query has a result.")]

Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="POLICY_CACHE",
        show_default=False,
        help="Cache compiled policies in this directory.",
    ),
]


def evaluate(
    query: Query,
    *,
    data: Data = (),  # type: ignore[assignment]
    bundles: Bundles = (),  # type: ignore[assignment]
    input_file: Input = None,
    stdin_input: StdinInput = False,
    output_format: Output = EvaluationFormat.JSON,
    strict: Strict = False,
    fail: Fail = False,
    fail_defined: FailDefined = False,
    ignore: Ignore = (),  # type: ignore[assignment]
    schema: schemas.SchemaPath = None,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
    cache: Cache = None,
    explain: explaining.Wanted = explaining.ExplanationMode.OFF,
    profiled: profiling.Wanted = False,
    profile_sort: profiling.Sort = profiling.Order.TIME,
    profile_limit: profiling.Limit = 10,
) -> None:
    """Evaluate a query against policies, data and an input document.

    Without an input document, input is undefined. Output of print goes to standard error. Exits with 2 if something
    cannot be loaded or evaluated.

    A profile measures a second evaluation, for which the indexes of the data already exist. Its times exclude the
    profiler's own. The time of a rule includes everything it calls, the time of a line does not.
    """
    if input_file and stdin_input:
        raise typer.BadParameter("--input and --stdin-input exclude each other")
    sources = {"": query}
    try:
        key = signing.bundle_key(verification_key, signing_alg, scope)
        unit = loading.load_as_one(data, key, patterns(ignore), bundles=bundles)
        sources.update(unit.modules)
        document = input_document(input_file, stdin_input)
        described = schemas.load(schema)
        policies = compile_policies(unit.modules, unit.data, schemas=described, print=_print, cache=cache)
        prepared = policies.prepare(query, strict_builtin_errors=strict)
        results, profile = prepared.profile(document) if profiled else (prepared.results(document), None)
        answers = _answers(query, results)
        steps = prepared.steps(document) if explain is not explaining.ExplanationMode.OFF else []
    except PolicyError as error:
        if output_format is EvaluationFormat.JSON:
            typer.echo(indented({"errors": [_error(single) for single in error.errors]}))
        else:
            show(standard_error(), error, sources)
        raise typer.Exit(2) from None
    if output_format is EvaluationFormat.JSON:
        found: dict[str, Any] = {"result": answers} if answers else {}
        if profile is not None:
            found |= profiling.profile_document(profile, profile_sort, profile_limit)
        if explain is not explaining.ExplanationMode.OFF:
            found["explanation"] = list(explaining.lines(steps, explain, sources))
        typer.echo(indented(found))
    elif output_format is EvaluationFormat.RAW:
        for line in explaining.lines(steps, explain, sources):
            _print(line)
        typer.echo("".join(f"{' '.join(map(_raw, _values(answer)))}\n" for answer in answers), nl=False)
    else:
        for line in explaining.lines(steps, explain, sources):
            typer.echo(line)
        typer.echo(_pretty(answers))
        if profile is not None:
            typer.echo()
            profiling.show_profile(standard_output(), profile, sources, profile_sort, profile_limit)
    if (fail and not answers) or (fail_defined and answers):
        raise typer.Exit(1)


def input_document(file: Path | None, from_stdin: bool) -> Value:
    """The document that `--input` or `--stdin-input` selects; undefined without either. Raises `PolicyError`."""
    if from_stdin:
        return read_document("<stdin>.json", sys.stdin.buffer.read())
    if file is None:
        return UNDEFINED
    try:
        return read_document(str(file), file.read_bytes())
    except OSError as error:
        raise PolicyError(BUNDLE_ERROR, f"cannot read `{file}`: {error.strerror}") from None


def _print(message: str) -> None:
    typer.echo(message, err=True)


def _answers(query: str, results: list[tuple[list[Value], dict[str, Value]]]) -> list[dict[str, Any]]:
    """The results in the form of `opa eval`."""
    expressions = [expr for expr in parser.parse_query(query) if not isinstance(expr.what, nodes.SomeDecl)]
    answers: list[dict[str, Any]] = []
    for values, bindings in results:
        described = [
            {
                "value": _ordered(value),
                "text": expr.loc.text_in(query),
                "location": {"row": expr.loc.row, "col": expr.loc.col},
            }
            for value, expr in zip(values, expressions, strict=True)
        ]
        answers.append({"expressions": described} | ({"bindings": _ordered(bindings)} if bindings else {}))
    return answers


def _ordered(value: Value) -> Value:
    """The value with the keys of its objects sorted, as OPA prints it."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _error(error: PolicyError) -> dict[str, Any]:
    document: dict[str, Any] = {"message": error.message, "code": error.code}
    if where := error.location:
        document["location"] = {"file": where.file, "row": where.row, "col": where.col}
    return document


def _values(answer: dict[str, Any]) -> list[Value]:
    return [expression["value"] for expression in answer["expressions"]]


def _raw(value: Value) -> str:
    """A string as it is, any other value as JSON."""
    return value if isinstance(value, str) else dumps(value)


def _pretty(answers: list[dict[str, Any]]) -> str:
    """The value alone if there is exactly one, otherwise a table with a line for each result."""
    if not answers:
        return "undefined"
    first = answers[0]
    if len(answers) == 1 and "bindings" not in first and len(first["expressions"]) == 1:
        return indented(first["expressions"][0]["value"])
    names = sorted(first.get("bindings", {}))
    # An expression that only binds or tests is always true: its column beside the bindings would be noise.
    shown = [
        number
        for number in range(len(first["expressions"]))
        if not names or any(answer["expressions"][number]["value"] is not True for answer in answers)
    ]
    rows = [[*names, *(first["expressions"][number]["text"] for number in shown)]]
    for answer in answers:
        values = [answer["bindings"][name] for name in names]
        values += [answer["expressions"][number]["value"] for number in shown]
        rows.append([dumps(value) for value in values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def indented(value: Value, margin: str = "\n") -> str:
    """Indented JSON text. The standard library would rewrite numbers whose text matters (1.50)."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        members = (f"{quote(key)}: {indented(value[key], inner)}" for key in value)
        return "{" + inner + ("," + inner).join(members) + margin + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join(indented(item, inner) for item in value) + margin + "]"
    return dumps(value)
