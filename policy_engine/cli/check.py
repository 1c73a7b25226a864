"""`policy check`: compile policies and show their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policy_engine import compile as compile_policies
from policy_engine.cli import loading, schemas, signing
from policy_engine.cli.diagnostics import show, standard_error
from policy_engine.errors import BUNDLE_ERROR, PolicyError, combine
from policy_engine.syntax import parser
from policy_engine.testing.discovery import dotted

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", show_default=False, help="Files, directories and bundles."),
]
Ignore = Annotated[
    list[str],
    typer.Option(
        "--ignore",
        metavar="PATTERN,...",
        show_default=False,
        help="Leave out files and directories with such a name (fixtures, '*.yaml'), at any depth.",
    ),
]
Bundles = Annotated[
    bool,
    typer.Option("--bundle", "-b", help="Read each directory as a bundle: only data.json and data.yaml are data."),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", "-S", help="Also report imports, arguments and assigned variables that nothing uses."),
]


def check(
    paths: Paths,
    *,
    strict: Strict = False,
    bundles: Bundles = False,
    ignore: Ignore = (),  # type: ignore[assignment]
    schema: schemas.SchemaPath = None,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
) -> None:
    """Parse and compile policies, and show their errors.

    Tests are compiled too. Shows at most ten errors of each bundle. Exits with 1 if there is any error, with 2 if
    something cannot be read.
    """
    console = standard_error()
    try:
        key = signing.bundle_key(verification_key, signing_alg, scope)
        units = loading.load(paths, key, patterns(ignore), bundles=bundles)
        described = schemas.load(schema)
    except PolicyError as error:
        show(console, error, {})
        raise typer.Exit(2) from None
    if not units:
        console.print("no policies found", soft_wrap=True)
    found = False
    for unit in units:
        try:
            compile_policies(unit.modules, unit.data, strict=strict, schemas=described)
            _check_roots(unit)
        except PolicyError as error:
            show(console, error, unit.modules)
            found = True
    if found:
        raise typer.Exit(1)


def patterns(options: list[str]) -> list[str]:
    """The patterns of `--ignore`, which may be repeated and, as in OPA, may hold several separated by commas."""
    return [pattern for option in options for pattern in option.split(",") if pattern]


def _check_roots(unit: loading.Unit) -> None:
    """Raise `PolicyError` for modules outside their bundle's roots, which the gateway rejects too.

    Such a module could define documents that another bundle owns.
    """
    if unit.roots is None:
        return
    roots = [tuple(part for part in root.split("/") if part) for root in unit.roots]
    errors = [
        PolicyError(
            BUNDLE_ERROR,
            f"package `{dotted(package.path)}` is outside the manifest's roots",
            package.loc,
            hint=f"rename the package, or add `{'/'.join(package.path)}` to `roots` in {unit.name}/.manifest",
        )
        for package in (parser.parse_module(source, file).package for file, source in unit.modules.items())
        if not any(package.path[: len(root)] == root for root in roots)
    ]
    if errors:
        raise combine(errors)
