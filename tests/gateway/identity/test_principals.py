"""Principals: what a key stands for, what is cached of it, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

import pytest

from gateway.errors import Denied, PrincipalHint
from gateway.identity import credentials
from gateway.identity import principals as module
from gateway.identity.api_keys import ApiKeys
from gateway.identity.credentials import Credential, Peppers, generate
from gateway.identity.principals import CredentialRow, Found, Principal, Principals
from gateway.registry import queries
from gateway.registry.agents import reviews
from gateway.registry.agents.changes import resume_agent, review_agent, revoke_agent
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.organizations.changes import create_organization, update_organization
from gateway.registry.policies.bindings import bind
from gateway.registry.reader import RegistryReader
from gateway.storage import secret_files
from tests.gateway.conftest import ACTOR, ORG, Home, at_once


class Counting:
    """A registry reader that counts how often a key's row is read."""

    def __init__(self, reader: RegistryReader) -> None:
        self.reader = reader
        self.reads = 0

    @property
    def epoch(self) -> int:
        return at_once(self.reader.epochs()).authority

    async def credential(self, credential_id: str) -> CredentialRow | None:
        self.reads += 1
        return await self.reader.credential(credential_id)


@pytest.fixture
def source(home: Home) -> Iterator[Counting]:
    reader = RegistryReader(home.data.registry_db)
    yield Counting(reader)
    reader.close()


class Door:
    """Principals as a request uses them: with the epoch of now."""

    def __init__(self, source: Counting, peppers: Peppers, capacity: int = 4096) -> None:
        self._source = source
        self._principals = Principals([ApiKeys(source, peppers)], capacity)

    def get(self, credential: Credential) -> Principal:
        return at_once(self._principals.get(credential, self._source.epoch))

    def refresh(self, principal: Principal) -> Principal:
        return at_once(self._principals.refresh(principal, self._source.epoch))


@pytest.fixture
def principals(home: Home, source: Counting) -> Door:
    return Door(source, home.peppers)


def refusal(principals: Door, credential: Credential) -> Denied:
    with pytest.raises(Denied) as caught:
        principals.get(credential)
    assert caught.value.code == "bad_credentials"
    return caught.value


def test_a_principal_is_all_that_a_policy_sees(home: Home, principals: Door) -> None:
    agent = home.agent(owner="dana@acme.example", team="support", environment="prod", capabilities=["tools", "chat"])
    home.activate("support", "baseline")
    for kind, subject, name in (("agent", "bot", "support"), ("organization", ORG, "baseline")):
        effect = "guard" if name == "baseline" else "grant"
        bind(
            home.registry, actor=ACTOR, organization=ORG, kind=kind, subject=subject, bundle=name, effect=effect
        )  # fmt: skip
    found = principals.get(home.credential(home.key()))
    assert found.document == {
        "id": agent,
        "organization": ORG,
        "name": "bot",
        "version": 1,
        "team": "support",
        "owner": "dana@acme.example",
        "environment": "prod",
        "capabilities": ["chat", "tools"],
        "labels": {},
        "credential": {"id": found.key_id, "method": "api_key", "strength": 1},
        "delegation": [],
    }
    assert [(b.bundle, b.effect, b.pinned) for b in found.bindings] == [
        ("support", "grant", None),
        ("baseline", "guard", None),
    ]
    assert (found.agent_id, found.organization, found.status) == (agent, ORG, "active")


def test_bindings_of_team_and_organization_apply(home: Home, principals: Door) -> None:
    home.agent("mine", team="support")
    home.agent("other", team="analytics")
    home.agent("lonely")
    home.activate("a", "b", "c")
    for kind, subject, name in (("team", "support", "a"), ("agent", "other", "b"), ("organization", ORG, "c")):
        bind(home.registry, actor=ACTOR, organization=ORG, kind=kind, subject=subject, bundle=name)
    applied = {
        name: [b.bundle for b in principals.get(home.credential(home.key(name))).bindings]
        for name in ("mine", "other", "lonely")
    }
    assert applied == {"mine": ["a", "c"], "other": ["b", "c"], "lonely": ["c"]}


def test_nothing_of_another_organization_applies(home: Home, principals: Door) -> None:
    create_organization(home.registry, actor=ACTOR, name="acme")
    home.agent(team="support")
    home.activate("a", "b")
    for kind, subject, name in (("team", "support", "a"), ("organization", "acme", "b")):
        bind(
            home.registry,
            actor=ACTOR,
            organization="acme",
            kind=kind,
            subject=subject,
            bundle=name,
            without_members=True,
        )
    assert principals.get(home.credential(home.key())).bindings == ()


def test_rows_are_read_once_per_epoch(home: Home, source: Counting, principals: Door) -> None:
    home.agent()
    credential = home.credential(home.key())
    first = principals.get(credential)
    assert principals.get(credential) is first
    assert source.reads == 1
    home.activate("support")  # a change of something else
    assert principals.get(credential) is first
    home.agent("somebody-else")  # any change of authority
    second = principals.get(credential)
    assert (source.reads, second.authority_epoch > first.authority_epoch) == (2, True)
    assert second.document == first.document


def test_a_cached_entry_admits_only_the_whole_secret(home: Home, principals: Door) -> None:
    home.agent()
    real = home.credential(home.key())
    principals.get(real)
    # Everything but the last character of the secret is right (CVE-2026-35030: a cache keyed by a prefix).
    forged = Credential("agent", real.id, real.material[:-1] + (b"A" if real.material[-1:] != b"A" else b"B"))
    assert refusal(principals, forged).detail == "wrong_secret"
    assert refusal(principals, forged).principal_hint is None  # knowing an id does not make it that agent's request
    assert principals.get(real).name == "bot"


def test_why_a_key_is_dead(home: Home, principals: Door) -> None:
    home.agent()
    home.agent("gone")
    revoked, expired, orphaned = home.key(), home.key(lifetime_ns=1), home.key("gone")
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=revoked)
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="gone")
    details = {}
    for name, text in (("revoked", revoked), ("expired", expired), ("orphaned", orphaned)):
        denied = refusal(principals, home.credential(text))
        assert isinstance(denied.principal_hint, PrincipalHint)
        assert denied.principal_hint.organization == ORG
        details[name] = denied.detail
    assert details == {"revoked": "revoked", "expired": "expired", "orphaned": "revoked"}
    assert refusal(principals, generate("agent").credential).detail == "unknown"


def test_revoked_holds_for_the_next_request(home: Home, principals: Door) -> None:
    home.agent()
    home.agent("other")
    dead, alive = home.credential(home.key()), home.credential(home.key("other"))
    assert (principals.get(dead).name, principals.get(alive).name) == ("bot", "other")
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert refusal(principals, dead).detail == "revoked"
    assert principals.get(alive).name == "other"


def test_a_key_expires_in_the_cache_too(
    home: Home, principals: Door, source: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.agent()
    credential = home.credential(home.key(lifetime_ns=3_600_000_000_000))
    principals.get(credential)
    later = time.time_ns() + 3_700_000_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    assert refusal(principals, credential).detail == "expired"
    assert source.reads == 2, "its row says why, as of a key that was revoked"


def test_a_second_look_sees_what_changed(home: Home, principals: Door, source: Counting) -> None:
    home.agent()
    found = principals.get(home.credential(home.key()))
    assert principals.refresh(found) is found
    home.activate("support")
    bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
    again = principals.refresh(found)
    assert ([b.bundle for b in again.bindings], source.reads) == (["support"], 2)
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    with pytest.raises(Denied) as caught:
        principals.refresh(again)
    assert (caught.value.code, caught.value.detail) == ("bad_credentials", "revoked")


def test_a_key_that_expires_while_a_body_comes_is_refused(
    home: Home, principals: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes without a change of any epoch."""
    home.agent()
    found = principals.get(home.credential(home.key(lifetime_ns=3_600_000_000_000)))
    later = time.time_ns() + 3_700_000_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    with pytest.raises(Denied) as caught:
        principals.refresh(found)
    assert (caught.value.code, caught.value.detail) == ("bad_credentials", "expired")
    assert caught.value.principal_hint == PrincipalHint(ORG, found.agent_id, found.key_id, "bot")


def test_an_agent_that_nobody_confirms_is_refused_in_time(
    home: Home, principals: Door, source: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache, at a second look and when it is read anew; nothing is written meanwhile."""
    agent = home.agent(review_days=90)
    credential = home.credential(home.key())
    update_organization(home.registry, actor=ACTOR, organization=ORG, suspend_after_days=14)
    found = principals.get(credential)
    day = 86_400_000_000_000
    later = (found.suspends_ns or 0) - 1
    assert later - time.time_ns() > 103 * day
    assert found.suspends_ns == queries.agent(home.registry, ORG, "bot").suspends_ns
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    assert principals.refresh(principals.get(credential)) is found
    later += 1
    assert source.reads == 1
    for look in (
        lambda: principals.get(credential),
        lambda: principals.refresh(found),
        lambda: Door(source, home.peppers).get(credential),
    ):
        with pytest.raises(Denied) as caught:
            look()
        denied = caught.value
        assert (denied.code, denied.detail) == ("agent_suspended", "review_overdue")
        assert denied.reasons == ("nobody has confirmed it in time",)
        assert denied.principal_hint == PrincipalHint(ORG, agent, found.key_id, "bot")
    # A call under way ends when the suspension is written, as with any other.
    assert at_once(principals._principals.withdrawn(found, source.epoch + 1)) is None
    assert reviews.suspend_unconfirmed(home.registry, later) == [f"{ORG}/bot"]
    withdrawn = at_once(principals._principals.withdrawn(found, source.epoch))
    assert withdrawn is not None
    assert (withdrawn.code, withdrawn.detail) == ("agent_suspended", "review_overdue")
    review_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    with pytest.raises(Denied) as caught:
        principals.get(credential)
    assert (caught.value.code, caught.value.detail) == ("agent_suspended", "suspended")
    resume_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert principals.get(credential).name == "bot"


def test_a_pepper_that_was_added_meanwhile_is_found(home: Home, source: Counting, principals: Door) -> None:
    home.agent()
    principals.get(home.credential(home.key()))
    secret_files.create(home.data.keys / "pepper.2")
    newer = create_key(home.registry, Peppers.load(home.data.keys), actor=ACTOR, organization=ORG, agent="bot").text
    assert principals.get(home.credential(newer)).name == "bot"


def test_a_pepper_that_is_missing_is_not_looked_for_at_every_request(
    home: Home, principals: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.agent()
    secret_files.create(home.data.keys / "pepper.2")
    newer = home.credential(
        create_key(home.registry, Peppers.load(home.data.keys), actor=ACTOR, organization=ORG, agent="bot").text
    )
    (home.data.keys / "pepper.2").unlink()
    looks: list[int] = []
    now = [100.0]
    monkeypatch.setattr(credentials, "_read_all", lambda keys: looks.append(1) or {})
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now[0])
    for _ in range(5):
        assert refusal(principals, newer).detail == "pepper_missing"
    assert len(looks) == 1
    now[0] += 2
    assert refusal(principals, newer).detail == "pepper_missing"
    assert len(looks) == 2


def test_the_cache_is_bounded_and_forgets_the_oldest(home: Home, source: Counting) -> None:
    principals = Door(source, home.peppers, capacity=2)
    made = []
    for name in ("a", "b", "c"):
        home.agent(name)
        made.append(home.credential(home.key(name)))
    for credential in (made[0], made[1], made[0], made[2], made[0]):  # b is the least recently used when c comes
        principals.get(credential)
    assert source.reads == 3
    principals.get(made[1])
    assert source.reads == 4


def test_a_hash_moved_to_another_row_opens_nothing(home: Home, principals: Door) -> None:
    home.agent("victim")
    home.agent("thief")
    victim, thief = home.credential(home.key("victim")), home.credential(home.key("thief"))
    with home.registry.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE api_key SET digest = (SELECT digest FROM api_key WHERE credential_id = ?) WHERE credential_id = ?",
            (thief.id, victim.id),
        )
    moved = Credential("agent", victim.id, thief.material.replace(thief.id.encode(), victim.id.encode()))
    assert refusal(principals, moved).detail == "wrong_secret"
    assert refusal(principals, victim).detail == "wrong_secret"


def test_keys_of_an_older_pepper_work_until_it_is_gone(home: Home, source: Counting) -> None:
    home.agent()
    credential = home.credential(home.key())
    secret_files.create(home.data.keys / "pepper.2")
    assert Door(source, Peppers.load(home.data.keys)).get(credential).name == "bot"
    (home.data.keys / "pepper.1").unlink()
    assert refusal(Door(source, Peppers.load(home.data.keys)), credential).detail == "pepper_missing"


def test_a_kind_that_is_not_served_is_unknown(home: Home, source: Counting) -> None:
    home.agent()
    nobody = Principals([])
    with pytest.raises(Denied) as caught:
        at_once(nobody.get(home.credential(home.key()), source.epoch))
    assert (caught.value.code, caught.value.detail, source.reads) == ("bad_credentials", "unknown", 0)


class Ticket(NamedTuple):
    """A credential of another kind, which looks up the same text as a key does."""

    lookup: str
    method: Literal["token"] = "token"


class Tickets:
    """A kind of credentials that may be used once."""

    method: Literal["token"] = "token"

    def __init__(self, row: CredentialRow) -> None:
        self.row = row
        self.used: list[str] = []

    async def find(self, lookup: str) -> Found | None:
        return Found(self.row, "proof")

    def check(self, presented: Ticket, proof: str | None) -> None:
        assert proof == "proof"

    async def admit(self, presented: Ticket, principal: Principal) -> None:
        if presented.lookup in self.used:
            raise Denied("bad_credentials", "replayed")
        self.used.append(presented.lookup)


def test_kinds_share_a_cache_and_not_their_entries(home: Home, source: Counting) -> None:
    home.agent()
    key = home.credential(home.key())
    row = at_once(source.credential(key.id))
    assert row is not None
    tickets = Tickets(row)
    both = Principals([ApiKeys(source, home.peppers), tickets])
    by_key = at_once(both.get(key, source.epoch))
    by_ticket = at_once(both.get(Ticket(key.id), source.epoch))
    assert (by_key.method, by_key.strength) == ("api_key", 1)
    assert (by_ticket.method, by_ticket.strength) == ("token", 3)
    assert by_ticket.document["credential"] == {"id": row.key_id, "method": "token", "strength": 3}
    assert at_once(both.get(key, source.epoch)) is by_key
    with pytest.raises(Denied) as caught:  # also when it is cached
        at_once(both.get(Ticket(key.id), source.epoch))
    assert caught.value.detail == "replayed"
    assert at_once(both.refresh(by_ticket, source.epoch)) is by_ticket  # one request looks twice
