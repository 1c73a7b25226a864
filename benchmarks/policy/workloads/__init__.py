"""Every workload, in the order of the table."""

from __future__ import annotations

from benchmarks.policy.workload import Workload
from benchmarks.policy.workloads import gateway, growing, heavy, loading, small, tokens

WORKLOADS: tuple[Workload, ...] = tuple(
    work for family in (small, growing, heavy, tokens, gateway, loading) for work in family.WORKLOADS
)
BY_NAME = {work.name: work for work in WORKLOADS}
assert len(BY_NAME) == len(WORKLOADS), "two workloads have one name"
