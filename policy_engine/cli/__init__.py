"""`policy`: the command line of the engine, one file per verb.

Every verb ends with exit code 0 when all is well, 1 when it found something, and 2 when it was used wrongly or the
policies could not be loaded. Results go to standard output, everything about them to standard error.
"""

from __future__ import annotations

import gc


def main() -> int:
    """The console script."""
    # This process is the command's own. Most of what it makes lives as long as it does, and the collector would walk
    # it again and again: 10,000 rules would take twice the time.
    gc.set_threshold(100_000, 50, 100)

    from policy_engine.cli.app import run  # not above: importing the package must not cost a terminal library

    return run()
