"""Revocations under load, and what they let through: `python -m tests.gateway.revocation --times 100`.

Two workers serve streams and short calls while keys, agents, teams and organizations are revoked and organizations are
stopped, so many times each. Printed are the calls that were sent after the revoking call had returned and were admitted
nevertheless, which must be none, and how long after that return each stream ended with the provider's error event. Ends
with exit code 1 if a call was admitted, if a stream took a second or more, or if anything else was not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from tests.gateway.revocation.rig import KINDS, Findings, Rig, run
from tests.gateway.revocation.upstream import Upstream

BAR = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.revocation", description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="how often each kind is revoked")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    upstream = Upstream()
    with tempfile.TemporaryDirectory(prefix="revocation-") as directory:
        rig = Rig(Path(directory), upstream)
        try:
            findings, calls = asyncio.run(run(rig, options.times, options.seed, tell=_progress))
            rig.stop()
            rig.check_log()
        finally:
            rig.close()
            upstream.close()
    return _report(findings, calls)


def _progress(number: int) -> None:
    if number % 10 == 0:
        print(f"{number} rounds", file=sys.stderr, flush=True)


def _report(findings: Findings, calls: int) -> int:
    row = "{:14}{:>8}{:>16}{:>15}{:>9}{:>10}{:>11}"
    print(row.format("", "revoked", "admitted after", "refused after", "streams", "median s", "longest s"))
    for kind in KINDS:
        seconds = findings.cut[kind]
        counts = findings.restricted[kind], findings.admitted.get(kind, 0), findings.refused.get(kind, 0)
        print(row.format(kind, *counts, len(seconds), f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}"))
    print(f"a bystander made {calls} calls meanwhile; the log verifies, every decision is closed")
    for each in findings.wrong:
        print(f"wrong: {each}")
    longest = max(max(seconds) for seconds in findings.cut.values())
    return 1 if findings.wrong or findings.admitted or longest >= BAR else 0


if __name__ == "__main__":
    sys.exit(main())
