"""A registry whose next change is made only under conditions, which are checked in the transaction of the change.

The functions that change the registry open their transaction themselves. The control API has conditions of its own: the
operator must still be one, the thing must still have the version that the client has seen, and the request must not
have been carried out before. Checked beforehand they could be overtaken by another change; here they cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from sqlmodel import Session

from gateway.registry.database import Registry

Step: TypeAlias = Callable[[Session], None]


class GuardedRegistry(Registry):
    """`registry`, with steps at the beginning and at the end of each change; what they raise undoes the change."""

    def __init__(self, registry: Registry, before: Sequence[Step], after: Sequence[Step] = ()) -> None:
        vars(self).update(vars(registry))  # its engine too, which it closes
        self._before = tuple(before)
        self._after = tuple(after)

    @contextmanager
    def write(self) -> Iterator[Session]:
        inside = self._shared.get() is not None  # of a transaction that has begun with the steps
        with super().write() as session:
            for step in () if inside else self._before:
                step(session)
            yield session
            for step in () if inside else self._after:
                step(session)
