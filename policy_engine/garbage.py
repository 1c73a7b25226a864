"""The garbage collector, and when not to have it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection(*, lasting: bool = False) -> Iterator[None]:
    """For what makes very many objects that live on and no cycles: the collector would only walk them again and again.

    With it the cost of a rule, or of a row of a table, grows with their number. It is switched for the whole process.

    `lasting`: what has been made is as old as anything to the collector then, which so does not walk it at once. That
    goes for all that is young, so it is not for what happens often.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if lasting and not gc.get_freeze_count():  # nobody else's objects must be thawed
                gc.freeze()
                gc.unfreeze()
            gc.enable()
