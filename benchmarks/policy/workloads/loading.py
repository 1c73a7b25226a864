"""Not decisions but what comes before them: loading a policy, keeping it in memory, replacing its data."""

from __future__ import annotations

from typing import Any

from benchmarks.policy.workload import Document, Kind, Measure, Workload, fixed
from benchmarks.policy.workloads.growing import SEARCH, granted, grants, rules


def _load(number: int, measure: Measure) -> Workload:
    return Workload(
        f"{measure} {number:,} rules",
        Kind.LOADING,
        lambda: rules(number),
        fixed({"role": f"r{number // 2}", "action": f"a{number // 2}"}),
        True,
        None,
        measure=measure,
        series="rules",
        size=number,
    )


def _grants_by_hand(data: Document) -> Any:
    decide = granted(data)
    return lambda value: decide({"user": value["role"], "action": value["action"]})


WORKLOADS = [
    *(_load(number, measure) for number in (200, 10_000) for measure in (Measure.LOAD, Measure.RESTORE)),
    Workload(
        "replace 100,000 grants",
        Kind.LOADING,
        fixed(SEARCH),
        fixed({"user": "u50000", "action": "a6"}),
        True,
        granted,
        data=lambda: {"grants": grants(100_000)},
        measure=Measure.REPLACE,
        series="grants",
        size=100_000,
    ),
    Workload(
        "2,000 rules, 100,000 grants",
        Kind.MEMORY,
        lambda: rules(2_000) + "\nallow if { some g in data.grants; g.user == input.role; g.action == input.action }",
        fixed({"role": "u50000", "action": "a6"}),
        True,
        _grants_by_hand,
        data=lambda: {"grants": grants(100_000)},
        measure=Measure.MEMORY,
        series="grants",
        size=100_000,
    ),
]
