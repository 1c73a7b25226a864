"""Balances: what has been used and what is reserved, as a function of the entries of a log.

A `decided` entry that stays open says in `reservation_json` which scopes it counts in and how much of them it reserves.
Its `completed` entry says what that was settled at. So every balance follows from the leaves. Here they are kept in
memory, in the order in which entries are written. The stored balances (`balance_rows.py`) spare reading the whole
log when a process begins; `verify.py` computes it again.

A *scope* is a name, such as `agent:agt_1` or `team:research`, within one organization. The meaning of names is
decided where reservations are made (`gateway/usage/`). The arithmetic of one balance is in `balance.py`. Specification:
limits.md.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from gateway.audit import balance_rows
from gateway.audit.balance import OWN, RESERVED, USED, VALUES, Amounts, Balance, Ends
from gateway.audit.balance_rows import Key, Write
from gateway.audit.entry import MAX_INTEGER, Entry, Scalar
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import LogIndex

_REMEMBERED: Final = 4096
_GROUPS: Final = 8192
WRITE_EVERY: Final = 512
"""The number of entries that the rows may be behind. A process that begins with the stored balances reads so many."""
_SHARED: Final = 64
"""For how many transactions after one of another process the rows are written each time: it will need them."""


Members: TypeAlias = Sequence[tuple[Key, Balance]]


class Group:
    """The balances of the scopes that a call counts in, looked up once: the same for all calls of an agent."""

    __slots__ = ("balances", "by_scope", "changed", "members", "read_at", "text")

    def __init__(self, keys: Sequence[Key], balances: Sequence[Balance]) -> None:
        self.members: Members = list(zip(keys, balances, strict=True))
        self.balances = balances
        self.by_scope = {scope: balance for (_, scope), balance in self.members}
        self.changed = False
        self.read_at = 0
        self.text = orjson.dumps([scope for _, scope in keys]).decode()
        """The scopes as a `reservation_json` has them."""


class Held(NamedTuple):
    """The reservation of an open decision, and its balances. `read` are the limits that it was compared with."""

    group: Group
    minute: int
    tokens: int
    spend_nanousd: int
    ends: Ends | None
    read: Sequence[Sequence[Any]]
    # The minutes at which windows of these scopes end, whatever their length: those of a mandate last as long as it.
    until: Mapping[str, int] = MappingProxyType({})


class Balances:
    """The balances that transactions touch, as all entries up to now make them.

    Each is read once, and the entries that the rows do not contain are added to it (`current`). Changes stay in
    memory. It is written once for many entries; with every transaction while other processes append, too; and when
    there is nothing else to do (`write`). Nothing is lost with a process, because the entries say it.

    May be kept from one transaction to the next. After another connection has written, call `look_again`. Also all
    balances of a log while it is verified: then there is no database, and each begins with nothing.
    """

    def __init__(self, db: LogIndex | None = None) -> None:
        self._db = db
        self._behind = db is not None
        self._position = 0  # the last entry that is counted here
        self._stored = -1  # the last one that the rows contain, as was known last
        self._alone = _SHARED  # transactions since the last one of another process
        self._unwritten: set[Group] = set()
        self._reading = 0  # grows whenever what was read before is no longer what the rows have
        self.found: dict[Key, Balance] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], Group] = {}
        self._changed: list[Group] = []  # since the last transaction
        # The reservation that was made last, and the text that says so.
        self._made: tuple[str | None, Held | None] = None, None
        # The reservations of the open decisions that were met here; None if one counts in no balance.
        self._open: dict[str, Held | None] = {}
        self.left: Sequence[Group] = ()  # the groups that the last transaction has changed
        # The last thresholds that the log tells of, so that they are not looked for again (`thresholds.py`).
        self.told: dict[object, int] = {}

    def look_again(self) -> None:
        """Somebody else has written to the database: find out what, before the balances are used again."""
        self._behind = True

    def current(self) -> None:
        """Count the entries that others have appended. To be called before this transaction appends what counts.

        After an exception these balances are of no use to anybody.
        """
        if not self._behind or self._db is None:
            return
        self._behind = False
        began = self._stored >= 0
        stored, last = balance_rows.position(self._db)
        if met := stored != self._stored:
            # The rows contain what was not written here, too, or the entries after them do.
            self._reading += 1
            self._take_changed()
            self._unwritten.clear()
            self._stored = self._position = stored
        for entry, text in balance_rows.entries_after(self._db, self._position, last):
            met = True
            self.count(entry, text)
        self._position = last
        if began and met:
            self._alone = 0

    def count(self, entry: Mapping[str, Any], text: object) -> None:
        """Take account of an entry of the log; `text` is what the decision that it closes has reserved."""
        if entry["kind"] == "decided":
            if entry["open"]:
                self.reserve(entry)
        elif (held := self.closing(str(entry["org"]), str(entry["decision"]), text)) is not None:
            self.settle(held, settled_of(entry) or (1, held.tokens, held.spend_nanousd))

    def get(self, organization: str, scope: str) -> Balance:
        """A balance as it is now, to be read only."""
        key = organization, scope
        balance = self.found.get(key)
        if balance is None:
            balance = self.found[key] = Balance()
            balance.read_at = -1
        if balance.read_at != self._reading:
            balance.read(None if self._db is None else balance_rows.row(self._db, key))
            balance.read_at = self._reading
        return balance

    def of(self, organization: str, scopes: tuple[str, ...]) -> Group:
        """The balances of these scopes as they are now, to be read only."""
        key = organization, scopes
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _GROUPS:  # clients make groups: a call counts for the limits of the models it names
                self._groups.clear()
            keys = [(organization, scope) for scope in key[1]]
            group = self._groups[key] = Group(keys, [self.get(*each) for each in keys])
            group.read_at = self._reading
        elif group.read_at != self._reading:
            self._read(group)
        return group

    def _read(self, group: Group) -> None:
        for key, _ in group.members:
            self.get(*key)
        group.read_at = self._reading

    def made(self, text: str, held: Held) -> None:
        """Spare parsing of this `reservation_json`, which was just made of a reservation, in `reserve`."""
        self._made = text, held

    def reserve(self, entry: Mapping[str, Scalar]) -> None:
        """Take account of a `decided` entry that stays open."""
        text = entry.get("reservation_json")
        made, held = self._made
        if made is not text:
            held = self._parsed(str(entry["org"]), text)
        if len(self._open) >= _REMEMBERED:
            self._open.clear()
        self._open[str(entry["id"])] = held
        if held is None:
            return
        group, minute, tokens, spend, ends, _, until = held
        if not group.changed:
            group.changed = True
            self._changed.append(group)
        if until:
            for (_, scope), balance in group.members:
                balance.reserve(minute, tokens, spend, lasting(until[scope]) if scope in until else ends)
            return
        for balance in group.balances:
            balance.reserve(minute, tokens, spend, ends)

    def knows(self, decision_id: str) -> bool:
        """True if `closing` needs no text for this decision."""
        return decision_id in self._open

    def closing(self, organization: str, decision_id: str, text: object = None) -> Held | None:
        """The reservation of the decision that is closed now, as `text` says; None if it counts in no balance."""
        if decision_id not in self._open:
            return self._parsed(organization, text)
        held = self._open.pop(decision_id)
        if held is not None and held.group.read_at != self._reading:
            self._read(held.group)
        return held

    def settle(self, held: Held, settled: Amounts) -> None:
        """Take account of a closing: what its decision had reserved becomes what it was settled at."""
        group, minute, tokens, spend, *_ = held
        if not group.changed:
            group.changed = True
            self._changed.append(group)
        for balance in group.balances:
            balance.settle(minute, settled, tokens, spend)

    def _parsed(self, organization: str, text: object) -> Held | None:
        found = reservation_of(text)
        if found is None:
            return None
        group = self.of(organization, tuple(found["scopes"]))
        amounts = found["minute"], found["tokens"], found["spend_nanousd"]
        return Held(group, *amounts, found.get("ends"), found.get("read", ()), found.get("until", {}))

    def finish(self, last: int, write: Write) -> None:
        """End a transaction that has appended the entries up to this one. Writes the rows if it is time for that."""
        self.left = ()
        if self._behind:
            return  # none of its entries counts
        self.left = self._take_changed()
        self._position = last
        self._alone += 1
        if self._alone <= _SHARED or last - self._stored >= WRITE_EVERY:
            self._write(write)

    def _take_changed(self) -> list[Group]:
        """The groups in which something was counted since the last call; from now on they are to be written."""
        changed, self._changed = self._changed, []
        for group in changed:
            group.changed = False
        self._unwritten.update(changed)
        return changed

    def __len__(self) -> int:
        """The amount that is kept in memory."""
        return len(self.found) + len(self._changed)

    @property
    def is_written(self) -> bool:
        """True if the rows contain all that was counted here."""
        return not self._unwritten

    def write(self, write: Write) -> None:
        """Write all that is not written, in a transaction that does nothing else."""
        self.current()
        self._take_changed()  # the entries of other processes: the rows will be said to contain them
        self._write(write)

    def _write(self, write: Write) -> None:
        # Entries that count nowhere move the position as well: whoever begins reads all after it.
        if self._unwritten or self._position - self._stored >= WRITE_EVERY:
            members = dict(itertools.chain.from_iterable(group.members for group in self._unwritten))
            rows = [(key, balance.values()) for key, balance in members.items()]
            balance_rows.write(write, rows, self._position)
            self._unwritten.clear()
            self._stored = self._position


def latest(db: LogIndex) -> Balances:
    """The balances as the last commit left them, for those who only read. To be used in one snapshot."""
    found = Balances(db)
    try:
        found.current()
    except balance_rows.UncountedError as error:
        raise AuditError("audit_damaged", f"the balances cannot be read: {error}") from error
    return found


def reservation_of(text: object) -> dict[str, Any] | None:
    """The reservation in a `reservation_json`; None if there is none, or it counts in no balance."""
    if not isinstance(text, str):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "scopes" in found else None


def lasting(until: int) -> Ends:
    """The ends of windows that last until this minute, all of them."""
    return until, until, until


def number(amount: int) -> int | str:
    """An amount as a document of the log has it: those beyond 2**53-1 as text."""
    return amount if amount <= MAX_INTEGER else str(amount)


def settlement(held: Held, settled: Amounts | None) -> tuple[Amounts, Entry]:
    """The amounts at which a closing settles a reservation, None being all; and the members of the entry for it."""
    requests, tokens, spend = (1, held.tokens, held.spend_nanousd) if settled is None else settled
    if tokens > MAX_INTEGER or spend > MAX_INTEGER:
        tokens, spend = min(tokens, MAX_INTEGER), min(spend, MAX_INTEGER)
    members: Entry = {"settled_requests": requests, "settled_tokens": tokens, "settled_nanousd": spend}
    return (requests, tokens, spend), members | beyond(held, tokens, spend) if held.read else members


def beyond(held: Held, tokens: int, spend: int) -> Entry:
    """The members of a closing that say how far it is settled beyond its reservation; none if it is not."""
    found = {"beyond_tokens": tokens - held.tokens, "beyond_nanousd": spend - held.spend_nanousd}
    return {name: amount for name, amount in found.items() if amount > 0}


def settled_of(entry: Mapping[str, Scalar]) -> Amounts | None:
    """The amounts at which a `completed` entry settles its reservation; None if it says nothing or no amounts."""
    found = [entry.get(name) for name in ("settled_requests", "settled_tokens", "settled_nanousd")]
    requests, tokens, spend = found
    if type(requests) is int and type(tokens) is int and type(spend) is int and min(requests, tokens, spend) >= 0:
        return requests, tokens, spend
    return None


def read_all(db: LogIndex) -> Iterator[tuple[Key, Sequence[Any] | None]]:
    """The values of every balance as the stored ones and the entries after them make them, for verification.

    None for one whose row cannot be read. To be used in one snapshot.
    """
    rows = dict(balance_rows.rows(db))
    sums = Balances()
    sums.found = {key: Balance(values) for key, amounts in rows.items() if (values := _values(amounts)) is not None}
    unreadable = rows.keys() - sums.found.keys()
    for entry, text in balance_rows.entries_after(db, *balance_rows.position(db)):
        sums.count(entry, text)
    yield from ((key, None if key in unreadable else balance.values()) for key, balance in sums.found.items())
    yield from ((key, None) for key in unreadable - sums.found.keys())


def _values(amounts: object) -> list[int] | None:
    """The values of a stored row; None if it does not have those of a balance."""
    try:
        values = json.loads(amounts) if isinstance(amounts, str) else None
    except ValueError:
        return None
    if not isinstance(values, list) or len(values) not in (len(VALUES), len(VALUES) + len(OWN)):
        return None
    return values if all(type(each) is int for each in values) else None


def differences(stored: Sequence[int] | None, due: Balance) -> list[str]:
    """The differences of a stored balance from the one that the entries make, value by value."""
    if stored is None:
        return ["it cannot be read"]
    values = due.values()
    if len(stored) != len(values):
        return ["it has windows in another zone than the entries say"]
    names = ("minute", "open decisions", *map(_spoken, USED), *map(_spoken, RESERVED), *map(_spoken_window, OWN))
    return [
        f"{name}: {have} is stored, the entries make {want}"
        for name, have, want in zip(names, stored, values, strict=False)
        if have != want
    ]


def _spoken(column: str) -> str:
    metric, _, window = column.removeprefix("reserved_").rpartition("_")
    return f"{'reserved ' if column.startswith('reserved_') else ''}{metric} in the {window}"


def _spoken_window(name: str) -> str:
    window, _, what = name.partition("_")
    return f"{what} of the {window}"
