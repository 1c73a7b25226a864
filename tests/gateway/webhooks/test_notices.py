"""Notices of calls that wait: a state for each webhook, which is the truth at every moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from gateway.approvals import reviews, status, tending
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.status import ApprovalsStatus
from gateway.audit import grants, search, signer, storage
from gateway.audit.log_files import opened_log
from gateway.audit.writer import AuditWriter
from gateway.registry import inventory, outbox
from gateway.registry.models import ApprovalRequest
from gateway.registry.webhooks import add_webhook, remove_webhook
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.webhooks import deliveries, notices, sender
from gateway.webhooks.courier import Courier
from gateway.webhooks.deliveries import Round
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.rigs.webhooks.courier import receiving
from tests.rigs.webhooks.courier import status as answer

SECRET = "whsec_" + "A" * 32


@dataclass
class Office:
    """A gateway with an agent, whose calls wait."""

    home: Home
    agent: str
    writer: AuditWriter

    def ask(self, body: bytes = b"{}") -> str:
        return asked(self.home, self.agent, body=body)

    def drain(self) -> None:
        outbox.drain(self.home.registry, self.writer)

    def hook(self, url: str, since: int = 0, *events: str) -> str:
        add = {"actor": ACTOR, "organization": ORG, "url": url, "insecure": True, "events": events or None}
        return add_webhook(self.home.registry, self.home.vault, secret=SECRET, since=since, **add).id  # type: ignore[arg-type]

    def courier(self) -> Courier:
        return Courier(
            self.home.registry, KeySource(self.home.data.keys), self.home.data, RuntimeStore(self.home.data.runtime_db)
        )

    def told(self, request: str) -> notices.Told:
        return notices.of_requests(self.home.registry, self.home.data, ORG, [request])[request]

    def states(self, request: str) -> list[str]:
        return [each.state for each in self.told(request).notices]


@pytest.fixture
def office(home: Home) -> Iterator[Office]:
    storage.create(home.data)
    signer.create_key(home.data, "test")
    with closing(AuditWriter(home.data, boot="boot_a", deployment="test")) as writer:
        yield Office(home, home.agent("bot"), writer)


async def settle(courier: Courier) -> None:
    await courier.step()
    while courier._busy:
        await asyncio.gather(*courier._busy.values())
    await asyncio.to_thread(courier._write, Round(), time.time_ns())


async def test_a_notice_is_queued_then_accepted_and_stays_so(office: Office) -> None:
    async with receiving() as receiver:
        hook = office.hook(receiver.url)
        office.hook(receiver.url + "?other", 0, "agent.revoked")  # is not told
        request = office.ask()
        assert office.states(request) == ["queued"]  # its entry is not in the log yet
        office.drain()
        with opened_log(office.home.data) as log:
            office.hook(receiver.url + "?late", search.last_position(log))
        assert office.states(request) == ["queued"]
        courier = office.courier()
        await settle(courier)
        assert office.states(request) == ["accepted"]  # by the outbox
        office.drain()
        assert (office.states(request), len(receiver.got)) == (["accepted"], 1)
        office.home.data.runtime_db.unlink()
        await courier.close()
        await settle(office.courier())  # it comes again, and is told of once
        office.drain()
        assert (office.states(request), len(receiver.got)) == (["accepted"], 2)
        remove_webhook(office.home.registry, actor=ACTOR, organization=ORG, webhook=hook)
        assert (office.states(request), office.told(request).accepted) == ([], 1)


async def test_a_notice_that_fails_says_why_also_when_it_was_given_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving(answer(500)) as receiver:
        office.hook(receiver.url)
        request = office.ask()
        office.drain()
        courier = office.courier()
        await settle(courier)
        [notice] = office.told(request).notices
        assert (notice.state, notice.attempts, notice.to) == ("failed", 1, "127.0.0.1")
        assert "status 500" in notice.error
        monkeypatch.setattr(deliveries, "GIVEN_UP_SECONDS", -1)
        with closing(RuntimeStore(office.home.data.runtime_db)) as store:
            store.run("UPDATE delivery SET next_ns = 0")
            store.run("UPDATE receiver SET next_ns = 0")
        await settle(courier)
        assert (office.states(request), office.told(request).accepted) == (["failed"], 0)
        [state] = deliveries.states(office.home.data.runtime_db).values()
        assert (state.given_up, state.waiting) == (1, 0)


async def test_a_notice_without_an_answer_is_sent(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SECONDS", 3600.0)
    async with receiving(b"") as silent:
        office.hook(silent.url)
        request, behind = office.ask(), office.ask(b"[]")
        office.drain()
        courier = office.courier()
        await courier.step()
        while not silent.got:  # noqa: ASYNC110  # its own connection may be later
            await asyncio.sleep(0.01)
        await courier.step()
        assert (office.states(request), office.states(behind)) == (["sent"], ["queued"])
        await courier.close()


async def test_the_owner_of_the_agent_is_told_of_the_outcome(office: Office) -> None:
    home, olga = office.home, Reviewer("local:1", "local:1", "olga")
    other = home.agent("other", owner="sam@acme.example", team="red")
    async with receiving() as receiver:
        add = {"actor": ACTOR, "organization": ORG, "insecure": True, "since": 0, "secret": SECRET}
        for query, only in (("sam", {"owner": "sam@acme.example"}), ("red", {"team": "red"}), ("all", {})):
            events = [grants.REQUESTED, grants.DECIDED]
            add_webhook(home.registry, home.vault, url=f"{receiver.url}?{query}", events=events, **add, **only)  # type: ignore[arg-type]
        mine, others = office.ask(), asked(home, other)
        assert (office.states(mine), len(office.states(others))) == (["queued"], 3)
        reviews.deny(home.registry, olga, ORG, others, "not today")
        reviews.approve(home.registry, olga, ORG, mine)
        office.drain()
        await settle(office.courier())
        assert sorted(receiver.events()) == [grants.DECIDED] * 4 + [grants.REQUESTED] * 4
        told = [json.loads(body)["data"] for _, body in receiver.got]
        outcomes = [each for each in told if each.get("outcome") == "denied"]
        assert [(each["owner"], each["team"], each["reason"]) for each in outcomes] == [
            ("sam@acme.example", "red", "not today")
        ] * 3
        assert office.states(others) == ["accepted"] * 3
        found, more = reviews.listed(home.registry, ORG, owner="sam@acme.example")
        assert ([each.id for each in found], more) == ([others], False)


async def test_status_and_metrics_count_what_nobody_was_told_of(office: Office) -> None:
    def said() -> list[str]:
        part = ApprovalsStatus(office.home.data, office.home.registry)
        (tenant,) = inventory.take(office.home.registry, time.time_ns()).tenants
        return [each.message for each in part.findings(tenant, "")]

    async with receiving(answer(500), answer(204)) as receiver:
        office.hook(receiver.url)
        first = office.ask()
        office.drain()
        await settle(office.courier())
        later = time.time_ns() + 31 * 10**9
        mine = status.waiting(office.home.registry, office.home.data, later)[ORG]
        assert (mine.many, mine.untold, mine.overdue, dict(mine.notices)) == (1, 1, 1, {"failed": 1})
        assert len(said()) == 1  # half a minute is not over
        with office.home.registry.write() as session:
            row = session.get_one(ApprovalRequest, first)
            row.created_ns -= 31 * 10**9
            session.add(row)
        assert f"no notice of 1 call that waits for an approval in organization `{ORG}` was accepted" in said()
        with closing(RuntimeStore(office.home.data.runtime_db)) as store:
            store.run("UPDATE delivery SET next_ns = 0")
            store.run("UPDATE receiver SET next_ns = 0")
        second = office.ask(b"[]")
        await settle(office.courier())
        office.drain()
        mine = status.waiting(office.home.registry, office.home.data, later)[ORG]
        assert (mine.many, mine.untold, mine.notices) == (2, 1, {"accepted": 1, "queued": 1})
        tending.tend(office.home.registry, lambda _: "", time.time_ns() + 3600 * 10**9)
        [lost] = said()
        assert "2 calls were denied" in lost
        assert "nobody was told of 1 of them" in lost
        assert office.states(second) == ["queued"]
