"""Requests for approval in the registry: asked once, decided by whoever may, settled when they are over."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals import reviews, tending
from gateway.approvals.asking import MAX_OF_AGENT, AskedRequest, Asking, Askings
from gateway.approvals.calls import RawCall, committed
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.status import ApprovalsStatus
from gateway.approvals.terms import Terms
from gateway.audit import grants, signer, storage
from gateway.audit.approval_scope import Scope
from gateway.audit.writer import AuditWriter
from gateway.errors import Denied, GatewayError
from gateway.identifiers import new_id
from gateway.policy.approvals import Requirement
from gateway.registry import outbox
from gateway.registry.agents.changes import AgentUpdate, suspend_agent, update_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.models import Operator
from gateway.registry.operators.operators import add_operator, revoke_operator
from gateway.registry.organizations.teams import create_team
from gateway.registry.secret_keys import vault_rotation
from tests.gateway.conftest import ACTOR, ORG, Home, new_home

BIG = Requirement("big")
HOUR = 3600 * 10**9


class Desk:
    """A registry with its log, an agent, and people."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.agent = home.agent("bot", owner="dana")
        storage.create(home.data)
        signer.create_key(home.data, "test")
        self.writer = AuditWriter(home.data, boot="boot_a", deployment="test")
        self.askings = Askings(home.data.registry_db, home.vault, "boot_a")
        self.key = ""

    def call(self, body: bytes = b"{}", **members: Any) -> RawCall:
        found: dict[str, Any] = {
            "organization": ORG,
            "agent_id": self.agent,
            "delegation": [],
            "person": None,
            "upstream_id": "ups_a",
            "base_url": "http://127.0.0.1:1",
            "action": "chat.completions",
            "method": "POST",
            "path": "/v1/chat/completions",
            "query": {},
            "headers": {"User-Agent": "x"},
            "content_type": "application/json",
            "body": body,
        }
        return RawCall(**found | members)

    def ask(
        self, body: bytes = b"{}", *requirements: Requirement, now_ns: int | None = None, **members: Any
    ) -> AskedRequest:
        call, demanded = self.call(body, **members), requirements or (BIG,)
        asking = Asking(
            call=call,
            digest=call.digest(demanded),
            pattern=call.pattern_digest(demanded),
            requirements=demanded,
            key_id=self.key,
            decision_id=new_id("dec"),
            about={"action": "chat.completions", "model": "m"},
        )
        return self.askings.ask(asking, time.time_ns() if now_ns is None else now_ns)

    def person(self, name: str, role: str = "admin", organization: str | None = ORG) -> Reviewer:
        made = add_operator(self.home.registry, actor=ACTOR, organization=organization, name=name, role=role)  # type: ignore[arg-type]
        return Reviewer(f"operator:{made.id}", made.id, name)

    def state(self, request: str) -> str:
        return reviews.one(self.home.registry, ORG, request).state

    def entries(self) -> list[dict[str, Any]]:
        """What the log has of approvals, in order."""
        import json

        outbox.drain(self.home.registry, self.writer)
        with closing(sqlite3.connect(self.home.data.audit_db)) as db:
            found = [json.loads(leaf) for (leaf,) in db.execute("SELECT leaf FROM entry ORDER BY id")]
        return [each for each in found if str(each.get("what", "")).startswith("approval.")]

    def tend(self, now_ns: int | None = None) -> int:
        used = {each["id"]: each["decision"] for each in self.entries() if each["what"] == grants.USED}
        return tending.tend(self.home.registry, lambda each: used.get(each, ""), now_ns or time.time_ns())


@pytest.fixture
def desk(tmp_path: Path, new_registry: Path) -> Iterator[Desk]:
    with new_home(tmp_path / "gateway-data", new_registry) as home:
        made = Desk(home)
        yield made
        made.writer.close()


def refused(code: str, work: Callable[[], object]) -> None:
    with pytest.raises(GatewayError) as caught:
        work()
    assert caught.value.code == code, caught.value


def test_the_same_call_joins_the_same_request(desk: Desk) -> None:
    first = desk.ask()
    assert desk.ask() == first
    assert desk.ask(b"{ }").id != first.id
    assert desk.ask(b"{}", BIG, Requirement("also")).id != first.id
    assert [each["what"] for each in desk.entries()] == [grants.REQUESTED] * 3


def test_every_part_of_a_call_makes_it_another(desk: Desk) -> None:
    usual = desk.call().digest([BIG])
    for name, value in {
        "organization": "acme",
        "agent_id": "agt_b",
        "delegation": [{"agent": "agt_c"}],
        "person": ("https://login.example", "7"),
        "upstream_id": "ups_b",
        "base_url": "http://127.0.0.1:2",
        "method": "PUT",
        "path": "/v1/other",
        "query": {"a": "b"},
        "headers": {"anthropic-beta": "x"},
        "content_type": "text/plain",
        "body": b"{\x00}",
    }.items():
        assert desk.call(**{"body": b"{}", name: value}).digest([BIG]) != usual, name
    for same in ({"User-Agent": "y"}, {"idempotency-key": "k"}, {"traceparent": "t"}):
        assert desk.call(headers=same).digest([BIG]) == usual
    assert desk.call().digest([Requirement("big", quorum=2)]) != usual


def test_somebody_approves(desk: Desk) -> None:
    asked, olga = desk.ask(), desk.person("olga")
    shown = reviews.look(desk.home.registry, desk.home.vault, olga, ORG, asked.id)
    assert (shown["path"], shown["body"]) == ("/v1/chat/completions", "{}")
    found = reviews.approve(desk.home.registry, olga, ORG, asked.id, "fine")
    assert (found.state, found.settled_by, found.missing) == ("approved", olga.actor, [])
    again = desk.ask()
    assert (again.id, again.state) == (asked.id, "approved")
    assert desk.askings.approval(again)["reviewers"] == [olga.actor]
    made = desk.entries()
    assert [each["what"] for each in made] == [grants.REQUESTED, grants.VIEWED, grants.REVIEWED, grants.DECIDED]
    assert made[-1]["id"] == grants.grant_id(asked.id)
    promised = committed(asked.salt, desk.call(b"{}").digest([BIG]))
    assert {each["approval_commitment"] for each in made} == {promised}
    desk.askings.used(asked.id, "dec_x", 1, time.time_ns())
    assert desk.state(asked.id) == "used"
    assert desk.ask().id != asked.id


def test_a_denial_stands_until_its_time_is_over(desk: Desk) -> None:
    asked, olga = desk.ask(), desk.person("olga")
    reviews.deny(desk.home.registry, olga, ORG, asked.id, "no")
    assert desk.ask().state == "denied"
    refused("approval_settled", lambda: reviews.approve(desk.home.registry, desk.person("tom"), ORG, asked.id))
    assert desk.ask(now_ns=asked.expires_ns).id != asked.id


def test_two_of_two_are_two_people(desk: Desk) -> None:
    asked = desk.ask(b"{}", Requirement("big", quorum=2))
    olga, tom = desk.person("olga"), desk.person("tom")
    assert reviews.approve(desk.home.registry, olga, ORG, asked.id).missing == [1]
    refused("reviewed_before", lambda: reviews.approve(desk.home.registry, olga, ORG, asked.id))
    revoke_operator(desk.home.registry, actor=ACTOR, organization=ORG, operator="olga")
    assert reviews.approve(desk.home.registry, tom, ORG, asked.id).state == "waiting"  # olga counts no more
    assert reviews.approve(desk.home.registry, desk.person("eva"), ORG, asked.id).state == "approved"


def test_a_denial_of_two_leaves_the_request_waiting(desk: Desk) -> None:
    asked = desk.ask(b"{}", Requirement("big", denials=2))
    olga, tom, eva = desk.person("olga"), desk.person("tom"), desk.person("eva")
    assert reviews.deny(desk.home.registry, olga, ORG, asked.id, "no").state == "waiting"
    refused("reviewed_before", lambda: reviews.deny(desk.home.registry, olga, ORG, asked.id, "no"))
    revoke_operator(desk.home.registry, actor=ACTOR, organization=ORG, operator="olga")  # a denial stays one
    assert reviews.deny(desk.home.registry, tom, ORG, asked.id, "no").state == "denied"
    other = desk.ask(b"{ }", Requirement("big", denials=2))
    reviews.deny(desk.home.registry, tom, ORG, other.id, "no")
    assert reviews.approve(desk.home.registry, eva, ORG, other.id).state == "approved"


MANY = Requirement("big", quorum=2, scope=Scope(uses=5, seconds=7200, pattern="small ones"))


def test_of_what_several_reviewers_say_the_least_holds(desk: Desk) -> None:
    asked, olga, tom = desk.ask(b"{}", MANY), desk.person("olga"), desk.person("tom")
    offer = reviews.one(desk.home.registry, ORG, asked.id).offer
    assert (offer.uses, offer.seconds, offer.pattern) == (5, 7200, "small ones")
    assert "every call of bot that the policies call “small ones” (chat.completions" in offer.words
    assert "at most 5 times in all, for 2 hours at most" in offer.words
    for wide in (Terms(uses=6), Terms(uses=0), Terms(seconds=7201), Terms(seconds=0)):
        refused("beyond_scope", lambda w=wide: reviews.approve(desk.home.registry, olga, ORG, asked.id, "", w))  # type: ignore[misc]
    reviews.approve(desk.home.registry, olga, ORG, asked.id, "", Terms(4, 7200, for_pattern=True))
    before = time.time_ns()
    found = reviews.approve(desk.home.registry, tom, ORG, asked.id, "", Terms(3, 600))
    assert (found.uses, found.used, found.for_pattern, found.words) == (3, 0, False, "this very call, 3 times in all")
    assert 600 * 10**9 <= found.expires_ns - before < 700 * 10**9
    granted = desk.entries()[-1]
    assert (granted["uses"], "pattern_commitment" in granted) == (3, False)


def test_a_single_call_is_approved_once(desk: Desk) -> None:
    """Also if another policy would allow more."""
    asked, olga = (
        desk.ask(b"{}", Requirement("law"), Requirement("big", scope=Scope(9, 9000, "x"))),
        desk.person("olga"),
    )
    assert "for this very call alone, once" in reviews.one(desk.home.registry, ORG, asked.id).offer.words
    for wide in (Terms(uses=2), Terms(seconds=3601), Terms(for_pattern=True)):
        refused("beyond_scope", lambda w=wide: reviews.approve(desk.home.registry, olga, ORG, asked.id, "", w))  # type: ignore[misc]
    assert reviews.approve(desk.home.registry, olga, ORG, asked.id).uses == 1


def test_uses_are_counted_until_none_is_left(desk: Desk) -> None:
    asked, olga = desk.ask(b"{}", Requirement("big", scope=Scope(uses=3))), desk.person("olga")
    reviews.approve(desk.home.registry, olga, ORG, asked.id, "", Terms(uses=3))
    for number, used in ((1, 1), (2, 2), (1, 2)):  # noted in whatever order
        desk.askings.used(asked.id, "dec_x", number, time.time_ns())
        found = reviews.one(desk.home.registry, ORG, asked.id)
        assert (found.state, found.used) == ("approved", used)
    assert desk.ask(b"{}", Requirement("big", scope=Scope(uses=3))).id == asked.id
    desk.askings.used(asked.id, "dec_x", 3, time.time_ns())
    assert desk.state(asked.id) == "used"
    assert desk.ask(b"{}", Requirement("big", scope=Scope(uses=3))).id != asked.id


def test_an_approval_of_a_pattern_is_found_by_calls_that_are_alike(desk: Desk) -> None:
    small = Requirement("big", scope=Scope(uses=3, pattern="small ones"))
    first, second, olga = desk.ask(b"1", small), desk.ask(b"2", small), desk.person("olga")
    denied, other = desk.ask(b"3", small), desk.ask(b"4", Requirement("big", scope=Scope(uses=3, pattern="large")))
    reviews.deny(desk.home.registry, olga, ORG, denied.id, "not this one")
    reviews.approve(desk.home.registry, olga, ORG, first.id, "", Terms(uses=3, for_pattern=True))
    assert {each: desk.state(each) for each in (first.id, second.id, denied.id, other.id)} == {
        first.id: "approved",
        second.id: "closed",  # nobody has to look at it any more
        denied.id: "denied",
        other.id: "waiting",
    }
    assert desk.ask(b"2", small).id == desk.ask(b"5", small).id == first.id
    assert desk.ask(b"3", small).id == denied.id  # the word on the very call goes first
    assert desk.ask(b"5", small, now_ns=time.time_ns() + 2 * HOUR).id not in (first.id, second.id)
    reviews.revoke(desk.home.registry, olga, ORG, first.id, "enough")
    assert desk.ask(b"2", small).id not in (first.id, second.id)
    assert [each["outcome"] for each in desk.entries() if each["what"] == grants.DECIDED] == [
        "denied",
        "granted",
        "closed",
    ]


def test_an_approval_of_one_call_is_for_no_other_that_is_alike(desk: Desk) -> None:
    small = Requirement("big", scope=Scope(uses=3, pattern="small ones"))
    first, olga = desk.ask(b"1", small), desk.person("olga")
    reviews.approve(desk.home.registry, olga, ORG, first.id, "", Terms(uses=3))
    assert desk.ask(b"2", small).id != first.id


def test_only_those_whom_a_policy_names_count(desk: Desk) -> None:
    create_team(desk.home.registry, actor=ACTOR, organization=ORG, name="finance", owner="fay")
    asked = desk.ask(b"{}", Requirement("money", teams=("finance",)), Requirement("law", operators=("lee",)))
    fay, lee, olga = desk.person("fay"), desk.person("lee"), desk.person("olga", "owner")
    refused("not_an_approver", lambda: reviews.approve(desk.home.registry, olga, ORG, asked.id))
    refused("not_an_approver", lambda: reviews.look(desk.home.registry, desk.home.vault, olga, ORG, asked.id))
    refused("not_an_approver", lambda: reviews.deny(desk.home.registry, olga, ORG, asked.id))
    assert reviews.approve(desk.home.registry, fay, ORG, asked.id).missing == [0, 1]
    assert reviews.approve(desk.home.registry, lee, ORG, asked.id).state == "approved"


def test_four_eyes(desk: Desk) -> None:
    asked = desk.ask(b"{}", Requirement("big", four_eyes=True))
    here = Reviewer(ACTOR, ACTOR, ACTOR)  # who has registered the agent
    for each in (desk.person("dana"), here):
        refused("not_an_approver", lambda each=each: reviews.approve(desk.home.registry, each, ORG, asked.id))  # type: ignore[misc]
    assert reviews.approve(desk.home.registry, desk.person("olga"), ORG, asked.id).state == "approved"


def test_one_person_is_one_however_many_operators(desk: Desk) -> None:
    """A login gives one operator for the organization and one for all; a user of the machine has one besides."""
    olga, of_all = desk.person("olga"), desk.person("olga", "owner", None)
    local, mine = Reviewer("local:7", "local:7", "local:7"), desk.person("local-7", "owner", None)
    with desk.home.registry.write() as session:
        for each in (olga, of_all):
            row = session.get(Operator, each.id)
            assert row is not None
            row.issuer, row.subject = "https://login.example", "7"
    for one, other in ((olga, of_all), (mine, local)):
        asked = desk.ask(one.actor.encode(), Requirement("big", quorum=2))
        assert reviews.approve(desk.home.registry, one, ORG, asked.id).missing == [1]
        refused("reviewed_before", lambda a=asked, o=other: reviews.approve(desk.home.registry, o, ORG, a.id))  # type: ignore[misc]
        assert desk.state(asked.id) == "waiting"


def test_four_eyes_are_not_those_of_whoever_made_the_call_possible(desk: Desk) -> None:
    """The owner who hands the agent on while its call waits, whoever has made its key, the same person elsewhere."""
    dana, kim, olga = desk.person("dana"), desk.person("kim"), desk.person("olga")
    local = desk.person(ACTOR.replace(":", "-"), "owner", None)
    made = create_key(desk.home.registry, desk.home.peppers, actor=kim.actor, organization=ORG, agent="bot", reason="")
    desk.key = made.record.id
    asked = desk.ask(b"{}", Requirement("big", four_eyes=True))
    update_agent(desk.home.registry, actor=dana.actor, organization=ORG, agent="bot", update=AgentUpdate(owner="x"))
    for each in (dana, kim, local):
        refused("not_an_approver", lambda each=each: reviews.approve(desk.home.registry, each, ORG, asked.id))  # type: ignore[misc]
    assert reviews.approve(desk.home.registry, olga, ORG, asked.id).state == "approved"


def test_four_eyes_are_not_those_of_the_person_for_whom_the_agent_acts(desk: Desk) -> None:
    kim, olga = desk.person("kim"), desk.person("olga")
    login = "https://login.example"
    with desk.home.registry.write() as session:
        for each, subject in ((kim, "7"), (olga, "8")):
            row = session.get(Operator, each.id)
            assert row is not None
            row.issuer, row.subject = login, subject
    free = desk.ask(b"1", Requirement("big"), person=(login, "7"))
    assert reviews.approve(desk.home.registry, kim, ORG, free.id).state == "approved"
    asked = desk.ask(b"2", Requirement("big", four_eyes=True), person=(login, "7"))
    for act in (reviews.approve, reviews.deny):
        refused("not_an_approver", lambda act=act: act(desk.home.registry, kim, ORG, asked.id))  # type: ignore[misc]
    assert reviews.approve(desk.home.registry, olga, ORG, asked.id).state == "approved"


def test_another_organizations_request_is_not_there(desk: Desk) -> None:
    from gateway.registry.organizations.changes import create_organization

    create_organization(desk.home.registry, actor=ACTOR, name="acme")
    asked, eve = desk.ask(), desk.person("eve", "owner", "acme")
    for work in (
        lambda: reviews.one(desk.home.registry, "acme", asked.id),
        lambda: reviews.look(desk.home.registry, desk.home.vault, eve, "acme", asked.id),
        lambda: reviews.approve(desk.home.registry, eve, "acme", asked.id),
        lambda: reviews.revoke(desk.home.registry, eve, "acme", asked.id),
    ):
        refused("unknown_approval", work)
    assert reviews.listed(desk.home.registry, "acme") == ([], False)


@pytest.mark.parametrize("approved", [False, True])
def test_what_is_over_is_settled(desk: Desk, approved: bool) -> None:
    expiring, closing_, olga = desk.ask(b"1"), desk.ask(b"2", Requirement("x", expires_seconds=10**6)), desk.person("o")
    if approved:
        for each in (expiring, closing_):
            reviews.approve(desk.home.registry, olga, ORG, each.id)
    assert desk.tend() == 0
    assert desk.tend(time.time_ns() + 2 * HOUR) == (2 if approved else 1)
    assert desk.state(expiring.id) == "expired"
    if not approved:
        suspend_agent(desk.home.registry, actor=ACTOR, organization=ORG, agent="bot")
        refused("approval_settled", lambda: reviews.approve(desk.home.registry, olga, ORG, closing_.id))
        assert desk.tend() == 1
        assert desk.state(closing_.id) == "closed"
    assert desk.tend() == 0
    with closing(sqlite3.connect(desk.home.data.registry_db)) as db:
        assert db.execute("SELECT count(*) FROM approval_request WHERE sealed IS NOT NULL").fetchone() == (0,)
    outcomes = [each["outcome"] for each in desk.entries() if each["what"] == grants.DECIDED]
    assert outcomes == (["granted"] * 2 + ["expired"] * 2 if approved else ["expired", "closed"])


def test_an_approval_can_be_taken_back(desk: Desk) -> None:
    asked, olga = desk.ask(), desk.person("olga")
    refused("approval_settled", lambda: reviews.revoke(desk.home.registry, olga, ORG, asked.id))
    reviews.approve(desk.home.registry, olga, ORG, asked.id)
    assert reviews.revoke(desk.home.registry, olga, ORG, asked.id, "sorry").state == "revoked"
    assert desk.entries()[-1]["id"] == grants.revocation_id(asked.id)
    assert desk.ask().id != asked.id


def test_an_agent_fills_its_own_share_alone(desk: Desk) -> None:
    for number in range(MAX_OF_AGENT):
        desk.ask(b"%d" % number)
    with pytest.raises(Denied) as caught:
        desk.ask(b"more")
    assert caught.value.code == "approval_required"
    with closing(sqlite3.connect(desk.home.data.registry_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # neither waits for whoever changes the registry
        with pytest.raises(Denied, match="approval_required"):
            desk.ask(b"even more")
        assert desk.ask(b"0").state == "waiting"  # the same call joins all the same
    desk.agent = desk.home.agent("other")
    desk.ask(b"more")


def test_what_is_sealed_moves_to_a_new_key(desk: Desk) -> None:
    asked, olga = desk.ask(), desk.person("olga")
    assert vault_rotation.rotate(desk.home.registry, desk.home.data.keys, ACTOR).sealed["approvals"] == 1
    assert reviews.look(desk.home.registry, desk.home.vault, olga, ORG, asked.id)["body"] == "{}"


def test_status_says_what_waits_and_of_what_nobody_was_told(desk: Desk) -> None:
    from gateway.registry import inventory
    from gateway.registry.webhooks import add_webhook

    def said() -> list[str]:
        part = ApprovalsStatus(desk.home.data, desk.home.registry)
        (tenant,) = inventory.take(desk.home.registry, time.time_ns()).tenants
        return [each.message for each in part.findings(tenant, "")] + [text for _, text in part.lines(tenant, "", 0)]

    assert said() == []
    asked = desk.ask()
    waits, untold, line = said()
    assert waits == f"1 call waits for an approval in organization `{ORG}`"
    assert "nobody is told" in untold
    assert line.startswith("1 waiting")
    add_webhook(
        desk.home.registry, desk.home.vault, actor=ACTOR, organization=ORG, url="https://hooks.example/x",
        secret="whsec_" + "A" * 32, since=0,
    )  # fmt: skip
    assert len(said()) == 2  # the usual events have it
    desk.tend(asked.expires_ns)
    (lost,) = said()
    assert "1 call was denied in the last week because nobody decided in time" in lost
    assert "nobody was told of 1 of them" in lost
