"""Traffic by hour and day, for plots: how requests ended, their tokens and their cost. Kept in the file of `rollup.py`.

Each request counts once, when the log has its end: a call that was carried out under its outcome, a denial and a
refusal before any decision under their reason. Sums are kept for an agent, for a model, for an organization and for the
whole gateway, so that a plot reads its own rows by their key and adds nothing up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from gateway.audit.completions import Completion, RefusedRequests
from gateway.usage.totals import counts_of, subject_of

HOUR: Final = 3600
DAY: Final = 86_400

Fate = Literal["ended", "denied", "refused"]

TABLE: Final = f"""
-- What happened in an hour or a day (`span`) that begins at `start`, in seconds since 1970. An empty name means all.
CREATE TABLE traffic (
    organization TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    span INTEGER NOT NULL CHECK (span IN ({HOUR}, {DAY})),
    start INTEGER NOT NULL,
    fate TEXT NOT NULL,
    code TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    PRIMARY KEY (organization, agent, model, span, start, fate, code)
) STRICT, WITHOUT ROWID;
"""

# Providers may report anything, and integers of databases have 64 bits: what was added up stops here.
_MOST: Final = 2**62
_SUMS: Final = ("requests", "input", "output", "cost_nanousd")
ADD: Final = f"""
INSERT INTO traffic VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET {", ".join(f"{n} = min({n}, {_MOST} - excluded.{n}) + excluded.{n}" for n in _SUMS)}
"""  # noqa: S608  # our own names
READ: Final = """
SELECT start, fate, code, requests, input, output, cost_nanousd FROM traffic
 WHERE organization = ? AND agent = ? AND model = ? AND span = ? AND start >= ? AND start < ? ORDER BY start, fate, code
"""

# Sums of rows are taken of both halves of an amount, because SQLite's own would overflow.
_HALF: Final = 31
_TOTALS: Final = ", ".join(
    f"sum({what} {part})"
    for what in ("requests", "iif(fate = 'ended', 0, requests)", "cost_nanousd")
    for part in (f">> {_HALF}", f"& {2**_HALF - 1}")
)


class Traffic(NamedTuple):
    """The requests of one hour or day that ended in the same way. `code` is an outcome or the reason of a refusal."""

    start: int
    fate: Fate
    code: str
    requests: int
    input: int
    output: int
    cost_nanousd: int


class AgentTraffic(NamedTuple):
    """What an agent has done in some days."""

    requests: int
    refused: int
    cost_nanousd: int


NOTHING: Final = AgentTraffic(0, 0, 0)


def of_agents(agents: Sequence[str]) -> str:
    """The statement for the sums of these agents; its values are the organization, the agents, a start and an end."""
    marks = ", ".join("?" * len(agents))
    return f"""
        SELECT agent, {_TOTALS} FROM traffic
         WHERE organization = ? AND agent IN ({marks}) AND model = '' AND span = {DAY} AND start >= ? AND start < ?
         GROUP BY agent"""  # noqa: S608  # our own names


def agent_traffic(row: Sequence[Any]) -> tuple[str, AgentTraffic]:
    """What a row of `of_agents` says."""
    agent, *halves = row
    return agent, AgentTraffic(*((high << _HALF) + low for high, low in zip(halves[::2], halves[1::2], strict=True)))


def rows_of(calls: Iterable[Completion], refusals: Iterable[RefusedRequests]) -> Iterator[tuple[str | int, ...]]:
    """The rows by which these are added (`ADD`)."""
    found: defaultdict[tuple[str, str, str, int, Fate, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for call in calls:
        subject, counts = subject_of(call), counts_of(call)
        where = subject.organization, subject.agent, subject.model, call.time_ns // 10**9
        _count(found, where, "ended", str(call.completed.get("outcome")), (1, *counts.tokens, counts.cost_nanousd))
    for each in refusals:
        where = each.organization, each.agent, each.model, each.time_ns // 10**9
        _count(found, where, "refused" if each.undecided else "denied", each.reason, (each.requests, 0, 0, 0))
    rows: defaultdict[tuple[str | int, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (organization, agent, model, hour, fate, code), amounts in found.items():
        whose = {
            (organization, agent, ""),
            (organization, "", model),
            (organization, "", ""),
            ("", "", model),
            ("",) * 3,
        }
        for names in whose:
            for span in (HOUR, DAY):
                row = rows[(*names, span, hour - hour % span, fate, code)]
                row[:] = map(sum, zip(row, amounts, strict=True))
    return ((*key, *(min(each, _MOST) for each in amounts)) for key, amounts in rows.items())


def _count(
    found: defaultdict[tuple[str, str, str, int, Fate, str], list[int]],
    where: tuple[str, str, str, int],
    fate: Fate,
    code: str,
    amounts: tuple[int, int, int, int],
) -> None:
    organization, agent, model, second = where
    row = found[organization, agent, model, second - second % HOUR, fate, code]
    row[:] = map(sum, zip(row, amounts, strict=True))
