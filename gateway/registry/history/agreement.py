"""The registry compared with what the log says of its changes: a row that was edited by hand has no entry.

Each change has an entry with the members of what it changed (`change_entries.py`). So the last entry about a binding, a
limit, a key, an agent, a team, an organization, an operator or a peer says what its row must be. Secrets and their
hashes are in no entry, so they are not compared. Entries that are still in the outbox count like those of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlmodel import Session, col, select

from gateway.audit import search
from gateway.audit.intents import SYSTEM, Fields
from gateway.audit.log_reader import IndexedLog
from gateway.registry import change_entries, queries
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Binding, Operator, Organization, Outbox, Peer, Team, UsageLimit

Entry = Mapping[str, Any]

# Members that say something of the change itself, or of another row.
_OF_THE_CHANGE: Final = frozenset({"about", "agent_name", "reason", "replaced", "value_before"})
# Entries have these members only if they say something.
_OPTIONAL: Final = frozenset({"shadow", "expires_ns", "scope_json"})
_STATES: Final = {
    "agent.registered": "active",
    "agent.suspended": "suspended",
    "agent.resumed": "active",
    "agent.revoked": "revoked",
    "agent.retired": "retired",
}


class Difference(NamedTuple):
    """A row that is not as the log says. `noun` and `id` name it."""

    organization: str
    noun: str
    id: str
    message: str

    def __str__(self) -> str:
        return f"{self.noun} `{self.id}` of `{self.organization}` {self.message}"


@dataclass(slots=True)
class Told:
    """The entries in short: of each thing the last one, and which have ended."""

    last: dict[tuple[str, str], Entry] = field(default_factory=dict)  # by noun and id
    ended: set[tuple[str, str]] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)  # of agents
    retiring: dict[str, str] = field(default_factory=dict)  # until when replaced keys work

    def add(self, entry: Entry) -> None:
        """Take account of the next `change` entry."""
        what = str(entry.get("what"))
        noun = what.partition(".")[0]
        if noun in ("binding", "limit", "peer") and what != "limit.threshold":
            self._row(noun, entry, is_end=what.endswith(".removed"))
        elif noun == "key" and what != "key.retiring_in_use":
            self._row(noun, entry, is_end=what == "key.revoked")
            if "replaces" in entry:
                self.retiring[str(entry["replaces"])] = str(entry.get("retires_ns"))
        elif noun in _VERSIONED and _VERSIONED[noun] in entry and _OF_A_VERSION.get(noun, _VERSIONED[noun]) in entry:
            identifier = str(entry[_VERSIONED[noun]])
            self.last[noun, identifier] = entry
            if noun == "agent":
                self.states[identifier] = _STATES.get(what, self.states.get(identifier, "active"))

    def _row(self, noun: str, entry: Entry, *, is_end: bool) -> None:
        identifier = str(entry.get(noun))
        if is_end:
            self.ended.add((noun, identifier))
            return
        self.last[noun, identifier] = entry
        if entry.get("replaced"):
            self.ended.add((noun, str(entry["replaced"])))


_VERSIONED: Final = {"agent": "agent", "team": "team_id", "organization": "organization_id", "operator": "operator"}
"""Things whose rows stay, and the members of their entries that name them."""
_OF_A_VERSION: Final = {"agent": "agent_version", "operator": "role"}
"""Members that only entries of a new version have: that an operator logs in changes nothing of it."""


def found(registry: Registry, log: IndexedLog) -> list[Difference]:
    """The differences of the registry from what the log and the outbox say.

    A change may be on its way from one to the other just now. So what differs must do so twice.
    """
    first = _once(registry, log)
    if not first:
        return first
    again = _once(registry, log)
    return [each for each in first if each in again]


def _once(registry: Registry, log: IndexedLog) -> list[Difference]:
    told = Told()
    with registry.read() as session:
        rows, owed, epoch = list(_rows(session)), _owed(session), queries.current_epoch(session)
    for _, entry in search.of_kinds(log, ["change"], 0, search.last_position(log)):
        if int(str(entry["epoch"])) <= epoch:  # later ones are of changes that these rows do not have
            told.add(entry)
    for each in owed:
        told.add(each)
    return compared(rows, told)


def owed_only(registry: Registry) -> list[Difference]:
    """The same of a registry whose entries are all in its outbox still."""
    with registry.read() as session:
        told = Told()
        for each in _owed(session):
            told.add(each)
        return compared(_rows(session), told)


def _owed(session: Session) -> list[Entry]:
    """The changes whose entries are not in the log yet."""
    waiting = session.exec(select(Outbox).order_by(col(Outbox.position))).all()
    return [
        {"what": each.entry["what"], "org": each.organization, **each.entry["fields"]}
        for each in waiting
        if each.kind == "change"
    ]


class Row(NamedTuple):
    """One row: the members that its entry has, and whether it is in force."""

    organization: str
    noun: str
    id: str
    fields: Fields
    lives: bool
    # For an agent and for a key: the state of the agent.
    state: str = ""


def compared(rows: Iterable[Row], told: Told) -> list[Difference]:
    """The rows that are not as the entries say."""
    differing = []
    seen = set()
    for row in rows:
        seen.add((row.noun, row.id))
        if message := _fault(row, told):
            differing.append(Difference(row.organization, row.noun, row.id, message))
    for noun, identifier in told.last.keys() - seen - told.ended:
        organization = str(told.last[noun, identifier].get("org", ""))
        differing.append(Difference(organization, noun, identifier, "is gone, and no entry says so"))
    return sorted(differing)


def _fault(row: Row, told: Told) -> str:
    key = row.noun, row.id
    entry = told.last.get(key)
    if row.lives and key in told.ended:
        return "is in force, and the log says that it was ended"
    if entry is None:
        return "is in force, and no entry has made it" if row.lives else ""
    if not row.lives:
        by_agent = row.noun == "key" and row.state in ENDED
        return "" if key in told.ended or by_agent else "was ended, and no entry says so"
    wanted = {**entry, **({"expires_ns": told.retiring[row.id]} if row.id in told.retiring else {})}
    if row.noun == "agent" and told.states.get(row.id) != row.state:
        return f"is {row.state}, and the log says {told.states.get(row.id)}"
    for name, value in row.fields.items():
        if name not in _OF_THE_CHANGE and (name in wanted or name in _OPTIONAL) and wanted.get(name) != value:
            return f"has {name} {value!r}, and the log says {wanted.get(name)!r}"
    for name in _OPTIONAL & wanted.keys() - row.fields.keys():
        if wanted[name]:
            return f"has no {name}, and the log says {wanted[name]!r}"
    return ""


def _rows(session: Session) -> Iterator[Row]:
    """Every row that is compared."""
    names = dict(session.exec(select(Organization.id, Organization.name)).all())
    for binding in session.exec(select(Binding)):
        fields = change_entries.binding(binding)
        yield Row(names[binding.organization_id], "binding", binding.id, fields, binding.removed_ns is None)
    for limit in session.exec(select(UsageLimit)):
        fields = change_entries.limit(limit)
        yield Row(names[limit.organization_id], "limit", limit.id, fields, limit.removed_ns is None)
    agents = {each.id: each for each in session.exec(select(Agent))}
    for agent in agents.values():
        yield Row(names[agent.organization_id], "agent", agent.id, change_entries.agent(agent), True, agent.status)
    for key in session.exec(select(ApiKey)):
        holder = agents[key.agent_id]
        fields, lives = change_entries.key(holder, key), key.revoked_ns is None
        yield Row(names[key.organization_id], "key", key.id, fields, lives, holder.status)
    for team in session.exec(select(Team)):
        yield Row(names[team.organization_id], "team", team.id, change_entries.team(team), True)
    for tenant in session.exec(select(Organization)):
        yield Row(tenant.name, "organization", tenant.id, change_entries.organization(tenant), True)
    for operator in session.exec(select(Operator)):
        owner = "" if operator.organization_id is None else names[operator.organization_id]
        yield Row(owner, "operator", operator.id, change_entries.operator(operator), True)
    for peer in session.exec(select(Peer)):
        yield Row(SYSTEM, "peer", peer.id, change_entries.peer(peer), peer.removed_ns is None)
