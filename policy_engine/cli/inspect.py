"""`policy inspect`: what a bundle, a directory or a module contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from policy_engine import bundle
from policy_engine import compile as compile_policies
from policy_engine.bundle_files import DATA_FILES, belongs, source_files
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.cli.evaluate import indented
from policy_engine.cli.parse import ParseFormat
from policy_engine.cli.tables import show_table
from policy_engine.compiler.program import dotted
from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.syntax import parser
from policy_engine.values import Value, dumps

Where = Annotated[
    Path, typer.Argument(metavar="PATH", show_default=False, help="A bundle (directory, .tar.gz) or a Rego module.")
]
Annotations = Annotated[bool, typer.Option("--annotations", "-a", help="Also list the METADATA of packages and rules.")]
Output = Annotated[ParseFormat, typer.Option("--format", "-f", help="pretty is for people, json for programs.")]


def inspect(path: Where, *, annotations: Annotations = False, output_format: Output = ParseFormat.PRETTY) -> None:
    """Show what a bundle contains: its manifest with the roots, and the files of each namespace.

    Signatures are not verified. Exits with 2 if something cannot be read or, with --annotations, does not compile.
    """
    sources: dict[str, str] = {}
    try:
        files = _files(path)
        content = bundle.from_files(files)
        sources.update(content.modules)
        found: dict[str, Any] = {"manifest": content.manifest, "namespaces": _namespaces(files, content)}
        if annotations:
            found["annotations"] = compile_policies(content.modules, content.data).annotations()
    except PolicyError as error:
        show(standard_error(), error, sources)
        raise typer.Exit(2) from None
    if output_format is ParseFormat.JSON:
        typer.echo(indented(found))
    else:
        _print(standard_output(), found)


def _files(path: Path) -> list[tuple[str, bytes]]:
    if path.suffix != ".rego":
        return list(source_files(path, belongs))
    try:
        return [(path.name, path.read_bytes())]
    except OSError as error:
        raise PolicyError(BUNDLE_ERROR, f"cannot read `{path}`: {error.strerror}") from None


def _namespaces(files: list[tuple[str, bytes]], content: bundle.Bundle) -> dict[str, list[str]]:
    """The files that define something below each package or directory of data."""
    places = [(parser.parse_module(source, file).package.path, file) for file, source in content.modules.items()]
    places += [(tuple(name.split("/")[:-1]), name) for name, _ in files if name.rpartition("/")[2] in DATA_FILES]
    found: dict[str, list[str]] = {}
    for path, file in sorted(places):
        found.setdefault(dotted(path), []).append(file)
    return found


def _print(console: Console, found: dict[str, Any]) -> None:
    rows = [[namespace, file] for namespace, files in found["namespaces"].items() for file in files]
    tables: list[tuple[tuple[str, ...], list[list[str]]]] = [
        (("manifest", "value"), [[name, _text(value)] for name, value in found["manifest"].items()]),
        (("namespace", "file"), rows),
        (("annotation", "scope", "of"), [_annotation(each) for each in found.get("annotations", ())]),
    ]
    shown = [(heading, rows) for heading, rows in tables if rows]
    for number, (heading, rows) in enumerate(shown):
        if number:
            console.print(Text())
        show_table(console, heading, rows, texts=len(heading))


def _annotation(annotation: dict[str, Any]) -> list[str]:
    own = annotation["annotations"]
    about = own.get("title") or own.get("description") or _text({key: own[key] for key in own if key != "scope"})
    return [about.splitlines()[0], own["scope"], dotted(tuple(annotation["path"]))]


def _text(value: Value) -> str:
    return value if isinstance(value, str) else dumps(value)
