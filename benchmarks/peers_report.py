"""The figures of `peers.py`: as a table for the terminal, and as a page of the documentation with a chart."""

from __future__ import annotations

import math
import platform
import statistics
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.data_plane import Figure
from benchmarks.memory import Memory
from benchmarks.policy.chart import STYLE

BARE, OURS = "bare", "this gateway"
COLOURS = {BARE: "#868e96", OURS: "#d6336c", "Portkey": "#1c7ed6", "LiteLLM": "#e8590c"}
DOES = {
    BARE: "Starlette and aiohttp: reads the body, sends it on, relays the answer, and does nothing else",
    OURS: "authenticates the agent's key, reads the call strictly, decides by a policy, and makes two durable, chained "
    "and signed records (one before it forwards, one before the answer ends)",
    "Portkey": "chooses the provider by a header and sends the client's key on; no policy, nothing is recorded",
    "LiteLLM": "compares the key with its master key, routes by model name, counts tokens and cost in memory; no "
    "database, nothing is recorded",
}


class Results:
    """Figures by server and workload, one for each round."""

    def __init__(self, workloads: Sequence[str], names: Sequence[str]) -> None:
        self.workloads, self.names = workloads, names
        self.idle: dict[str, Memory] = {}
        self.busy: dict[str, Memory] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self._figures: dict[tuple[str, str], list[Figure]] = {}

    def add(self, name: str, workload: str, figure: Figure) -> None:
        self._figures.setdefault((name, workload), []).append(figure)

    def seen(self, name: str, memory: Memory) -> None:
        """Keep the most that was seen under load."""
        self.busy[name] = max(memory, self.busy.get(name, memory))

    def of(self, workload: str) -> list[str]:
        """The servers that could do this."""
        return [name for name in self.names if (name, workload) not in self.failed]

    def median(self, name: str, workload: str) -> Figure:
        return Figure(*map(statistics.median, zip(*self._figures[name, workload], strict=True)))

    def ratio(self, name: str, other: str, workload: str) -> float:
        """The ratio to the requests per second of `other`: the median of the rounds."""
        pairs = zip(self._figures[name, workload], self._figures[other, workload], strict=True)
        return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)


def table(results: Results) -> str:
    lines = []
    for workload in results.workloads:
        lines.append(f"{workload:36}{'per second':>12}{'median ms':>12}{'CPU ms':>10}{'of bare':>10}{'ours is':>10}")
        for name in results.of(workload):
            rate, latency, cpu = results.median(name, workload)
            of_bare, ours = results.ratio(name, BARE, workload), results.ratio(OURS, name, workload)
            lines.append(f"  {name:34}{rate:12,.0f}{latency:12.2f}{cpu:10.3f}{of_bare:10.3f}{ours:9.1f}×")
    lines.append(f"{'memory in MB':36}{'idle RSS':>12}{'idle PSS':>12}{'busy RSS':>10}{'busy PSS':>10}")
    for name in results.names:
        idle, busy = results.idle[name], results.busy[name]
        lines.append(f"  {name:34}{idle.rss:12.0f}{idle.pss:12.0f}{busy.rss:10.0f}{busy.pss:10.0f}")
    return "\n".join(lines)


def page(results: Results, path: Path) -> dict[Path, str]:
    """The files of the page, by their paths."""
    chart = path.with_suffix(".svg")
    text = f"""\
# What the gateway costs, beside others

Written by `python -m benchmarks.peers --write` at the root of a clone; do not edit. All servers forward the same small
chat completion to the same provider, on the same machine and in the same run: one process on one core of two, the
provider and the load generator on the other. Rounds are interleaved. Read the ratios: the machine had other work, and
absolute numbers are its own. `CPU` is the processor time of the server's process for one request; `of bare` is the
share of a bare pass-through's requests per second, `ours is` how many times as many this gateway answers.

Each does this for a request:

{chr(10).join(textwrap.fill(f"- **{n}**: {DOES[n]}.", 120, subsequent_indent="  ") for n in results.names)}

![Requests per second]({chart.name})

"""
    for workload in results.workloads:
        text += f"## {workload[:1].upper()}{workload[1:]}\n\n"
        text += "| | per second | median latency | CPU | of bare | ours is |\n|---|---:|---:|---:|---:|---:|\n"
        for name in results.of(workload):
            rate, latency, cpu = results.median(name, workload)
            of_bare, ours = results.ratio(name, BARE, workload), results.ratio(OURS, name, workload)
            text += f"| {name} | {rate:,.0f} | {latency:.2f} ms | {cpu:.2f} ms | {of_bare:.2f} | {ours:.1f}× |\n"
        for name in set(results.names) - set(results.of(workload)):
            text += f"\n{name} is left out here: it answered these requests with errors.\n"
        text += "\n"
    text += "## Memory\n\nResident (RSS), and with its share of what other processes use too (PSS), in MB.\n\n"
    text += "| | idle RSS | idle PSS | under load RSS | under load PSS |\n|---|---:|---:|---:|---:|\n"
    for name in results.names:
        idle, busy = results.idle[name], results.busy[name]
        text += f"| {name} | {idle.rss:.0f} | {idle.pss:.0f} | {busy.rss:.0f} | {busy.pss:.0f} |\n"
    text += f"\nMeasured on {platform.machine()}, Python {platform.python_version()}.\n"
    return {path: text, chart: draw(results)}


WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 340, 64, 40, 60


def draw(results: Results) -> str:
    """Requests per second as bars on a logarithmic axis, one group for each workload."""
    rates = {(w, n): results.median(n, w).rate for w in results.workloads for n in results.of(w)}
    low, high = math.floor(math.log10(min(rates.values()))), math.ceil(math.log10(max(rates.values())))

    def height(value: float) -> float:
        return round(HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>Requests per second, logarithmic</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">Requests per second (logarithmic)</text>',
    ]
    for power in range(low, high + 1):
        y = height(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - 8}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{10**power:,}</text>')
    group = (WIDTH - LEFT - 8) / len(results.workloads)
    bar = group * 0.8 / len(results.names)
    for place, workload in enumerate(results.workloads):
        left = LEFT + place * group + group * 0.1
        for number, name in enumerate(results.names):
            if (name, workload) in results.failed:
                continue
            y = height(rates[workload, name])
            shape = f'x="{left + number * bar:.1f}" y="{y}" width="{bar - 2:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
            parts.append(f'<rect {shape} fill="{COLOURS[name]}"/>')
        label = escape(workload.split(",")[0])
        middle = left + group * 0.4
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for number, name in enumerate(results.names):
        x = LEFT + number * 130
        parts.append(f'<rect x="{x}" y="{HEIGHT - 22}" width="12" height="10" rx="2" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 18}" y="{HEIGHT - 13}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
