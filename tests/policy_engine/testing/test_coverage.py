from __future__ import annotations

import pytest

from policy_engine.testing.coverage import Coverage, document, percentage, uncovered
from policy_engine.testing.runner import prepare, run


def covered(source: str, data: dict[str, object] | None = None) -> Coverage:
    suite = prepare({"m.rego": source}, data, coverage=True)
    assert [result.outcome.value for result in run(suite)] == ["PASS"] * len(suite.tests)
    assert suite.coverage is not None
    return suite.coverage


def missing(rules: str, data: dict[str, object] | None = None) -> list[str]:
    """The lines that are not covered, stripped, without empty ones."""
    source = f"package m\n\n{rules}"
    ((_, _, rows),) = covered(source, data).files()
    return [source.split("\n")[row - 1].strip() for row in sorted(rows)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param("p if {\n\ttrue\n\tfalse\n\ttrue # 3\n}\n\ntest_p if not p", ["p if {", "true # 3"], id="body"),
        pytest.param("p := 1\n\nq := 2\n\ntest_p if p == 1", ["q := 2"], id="rules without a body"),
        pytest.param(
            "p := 1 if {\n\tinput.x == 1\n} else := 2 if {\n\tinput.x == 2\n} else := 3\n\n"
            "test_p if p == 2 with input.x as 2",
            ["p := 1 if {", "} else := 3"],
            id="else",
        ),
        pytest.param(
            "default p := 1\n\ndefault q := 1\n\nq := 2\n\ntest_p if p + q == 3", ["default q := 1"], id="defaults"
        ),
        pytest.param(
            "f(x) := [y |\n\tsome y in x\n\ty > 9 # 3\n\ty < 0 # 4\n]\n\ntest_f if f([1]) == []",
            ["y < 0 # 4"],
            id="comprehension",
        ),
        pytest.param(
            "p if {\n\tevery x in [1] {\n\t\tx == 2 # 3\n\t\tx == 3 # 4\n\t}\n}\n\ntest_p if not p",
            ["p if {", "x == 3 # 4"],
            id="every",
        ),
        pytest.param("p contains x if {\n\tsome x\n\t[1][_] = x\n}\n\ntest_p if 1 in p", [], id="declarations"),
        pytest.param("test_x[n] if {\n\tsome n in [\n\t\t1,\n\t\t2,\n\t]\n\tn > 0\n}", [], id="several lines"),
        pytest.param("p if true\n\np if false\n\ntest_p if p", ["p if false"], id="stopped early"),
    ],
)
def test_evaluation_covers_expressions_and_values_cover_heads(rules: str, expected: list[str]) -> None:
    assert missing(rules) == expected


def test_coverage_counts_equalities_that_a_join_would_skip() -> None:
    rules = (
        "p if {\n\tsome g in data.grants\n\tg.user == input.user\n\tg.on # 4\n}\n\ntest_p if not p with input.user as 0"
    )
    assert missing(rules, {"grants": [{"user": "a"}]}) == ["p if {", "g.on # 4"]


def test_the_report_has_the_names_of_opa() -> None:
    coverage = covered("package m\n\np := 1\n\nq := 2 if {\n\tfalse\n\ttrue\n}\n\ntest_p if p == 1")
    other = covered("package m\n")
    rows = [{"start": {"row": row}, "end": {"row": row}} for row in (3, 10)]
    assert document([coverage]) == {
        "files": {
            "m.rego": {
                "covered": rows,
                "not_covered": [{"start": {"row": 5}, "end": {"row": 7}}],
                "covered_lines": 2,
                "not_covered_lines": 3,
                "coverage": 40,
            }
        },
        "covered_lines": 2,
        "not_covered_lines": 3,
        "coverage": 40,
    }
    assert uncovered([coverage, other]) == ["m.rego:5-7"]
    assert (percentage([coverage, other]), percentage([other])) == (40, 0)
    assert document([other])["files"] == {"m.rego": {}}
