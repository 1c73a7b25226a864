"""`policy test`: run the policies' tests."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from policy_engine.cli import loading, schemas, signing
from policy_engine.cli.check import (
    Bundles,
    Ignore,
    Paths,
    note_gateway,
    patterns,
    report_findings,
    require_policies,
)
from policy_engine.cli.diagnostics import complain, standard_error, standard_output
from policy_engine.compiler.suggestions import did_you_mean
from policy_engine.errors import PolicyError
from policy_engine.reports import Finding, Format, findings_of, report
from policy_engine.reports.coverage import as_json, cobertura, lcov
from policy_engine.reports.results import Pretty
from policy_engine.testing.coverage import Coverage, percentage, uncovered
from policy_engine.testing.results import Outcome, Result
from policy_engine.testing.runner import TIMEOUT, Suite, prepare, run


class TestOutput(enum.StrEnum):
    """The form of the output: a report of `reports.Format`, or coverage for CI systems."""

    PRETTY = "pretty"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    SARIF = "sarif"
    TAP = "tap"
    LCOV = "lcov"
    COBERTURA = "cobertura"


COVERAGE = {
    TestOutput.PRETTY: as_json,
    TestOutput.JSON: as_json,
    TestOutput.LCOV: lcov,
    TestOutput.COBERTURA: cobertura,
}
FINE = {Outcome.PASSED, Outcome.SKIPPED}


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
OutputFormat = Annotated[
    TestOutput,
    typer.Option(
        "--format",
        "-f",
        help="pretty is for people, json for programs, the others for CI systems. lcov and cobertura imply --coverage.",
    ),
]
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
    output_format: OutputFormat = TestOutput.PRETTY,
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
    names start with todo_test_ are listed and skipped. Each bundle is compiled and tested separately. The gateway
    demands more of a bundle: `gateway policies check` checks that, and also evaluates strictly.

    Exits with 1 if a test fails, has an error or is skipped, with 2 if the policies cannot be loaded, there are none,
    or no test matches --run.
    """
    coverage = coverage or threshold > 0 or output_format in (TestOutput.LCOV, TestOutput.COBERTURA)
    if coverage and output_format not in COVERAGE:
        raise typer.BadParameter(f"{output_format} is no format of coverage: write json, lcov or cobertura")
    form = Format.PRETTY if coverage else Format(output_format)
    key = signing.bundle_key(verification_key, signing_alg, scope)
    units, suites, sources = _prepare(
        lambda: loading.load(paths, key, patterns(ignore), bundles=bundles), paths, schema, form, coverage=coverage
    )
    # Coverage is read by programs, so failed tests go where it does not.
    console = standard_error() if output_format in (TestOutput.LCOV, TestOutput.COBERTURA) else standard_output()
    pretty = Pretty(console, sources, verbose=verbose and not coverage)
    results: list[Result] = []
    for suite in suites:
        try:
            for result in run(suite, matching=matching, timeout=timeout, strict=strict):
                results.append(result)
                if form is Format.PRETTY and not (coverage and result.outcome in FINE):
                    pretty.report(result)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if matching and not results:
        _complain_nothing_matches(matching, suites)
    outcomes = {result.outcome for result in results}
    if form is not Format.PRETTY:
        report(form, console, results=results, sources=sources)
    elif not coverage or outcomes - FINE:
        pretty.finish()
    elif not _covered(
        [suite.coverage for suite in suites if suite.coverage], output_format, threshold, verbose=verbose
    ):
        raise typer.Exit(1)
    if not outcomes:
        standard_error().print("no tests found", soft_wrap=True)
    fine = FINE if skips_are_fine else {Outcome.PASSED}
    if outcomes - fine or (fail_on_empty and not outcomes):
        raise typer.Exit(1)
    note_gateway(units, form if not coverage else Format.JSON)


def _complain_nothing_matches(matching: str, suites: list[Suite]) -> NoReturn:
    """Exit with 2: a filter with a typing error must not look like success."""
    names = [name for suite in suites for test in suite.tests for name in (test.name, test.full_name)]
    hint = did_you_mean(matching, names, "the whole name counts, data.authz_test.test_x; `policy test -v` lists them")
    complain(standard_error(), f"no test matches `{matching}`", hint)
    raise typer.Exit(2)


def _covered(coverages: list[Coverage], output: TestOutput, threshold: float, *, verbose: bool) -> bool:
    """Print the coverage and return true if it reaches the threshold.

    Otherwise print, as OPA does, only that it is too low, and with `verbose` the lines that are not covered.
    """
    found = percentage(coverages)
    if found >= threshold:
        standard_output().file.write(COVERAGE[output](coverages))
        return True
    console = standard_error()
    console.print(f"coverage is {found:.2f} percent, below the threshold of {threshold:.2f}", soft_wrap=True)
    if verbose:
        for place in uncovered(coverages):
            console.print(f"  {place}", soft_wrap=True)
    return False


def _prepare(
    load: Callable[[], list[loading.LoadedUnit]],
    paths: list[Path],
    schema: Path | None,
    form: Format,
    *,
    coverage: bool,
) -> tuple[list[loading.LoadedUnit], list[Suite], dict[str, str]]:
    """Compile everything before the first test runs: a partial report would look like a complete one."""
    suites: list[Suite] = []
    findings: list[Finding] = []
    sources: dict[str, str] = {}
    try:
        units = load()
        described = schemas.load(schema)
    except PolicyError as error:
        report_findings(form, findings_of(error), {})
        raise typer.Exit(2) from None
    require_policies(units, paths)
    for unit in units:
        sources.update(unit.modules)
        try:
            suites.append(prepare(unit.modules, unit.data, described, coverage=coverage))
        except PolicyError as error:
            findings += findings_of(error)
    if findings:
        report_findings(form, findings, sources)
        raise typer.Exit(2)
    return units, suites, sources
