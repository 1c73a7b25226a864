"""The content of each format: the members that its specification requires, places, and characters that need care."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import yaml

from policy_engine.location import Location
from policy_engine.reports import Format, findings_in
from tests.rigs.policy_engine.reports.formats import FINDINGS, RESULTS, shown


def test_pretty_has_both() -> None:
    text = shown(Format.PRETTY, findings=FINDINGS, results=RESULTS)
    assert text.startswith("a b/p,1.rego:3:10: rego_parse_error: unexpected `}`\n  3 | allow if }\n    |          ^\n")
    assert "  8 |  x == 1\n    |  ^^^^^^ does not hold\n    | x = 2\n" in text
    assert text.endswith("PASS: 2/6\nFAIL: 2/6\nERROR: 1/6\nSKIPPED: 1/6\n")


def test_json_has_errors_and_tests() -> None:
    document = json.loads(shown(Format.JSON, findings=FINDINGS, results=RESULTS))
    first, second = document["errors"]
    assert first["location"] == {"file": "a b/p,1.rego", "row": 3, "col": 10}
    assert second == {"message": "no manifest", "code": "bundle_error", "severity": "warning"}
    (failure,) = document["tests"][1]["failures"]
    assert failure == {
        "location": {"file": "authz_test.rego", "row": 8, "col": 2},
        "message": "`x == 1` does not hold",
        "values": ["x = 2"],
    }
    assert json.loads(shown(Format.JSON, findings=[])) == {"errors": []}
    assert json.loads(shown(Format.JSON, results=[])) == []


def test_junit_counts_what_it_lists() -> None:
    root = ElementTree.fromstring(shown(Format.JUNIT, findings=FINDINGS, results=RESULTS))
    assert root.tag == "testsuites"
    tests, file, nowhere = root
    counts = {"tests": "5", "failures": "2", "errors": "1", "skipped": "1", "time": "0.010"}
    assert tests.attrib == {"name": "data.authz_test", **counts}
    fine, wrong, no, broken, later = tests
    assert wrong.attrib == {"name": "test_wrong", "classname": "data.authz_test", "time": "0.002"}
    assert fine[0].text == "a \ufffd[1m <&> line"
    assert wrong[0].attrib["type"] == "test_failed"
    assert wrong[0].text == "authz_test.rego:8:2: data.authz_test.test_wrong: `x == 1` does not hold\n  x = 2"
    assert no[0].attrib["message"] == "data.authz_test.test_no is not true for a#1"
    assert [each[0].tag for each in (wrong, broken, later)] == ["failure", "error", "skipped"]
    assert (file.attrib["name"], nowhere.attrib["name"]) == ("a b/p,1.rego", "policies")


def test_github_annotates_the_line_that_failed() -> None:
    lines = shown(Format.GITHUB, findings=FINDINGS, results=RESULTS).splitlines()
    assert lines[0] == (
        "::error file=a b/p%2C1.rego,line=3,col=10,endLine=3,endColumn=11,title=rego_parse_error"
        "::unexpected `}`%0Ahint: 50%25 of%0Ait"
    )
    assert lines[1] == "::warning title=bundle_error::no manifest"
    assert lines[2] == (
        "::error file=authz_test.rego,line=8,col=2,endLine=8,endColumn=8,title=test_failed"
        "::data.authz_test.test_wrong: `x == 1` does not hold%0A  x = 2"
    )
    assert lines[4].startswith("::error file=a.rego,line=3,col=1,title=eval_conflict_error::")
    assert lines[-4:] == ["PASS: 2/6", "FAIL: 2/6", "ERROR: 1/6", "SKIPPED: 1/6"]


def test_sarif_has_what_the_standard_requires() -> None:
    document = json.loads(shown(Format.SARIF, findings=FINDINGS, results=RESULTS))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "policy"
    assert [rule["id"] for rule in driver["rules"]] == sorted({each["ruleId"] for each in run["results"]})
    for each in run["results"]:
        assert driver["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
        assert each["level"] in ("none", "note", "warning", "error")
        assert each["message"]["text"]
    (where,) = run["results"][0]["locations"]
    assert where["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b/p%2C1.rego"},
        "region": {"startLine": 3, "startColumn": 10, "endLine": 3, "endColumn": 11},
    }
    assert run["results"][1]["locations"] == []


def test_tap_is_a_plan_and_its_points() -> None:
    lines = shown(Format.TAP, findings=FINDINGS, results=RESULTS).splitlines()
    assert lines[:2] == ["TAP version 14", "1..7"]
    points = [line for line in lines if line.startswith(("ok", "not"))]
    assert points == [
        "ok 1 - data.authz_test.test_fine",
        "not ok 2 - data.authz_test.test_wrong",
        "not ok 3 - data.authz_test.test_no",
        "not ok 4 - data.authz_test.test_broken",
        "ok 5 - data.authz_test.todo_test_later # SKIP",
        "not ok 6 - a b/p,1.rego:3:10: rego_parse_error",
        "not ok 7 - bundle_error",
    ]
    begin = lines.index("not ok 2 - data.authz_test.test_wrong") + 1
    block = lines[begin + 1 : lines.index("  ...", begin)]
    (finding,) = yaml.safe_load("\n".join(block))["findings"]
    assert finding["at"] == {"file": "authz_test.rego", "line": 8, "column": 2}


@pytest.mark.parametrize("form", [Format.JUNIT, Format.TAP])
def test_a_clean_run_is_one_passing_test(form: Format) -> None:
    text = shown(form, findings=[])
    assert "<failure" not in text
    assert "not ok" not in text
    assert ('tests="1" failures="0"' in text) or ("1..1\nok 1" in text)


def test_findings_in_a_result() -> None:
    assert [list(findings_in(each)) for each in (RESULTS[0], RESULTS[4])] == [[], []]
    (finding,) = findings_in(RESULTS[3])
    assert finding.location == Location("a.rego", 3, 1)
