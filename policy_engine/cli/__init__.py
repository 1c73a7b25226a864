"""`policy`: the command line of the engine, one file per verb.

Every verb exits with 0 on success, 1 if it found a problem, and 2 on wrong usage or policies that cannot be loaded.
Results go to standard output, messages to standard error.
"""

from __future__ import annotations

import gc


def main() -> int:
    """The console script."""
    # This process is the command's own. Most of what it makes lives as long as it does, and the collector would walk
    # it again and again: 10,000 rules would take twice the time.
    gc.set_threshold(100_000, 50, 100)

    from policy_engine.cli.app import run  # here, so that importing the package does not import a terminal library

    return run()
