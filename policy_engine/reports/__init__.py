"""Reports of checks and tests for people, programs and CI systems. The command lines share them.

    report(Format.SARIF, console, findings=findings_of(error), results=results, sources=modules)

Findings are what a check found wrong (findings.py), results are those of tests (testing/results.py). The caller decides
about exit codes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console

from policy_engine.reports import formats
from policy_engine.reports.excerpts import render
from policy_engine.reports.findings import Finding, findings_in, findings_of
from policy_engine.reports.results import Pretty, document
from policy_engine.testing.results import Result

__all__ = ["Finding", "Format", "findings_in", "findings_of", "report"]


class Format(enum.StrEnum):
    PRETTY = "pretty"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    SARIF = "sarif"
    TAP = "tap"


_WRITERS: Final = {
    Format.JUNIT: formats.junit,
    Format.GITHUB: formats.github,
    Format.SARIF: formats.sarif,
    Format.TAP: formats.tap,
}


def report(
    form: Format,
    console: Console,
    *,
    findings: Sequence[Finding] | None = None,
    results: Sequence[Result] | None = None,
    sources: Mapping[str, str],
    verbose: bool = False,
) -> None:
    """Print findings and test results. `sources` has the text of each file that they name.

    Leave out what a command has none of. In JSON, results alone are an array, as in `opa test`; otherwise `errors` are
    the findings, as in `opa check`, and `tests` the results. `verbose` shows also tests that passed, in `pretty`.
    """
    if form is Format.PRETTY:
        for finding in findings or ():
            console.print(render(finding, sources), soft_wrap=True)
        if results is not None:
            pretty = Pretty(console, sources, verbose=verbose)
            for result in results:
                pretty.report(result)
            pretty.finish()
    elif form is Format.JSON:
        tests = [document(result) for result in results or ()]
        whole = {"errors": [formats.error(finding) for finding in findings or ()]}
        found = tests if findings is None else whole if results is None else whole | {"tests": tests}
        console.file.write(formats.json_text(found))
    else:
        console.file.write(_WRITERS[form](findings or (), results or ()))
