"""The program `gateway`: the command line in a process of its own, also as `python -m gateway`.

Most of a short command is Python's start. While modules are loaded hardly anything becomes garbage, and at the end the
process goes with all that it has; so neither is searched for garbage as often as Python would by itself. It takes a
third off a command like `gateway agents list`.
"""

from __future__ import annotations

import atexit
import gc
import sys
from importlib.util import find_spec

_THRESHOLD = 20_000
"""After how many new objects Python looks for garbage among them; it would after 700."""


def main() -> int:
    if find_spec("sqlmodel") is None or find_spec("uvicorn") is None:
        print("error: `gateway` is not installed whole, only `policy` is", file=sys.stderr)
        print("hint: install its extra: in a clone `pip install '.[gateway]'`", file=sys.stderr)
        return 1
    gc.set_threshold(_THRESHOLD)
    atexit.register(gc.freeze)
    from gateway.cli import main as command  # only now: these imports are what the threshold is for

    return command()


if __name__ == "__main__":
    sys.exit(main())
