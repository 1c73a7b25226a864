"""`policy test`: run the policies' tests."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Annotated

import typer

from policy_engine.bundle_signatures import BundleKey
from policy_engine.cli import loading, schemas, signing
from policy_engine.cli.check import Ignore, Paths, patterns
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.errors import PolicyError
from policy_engine.testing.reporters import Json, Pretty, Reporter
from policy_engine.testing.results import Outcome
from policy_engine.testing.runner import TIMEOUT, Suite, prepare, run


class Format(enum.StrEnum):
    PRETTY = "pretty"
    JSON = "json"


def parse_duration(text: str | float) -> float:
    """Seconds from `500ms`, `5s` or `1m`, or from a plain number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", str(text))
    if not match or not float(match[1]):
        raise typer.BadParameter(f"`{text}` is not a duration: write 500ms, 5s or 1m")
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "": 1}[match[2]]


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show passing tests, too, and what they print.")]
Matching = Annotated[
    str,
    typer.Option("--run", "-r", metavar="REGEX", help="Only tests whose full name (data.pkg.test_x) has a match."),
]
Timeout = Annotated[
    float, typer.Option(parser=parse_duration, metavar="DURATION", show_default="5s", help="Time limit of one test.")
]
Output = Annotated[Format, typer.Option("--format", "-f", help="For people, or for programs.")]
Strict = Annotated[
    bool, typer.Option("--strict-builtin-errors", help="A builtin's error is an error, as in the gateway.")
]
SkipsAreFine = Annotated[
    bool, typer.Option("--exit-zero-on-skipped", "-z", help="Exit with 0 although tests were skipped.")
]
FailOnEmpty = Annotated[bool, typer.Option("--fail-on-empty", help="Exit with 1 if no test was run.")]


def run_tests(
    paths: Paths,
    *,
    verbose: Verbose = False,
    matching: Matching = "",
    timeout: Timeout = TIMEOUT,
    output_format: Output = Format.PRETTY,
    strict: Strict = False,
    skips_are_fine: SkipsAreFine = False,
    fail_on_empty: FailOnEmpty = False,
    ignore: Ignore = (),  # type: ignore[assignment]
    schema: schemas.SchemaPath = None,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
) -> None:
    """Run the tests of policies: rules whose names start with test_.

    A test passes if its value is true. A test that has names in brackets behind its own has one case per name. Rules
    whose names start with todo_test_ are listed and skipped. Each bundle is compiled and tested on its own.

    Exits with 1 if a test fails, has an error or is skipped, with 2 if the policies cannot be loaded.
    """
    suites = _prepare(paths, signing.bundle_key(verification_key, signing_alg, scope), patterns(ignore), schema)
    output = standard_output()
    reporter: Reporter = Json(output) if output_format is Format.JSON else Pretty(output, verbose=verbose)
    outcomes: set[Outcome] = set()
    for suite in suites:
        try:
            for result in run(suite, matching=matching, timeout=timeout, strict=strict):
                outcomes.add(result.outcome)
                reporter.report(result)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    reporter.finish()
    if not outcomes:
        standard_error().print("no tests found", soft_wrap=True)
    fine = {Outcome.PASSED, Outcome.SKIPPED} if skips_are_fine else {Outcome.PASSED}
    if outcomes - fine or (fail_on_empty and not outcomes):
        raise typer.Exit(1)


def _prepare(paths: list[Path], key: BundleKey | None, ignore: list[str], schema: Path | None) -> list[Suite]:
    """Everything compiled before the first test runs: half a report would look like a whole one."""
    console = standard_error()
    suites: list[Suite] = []
    broken = False
    try:
        units = loading.load(paths, key, ignore)
        described = schemas.load(schema)
    except PolicyError as error:
        show(console, error, {})
        raise typer.Exit(2) from None
    for unit in units:
        try:
            suites.append(prepare(unit.modules, unit.data, described))
        except PolicyError as error:
            show(console, error, unit.modules)
            broken = True
    if broken:
        raise typer.Exit(2)
    return suites
