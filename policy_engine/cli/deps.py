"""`policy deps`: the documents that a query depends on."""

from __future__ import annotations

from itertools import zip_longest
from typing import Annotated, Final

import typer

from policy_engine import compile as compile_policies
from policy_engine.cli import evaluate, loading
from policy_engine.cli.check import Ignore, patterns
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.cli.parse import ParseFormat
from policy_engine.cli.tables import show_table
from policy_engine.compiler.program import dotted
from policy_engine.errors import PolicyError

Output = Annotated[ParseFormat, typer.Option("--format", "-f", help="pretty is for people, json for programs.")]

_PACKAGE: Final = "deps_of_query"


def deps(
    query: evaluate.Query,
    *,
    data: evaluate.Data = (),  # type: ignore[assignment]
    bundles: evaluate.Bundles = (),  # type: ignore[assignment]
    ignore: Ignore = (),  # type: ignore[assignment]
    output_format: Output = ParseFormat.PRETTY,
) -> None:
    """Show the base documents (input and data) and the virtual documents (rules) that a query depends on.

    A base document is cut where the policies compute a key: `input.roles[x]` is `input.roles`. Exits with 2 if
    something cannot be loaded.
    """
    sources = {"": query}
    try:
        unit = loading.load_as_one(data, None, patterns(ignore), bundles=bundles)
        sources.update(unit.modules)
        compile_policies(unit.modules, unit.data).prepare(query)  # for errors at their places
        rule = {**unit.modules, "": f"package {_PACKAGE}\n\nquery if {{\n{query}\n}}\n"}
        facts = compile_policies(rule, unit.data).facts(f"data.{_PACKAGE}.query")
    except PolicyError as error:
        show(standard_error(), error, sources)
        raise typer.Exit(2) from None
    base = [dotted(path, "input") for path in facts.input_paths]
    base += [dotted(path) for path in facts.data_paths if path[:1] != (_PACKAGE,)]
    virtual = [dotted(path) for path in facts.rules if path[:1] != (_PACKAGE,)]
    if output_format is ParseFormat.JSON:
        typer.echo(evaluate.indented({"base": base, "virtual": virtual}))
    else:
        rows = [list(row) for row in zip_longest(base, virtual, fillvalue="")]
        show_table(standard_output(), ("base documents", "virtual documents"), rows, texts=2)
