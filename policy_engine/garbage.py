"""The garbage collector, and when not to have it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """For what makes very many objects that live on and no cycles: the collector would only walk them again and again.

    With it the cost of a rule, or of a row of a table, grows with their number. It is switched for the whole process.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
