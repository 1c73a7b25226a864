"""A registry beside a small model of it: after any changes both must say the same, of now and of every time before.

The clock is a counter, so that a time between two changes is one. The model also says how a change must be answered,
or refused.
"""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers, parse
from gateway.registry import queries
from gateway.registry.agents import changes as agent_changes
from gateway.registry.agents import registration, reviews
from gateway.registry.agents.changes import AgentUpdate, resume_agent, review_agent, suspend_agent, update_agent
from gateway.registry.database import Registry
from gateway.registry.history import agreement, as_of
from gateway.registry.keys import changes as key_changes
from gateway.registry.limits import usage_limits
from gateway.registry.models import Operator
from gateway.registry.organizations import changes as organization_changes
from gateway.registry.organizations.changes import update_organization
from gateway.registry.policies import activations, bindings
from gateway.registry.reader import RegistryReader
from gateway.registry.records import KeyRecord
from tests.gateway.conftest import ACTOR, at_once, bundle
from tests.gateway.registry.model import ENDED, ORGS, Agent, Key, Model, Subject, told

NAMES = ("ada", "bob", "cyd")
TEAMS = ("", "red", "blue")
BUNDLES = ("support", "research")
LIMITS = ("tokens_per_day", "requests_per_hour")
HOUR = 3600 * 10**9


class Clock:
    """Time that passes only when it is asked for."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * 10**9

    def __call__(self) -> int:
        self.now += 1000
        return self.now


_template: list[Path] = []


def _copied(place: Path) -> DataDirectory:
    """A registry with the organizations, copied from one that is made once: migrations take a while."""
    if not _template:
        folder = Path(tempfile.mkdtemp(prefix="registry-machine-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        data = DataDirectory(folder / "data")
        data.create()
        registry = Registry.create(data, "test")
        for name in ORGS:
            organization_changes.create_organization(registry, actor=ACTOR, name=name)
        Peppers.create(data.keys)
        registry.close()
        _template.append(data.path)
    shutil.copytree(_template[0], place)
    return DataDirectory(place)


class RegistryMachine(RuleBasedStateMachine):
    """Changes in any order; what is told of now, and of the moments between two changes, must be the model's."""

    stride = 5
    """At the end every so many of the moments are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="registry-machine-"))
        self.clock = Clock()
        data = _copied(self.folder / "data")
        self.patches = [
            mock.patch("time.time_ns", self.clock),
            mock.patch("gateway.registry.database._PER_CONNECTION", ("PRAGMA synchronous = OFF",)),  # it is thrown away
        ]
        for patch in self.patches:
            patch.start()
        self.registry = self.opened(data)
        self.reader = self.reader_of(data)
        self.peppers = Peppers.load(data.keys)
        self.model = Model()
        self.commits: list[str] = []
        self.past: list[tuple[int, Model]] = []

    def opened(self, data: DataDirectory) -> Registry:
        """An empty registry with the organizations."""
        return Registry.open(data)

    def reader_of(self, data: DataDirectory) -> RegistryReader | None:
        """A data worker's reader; None where there is no such reader yet."""
        return RegistryReader(data.registry_db)

    def teardown(self) -> None:
        for at_ns, model in self.past[:: self.stride]:
            self.compare(at_ns, model)
        # But for the operators that this machine has put there itself.
        differing = [each for each in agreement.owed_only(self.registry) if each.noun != "operator"]
        assert differing == [], "every row is as its entries say"
        for patch in self.patches:
            patch.stop()
        if self.reader is not None:
            self.reader.close()
        self.registry.close()
        shutil.rmtree(self.folder)

    # --- what both are asked to do ------------------------------------------------------------------------------------

    @contextmanager
    def refused(self, code: str | None) -> Iterator[None]:
        """The block must raise this, or nothing; either way the moment after it is remembered."""
        outcome = None
        try:
            yield
        except GatewayError as error:
            outcome = error.code
        assert outcome == code
        self.past.append((self.clock(), copy.deepcopy(self.model)))

    @initialize()
    def begin(self) -> None:
        self.past.append((self.clock(), copy.deepcopy(self.model)))

    @rule(org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), team=st.sampled_from(TEAMS), days=st.integers(0, 2))
    def register(self, org: str, name: str, team: str, days: int) -> None:
        code = "agent_exists" if self.model.living(org, name) is not None else self.model.revoked(org, team)
        expires_ns = self.clock.now + days * 24 * HOUR if days else None
        with self.refused(code):
            made = registration.register_agent(
                self.registry,
                actor=ACTOR,
                organization=org,
                name=name,
                team=team,
                expires_ns=expires_ns,
                replace_revoked=True,
            )
            agent = Agent(org, name, team=team, expires_ns=expires_ns, confirmed_ns=made.since_ns)
            self.model.agents[made.id] = agent
            self.model.name_team(org, team)

    @rule(
        org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), new=st.sampled_from(NAMES),
        team=st.sampled_from(TEAMS), owner=st.sampled_from(("", "dana", "grace")), reason=st.sampled_from(("", "x")),
    )  # fmt: skip
    def update(self, org: str, name: str, new: str, team: str, owner: str, reason: str) -> None:
        found = self.model.meant(org, name)
        agent = self.model.agents.get(found or "")
        code = None
        if agent is None:
            code = "unknown_agent"
        elif agent.status in ENDED:
            code = f"agent_{agent.status}"
        elif new != agent.name and self.model.living(org, new):
            code = "agent_exists"
        elif (agent.name, agent.team, agent.owner) != (new, team, owner):
            code = self.model.revoked(org, agent.team, team)
        with self.refused(code):
            update = AgentUpdate(name=new, team=team, owner=owner, replace_revoked=True)
            changed = update_agent(
                self.registry, actor=ACTOR, organization=org, agent=name, update=update, reason=reason
            )
            assert agent is not None
            assert found is not None
            self.model.settle(found, self.clock.now)
            same = (agent.name, agent.team, agent.owner) == (new, team, owner)
            assert (changed is None) == same
            if not same:
                agent.name, agent.team, agent.owner = new, team, owner
                agent.version, agent.reason = agent.version + 1, reason
                self.model.name_team(org, team)

    @rule(
        org=st.sampled_from(ORGS), name=st.sampled_from(NAMES),
        wanted=st.sampled_from(("active", "suspended", "revoked", "retired")),
    )  # fmt: skip
    def change_state(self, org: str, name: str, wanted: str) -> None:
        change: Callable[..., object] = {
            "active": resume_agent,
            "suspended": suspend_agent,
            "revoked": agent_changes.revoke_agent,
            "retired": agent_changes.retire_agent,
        }[wanted]
        found = self.model.meant(org, name)
        agent = self.model.agents.get(found or "")
        code = "unknown_agent" if agent is None else None
        if agent is not None and agent.status in ENDED and agent.status != wanted:
            code = f"agent_{agent.status}"
        elif found is not None and wanted == "active" and self.model.unconfirmed(found, self.clock.now):
            code = "review_overdue"
        with self.refused(code):
            changed = change(self.registry, actor=ACTOR, organization=org, agent=name, reason="state")
            assert agent is not None
            assert found is not None
            if wanted not in ENDED:
                self.model.settle(found, self.clock.now)
            assert (changed is None) == (agent.status == wanted)
            if changed is not None:
                agent.status, agent.version, agent.reason = wanted, agent.version + 1, "state"
                for key in self.model.keys.values() if wanted in ENDED else ():
                    if key.agent == found and key.works(self.clock.now):
                        key.revoked = True

    @rule(org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), hours=st.integers(0, 2))
    def create_key(self, org: str, name: str, hours: int) -> None:
        found = self.model.meant(org, name)
        agent = self.model.agents.get(found or "")
        code = None
        if agent is None or found is None:
            code = "unknown_agent"
        elif agent.status in ENDED:
            code = f"agent_{agent.status}"
        elif self.model.revoked(org, agent.team):
            code = self.model.revoked(org, agent.team)
        elif len(self.model.live_keys(found, "api_key", self.clock.now)) >= 2:
            code = "too_many_keys"
        with self.refused(code):
            made = key_changes.create_key(
                self.registry, self.peppers, actor=ACTOR, organization=org, agent=name,
                lifetime_ns=hours * HOUR or None,
            )  # fmt: skip
            credential = parse(made.text)
            assert credential is not None
            assert found is not None
            self.add(made.record, credential.id)

    def add(self, record: KeyRecord, credential_id: str) -> None:
        """A key that was made."""
        self.model.keys[record.id] = Key(
            record.agent_id, credential_id, record.expires_ns, method=record.method, created_ns=record.created_ns
        )

    @precondition(lambda self: self.model.keys)
    @rule(data=st.data(), org=st.sampled_from(ORGS))
    def revoke_key(self, data: st.DataObject, org: str) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.model.keys)))
        key = self.model.keys[identifier]
        foreign = self.model.agents[key.agent].organization != org
        with self.refused("unknown_key" if foreign else None):
            revoked = key_changes.revoke_key(self.registry, actor=ACTOR, organization=org, key=identifier)
            assert (revoked is None) == key.revoked
            key.revoked = True

    @rule()
    def activate(self) -> None:
        commit = f"{len(self.commits) + 1:040x}"
        with self.refused(None):
            activations.activate(
                self.registry, actor=ACTOR, commit=commit, author="dana",
                bundles=[bundle(name, commit) for name in BUNDLES],
            )  # fmt: skip
            self.commits.append(commit)
            self.model.commit = commit

    def subject(self, data: st.DataObject, org: str) -> tuple[str, str, Subject | None]:
        """Kind and name of a subject, and how the model stores it; None if there is no such agent."""
        kind = data.draw(st.sampled_from(("agent", "team", "organization")))
        if kind == "agent":
            name = data.draw(st.sampled_from(NAMES))
            found = self.model.meant(org, name)
            return kind, name, None if found is None else (kind, found)
        name = data.draw(st.sampled_from(TEAMS[1:])) if kind == "team" else org
        return kind, name, (kind, name)

    def ended(self, subject: Subject) -> str | None:
        """The code of the refusal to give something to an agent that has ended; None for any other subject."""
        agent = self.model.agents.get(subject[1]) if subject[0] == "agent" else None
        return f"agent_{agent.status}" if agent is not None and agent.status in ENDED else None

    @precondition(lambda self: self.commits)
    @rule(
        data=st.data(), org=st.sampled_from(ORGS), name=st.sampled_from(BUNDLES),
        effect=st.sampled_from(("grant", "guard")), pin=st.booleans(),
    )  # fmt: skip
    def bind(self, data: st.DataObject, org: str, name: str, effect: str, pin: bool) -> None:
        kind, called, subject = self.subject(data, org)
        pinned = data.draw(st.sampled_from(self.commits)) if pin else None
        code = None
        if subject is None:
            code = "unknown_agent"
        elif self.ended(subject):
            code = self.ended(subject)
        elif self.model.bindings.get((org, subject, name)) == (effect, pinned):
            code = "binding_exists"
        with self.refused(code):
            bindings.bind(
                self.registry, actor=ACTOR, organization=org, kind=kind, subject=called, bundle=name, effect=effect,
                pinned=pinned, without_members=True, other_effect=True,
            )  # type: ignore[arg-type]  # the strategies draw what the literals list  # fmt: skip
            assert subject is not None
            self.model.bindings[org, subject, name] = (effect, pinned)
            if kind == "team":
                self.model.name_team(org, called)

    @rule(data=st.data(), org=st.sampled_from(ORGS), name=st.sampled_from(BUNDLES))
    def unbind(self, data: st.DataObject, org: str, name: str) -> None:
        kind, called, subject = self.subject(data, org)
        code = None
        if subject is None:
            code = "unknown_agent"
        elif (org, subject, name) not in self.model.bindings:
            code = "unknown_binding"
        with self.refused(code):
            bindings.unbind(self.registry, actor=ACTOR, organization=org, kind=kind, subject=called, bundle=name)  # type: ignore[arg-type]  # as above
            assert subject is not None
            del self.model.bindings[org, subject, name]

    @rule(
        data=st.data(),
        org=st.sampled_from(ORGS),
        name=st.sampled_from(LIMITS),
        value=st.integers(0, 2),
        by_gateway=st.booleans(),
    )
    def limit(self, data: st.DataObject, org: str, name: str, value: int, by_gateway: bool) -> None:
        """Zero removes it, or the organization's if the gateway has none. The organization removes only its own."""
        kind, called, subject = self.subject(data, org)
        both = {} if subject is None else {each: self.model.limits.get((org, subject, name, each)) for each in (0, 1)}
        before, other = both.get(by_gateway), both.get(not by_gateway)
        code = None
        if subject is None:
            code = "unknown_agent"
        elif value and self.ended(subject):
            code = self.ended(subject)
        elif value and before == value:
            code = "limit_exists"
        elif not value and before is None:
            code = "no_such_limit" if other is None else None if by_gateway else "forbidden"
        actor = ACTOR if by_gateway else self.operator_of(org)
        given: dict[str, Any] = {"actor": actor, "organization": org, "kind": kind, "subject": called, "name": name}
        with self.refused(code):
            if value:
                usage_limits.set_limit(self.registry, value=value, without_members=True, **given)
            else:
                usage_limits.remove_limit(self.registry, **given)
            assert subject is not None
            if value:
                self.model.limits[org, subject, name, by_gateway] = value
                if kind == "team":
                    self.model.name_team(org, called)
            else:
                del self.model.limits[org, subject, name, by_gateway if before is not None else not by_gateway]

    def operator_of(self, org: str) -> str:
        """The actor that an operator of an organization is."""
        with self.registry.write() as session:
            tenant = queries.find_organization(session, org)
            if session.get(Operator, f"opr_{org}") is None:
                more: dict[str, Any] = {"version": 1, "created_ns": 0, "updated_ns": 0}
                session.add(
                    Operator(
                        id=f"opr_{org}", organization_id=tenant.id, name=org, role="admin", status="active", **more
                    )
                )
        return f"operator:opr_{org}"

    @rule(org=st.sampled_from(ORGS), name=st.sampled_from(NAMES))
    def review(self, org: str, name: str) -> None:
        """A review that comes too late does not resume."""
        found = self.model.meant(org, name)
        agent = self.model.agents.get(found or "")
        code = "unknown_agent" if agent is None else f"agent_{agent.status}" if agent.status in ENDED else None
        with self.refused(code):
            reviewed = review_agent(self.registry, actor=ACTOR, organization=org, agent=name)
            assert found is not None
            assert agent is not None
            assert reviewed.reviewed_ns is not None
            self.model.settle(found, self.clock.now)
            agent.version, agent.reason, agent.confirmed_ns = agent.version + 1, "", reviewed.reviewed_ns

    @rule(org=st.sampled_from(ORGS), days=st.integers(0, 2), after=st.integers(0, 2), now=st.booleans())
    def set_rule(self, org: str, days: int, after: int, now: bool) -> None:
        mine = [identifier for identifier, each in self.model.agents.items() if each.organization == org]
        then = copy.deepcopy(self.model)
        for each in mine:
            then.settle(each, self.clock.now)
        then.rules[org] = (days, after)
        late = [i for i in mine if then.agents[i].status == "active" and then.unconfirmed(i, self.clock.now)]
        with self.refused(self.model.revoked(org) or ("would_suspend" if late and not now else None)):
            update_organization(
                self.registry,
                actor=ACTOR,
                organization=org,
                review_days=days,
                suspend_after_days=after,
                suspend_now=now,
            )
            self.model = then
            for each in mine:
                then.settle(each, self.clock.now)

    @rule()
    def sweep(self) -> None:
        """The continuous work of the control process."""
        late = [
            identifier for identifier, each in self.model.agents.items()
            if each.status == "active" and self.model.unconfirmed(identifier, self.clock.now)
            and self.model.organizations[each.organization] != "revoked"
        ]  # fmt: skip
        with self.refused(None):
            suspended = reviews.suspend_unconfirmed(self.registry, self.clock.now)
            names = (f"{each.organization}/{each.name}" for each in (self.model.agents[i] for i in late))
            assert sorted(suspended) == sorted(names)
            for each in late:
                self.model.settle(each, self.clock.now)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        with self.refused(None):
            self.clock.now += hours * HOUR

    # --- what both must say -------------------------------------------------------------------------------------------

    def compare(self, at_ns: int, model: Model) -> None:
        for org in ORGS:
            mine = [identifier for identifier, each in model.agents.items() if each.organization == org]
            expected = {identifier: model.said(identifier, at_ns) for identifier in mine}
            found, _ = as_of.page_at(self.registry, org, at_ns, after=None, limit=1000)
            assert told(found, at_ns) == expected

    @invariant()
    def now_is_the_same(self) -> None:
        self.compare(self.clock.now, self.model)
        for identifier, key in self.model.keys.items() if self.reader is not None else ():
            row = at_once(self.reader.credential(key.credential_id))
            assert row is not None
            assert row.key_id == identifier
            agent = self.model.agents[key.agent]
            assert (row.agent_id, row.status, row.team) == (key.agent, agent.status, agent.team)
            assert (row.organization_status, row.team_status, row.stopped) == self.model.standing(
                agent.organization, agent.team
            )
            assert (row.revoked_ns is not None) == key.revoked
            assert (row.public_key is not None) == (key.method == "signature")
            assert (row.expires_ns, row.agent_expires_ns) == (key.expires_ns, agent.expires_ns)
            assert agent.status in ENDED or row.suspends_ns == self.model.suspends_ns(key.agent)
        for org in ORGS:
            assert {each.id: each.status for each in queries.agents(self.registry, org)} == {
                i: self.model.said(i, self.clock.now)["status"]
                for i, each in self.model.agents.items()
                if each.organization == org
            }

    @rule(data=st.data(), org=st.sampled_from(ORGS), name=st.sampled_from(NAMES))
    def look_back(self, data: st.DataObject, org: str, name: str) -> None:
        """One agent at one time, by the name that it had then."""
        at_ns, model = data.draw(st.sampled_from(self.past))
        found = model.meant(org, name)
        outcome = {}
        try:
            outcome = told(as_of.agent_at(self.registry, org, name, at_ns), at_ns)
        except GatewayError as error:
            if error.code not in ("unknown_agent", "not_yet"):
                raise
        assert outcome == ({} if found is None else {found: model.said(found, at_ns)})
