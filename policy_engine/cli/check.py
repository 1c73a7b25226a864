"""`policy check`: compile policies and show their errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from policy_engine import compile as compile_policies
from policy_engine.cli import loading, schemas, signing
from policy_engine.cli.diagnostics import complain, standard_error, standard_output
from policy_engine.errors import BUNDLE_ERROR, PolicyError, combine
from policy_engine.reports import Finding, Format, findings_of, report
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


Output = Annotated[
    Format, typer.Option("--format", "-f", help="pretty is for people, json for programs, the others for CI systems.")
]


def check(
    paths: Paths,
    *,
    strict: Strict = False,
    bundles: Bundles = False,
    ignore: Ignore = (),  # type: ignore[assignment]
    output_format: Output = Format.PRETTY,
    schema: schemas.SchemaPath = None,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
) -> None:
    """Parse and compile policies, and show their errors.

    Tests are compiled too, but not run. The gateway demands more of a bundle (its entrypoint, the members of its
    decision): `gateway policies check` checks that.

    Shows at most ten errors of each bundle. Exits with 1 if there is any error, with 2 if something cannot be read or
    there are no policies.
    """
    findings: list[Finding] = []
    sources: dict[str, str] = {}
    try:
        key = signing.bundle_key(verification_key, signing_alg, scope)
        units = loading.load(paths, key, patterns(ignore), bundles=bundles)
        described = schemas.load(schema)
    except PolicyError as error:
        report_findings(output_format, findings_of(error), {})
        raise typer.Exit(2) from None
    require_policies(units, paths)
    for unit in units:
        sources.update(unit.modules)
        try:
            _check_roots(unit, compile_policies(unit.modules, unit.data, strict=strict, schemas=described).packages())
        except PolicyError as error:
            findings += findings_of(error)
    report_findings(output_format, findings, sources)
    if findings:
        raise typer.Exit(1)
    note_gateway(units, output_format)


def report_findings(form: Format, findings: list[Finding], sources: Mapping[str, str]) -> None:
    """Print findings: messages for people to standard error, reports for programs to standard output."""
    console = standard_error() if form is Format.PRETTY else standard_output()
    report(form, console, findings=findings, sources=sources)


def require_policies(units: list[loading.LoadedUnit], paths: list[Path]) -> None:
    """Exit with 2 if there is nothing to look at: a mistyped directory must not look like success."""
    if not any(unit.modules for unit in units):
        where = ", ".join(f"`{path}`" for path in paths)
        complain(standard_error(), f"no policies in {where}", "name .rego files, bundles, or directories with them")
        raise typer.Exit(2)


def note_gateway(units: list[loading.LoadedUnit], form: Format) -> None:
    """Say what has not been looked at, if a bundle is one for the gateway."""
    bundles = [unit.name for unit in units if unit.for_gateway]
    if bundles and form is Format.PRETTY:
        directory = os.path.normpath(Path(bundles[0], ".."))
        text = f"note: the gateway asks more of a bundle: `gateway policies check {directory}`"
        standard_error().print(text, soft_wrap=True, style="dim")


def patterns(options: list[str]) -> list[str]:
    """The patterns of `--ignore`, which may be repeated and, as in OPA, may hold several separated by commas."""
    return [pattern for option in options for pattern in option.split(",") if pattern]


def _check_roots(unit: loading.LoadedUnit, packages: Mapping[str, tuple[str, ...]]) -> None:
    """Raise `PolicyError` for modules outside their bundle's roots, which the gateway rejects too.

    Such a module could define documents that another bundle owns. Only such modules are read again, for the place.
    """
    if unit.roots is None:
        return
    roots = [tuple(part for part in root.split("/") if part) for root in unit.roots]
    errors = [
        PolicyError(
            BUNDLE_ERROR,
            f"package `{dotted(path)}` is outside the manifest's roots",
            parser.parse_module(unit.modules[file], file).package.loc,
            hint=f"rename the package, or add `{'/'.join(path)}` to `roots` in {unit.name}/.manifest",
        )
        for file, path in packages.items()
        if not any(path[: len(root)] == root for root in roots)
    ]
    if errors:
        raise combine(errors)
