"""The last answer of each upstream, as one worker sees it: a request only writes to memory (`runtime/contacts.py`)."""

from __future__ import annotations

import time

from gateway.runtime import contacts
from gateway.runtime.contacts import Contact, OpenBreaker
from gateway.runtime.notes import BufferedNotes
from gateway.runtime.store import RuntimeStore
from gateway.upstream.providers.rejections import CLIENTS, Why

_LONGEST_ERROR = 300

_Taken = tuple[list[tuple[str, Contact]], dict[str, OpenBreaker] | None]


class Contacts(BufferedNotes[_Taken]):
    """The answers that one worker has seen."""

    SECONDS = 1.0
    WHAT = "how upstreams answered"

    def __init__(self, store: RuntimeStore, worker: str) -> None:
        super().__init__(store)
        self._worker = worker
        self._open: dict[str, OpenBreaker] = {}
        self._breakers_changed = False
        self._seen: dict[str, Contact] = {}
        self._changed: set[str] = set()

    def note(self, upstream: str, outcome: str, status: int | None, detail: str, rejected: Why | None = None) -> None:
        """Remember how a call to this upstream (its id) ended. A call that the client or the gateway ended says
        nothing.

        `rejected` is what a provider's error is about, if that is known.
        """
        before = self._seen.get(upstream, Contact())
        error = _error(outcome, status, detail, rejected)
        if error is None:
            return
        now = time.time_ns()
        if error:
            self._seen[upstream] = Contact(before.success_ns, now, error)
        else:
            self._seen[upstream] = Contact(now, before.error_ns, before.error)
        self._changed.add(upstream)

    def breaker(self, upstream: str, failures: int, pause: float) -> None:
        """Remember that a breaker has opened for `pause` seconds, or has closed (0)."""
        if pause:
            self._open[upstream] = OpenBreaker(self._worker, failures, time.time_ns() + int(pause * 1e9))
        else:
            self._open.pop(upstream, None)
        self._breakers_changed = True

    def close(self) -> None:
        """Write what is left. A worker that ends has no breakers any more."""
        self._breakers_changed |= bool(self._open)
        self._open = {}
        super().close()

    def _take(self) -> _Taken | None:
        if not self._changed and not self._breakers_changed:
            return None
        seen = [(each, self._seen[each]) for each in self._changed]
        breakers = dict(self._open) if self._breakers_changed else None
        self._changed, self._breakers_changed = set(), False
        return seen, breakers

    def _put_back(self, taken: _Taken) -> None:
        seen, breakers = taken
        self._changed.update(upstream for upstream, _ in seen)
        self._breakers_changed |= breakers is not None

    def _write(self, taken: _Taken) -> None:
        contacts.write(self._store, self._worker, *taken)


def _error(outcome: str, status: int | None, detail: str, rejected: Why | None) -> str | None:
    """The reason why a call failed; "" if the upstream did its part, None if that is not known.

    An answer that blames the request (400, 404, …) is an answer: only the agent can do something about it.
    """
    if outcome == "ok":
        return ""
    if outcome == "provider_error":
        ours = status is None or status in (401, 402, 403, 407, 429) or status >= 500
        ours = ours if rejected is None else rejected not in CLIENTS
        return (detail or f"it answered with status {status}")[:_LONGEST_ERROR] if ours else ""
    if outcome == "upstream_timeout":
        return detail[:_LONGEST_ERROR] or "it did not answer in time"
    if outcome == "upstream_error":
        return detail[:_LONGEST_ERROR] or "it could not be reached or broke off"
    return None
