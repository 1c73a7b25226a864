"""The command: `python -m benchmarks.policy`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.policy import chart, report
from benchmarks.policy.run import ROOT, Outcome, Row, Timing, run, series
from benchmarks.policy.workloads import WORKLOADS
from benchmarks.policy.workloads.growing import TITLES

DOCUMENTS = ROOT / "docs" / "contributing" / "benchmarks"


def main() -> int:
    """Exit code 1 if some row is not faster than every peer that can run it, 2 for wrong usage."""
    options = _options()
    chosen = [work for work in WORKLOADS if not options.only or any(text in work.name for text in options.only)]
    if not chosen:
        print("no workload has such a name; --list shows all of them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{work.kind:24}{work.name}" for work in chosen))
        return 0
    if not options.json:
        print(report.heading(), flush=True)
    outcome = run(chosen, Timing(options.rounds, options.seconds, options.wall), _quiet if options.json else _show)
    if options.json:
        print(report.as_json(outcome))
    else:
        _finish(outcome)
    directory = options.write or (None if options.only else DOCUMENTS)
    if directory is not None:
        _write(outcome, directory)
    return 1 if any(map(report.behind, outcome.rows)) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description="This engine beside others.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only workloads with TEXT in their names")
    parser.add_argument("--rounds", type=int, default=5, help="how often the engines take turns on a workload")
    parser.add_argument("--seconds", type=float, default=0.15, help="for all rounds of one engine on one workload")
    parser.add_argument(
        "--wall",
        action="store_true",
        help="by the clock on the wall, for a quiet machine; otherwise the calling thread's processor time counts",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--list", action="store_true", help="the names of the workloads")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="DIRECTORY",
        help="the page and the curves; a whole run writes docs/contributing/benchmarks",
    )
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are above zero")
    return options


def _show(row: Row) -> None:
    print(report.line(row), flush=True)


def _quiet(row: Row) -> None:
    """Progress is for people."""


def _finish(outcome: Outcome) -> None:
    missing = [f"{name} is left out: {reason}" for name, reason in outcome.missing.items()]
    print("", *report.summary(outcome), "", *report.reasons(outcome), *missing, sep="\n")
    print(f"\n{len(outcome.rows)} workloads in {outcome.seconds:.0f} s")


def _write(outcome: Outcome, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "README.md").write_text(report.page(outcome), encoding="utf-8")
    for name, rows in series(outcome.rows):
        if any(row.figures for row in rows):
            (directory / f"{name}.svg").write_text(chart.draw(TITLES[name], name, rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
