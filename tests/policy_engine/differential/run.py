"""Long runs of the fuzzer: `python -m tests.policy_engine.differential.run --programs 50000 --seed 1 --jobs 2`.

Takes programs of all generators in turn (`--only` takes some). Each program that differs without an explanation is
printed, and with `--write DIR` made small and written there as a case. The last line has the figures; the exit status
is 1 if anything is unexplained. A run that was stopped goes on with `--start`, from the number that it reported last.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path

from tests.policy_engine.differential.compare import MODULES, VARIANTS, generated_with
from tests.policy_engine.differential.examine import Oracles, examine
from tests.policy_engine.differential.known import NAMES
from tests.policy_engine.differential.mixture import GENERATORS, MIXTURE, program
from tests.policy_engine.differential.shrink import sources, write_case

CHUNK = 50
"""Programs that a job takes at a time."""
PROGRESS = 1000

Report = tuple[Counter[str], list[str]]
"""The counts, and the texts of unexplained differences."""


def main() -> int:
    options = _options()
    kinds = tuple(options.only) or MIXTURE
    started = time.monotonic()
    total: Counter[str] = Counter()
    shown = 0
    work = partial(
        _chunk, seed=options.seed, kinds=kinds, last=options.start + options.programs, directory=options.write
    )
    starts = range(options.start, options.start + options.programs, CHUNK)
    for done, (counted, texts) in _reports(work, starts, options.jobs):
        before = total["programs"]
        total += counted
        for text in texts:
            print(text, flush=True)
        shown += len(texts)
        if total["programs"] // PROGRESS > before // PROGRESS:
            rate = total["programs"] / (time.monotonic() - started)
            print(
                f"{done}: {_figures(total)}, {rate:.0f} a second; go on with --start {done}",
                file=sys.stderr,
                flush=True,
            )
        if options.show and shown >= options.show:
            break
    seconds = time.monotonic() - started
    print(f"seed {options.seed}, from {options.start}: {_figures(total)}, {seconds:.0f} s")
    return 1 if total["unexplained"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="the number of the first program")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with an OPA of its own for either mode")
    parser.add_argument("--only", nargs="+", choices=list(GENERATORS), default=[], help="these generators, in turn")
    parser.add_argument("--show", type=int, default=0, help="stop after so many programs that differ; 0: never")
    parser.add_argument("--write", type=Path, metavar="DIR", help="make programs that differ small, as cases in DIR")
    return parser.parse_args()


def _figures(total: Counter[str]) -> str:
    return (
        f"{total['programs']} programs, {total['evaluated']} evaluated,"
        f" {total['explained']} differences explained by order, {total['known']} documented{_names(total)},"
        f" {total['unexplained']} programs unexplained ({total['refusals']} of them only refused differently),"
        f" {total['lost']} lost with OPA"
    )


def _names(total: Counter[str]) -> str:
    """The number of times that each documented difference was met."""
    found = [f"{name}: {total[name]}" for name in NAMES if total[name]]
    return f" ({', '.join(found)})" if found else ""


def _reports(work: partial[Report], starts: range, jobs: int) -> Iterator[tuple[int, Report]]:
    """The reports of all chunks, in order, with the number of the program after each."""
    if jobs == 1:
        yield from ((start + CHUNK, work(start)) for start in starts)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for start, report in zip(starts, pool.imap(work, starts), strict=True):
            yield start + CHUNK, report
        pool.close()
        pool.join()  # otherwise the processes are killed before they clean up


_oracles: Oracles | None = None
"""This process's own."""


def _chunk(start: int, *, seed: int, kinds: tuple[str, ...], last: int, directory: Path | None) -> Report:
    global _oracles
    if _oracles is None:
        _oracles = Oracles()
        Finalize(None, _oracles.close, exitpriority=1)  # unlike `atexit`, this is called in a pool's processes, too
    counted: Counter[str] = Counter()
    texts: list[str] = []
    lost = _oracles.lost
    for number in range(start, min(start + CHUNK, last)):
        found = examine(program(seed, number, kinds), number, _oracles)
        counted += Counter(programs=1, evaluated=found.evaluated, explained=found.explained, known=len(found.known))
        counted.update(found.known)
        if not found.unexplained:
            continue
        counted["unexplained"] += 1
        counted["refusals"] += all(item.path == MODULES for _, item in found.unexplained)
        label = f"{seed}/{number}"
        small, difference = found.unexplained[0]
        text = f"---- {label} {kinds[number % len(kinds)]}\n{sources(small)}\n{difference}"
        if directory is not None:
            with _oracles.survived(), generated_with(**VARIANTS[number % len(VARIANTS)]):
                text += f"\n{write_case(directory, small, difference, label, _oracles[difference.strict])}"
        texts.append(text)
    counted["lost"] += _oracles.lost - lost
    gc.collect()  # compilation promotes young objects, so dropped policies would accumulate
    return counted, texts


if __name__ == "__main__":
    sys.exit(main())
