"""No builtin hangs, and none builds what the budget does not pay for.

Each row would take hours or all of the memory if its size were not charged, bounded or linear.
"""

from __future__ import annotations

from typing import Any

import pytest

from policy_engine.values import Set
from tests.policy_engine.builtins.conftest import Query, outcome

BUDGET = 100_000
LONG = "a" * 1_000_000

OVER = "eval_cancel_error: caller cancelled query execution"


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("numbers.range", [1, 10**18]),
        ("numbers.range_step", [10**18, 1, 2]),
        ("concat", [LONG, ["", ""] * 1000]),
        ("replace", [LONG, "a", "b" * 1000]),
        ("replace", [LONG, "", "b" * 1000]),
        ("strings.replace_n", [{"a": "b" * 1000}, LONG]),
        ("split", [LONG * 2, ""]),
        ("indexof_n", [LONG, "a" * 500_000]),
        ("sprintf", ["%9999999d" * 1000, [1] * 1000]),
        ("sprintf", ["%.9999999f", [1.5]]),
        ("regex.replace", [LONG, "a", "b" * 1000]),
        ("regex.find_n", [".", LONG, -1]),
        ("regex.split", ["", LONG]),
        ("regex.globs_match", ["a*b*" * 500, "a*b*" * 500]),
        ("graph.reachable_paths", [{str(i): [str(i + 1), str(i + 2)] for i in range(200)}, ["0"]]),
        ("strings.render_template", ["{{range 1000000000}}{{end}}", {}]),
        ("strings.render_template", ["{{range .x}}{{range $.x}}{{range $.x}}{{end}}{{end}}{{end}}", {"x": [0] * 1000}]),
        ("sum", [[1] * 200_000]),
        ("sort", [[1] * 200_000]),
    ],
)
def test_over_budget(name: str, operands: list[Any]) -> None:
    assert outcome(name, *operands, query=Query(BUDGET)) == OVER


def test_a_large_set_is_over_budget() -> None:
    assert outcome("union", Set([Set(range(2 * BUDGET))]), query=Query(BUDGET)) == OVER


@pytest.mark.parametrize(
    ("name", "operands", "want"),
    [
        ("regex.match", ["(a*)*b", LONG], "[false]"),
        ("regex.match", ["(a|aa)+$", LONG + "b"], "[false]"),
        ("glob.match", ["*a*a*a*a*a*a*b", [], LONG], "[false]"),
        ("strings.any_prefix_match", [["a" * 1000] * 100, ["a" * 999 + "b"] * 100], "[false]"),
        ("strings.replace_n", [{"a" * n + "b": "" for n in range(500)}, "a" * 10_000], f'["{"a" * 10_000}"]'),
        ("strings.replace_n", [{f"{n:0200}": "" for n in range(20_000)}, "a"], '["a"]'),
        ("regex.match", [r"(\pL{500}){2}" * 50, "a"], None),
        ("semver.compare", ["1.2.3-" + "1" * 4000, "1.2.3-" + "1" * 4000], "[0]"),
        ("strings.render_template", ["{{if .x}}" * 1000, {}], None),
        ("strings.render_template", ["{{" + "(" * 1000, {}], None),
        ("strings.render_template", ["{{if .x}}" + "{{else if .x}}" * 1000, {}], None),
    ],
)
def test_soon_done(name: str, operands: list[Any], want: str | None) -> None:
    got = outcome(name, *operands)
    assert got == want if want is not None else got.startswith("eval_builtin_error: ")
