"""Deliveries, from an entry of the log to a receiver: signed, once if all goes well, again if not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from gateway.registry import webhooks
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.webhooks import courier as courier_module
from gateway.webhooks import deliveries, events, sender, signature
from gateway.webhooks.courier import Courier
from gateway.webhooks.deliveries import Deliveries, Outcome, Round
from tests.gateway.conftest import Home, Run
from tests.rigs.webhooks.courier import receiving, status

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four by").decode()


def courier_of(home: Home) -> Courier:
    return Courier(home.registry, KeySource(home.data.keys), home.data, RuntimeStore(home.data.runtime_db))


async def settle(courier: Courier) -> None:
    """One step, until all that it has begun is done and written down."""
    await courier.step()
    while courier._busy:
        await asyncio.gather(*courier._busy.values())
    courier._write(Round(), time.time_ns())


def forget_pauses(home: Home) -> None:
    with closing(sqlite3.connect(home.data.runtime_db)) as db, db:
        db.execute("UPDATE receiver SET next_ns = 0")
        db.execute("UPDATE delivery SET next_ns = 0")


@pytest.fixture
def add(home: Home, at: Run, tmp_path: Any) -> Callable[..., None]:
    """Add a webhook with a known secret."""
    home.agent("bot")
    at("agents", "list")
    (tmp_path / "secret").write_text(SECRET + "\n")

    def added(url: str, *more: str) -> None:
        done = at("webhooks", "add", url, "--insecure", "--secret-file", str(tmp_path / "secret"), *more)
        assert (done.code, SECRET in done.out) == (0, False), done.err

    return added


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own libraries."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    made = signature.headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_an_event_is_delivered_signed_and_once(home: Home, at: Run, add: Callable[..., None]) -> None:
    async with receiving() as receiver:
        at("limits", "set", "bot", "requests_per_day", "5")  # before it is there: not told
        add(receiver.url, "--event", "limit.set", "--event", "agent.suspended")
        at("limits", "set", "bot", "requests_per_day", "6")
        at("agents", "update", "bot", "--team", "red")  # no event of its
        at("agents", "suspend", "bot")
        courier = courier_of(home)
        await settle(courier)
        await settle(courier_of(home))  # as after a restart
        assert receiver.events() == ["limit.set", "agent.suspended"]
        headers, body = receiver.got[0]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        due = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == due
        [entry] = [
            json.loads(line)["entry"]
            for line in at("audit", "list", "--kind", "change", "--json").out.splitlines()
            if json.loads(line)["entry"]["id"] == headers["webhook-id"]
        ]
        assert (entry["what"], entry["value"]) == ("limit.set", 6)
        assert json.loads(body)["data"]["value"] == 6
        [state] = deliveries.states(home.data.runtime_db).values()
        assert (state.waiting, state.failures, state.success_ns > 0) == (0, 0, True)


@pytest.mark.slow
async def test_what_is_not_accepted_comes_again_with_the_same_id(
    home: Home, at: Run, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "pause", lambda failures: 3600)  # it ends when `forget_pauses` says so
    accepts = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with receiving(status(500), status(302), b"nonsense\r\n\r\n", accepts) as receiver:
        add(receiver.url, "--event", "agent.suspended")
        at("agents", "suspend", "bot")
        courier = courier_of(home)
        for number, why in enumerate(("status 500", "status 302, and redirects are not followed", "valid HTTP"), 1):
            await settle(courier)
            await settle(courier)  # it is too early to try again
            [state] = deliveries.states(home.data.runtime_db).values()
            assert (len(receiver.got), state.failures, state.waiting, why in state.error) == (
                number,
                number,
                1,
                True,
            )
            forget_pauses(home)
        said = at("webhooks", "list").out
        assert "failed" in said
        await settle(courier)
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert len({body for _, body in receiver.got}) == 1
        [state] = deliveries.states(home.data.runtime_db).values()
        assert (len(receiver.got), state.failures, state.waiting) == (4, 0, 0)


@pytest.mark.slow
async def test_a_receiver_that_says_nothing_holds_up_no_other(
    home: Home, at: Run, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SECONDS", 3600.0)
    async with receiving(b"") as silent, receiving() as receiver:
        add(silent.url, "--event", "agent.suspended")
        add(receiver.url, "--event", "agent.suspended", "--event", "agent.resumed")
        at("agents", "suspend", "bot")
        courier = courier_of(home)
        for command in ("resume", "suspend"):
            await courier.step()
            await asyncio.wait(courier._busy.values(), return_when=asyncio.FIRST_COMPLETED)
            at("agents", command, "bot")
        assert receiver.events() == ["agent.suspended", "agent.resumed"]
        while not silent.got:  # noqa: ASYNC110  # its own connection may be later
            await asyncio.sleep(0.01)
        assert len(silent.got) == 1
        await courier.close()


async def test_a_round_writes_once_and_looking_waits_for_nobody(home: Home, at: Run, add: Callable[..., None]) -> None:
    """`runtime.db` has the nonces of signed requests as well, so each lock of it may delay one."""
    async with receiving() as receiver:
        for number in range(3):
            add(f"{receiver.url}/{number}", "--event", "limit.set")
        courier = courier_of(home)
        await settle(courier)
        said: list[str] = []
        courier._deliveries._store._open().writes.set_trace_callback(said.append)
        for value in range(4):
            at("limits", "set", "bot", "requests_per_day", str(value))
        await courier.step()
        assert sum(each.startswith("BEGIN") for each in said) == 1
        while courier._busy:
            await asyncio.gather(*courier._busy.values())
        await courier.step()
        assert len(receiver.got) == 12
        assert sum(each.startswith("BEGIN") for each in said) == 2
        with closing(sqlite3.connect(home.data.runtime_db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await courier.step()
        await courier.close()


@pytest.mark.slow
async def test_an_organization_with_slow_receivers_delays_no_other(
    home: Home, at: Run, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SECONDS", 3600.0)
    monkeypatch.setattr(courier_module, "SENDING", 4)
    at("orgs", "create", "acme")
    at("agents", "register", "bot", "--org", "acme")
    async with receiving(b"") as silent, receiving() as receiver:
        for number in range(6):
            add(f"{silent.url}/{number}", "--event", "agent.suspended")
        add(receiver.url, "--event", "agent.suspended", "--org", "acme")
        at("agents", "suspend", "bot")
        courier = courier_of(home)
        await courier.step()
        while len(silent.got) < 2:  # noqa: ASYNC110  # its share
            await asyncio.sleep(0.01)
        at("agents", "suspend", "bot", "--org", "acme")
        await courier.step()
        async with asyncio.timeout(60):
            while not receiver.got:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (len(silent.got), courier._sending.taken) == (2, 2)
        await courier.close()


@pytest.mark.slow
def test_an_event_that_one_receiver_never_takes_lets_others_pass(home: Home, add: Callable[..., None]) -> None:
    waiting = Deliveries(RuntimeStore(home.data.runtime_db))
    second = 10**9

    def failed(position: int, at_ns: int) -> bool:
        [(_, given_up)] = waiting.write(Round([Outcome("whk_1", position, "evt", "no", at_ns)]), at_ns)
        return given_up

    waiting.write(Round(found=[("whk_1", [3, 5], 9)]), second)
    assert waiting.due(second) == {"whk_1": [3, 5]}
    assert not failed(3, second)
    assert waiting.due(second) == {}
    later = second + deliveries.pause(1) * second
    assert waiting.due(later) == {"whk_1": [5, 3]}
    waiting.write(Round([Outcome("whk_1", 5, "evt", "", later)]), later)
    assert waiting.due(later) == {"whk_1": [3]}
    end = later + (deliveries.GIVEN_UP_SECONDS + 1) * second
    assert failed(3, end)
    assert (waiting.due(2 * end), waiting.followed()) == ({}, {"whk_1": (9, 0)})
    assert [deliveries.pause(each) for each in (1, 2, 3, 9, 500)] == [5, 20, 80, 3600, 3600]


@pytest.mark.slow
async def test_the_log_is_the_queue(
    home: Home, at: Run, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries beyond the rows that may wait are taken from the log later, and nothing is left out."""
    monkeypatch.setattr(deliveries, "MOST", 2)
    async with receiving() as receiver:
        add(receiver.url, "--event", "limit.set")
        for value in range(5):
            at("limits", "set", "bot", "requests_per_day", str(value))
        courier = courier_of(home)
        for _ in range(4):
            await settle(courier)
        assert [json.loads(body)["data"]["value"] for _, body in receiver.got] == [0, 1, 2, 3, 4]


def test_a_name_that_leads_inside_is_refused_when_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> str:
        loop = asyncio.get_running_loop()

        async def resolve(host: str, port: int, **_: object) -> list[Any]:
            return [(2, 1, 6, "", ("93.184.216.34", port)), (2, 1, 6, "", ("169.254.169.254", port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        return await sender.send("https://alerts.example.com/x", "private", SECRET, "evt_1", b"{}")

    assert asyncio.run(scenario()) == "169.254.169.254 is an address that no webhook may have"


def test_a_policy_that_was_refused_is_an_event_for_every_organization() -> None:
    refused = {"kind": "activation", "org": "system", "id": "act_1", "time": "1772618402123456789"}
    refused |= {"outcome": "tests_failed", "commit": "c" * 40, "detail": "bot/authz_test.rego:3: failed"}
    assert events.concerns(refused, "acme", ["policy.refused"])
    assert not events.concerns(refused | {"outcome": "ok"}, "acme", ["policy.refused"])
    told = json.loads(events.payload(refused))
    assert (told["type"], told["data"]["outcome"], told["timestamp"]) == (
        "policy.refused",
        "tests_failed",
        "2026-03-04T10:00:02.123Z",
    )
    assert told["data"]["detail"] == refused["detail"]
    other = {"kind": "change", "org": "other", "what": "agent.revoked"}
    assert not events.concerns(other, "acme", ["agent.revoked"])


def test_a_commit_that_lacks_a_bundle_does_not_tell_who_is_bound_to_it() -> None:
    refused = {"kind": "activation", "org": "system", "id": "act_1", "time": "1772618402123456789"}
    why = "bundle base: `payroll-bot` is bound to it, but the commit does not hold it"
    refused |= {"outcome": "bundle_missing", "commit": "c" * 40, "detail": why}
    told = events.payload(refused)
    assert b"payroll-bot" not in told
    assert json.loads(told)["data"] == {"organization": "system", "outcome": "bundle_missing", "commit": "c" * 40}


@pytest.mark.parametrize("what", ["agents.stopped", "agents.resumed"])
def test_of_a_stop_of_all_an_organization_is_told_only_that_there_is_one(what: str) -> None:
    stopped = {"kind": "change", "org": "system", "id": "chg_1", "time": "1772618402123456789", "what": what}
    stopped |= {"stop": "stp_1", "actor": "operator:opr_1", "reason": "a key of acme was found"}
    assert events.concerns(stopped, "other", [what])
    assert json.loads(events.payload(stopped))["data"] == {"organization": "system", "stop": "stp_1"}
    own = json.loads(events.payload(stopped | {"org": "acme"}))["data"]
    assert (own["actor"], own["reason"]) == ("operator:opr_1", "a key of acme was found")


@pytest.mark.slow
def test_what_operators_are_told(home: Home, at: Run, add: Callable[..., None], tmp_path: Any) -> None:
    assert (
        "`agent.suspendet` is not an event: did you mean `agent.suspended`?"
        in at("webhooks", "add", "https://alerts.example.com/", "--event", "agent.suspendet").complains()
    )
    assert (
        "169.254.169.254 is an address that no webhook may have"
        in at("webhooks", "add", "https://169.254.169.254/latest", "--allow-private").complains()
    )
    (tmp_path / "short").write_text("whsec_c2hvcnQ=")
    assert (
        "24 to 64 bytes in base64"
        in at("webhooks", "add", "https://alerts.example.com/", "--secret-file", str(tmp_path / "short")).complains()
    )
    made = at("webhooks", "add", "https://alerts.example.com/", "--json").json
    assert signature.key_of(made["secret"])
    assert made["webhook"]["events"] == sorted(webhooks.USUAL)
    assert made["secret"].encode() not in home.data.registry_db.read_bytes()
    assert (
        "there is a webhook with this URL already" in at("webhooks", "add", "https://alerts.example.com/").complains()
    )
    identifier = made["webhook"]["id"]
    assert identifier in at("webhooks", "list").out
    assert at("webhooks", "remove", identifier).out.startswith(f"webhook {identifier} at https://alerts.")
    assert "no webhook has the id" in at("webhooks", "test", identifier).complains()
    told = at("audit", "list", "--kind", "change").out
    assert ("webhook.added" in told, "webhook.removed" in told) == (True, True)
