"""Finds the programs that still use a provider's key, and those that have moved to a key of their own (moving.md).

While an organization adopts a provider's key, its calls are counted by client: the product that the User-Agent names,
and a keyed hash of the address that the connection comes from. The address itself is not kept. A request only writes to
memory; new calls are written to `runtime.db` every few seconds, and once more when the worker ends. An organization
has a limited number of clients, and the calls of all others are counted together.

A client has moved when it is seen with an agent's key after its last call with the provider's. If calls with the
provider's key come again, there are several programs behind it: then it counts as moved only after a day without any.
"""

from __future__ import annotations

import functools
import hmac
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principal
from gateway.runtime.notes import BufferedNotes
from gateway.runtime.store import BUSY_SECONDS, RuntimeStore, StoreTransaction, seen

MAX_CLIENTS: Final = 500
"""The most clients of one organization, and the most of each sort that a worker keeps between two writes."""
KEEP_NS: Final = 180 * 86_400_000_000_000
QUIET_NS: Final = 86_400_000_000_000

_LAST_SECONDS: Final = 10.0  # for the last write; calls that it cannot write are lost
_MAX_MODELS: Final = 8
_MAX_NAME: Final = 64
# The first product of a User-Agent (RFC 9110, section 10.1.5) without its version: `curl` of `curl/8.5.0`.
_PRODUCT: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[A-Za-z][!#$%&'*+.^_`|~0-9A-Za-z-]*)?")

_ROW: Final = "SELECT * FROM legacy_client WHERE organization = ? AND product = ? AND peer = ?"
_MOVE: Final = """
UPDATE legacy_client SET moved_ns = ?, agent = ?
 WHERE organization = ? AND product = ? AND peer = ? AND moved_ns IS NULL AND last_ns < ?
"""


class ClientTraits(NamedTuple):
    """A client as it is told apart. `peer` is the address in memory, and its hash in the file."""

    organization: str
    product: str
    peer: str


@dataclass(slots=True)
class _Calls:
    """The calls of a client that a worker has seen since the last write."""

    first_ns: int
    last_ns: int = 0
    calls: int = 0
    models: set[str] = field(default_factory=set)


class LegacyClient(NamedTuple):
    """A client as the file has it. The one without product and peer is all others. `models` is a JSON array."""

    organization: str
    product: str
    peer: str
    calls: int
    first_ns: int
    last_ns: int
    models: str
    moved_ns: int | None
    agent: str | None
    returned: int

    @property
    def others(self) -> bool:
        return not self.product and not self.peer

    def moved(self, now_ns: int) -> bool:
        """True if nothing is left to do about it."""
        return self.moved_ns is not None and (not self.returned or now_ns - self.last_ns > QUIET_NS)


_Taken = tuple[dict[ClientTraits, _Calls], dict[ClientTraits, tuple[int, str]]]


class LegacyClients(BufferedNotes[_Taken]):
    """The calls that one worker has seen, by client."""

    SECONDS = 3.0
    WHAT = "which programs use a provider's key"

    def __init__(self, store: RuntimeStore, peppers: Peppers) -> None:
        super().__init__(store)
        self._wait = BUSY_SECONDS
        self._peppers = peppers
        self._calls: dict[ClientTraits, _Calls] = {}
        self._moved: dict[ClientTraits, tuple[int, str]] = {}

    def note(self, principal: Principal, user_agent: str, peer: str | None, model: str | None) -> None:
        """A request of an organization that adopts a key was authenticated, whatever became of it."""
        now = time.time_ns()
        place = ClientTraits(principal.organization, product(user_agent), peer or "")
        if principal.upstream is None:
            if place in self._moved or len(self._moved) < MAX_CLIENTS:
                self._moved[place] = now, principal.name
            return
        found = self._calls.get(place)
        if found is None:
            if len(self._calls) >= MAX_CLIENTS:
                place = ClientTraits(principal.organization, "", "")
            found = self._calls.setdefault(place, _Calls(now))
        found.calls += 1
        found.last_ns = now
        if model and len(found.models) < _MAX_MODELS:
            found.models.add(model[:_MAX_NAME])

    def close(self) -> None:
        """Write what is left. Blocks."""
        self._wait = _LAST_SECONDS
        super().close()

    def _take(self) -> _Taken | None:
        if not self._calls and not self._moved:
            return None
        taken = self._calls, self._moved
        self._calls, self._moved = {}, {}
        return taken

    def _put_back(self, taken: _Taken) -> None:
        calls, moved = taken
        for place, before in calls.items():
            now = self._calls.setdefault(place, before)
            if now is not before:
                now.first_ns = before.first_ns
                now.calls += before.calls
                now.models |= before.models
        self._moved = moved | self._moved

    def _write(self, taken: _Taken) -> None:
        calls, moved = taken
        with self._store.transaction(seconds=self._wait) as made:
            for place, seen in calls.items():
                _add(made, self._hashed(place), seen)
            for place, (seen_ns, agent) in moved.items():
                made.run(_MOVE, (seen_ns, agent, *self._hashed(place), seen_ns))

    def _hashed(self, place: ClientTraits) -> ClientTraits:
        return place._replace(peer=hashed(place.peer, self._peppers)) if place.peer else place


def _add(made: StoreTransaction, place: ClientTraits, seen: _Calls) -> None:
    rows = made.rows(_ROW, place)
    if not rows:
        ((many,),) = made.rows("SELECT count(*) FROM legacy_client WHERE organization = ?", (place.organization,))
        if many >= MAX_CLIENTS:
            place = ClientTraits(place.organization, "", "")
            rows = made.rows(_ROW, place)
    before = LegacyClient(*rows[0]) if rows else LegacyClient(*place, 0, seen.first_ns, 0, "[]", None, None, 0)
    names = dict.fromkeys([*orjson.loads(before.models), *sorted(seen.models)])
    came_back = before.moved_ns is not None and seen.last_ns > before.moved_ns
    after = before._replace(
        calls=before.calls + seen.calls,
        first_ns=min(before.first_ns, seen.first_ns),
        last_ns=max(before.last_ns, seen.last_ns),
        models=orjson.dumps(list(names)[:_MAX_MODELS]).decode(),
        moved_ns=None if came_back else before.moved_ns,
        returned=int(before.returned or came_back),
    )
    made.run("INSERT OR REPLACE INTO legacy_client VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", after)


@functools.lru_cache(maxsize=1024)
def product(user_agent: str) -> str:
    """The name of the program's client, without its version; `-` if it does not say."""
    found = _PRODUCT.match(user_agent)
    return found[0][:_MAX_NAME] if found else "-"


def hashed(peer: str, peppers: Peppers) -> str:
    """Return the hash that stands for an address. Only the pepper's owner can tell whether it is this one."""
    return hmac.digest(peppers.all[0], b"legacy client\x00" + peer.encode(), "sha256").hex()[:12]


def read(path: Path, organization: str | None = None) -> list[LegacyClient]:
    """Return the clients that all workers have seen, the newest first, the others last."""
    found = [LegacyClient(*row) for row in seen(path, "SELECT * FROM legacy_client")]
    return sorted((each for each in found if organization in (None, each.organization)), key=place_in_lists)


def place_in_lists(client: LegacyClient) -> tuple[bool, int, str]:
    """The newest first, the others last. Times are told to the millisecond, so those of one are in order of names."""
    return client.others, -(client.last_ns // 1_000_000), place_text(client)


def document(client: LegacyClient) -> dict[str, Any]:
    """A client as operators are shown it; names that end in `_ns` are times."""
    return {
        "client": None if client.others else client.product,
        "from": client.peer or None,
        "calls": client.calls,
        "first_seen_ns": client.first_ns,
        "last_seen_ns": client.last_ns,
        "models": orjson.loads(client.models),
        "moved_ns": client.moved_ns,
        "agent": client.agent,
        "several_programs": bool(client.returned),
    }


def place_text(client: LegacyClient) -> str:
    """Return the text that tells a client from the others of its organization."""
    return f"{client.product} {client.peer}"


def forget_old(store: RuntimeStore, now_ns: int) -> None:
    """Remove clients that were not seen for half a year."""
    store.run("DELETE FROM legacy_client WHERE last_ns < ?", (now_ns - KEEP_NS,))
