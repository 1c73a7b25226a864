"""`policy parse`: show the syntax tree of a module."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from policy_engine.cli.diagnostics import show, standard_error
from policy_engine.cli.evaluate import indented
from policy_engine.documents import read_text
from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.syntax import nodes, opa_json, parser
from policy_engine.syntax.nodes import Node
from policy_engine.syntax.visitor import children
from policy_engine.values import to_term


class ParseFormat(enum.StrEnum):
    JSON = "json"
    PRETTY = "pretty"


File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="A Rego module.")]
Output = Annotated[
    ParseFormat, typer.Option("--format", "-f", help="pretty is an indented tree, json that of `opa parse`.")
]


def parse(file: File, *, output_format: Output = ParseFormat.PRETTY) -> None:
    """Parse a module and show its syntax tree. Exits with 2 if it cannot be read or parsed."""
    sources: dict[str, str] = {}
    try:
        sources[str(file)] = read_text(str(file), file.read_bytes())
        tree = parser.parse_module(sources[str(file)], str(file))
    except OSError as error:
        unread = PolicyError(BUNDLE_ERROR, f"cannot read `{file}`: {error.strerror}")
        show(standard_error(), unread, {})
        raise typer.Exit(2) from None
    except PolicyError as error:
        show(standard_error(), error, sources)
        raise typer.Exit(2) from None
    typer.echo(indented(opa_json.module(tree)) if output_format is ParseFormat.JSON else "\n".join(_lines(tree, 0)))


def _lines(node: Node, depth: int) -> Iterator[str]:
    """A node and all below it: the class, and what is not a node in it."""
    label = type(node).__name__.lower()
    match node:
        case nodes.Scalar(value):
            label = to_term(value)
        case nodes.Var(name):
            label = name
        case nodes.Package(path):
            label = f"package {'.'.join(path)}"
        case nodes.Expr(negated=True):
            label = "not expr"
    yield "  " * depth + label
    for child in children(node):
        yield from _lines(child, depth + 1)
