"""Guards: an answer that lists things, of which a client gets those that it may use.

The whole list is held back until it is complete. If a thing has to go it is written anew, otherwise it is sent as it
came. For a key of certain things it is always written anew, and a list that cannot be read becomes an empty one: what
is not known to be inside stays out, such as the first of two members with one name. The salted digest in the log is of
what the provider sent.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import orjson

from gateway.call import Call
from gateway.frozen import frozen
from gateway.identity.key_scope import KeyScope
from gateway.upstream.taps import MAX_DOCUMENT_BYTES, ProviderReport, Tap, json_object


@frozen()
class Guard:
    """A provider's description of such an answer. A thing is usable if a call that uses it would be allowed."""

    # The paths of lists in the document, each with the member that names a thing in it.
    lists: tuple[tuple[tuple[str, ...], str], ...]
    # Stands before names that calls have without it.
    prefix: str
    # Sent in place of a list that may not be seen.
    nothing: bytes
    # The simplest calls that use a thing, and such a call of the thing that is called so.
    uses: tuple[Call, ...]
    using: Callable[[Call, str], Call]
    # The paths at which policies see the thing that a call uses.
    inputs: tuple[tuple[str, ...], ...]
    # The things that a key's scope lets through; None if it does not restrict them.
    in_scope: Callable[[KeyScope], Callable[[str], bool] | None]


class Shown(enum.Enum):
    """What policies say of a call of which not everything is known yet."""

    YES = enum.auto()
    NO = enum.auto()
    # It depends on the rest: the thing is shown, and calls that use it are judged.
    UNKNOWN = enum.auto()


Sighting = Callable[[str, str], None]
"""Takes the digest and the definition of a tool that is not as it was approved."""


class CallGuard(abc.ABC):
    """A provider's own way to filter an answer, asked about calls of which not everything is known."""

    @abc.abstractmethod
    def tap(self, kind: bytes, shown: Callable[[Call], Shown], note: Sighting) -> GuardTap:
        """The tap of an answer of this media type. `shown` asks the policies of the agent."""


class GuardTap(Tap, Protocol):
    """`remark` says for the log what was filtered, once the tap has finished."""

    remark: str


class WholeTap(abc.ABC):
    """The tap of an answer that is held until all of it was read, because something else may have to be sent."""

    streaming = False

    remark = ""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.kept = 0
        self.report = ProviderReport()
        self.ended = False

    @abc.abstractmethod
    def read(self, whole: bytes | None) -> bytes:
        """What the client gets for the whole answer; None is one that is too large to be held."""

    def forget(self) -> bool:
        self._chunks.clear()
        self.kept = MAX_DOCUMENT_BYTES + 1  # nothing more is kept
        return True

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if self.kept <= MAX_DOCUMENT_BYTES:
            self._chunks.append(chunk)
            self.kept += len(chunk)
        return b""

    def finish(self) -> bytes:
        whole = b"".join(self._chunks) if self.kept <= MAX_DOCUMENT_BYTES else None
        self._chunks.clear()
        return self.read(whole)


class ListTap(WholeTap):
    """The tap of one such answer. `among` says which of its things stay.

    `strict`: what cannot be read as a thing may not be seen, the whole list if need be; otherwise it stays. A list that
    is too large to be held is empty.
    """

    def __init__(self, guard: Guard, among: Callable[[Sequence[str]], Collection[str]], *, strict: bool) -> None:
        super().__init__()
        self._guard = guard
        self._among = among
        self._strict = strict

    def read(self, whole: bytes | None) -> bytes:
        """The list that the client gets. Asking about hundreds of things may take long."""
        whole = whole or b""
        document = json_object(whole)
        if document is None:
            if self._strict or self.kept > MAX_DOCUMENT_BYTES:
                return self._guard.nothing
            self.ended = True
            return whole
        lists = [
            (holder, path[-1], name)
            for path, name in self._guard.lists
            if path[-1] in (holder := _holder(document, path)) and (self._strict or isinstance(holder[path[-1]], list))
        ]
        named = [self._name(each, name) for holder, member, name in lists for each in _elements(holder[member])]
        stay = {*self._among([each for each in named if each])}
        if not self._strict:
            stay.add("")
        changed = self._strict
        for holder, member, name in lists:
            listed = holder[member]
            holder[member] = [each for each in _elements(listed) if self._name(each, name) in stay]
            changed |= holder[member] != listed
        try:
            inside = orjson.dumps(document) if changed else whole
        except orjson.JSONEncodeError:  # it is nested more deeply than can be written
            return self._guard.nothing
        self.ended = True
        return inside

    def _name(self, element: Any, member: str) -> str:
        """A thing as calls name it, by the member that names it in a list; empty if it has no name."""
        found = element.get(member) if isinstance(element, dict) else None
        return found.removeprefix(self._guard.prefix) if isinstance(found, str) else ""


def _holder(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The object in which the last member of a path would stand."""
    for each in path[:-1]:
        inner = document.get(each)
        document = inner if isinstance(inner, dict) else {}
    return document


def _elements(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
