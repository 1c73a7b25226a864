"""`policy test`: run the policies' tests."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from policy_engine.cli import loading, schemas, signing
from policy_engine.cli.check import Bundles, Ignore, Paths, patterns
from policy_engine.cli.diagnostics import show, standard_error, standard_output
from policy_engine.errors import PolicyError
from policy_engine.testing.coverage import Coverage, document, percentage, uncovered
from policy_engine.testing.reporters import Json, Pretty, Reporter
from policy_engine.testing.results import Outcome
from policy_engine.testing.runner import TIMEOUT, Suite, prepare, run

FINE = {Outcome.PASSED, Outcome.SKIPPED}


class Format(enum.StrEnum):
    PRETTY = "pretty"
    JSON = "json"


_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|$)")


def parse_duration(text: str | float) -> float:
    """The seconds of a duration in Go's notation (`500ms`, `1m30s`), or of a plain number."""
    parts = _PART.findall(str(text))
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != str(text) or not seconds:
        raise typer.BadParameter(f"`{text}` is not a duration: write 500ms, 5s or 1m30s")
    return seconds


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also show passing tests, and what they print.")]
Matching = Annotated[
    str,
    typer.Option("--run", "-r", metavar="REGEX", help="Run only tests whose full name (data.pkg.test_x) matches."),
]
Timeout = Annotated[
    float, typer.Option(parser=parse_duration, metavar="DURATION", show_default="5s", help="Time limit of one test.")
]
Output = Annotated[Format, typer.Option("--format", "-f", help="pretty is for people, json for programs.")]
Strict = Annotated[
    bool,
    typer.Option("--strict-builtin-errors", help="Make errors of builtins errors of the test, as the gateway does."),
]
SkipsAreFine = Annotated[
    bool, typer.Option("--exit-zero-on-skipped", "-z", help="Exit with 0 even if tests were skipped.")
]
Covered = Annotated[
    bool, typer.Option("--coverage", "-c", help="If all tests pass, show the lines they cover, as JSON.")
]
Threshold = Annotated[
    float,
    typer.Option(
        "--threshold",
        min=0,
        max=100,
        metavar="PERCENT",
        show_default=False,
        help="Exit with 1 if coverage is lower. Implies --coverage.",
    ),
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
    coverage: Covered = False,
    threshold: Threshold = 0,
    bundles: Bundles = False,
    ignore: Ignore = (),  # type: ignore[assignment]
    schema: schemas.SchemaPath = None,
    verification_key: signing.VerificationKey = "",
    signing_alg: signing.Algorithm = "RS256",
    scope: signing.Scope = "",
) -> None:
    """Run the tests of policies: rules whose names start with test_.

    A test passes if its value is true. A test with a key in brackets (test_x[name]) has one case per key. Rules whose
    names start with todo_test_ are listed and skipped. Each bundle is compiled and tested separately.

    Exits with 1 if a test fails, has an error or is skipped, with 2 if the policies cannot be loaded.
    """
    coverage = coverage or threshold > 0
    key = signing.bundle_key(verification_key, signing_alg, scope)
    suites = _prepare(lambda: loading.load(paths, key, patterns(ignore), bundles=bundles), schema, coverage=coverage)
    output = standard_output()
    reporter: Reporter = Pretty(output, verbose=verbose and not coverage)
    if output_format is Format.JSON and not coverage:
        reporter = Json(output)
    outcomes: set[Outcome] = set()
    for suite in suites:
        try:
            for result in run(suite, matching=matching, timeout=timeout, strict=strict):
                outcomes.add(result.outcome)
                if not (coverage and result.outcome in FINE):
                    reporter.report(result)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if not coverage or outcomes - FINE:
        reporter.finish()
    elif not _covered([suite.coverage for suite in suites if suite.coverage], threshold, verbose=verbose):
        raise typer.Exit(1)
    if not outcomes:
        standard_error().print("no tests found", soft_wrap=True)
    fine = FINE if skips_are_fine else {Outcome.PASSED}
    if outcomes - fine or (fail_on_empty and not outcomes):
        raise typer.Exit(1)


def _covered(coverages: list[Coverage], threshold: float, *, verbose: bool) -> bool:
    """Print the coverage and return true if it reaches the threshold.

    Otherwise print, as OPA does, only that it is too low, and with `verbose` the lines that are not covered.
    """
    found = percentage(coverages)
    if found >= threshold:
        standard_output().file.write(json.dumps(document(coverages), indent=2, ensure_ascii=False) + "\n")
        return True
    console = standard_error()
    console.print(f"coverage is {found:.2f} percent, below the threshold of {threshold:.2f}", soft_wrap=True)
    if verbose:
        for place in uncovered(coverages):
            console.print(f"  {place}", soft_wrap=True)
    return False


def _prepare(load: Callable[[], list[loading.Unit]], schema: Path | None, *, coverage: bool) -> list[Suite]:
    """Compile everything before the first test runs: a partial report would look like a complete one."""
    console = standard_error()
    suites: list[Suite] = []
    broken = False
    try:
        units = load()
        described = schemas.load(schema)
    except PolicyError as error:
        show(console, error, {})
        raise typer.Exit(2) from None
    for unit in units:
        try:
            suites.append(prepare(unit.modules, unit.data, described, coverage=coverage))
        except PolicyError as error:
            show(console, error, unit.modules)
            broken = True
    if broken:
        raise typer.Exit(2)
    return suites
