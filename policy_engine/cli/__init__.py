"""`policy`: the command line of the engine, one file per verb.

Every verb exits with 0 on success, 1 if it found a problem, and 2 on wrong usage or policies that cannot be loaded.
Results go to standard output, messages to standard error.
"""

from __future__ import annotations


def main() -> int:
    """The console script."""
    from policy_engine.cli.app import run  # here, so that importing the package does not import a terminal library

    return run()
