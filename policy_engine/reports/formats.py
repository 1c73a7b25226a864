"""Findings and test results in the formats of CI systems.

- JUnit: the XML of Jenkins' xunit plugin (junit-10.xsd), which GitLab, GitHub actions and Azure read too
- GitHub: workflow commands (docs.github.com, "Workflow commands for GitHub Actions")
- SARIF 2.1.0 (docs.oasis-open.org/sarif)
- TAP 14 (testanything.org)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from policy_engine.reports.excerpts import place
from policy_engine.reports.findings import Finding, findings_in
from policy_engine.reports.results import totals
from policy_engine.testing.results import Outcome, Result

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def everything(findings: Sequence[Finding], results: Sequence[Result]) -> list[Finding]:
    """The findings, and those of the tests that did not pass."""
    return [*findings, *(found for result in results for found in findings_in(result))]


# ---- JUnit


def junit(findings: Sequence[Finding], results: Sequence[Result]) -> str:
    """A suite for each package with tests, and one for each file with findings. A run without either has one test."""
    root = ElementTree.Element("testsuites")
    for package, tests in groupby(results, lambda result: result.test.package):
        _suite(root, package, [_test(result) for result in tests])
    for file, found in groupby(findings, lambda finding: finding.file):
        _suite(root, file or "policies", [_case(each.code, file, failure=[each]) for each in found])
    if not len(root):
        _suite(root, "policies", [_case("check", "policies")])
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(root: ElementTree.Element, name: str, cases: list[ElementTree.Element]) -> None:
    counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_xml(name),
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=_seconds(sum(float(case.get("time", 0)) for case in cases)),
    )
    suite.extend(cases)


def _test(result: Result) -> ElementTree.Element:
    found = list(findings_in(result))
    case = _case(result.test.name, result.test.package, **{"error" if result.error else "failure": found})
    case.set("time", _seconds(result.duration_ns / 1e9))
    if result.outcome is Outcome.SKIPPED:
        ElementTree.SubElement(case, "skipped")
    if result.prints:
        ElementTree.SubElement(case, "system-out").text = _xml("\n".join(result.prints))
    return case


def _case(name: str, group: str, **found: list[Finding]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name=_xml(name), classname=_xml(group), time="0")
    for kind, findings in found.items():
        if findings:  # readers show only the first element, and some schemas allow no second one
            about = {"message": _xml(findings[0].message.partition("\n")[0]), "type": findings[0].code}
            text = "\n".join(f"{place(finding)}{finding.details}" for finding in findings)
            ElementTree.SubElement(case, kind, about).text = _xml(text)
    return case


def _xml(text: str) -> str:
    """A text without the characters that XML cannot contain."""
    return _NOT_XML.sub("\ufffd", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"  # the schema allows no more digits


# ---- GitHub


def github(findings: Sequence[Finding], results: Sequence[Result]) -> str:
    """An annotation for each finding, and the totals of the tests for people."""
    lines = [_annotation(finding) for finding in everything(findings, results)]
    counts = Counter(outcome for result in results for outcome in result.counts())
    return "".join(f"{line}\n" for line in [*lines, *(text for _, text in totals(counts))])


def _annotation(finding: Finding) -> str:
    command = {"note": "notice"}.get(finding.severity, finding.severity)
    properties: dict[str, object] = {"file": finding.file, "line": finding.row, "col": finding.col}
    if finding.end_row:
        properties["endLine"] = finding.end_row
        # Columns are for spans of one line.
        properties |= {"endColumn": finding.end_col} if finding.end_row == finding.row else {}
    properties["title"] = finding.code
    text = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items() if value)
    return f"::{command} {text}::{_escaped(finding.details)}"


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)


# ---- SARIF


def sarif(findings: Sequence[Finding], results: Sequence[Result]) -> str:
    found = everything(findings, results)
    rules = sorted({finding.code for finding in found})
    driver = {
        "name": "policy",
        "version": version("agent-identity-gateway"),
        "rules": [{"id": rule} for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": finding.code,
                "ruleIndex": rules.index(finding.code),
                "level": finding.severity,
                "message": {"text": finding.details},
                "locations": _locations(finding),
            }
            for finding in found
        ],
    }
    return json_text({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def _locations(finding: Finding) -> list[dict[str, Any]]:
    if not finding.file:
        return []
    where: dict[str, Any] = {"artifactLocation": {"uri": quote(finding.file)}}
    if finding.row:
        region = {
            "startLine": finding.row,
            "startColumn": finding.col,
            "endLine": finding.end_row,
            "endColumn": finding.end_col,
        }
        where["region"] = {name: number for name, number in region.items() if number}
    return [{"physicalLocation": where}]


# ---- TAP


def tap(findings: Sequence[Finding], results: Sequence[Result]) -> str:
    """A test point for each test and each finding. A run without either has one."""
    points: list[tuple[str, list[Finding]]] = []
    for result in results:
        skip = " # SKIP" if result.outcome is Outcome.SKIPPED else ""
        points.append((_description(result.test.full_name) + skip, list(findings_in(result))))
    points += [(_description(place(finding) + finding.code), [finding]) for finding in findings]
    points = points or [("policies", [])]
    lines = ["TAP version 14", f"1..{len(points)}"]
    for number, (name, found) in enumerate(points, 1):
        lines.append(f"{'not ' * bool(found)}ok {number} - {name}")
        lines += _diagnostics(found)
    return "\n".join(lines) + "\n"


def _description(text: str) -> str:
    """A description, in which `#` would begin a directive."""
    return text.replace("\\", "\\\\").replace("#", "\\#").replace("\n", " ")


def _diagnostics(found: list[Finding]) -> Iterator[str]:
    """A YAML block, whose values are JSON."""
    if found:
        yield "  ---"
        yield "  findings:"
        for finding in found:
            at = {"file": finding.file, "line": finding.row, "column": finding.col}
            document = {"message": finding.details, "severity": finding.severity, "code": finding.code, "at": at}
            yield f"    - {json.dumps(document, ensure_ascii=False)}"
        yield "  ..."


# ---- JSON


def error(finding: Finding) -> dict[str, Any]:
    """A finding with the field names of `opa check --format json`."""
    document: dict[str, Any] = {"message": finding.message, "code": finding.code, "severity": finding.severity}
    if finding.file:
        document["location"] = {"file": finding.file, "row": finding.row, "col": finding.col}
    if finding.values:
        document["values"] = list(finding.values)
    return document | ({"hint": finding.hint} if finding.hint else {})


def json_text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
