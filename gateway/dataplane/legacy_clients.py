"""Which programs still use a provider's key, and which have moved to a key of their own (docs/moving.md).

While an organization adopts a provider's key, its calls are counted by client: the product that the User-Agent names,
and a keyed hash of the address that the connection comes from. The address itself is not kept. A request only writes to
memory; what is new is written to `runtime.db` every few seconds, and once more when the worker ends. An organization
has a limited number of clients, and the calls of all others are counted together.

A client has moved when it is seen with an agent's key after its last call with the provider's. If calls with the
provider's key come again, there are several programs behind it: then it counts as moved only after a day without any.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import logging
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principal
from gateway.storage import database_files

logger = logging.getLogger("gateway.identity.legacy")

FLUSH_SECONDS: Final = 3.0
MAX_CLIENTS: Final = 500
"""Of one organization. Also how many of each sort a worker keeps between two writes."""
KEEP_NS: Final = 180 * 86_400_000_000_000
QUIET_NS: Final = 86_400_000_000_000

_LAST_SECONDS: Final = 10.0  # what the last write does not write is lost
_MAX_MODELS: Final = 8
_MAX_NAME: Final = 64
# The first product of a User-Agent (RFC 9110, section 10.1.5) without its version: `curl` of `curl/8.5.0`.
_PRODUCT: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[A-Za-z][!#$%&'*+.^_`|~0-9A-Za-z-]*)?")

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS legacy_client (
  organization TEXT NOT NULL, product TEXT NOT NULL, peer TEXT NOT NULL,
  calls INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, models TEXT NOT NULL,
  moved_ns INTEGER, agent TEXT, returned INTEGER NOT NULL,
  PRIMARY KEY (organization, product, peer)
) STRICT, WITHOUT ROWID;
"""
_ROW: Final = "SELECT * FROM legacy_client WHERE organization = ? AND product = ? AND peer = ?"
_MOVE: Final = """
UPDATE legacy_client SET moved_ns = ?, agent = ?
 WHERE organization = ? AND product = ? AND peer = ? AND moved_ns IS NULL AND last_ns < ?
"""


class Place(NamedTuple):
    """A client as it is told apart. `peer` is the address in memory, and its hash in the file."""

    organization: str
    product: str
    peer: str


@dataclass(slots=True)
class _Calls:
    """What a worker has seen of a client since the last write."""

    first_ns: int
    last_ns: int = 0
    calls: int = 0
    models: set[str] = field(default_factory=set)


class Client(NamedTuple):
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
        """Whether nothing is left to do about it."""
        return self.moved_ns is not None and (not self.returned or now_ns - self.last_ns > QUIET_NS)


class LegacyClients:
    """What one worker has seen; used from its event loop's thread only."""

    def __init__(self, path: Path, peppers: Peppers) -> None:
        self._path = path
        self._peppers = peppers
        self._calls: dict[Place, _Calls] = {}
        self._moved: dict[Place, tuple[int, str]] = {}
        self._complaint = ""

    def note(self, principal: Principal, user_agent: str, peer: str | None, model: str | None) -> None:
        """A request of an organization that adopts a key was authenticated, whatever became of it."""
        now = time.time_ns()
        place = Place(principal.organization, product(user_agent), peer or "")
        if principal.upstream is None:
            if place in self._moved or len(self._moved) < MAX_CLIENTS:
                self._moved[place] = now, principal.name
            return
        found = self._calls.get(place)
        if found is None:
            if len(self._calls) >= MAX_CLIENTS:
                place = Place(principal.organization, "", "")
            found = self._calls.setdefault(place, _Calls(now))
        found.calls += 1
        found.last_ns = now
        if model and len(found.models) < _MAX_MODELS:
            found.models.add(model[:_MAX_NAME])

    async def run(self) -> None:
        """Write what has changed at every interval, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._calls or self._moved:
                calls, moved = self._take()
                if not await asyncio.to_thread(self._write, calls, moved):
                    self._put_back(calls, moved)

    def close(self) -> None:
        """Write what is left."""
        if self._calls or self._moved:
            self._write(*self._take(), seconds=_LAST_SECONDS)

    def _take(self) -> tuple[dict[Place, _Calls], dict[Place, tuple[int, str]]]:
        taken = self._calls, self._moved
        self._calls, self._moved = {}, {}
        return taken

    def _put_back(self, calls: dict[Place, _Calls], moved: dict[Place, tuple[int, str]]) -> None:
        for place, before in calls.items():
            now = self._calls.setdefault(place, before)
            if now is not before:
                now.first_ns = before.first_ns
                now.calls += before.calls
                now.models |= before.models
        self._moved = moved | self._moved

    def _write(
        self, calls: Mapping[Place, _Calls], moved: Mapping[Place, tuple[int, str]], seconds: float = 1.0
    ) -> bool:
        """Whether all of it is in the file now. `seconds` is how long to wait for other writers."""
        try:
            with suppress(FileExistsError):
                database_files.create(self._path)
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=seconds)) as db:
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(_TABLE)
                db.execute("BEGIN IMMEDIATE")
                for place, seen in calls.items():
                    self._add(db, self._hashed(place), seen)
                for place, (seen_ns, agent) in moved.items():
                    db.execute(_MOVE, (seen_ns, agent, *self._hashed(place), seen_ns))
                db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if str(error) != self._complaint:
                logger.warning("which programs use a provider's key cannot be kept: %s", error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        return True

    def _hashed(self, place: Place) -> Place:
        return place._replace(peer=hashed(place.peer, self._peppers)) if place.peer else place

    def _add(self, db: sqlite3.Connection, place: Place, seen: _Calls) -> None:
        row = db.execute(_ROW, place).fetchone()
        if row is None:
            (many,) = db.execute(
                "SELECT count(*) FROM legacy_client WHERE organization = ?", (place.organization,)
            ).fetchone()
            if many >= MAX_CLIENTS:
                place = Place(place.organization, "", "")
                row = db.execute(_ROW, place).fetchone()
        if row is None:
            row = (*place, 0, seen.first_ns, 0, "[]", None, None, 0)
        before = Client._make(row)
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
        db.execute("INSERT OR REPLACE INTO legacy_client VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", after)


@functools.lru_cache(maxsize=1024)
def product(user_agent: str) -> str:
    """The name of the program's client, without its version; `-` if it does not say."""
    found = _PRODUCT.match(user_agent)
    return found[0][:_MAX_NAME] if found else "-"


def hashed(peer: str, peppers: Peppers) -> str:
    """What stands for an address. Only the pepper's owner can tell whether it is this one."""
    return hmac.digest(peppers.all[0], b"legacy client\x00" + peer.encode(), "sha256").hex()[:12]


def read(path: Path, organization: str | None = None) -> list[Client]:
    """What all workers have seen, the newest first, the others last."""
    return sorted(_rows(path, organization), key=place_in_lists)


def place_in_lists(client: Client) -> tuple[bool, int, str]:
    """The newest first, the others last. Times are told to the millisecond, so those of one are in order of names."""
    return client.others, -(client.last_ns // 1_000_000), place_text(client)


def document(client: Client) -> dict[str, Any]:
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


def place_text(client: Client) -> str:
    """What tells a client from the others of its organization."""
    return f"{client.product} {client.peer}"


def forget_old(path: Path, now_ns: int) -> None:
    """Remove clients that were not seen for half a year."""
    if path.exists():
        with suppress(sqlite3.OperationalError), closing(_opened(path, "rw")) as db, db:
            db.execute("DELETE FROM legacy_client WHERE last_ns < ?", (now_ns - KEEP_NS,))


def _rows(path: Path, organization: str | None) -> Iterator[Client]:
    if path.exists():
        # An error means that nothing was ever seen, or that the file is of no use, which a start complains of.
        with suppress(sqlite3.Error), closing(_opened(path, "ro")) as db:
            for row in map(Client._make, db.execute("SELECT * FROM legacy_client")):
                if organization in (None, row.organization):
                    yield row


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=1.0)
