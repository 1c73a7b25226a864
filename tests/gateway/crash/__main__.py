"""Crashes and faults under load, round after round on one gateway: `python -m tests.gateway.crash --rounds 100`.

Each round starts clients, plays one scenario at a random moment, and stops the gateway. Then the log is compared with
what the provider saw and with what the clients were told (`invariants.py`). Ends with exit code 1 if anything was
violated. The same seed gives the same scenarios, but not the same moments.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from gateway.audit.decision import State
from tests.gateway.crash.invariants import Outcome, check, last_row
from tests.gateway.crash.rig import Rig
from tests.gateway.crash.scenarios import EVERYWHERE, WITH_FAULTS, Scenario


def play(rig: Rig, scenario: Scenario, draw: random.Random) -> Outcome:
    """One round, from a stopped gateway to a stopped gateway."""
    rig.upstream.seen.clear()
    rig.remember_synced()
    first_row = last_row(rig.data / "audit.db")
    rig.start()
    clients = rig.clients()
    clients.start()
    time.sleep(draw.uniform(0.2, 0.8))
    try:
        scenario(rig, draw)
        time.sleep(draw.uniform(0.2, 0.5))
    finally:
        clients.stop()
    rig.wait(lambda: clients.ask().status == 200, 120)  # it serves again
    rig.stop()
    outcome = check(rig.data, first_row, clients, rig.upstream)
    assert rig.up is None
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="SCENARIO", help="play this scenario alone")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    played: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    decisions: Counter[State] = Counter()
    violations = 0
    with tempfile.TemporaryDirectory(prefix="crash-") as directory:
        rig = Rig(Path(directory))
        try:
            scenarios = [*EVERYWHERE, *(WITH_FAULTS if rig.faults else ())]
            if not rig.faults:
                print(f"no C compiler: left out are {', '.join(each.__name__ for each in WITH_FAULTS)}")
            chosen = [each for each in scenarios if options.only in (None, each.__name__)]
            if not chosen:
                parser.error(f"no such scenario; there are {', '.join(each.__name__ for each in scenarios)}")
            for number in range(options.rounds):
                scenario = chosen[number % len(chosen)]
                outcome = play(rig, scenario, draw)
                played[scenario.__name__] += 1
                answers += outcome.answers
                decisions += outcome.decisions
                violations += len(outcome.violations)
                told = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.answers.items()))
                print(f"{number + 1:4} {scenario.__name__:20} {told}", flush=True)
                for violation in outcome.violations:
                    print(f"     VIOLATION: {violation}", flush=True)
        finally:
            rig.close()
    print(f"\n{sum(played.values())} rounds: {', '.join(f'{name} {count}' for name, count in sorted(played.items()))}")
    print(f"answers: {', '.join(f'{kind} {count}' for kind, count in sorted(answers.items()))}")
    print(f"decisions: {', '.join(f'{state} {count}' for state, count in sorted(decisions.items()))}")
    print(f"violations: {violations}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
