"""The findings of a run, as a table on a terminal, as JSON and as the page in `docs/contributing/benchmarks/`."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from benchmarks.policy.engines import ENGINES, PEERS, ByHand, Ours, Regorus, RegorusMachine
from benchmarks.policy.run import Outcome, Row, of_kind, series
from benchmarks.policy.workload import Kind, Measure
from benchmarks.policy.workloads.growing import TITLES

UNITS = {
    Measure.ASK: "µs",
    Measure.LOAD: "ms",
    Measure.RESTORE: "ms",
    Measure.REPLACE: "ms",
    Measure.MEMORY: "MB",
}
NAME, COLUMN = 28, 10
BEHIND_BY_HAND = 3.0
AHEAD_OF_REGORUS = 8.0


def heading() -> str:
    """The first lines of the table on a terminal."""
    names = "".join(f"{name:>{COLUMN}}" for name in PEERS)
    return (
        f"{'':{NAME}}{'ours':>{COLUMN + 3}}   {'ours/hand':>{COLUMN}}{names}\n"
        f"{'':{NAME}}{'':{COLUMN + 3}}   {'':{COLUMN}}{'  (their figure / ours)'}"
    )


def line(row: Row) -> str:
    """A row on a terminal: this engine's figure, and ratios. `!` marks a peer that is faster."""
    ours = row.figures.get(Ours.name)
    shown = "-" if ours is None else f"{figure(ours)} {UNITS[row.work.measure]}"
    cells = "".join(f"{_cell(row, name):>{COLUMN}}" for name in PEERS)
    return f"{row.work.name:{NAME}}{shown:>{COLUMN + 3}}   {_cell(row, ByHand.name):>{COLUMN}}{cells}"


def _cell(row: Row, name: str) -> str:
    ratio = row.ratio(name)
    if ratio is None:
        reason = row.reasons.get(name, "")
        return "differs" if reason.startswith("answers") else "late" if reason.startswith("takes") else "-"
    behind = ratio < 1 and name != ByHand.name
    return f"{'! ' if behind else ''}{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def figure(value: float) -> str:
    """A figure with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summary(outcome: Outcome) -> list[str]:
    """The sentences below the table: means, and every row that is not what it should be."""
    lines = []
    for kind in (Kind.SMALL, Kind.GROWING, Kind.HEAVY, Kind.LOADING):
        rows = of_kind(outcome.rows, kind)
        means = [f"{name} {mean:.3g}" for name, mean in _means(rows)]
        if means:
            lines.append(f"geometric means, {kind}: {', '.join(means)}")
    lines += [f"not faster than {', '.join(names)}: {row.work.name}" for row in outcome.rows if (names := behind(row))]
    asked = [row for row in outcome.rows if row.work.measure is Measure.ASK]
    close = [
        f"{row.work.name} ({ratio:.3g})"
        for row in asked
        if (ratio := of_regorus(row)) is not None and ratio < AHEAD_OF_REGORUS
    ]
    if close:
        lines.append(f"less than {AHEAD_OF_REGORUS:.0f} times as fast as the better of regorus: {', '.join(close)}")
    slow = [
        f"{row.work.name} ({ratio:.3g})" for row in asked if (ratio := row.ratio(ByHand.name) or 0) > BEHIND_BY_HAND
    ]
    if slow:
        lines.append(f"more than {BEHIND_BY_HAND:.0f} times as slow as by hand: {', '.join(slow)}")
    return lines


def behind(row: Row) -> list[str]:
    """The peers that are at least as fast as this engine. Memory is no race."""
    if row.work.measure is Measure.MEMORY:
        return []
    if Ours.name in row.reasons:
        return [f"anyone, because it {row.reasons[Ours.name]}"]
    return [name for name in PEERS if (ratio := row.ratio(name)) is not None and ratio <= 1]


def of_regorus(row: Row) -> float | None:
    """The ratio of the better one of regorus' two forms."""
    ratios = [ratio for name in (Regorus.name, RegorusMachine.name) if (ratio := row.ratio(name)) is not None]
    return min(ratios, default=None)


def _means(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    for name in (ByHand.name, *PEERS):
        ratios = [ratio for row in rows if (ratio := row.ratio(name)) is not None]
        if ratios:
            yield ("ours/hand" if name == ByHand.name else name), statistics.geometric_mean(ratios)
    better = [ratio for row in rows if (ratio := of_regorus(row)) is not None]
    if better:
        yield "better of regorus", statistics.geometric_mean(better)


def reasons(outcome: Outcome) -> list[str]:
    """The reasons why peers have no figure, one sentence for each."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in outcome.rows:
        for name, reason in row.reasons.items():
            found.setdefault((name, reason), []).append(row.work.name)
    return [f"{name} {reason}: {', '.join(rows)}" for (name, reason), rows in found.items()]


def as_json(outcome: Outcome) -> str:
    """For programs: figures in the unit of each row, ratios, reasons."""
    rows = [
        {
            "name": row.work.name,
            "kind": row.work.kind,
            "measure": row.work.measure,
            "unit": UNITS[row.work.measure],
            "figures": row.figures,
            "ratios": {name: ratio for name in (ByHand.name, *PEERS) if (ratio := row.ratio(name)) is not None},
            "reasons": row.reasons,
        }
        for row in outcome.rows
    ]
    document = {
        "python": platform.python_version(),
        "versions": outcome.versions,
        "missing": outcome.missing,
        "seconds": round(outcome.seconds, 1),
        "rows": rows,
        "geometric_means": {kind: dict(_means(of_kind(outcome.rows, kind))) for kind in Kind},
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


PAGE = """# What a decision costs, beside others

Written by `python -m benchmarks.policy` at the root of a clone; do not edit. [testing.md](../testing.md#benchmarks)
describes what is compared, and how.

Each row is the same policy, asked from Python with the same dict. The first figure is this engine's. `by hand` is how
many times as long it takes as a Python function that was written for this one decision; the other columns are how many
times as long *they* take: above 1 this engine is faster. A column is empty where a peer cannot run the policy or
answers differently from OPA; why is below the table.

{environment} Figures are processor time of the calling thread,
medians of interleaved rounds.

{tables}

{summary}

## Growth

{charts}

## Without a figure

{reasons}
"""


def page(outcome: Outcome) -> str:
    """`docs/contributing/benchmarks/README.md`."""
    versions = ", ".join(f"{name} {version}".strip() for name, version in outcome.versions.items() if version)
    python = platform.python_version()
    environment = f"Measured on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {python}: {versions}."
    tables = "\n\n".join(_table(kind, rows) for kind in Kind if (rows := of_kind(outcome.rows, kind)))
    charts = "\n\n".join(f"![{TITLES[name]}]({name}.svg)" for name, _ in series(outcome.rows))
    return PAGE.format(
        environment=environment,
        tables=tables,
        summary="\n".join(f"- {item}" for item in summary(outcome)),
        charts=charts,
        reasons="\n".join(f"- {item}" for item in reasons(outcome)),
    )


def _table(kind: Kind, rows: Sequence[Row]) -> str:
    names = [name for name in ENGINES if name != Ours.name]
    lines = [
        f"## {kind.capitalize()}",
        "",
        "| | ours | " + " | ".join(names) + " |",
        "|---|---:|" + "---:|" * len(names),
    ]
    for row in rows:
        ours = row.figures.get(Ours.name)
        shown = "" if ours is None else f"{figure(ours)} {UNITS[row.work.measure]}"
        cells = [cell if (cell := _cell(row, name)) not in ("-", "differs", "late") else "" for name in names]
        lines.append(f"| {row.work.name} | {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
