"""The port that tells who is alive: which processes of a gateway, by their boot ids.

Being alive is a fact about a process that ends with it, however it ends, and that nobody else can take over: today a
lock of the kernel's (`liveness.py`), for processes of several machines a lease. A name is never used again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol


class Member(Protocol):
    """This process is alive, until `close` or its end."""

    def leave(self, note: bytes) -> None:
        """Leave one line for `Membership.sweep` to find if this process dies. It replaces the one before."""
        ...

    def close(self) -> None:
        """This process ends. If it has left a note, that stays until it has been read."""
        ...


class Membership(Collection[str], Protocol):
    """The boot ids of all live processes, looked up anew at every use."""

    def join(self, boot: str) -> Member: ...

    def sweep(self, inherit: Callable[[bytes], None]) -> None:
        """Forget processes that have died; `inherit` gets what each has left. One is kept if that raises."""
        ...
