"""The server's time for each page of the dashboard over a gateway with many agents and a long log.

    python -m tests.gateway.control.dashboard.large [--agents 100000] [--entries 10000000] [--data DIRECTORY]

With `--data` the gateway is made there, and one that is there already is used again. Prints a line for each visit and
exits with 1 if one takes longer than the bar, by the least of its processor times, or is not answered.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from gateway.data_directory import DataDirectory
from tests.gateway.control.dashboard import filled
from tests.gateway.control.dashboard.visits import BAR_MS, Cost, costs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", default="", help="Only visits whose names contain this.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = given.data or Path(directory) / "gateway"
        began = time.monotonic()
        if not path.exists():
            filled.create(
                path, given.agents, given.entries, lambda text: _say(f"{time.monotonic() - began:7.1f} s {text}")
            )
        print(f"{'page':<50} {'least ms':>10} {'first ms':>10} {'statements':>10} {'bytes':>9}")
        slow = [each for each in costs(DataDirectory(path), _show, given.only) if _is_bad(each)]
    print(f"{len(slow)} of the visits are over {BAR_MS:g} ms or failed" if slow else f"all within {BAR_MS:g} ms")
    return 1 if slow else 0


def _is_bad(each: Cost) -> bool:
    return each.ms > BAR_MS or each.status != 200


def _show(each: Cost) -> None:
    mark = "  <-- over" if each.ms > BAR_MS else "" if each.status == 200 else f"  <-- {each.status}"
    print(
        f"{each.page:<50} {each.ms:10.1f} {each.first_ms:10.1f} {each.statements:10} {each.size:9,}{mark}", flush=True
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
