"""`policy bench`: measure how long a decision takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from policy_engine import Policies
from policy_engine import compile as compile_policies
from policy_engine.bundle_signatures import BundleKey
from policy_engine.cli import evaluate, loading, signing
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.cli.measuring import Sample, duration, sample
from policy_engine.cli.tables import show_table
from policy_engine.cli.test import parse_duration
from policy_engine.errors import PARSE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.values import UNDEFINED, Value

PERCENTILES = (50.0, 90.0, 99.0, 99.9)

Query = Annotated[
    str, typer.Argument(metavar="QUERY", show_default=False, help="A document (data.authz.allow), or any Rego query.")
]
Duration = Annotated[
    float,
    typer.Option("--duration", parser=parse_duration, metavar="TIME", show_default="1s", help="How long a run takes."),
]
Iterations = Annotated[
    int | None,
    typer.Option("--iterations", "-n", min=1, show_default=False, help="Decisions per run, instead of a duration."),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many runs; each gets a line of the table.")]
Output = Annotated[
    evaluate.EvaluationFormat, typer.Option("--format", "-f", help="pretty is for people, json for programs.")
]
Fail = Annotated[bool, typer.Option("--fail/--no-fail", help="Exit with 1 if the query is undefined.")]


@dataclass
class Prepared:
    """A query that is ready to be evaluated, and the durations of the steps before, in ns."""

    ask: Callable[[], object]
    defined: bool
    load: int
    compile: int
    first: int


def bench(
    query: Query,
    *,
    data: evaluate.Data = (),  # type: ignore[assignment]
    input_file: evaluate.Input = None,
    stdin_input: evaluate.StdinInput = False,
    seconds: Duration = 1.0,
    iterations: Iterations = None,
    count: Count = 1,
    output_format: Output = evaluate.EvaluationFormat.PRETTY,
    strict: evaluate.Strict = False,
    fail: Fail = True,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
) -> None:
    """Evaluate a query again and again, and show how long it takes.

    A document is evaluated through an entrypoint, as a program does it; anything else as a query. The durations of
    loading, of compiling and of the first evaluation, which may build indexes, are shown separately. Every other
    duration is that of one call in this process, with the input as a Python value.

    Exits with 1 if the query is undefined, because the figures are then not those of the decision that was meant; with
    2 if something cannot be loaded or evaluated.
    """
    if input_file and stdin_input:
        raise typer.BadParameter("--input and --stdin-input exclude each other")
    sources = {"": query}
    try:
        key = signing.bundle_key(verification_key, signing_alg, scope)
        document = evaluate.input_document(input_file, stdin_input)
        prepared = _prepare(query, data, key, document, strict, sources)
        runs = [sample(prepared.ask, seconds, iterations) for _ in range(count)]
    except PolicyError as error:
        show(standard_error(), error, sources)
        raise typer.Exit(2) from None
    if output_format is evaluate.EvaluationFormat.JSON:
        typer.echo(evaluate.indented(_document(query, prepared, runs)))
    else:
        _print(query, prepared, runs)
    if fail and not prepared.defined:
        standard_error().print("the query is undefined", soft_wrap=True)
        raise typer.Exit(1)


def _prepare(
    query: str,
    paths: Sequence[Path],
    key: BundleKey | None,
    document: Value,
    strict: bool,
    sources: dict[str, str],
) -> Prepared:
    started = time.perf_counter_ns()
    unit = loading.load_as_one(paths, key)
    sources.update(unit.modules)
    loaded = time.perf_counter_ns()
    policies = compile_policies(unit.modules, unit.data)
    ask, undefined = _call(policies, query, document, strict)
    compiled = time.perf_counter_ns()
    defined = ask() != undefined
    answered = time.perf_counter_ns()
    return Prepared(ask, defined, loaded - started, compiled - loaded, answered - compiled)


def _call(policies: Policies, query: str, document: Value, strict: bool) -> tuple[Callable[[], object], object]:
    """The call to measure, and what it returns if the query is undefined."""
    try:
        return partial(policies.entrypoint(query, strict_builtin_errors=strict), document), UNDEFINED
    except PolicyError as error:
        if error.code not in (TYPE_ERROR, PARSE_ERROR):
            raise
    return partial(policies.prepare(query, strict_builtin_errors=strict).bindings, document), []


def _print(query: str, prepared: Prepared, runs: Sequence[Sample]) -> None:
    console = standard_output()
    console.print(Text(query, "bold"), soft_wrap=True)
    steps = {"loaded in": prepared.load, "compiled in": prepared.compile, "first answer in": prepared.first}
    console.print("  " + ", ".join(f"{step} {duration(took)}" for step, took in steps.items()) + "\n", soft_wrap=True)
    heading = ("decisions", "per second", "mean", "min", *(f"p{share:g}" for share in PERCENTILES), "max")
    rows = []
    for run in runs:
        points = [found for _, found in run.percentiles(PERCENTILES)]
        durations = (run.mean, run.shortest, *points, run.longest)
        rows.append([f"{run.calls:,}", f"{run.per_second:,.0f}", *map(duration, durations)])
    show_table(console, heading, rows)


def _document(query: str, prepared: Prepared, runs: Sequence[Sample]) -> dict[str, Value]:
    return {
        "query": query,
        "defined": prepared.defined,
        "load_ns": prepared.load,
        "compile_ns": prepared.compile,
        "first_ns": prepared.first,
        "runs": [
            {
                "decisions": run.calls,
                "per_second": round(run.per_second),
                "mean_ns": round(run.mean),
                "min_ns": run.shortest,
                "percentiles_ns": {f"{share:g}": found for share, found in run.percentiles(PERCENTILES)},
                "max_ns": run.longest,
            }
            for run in runs
        ],
    }
