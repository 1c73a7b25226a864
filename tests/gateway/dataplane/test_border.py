"""Calls between agents of two gateways: what goes through, what is refused, and what each side keeps of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.audit import matching, merkle
from gateway.audit.border_check import BorderCheck
from gateway.audit.entry import Entry, decode, encode
from gateway.audit.log_files import opened_log
from gateway.identity import jose, organization_keys
from gateway.identity import statements as said
from gateway.identity.message_signatures import content_digest
from gateway.registry import outbox, peers
from gateway.registry.agents import changes as agents
from gateway.registry.organizations import changes as organizations
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.conftest import ACTOR, Gateway, Prepared, Seen, answer, stream, until
from tests.rigs.dataplane import a2a
from tests.rigs.dataplane.a2a import OTHER, message, send, task
from tests.rigs.dataplane.border import CALLER, Border, Forged, forged, jwks, two_gateways

PEER: dict[str, Any] = {"actor": ACTOR, "name": "home"}


@pytest.fixture
async def border(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Border]:
    async with two_gateways(prepared, tmp_path) as found:
        found.abroad.upstream.handler = answer(task())
        yield found


def hashed(entry: dict[str, Any]) -> str:
    return merkle.leaf_hash(encode(entry)).hex()


async def test_a_call_crosses_the_border_and_each_log_has_its_half(border: Border) -> None:
    reply = await border.ask()
    assert (reply.status, reply.json) == (200, task())
    assert "gateway-receipt" not in reply.headers
    [seen] = border.abroad.upstream.seen
    assert (seen.json, seen.headers["a2a-version"]) == (message("SendMessage"), "1.0")
    assert seen.headers["gateway-caller"] == f"{CALLER}/buyer"
    assert not {"gateway-assertion", "signature", "signature-input"} & seen.headers.keys()
    [mine], [theirs] = await border.halves()
    assert (mine["allow"], mine["callee_organization"], mine["callee_name"]) == (True, OTHER, "sales")
    assert (theirs["allow"], theirs["direction"], theirs["agent_name"]) == (True, "receive", "sales")
    assert (theirs["caller_organization"], theirs["caller_name"], theirs["caller"]) == (CALLER, "buyer", mine["agent"])
    assert (theirs["other_decision"], seen.headers["gateway-decision"]) == (mine["id"], theirs["id"])
    [end], [their_end] = await border.halves("completed")
    assert (end["outcome"], their_end["outcome"], their_end["decision"]) == ("ok", "ok", theirs["id"])
    assert border.home.open_decisions() == border.abroad.open_decisions() == 0
    assert not border.abroad.log(CALLER)
    assert not border.home.log(OTHER)


async def test_each_log_holds_what_the_other_gateway_has_signed(border: Border) -> None:
    await border.ask()
    [mine], [theirs] = await border.halves()
    [end], _ = await border.halves("completed")
    said.verify(theirs["assertion"], jose.key_set(jwks(border.home)))
    said.verify(end["receipt"], jose.key_set(jwks(border.abroad)))
    assertion, receipt = said.read_assertion(theirs["assertion"]), said.read_receipt(end["receipt"])
    assert (assertion.decision, assertion.leaf, assertion.action) == (mine["id"], hashed(mine), "a2a.message.send")
    assert (receipt.decision, receipt.leaf, receipt.allow) == (theirs["id"], hashed(theirs), True)
    assert receipt.assertion == said.digest(theirs["assertion"])
    assert (end["other_decision"], end["other_leaf"]) == (theirs["id"], hashed(theirs))


async def test_the_side_that_is_called_denies_and_keeps_its_reasons(border: Border) -> None:
    reply = await border.ask(params=send("ten chairs on credit"))
    error = reply.json["error"]
    assert (reply.status, error["data"]["reason"]) == (403, "callee_refused")
    assert b"no credit" not in reply.body
    assert border.abroad.upstream.seen == []
    [mine], [theirs] = await border.halves()
    assert (mine["allow"], theirs["allow"], theirs["reasons_json"]) == (True, False, '["no credit"]')
    assert theirs["id"] in error["message"]
    [end], ends = await border.halves("completed")
    assert (end["outcome"], end["other_leaf"], ends) == ("callee_refused", hashed(theirs), [])
    assert said.read_receipt(end["receipt"]).allow is False


async def test_the_side_that_calls_denies_and_the_other_hears_nothing(border: Border) -> None:
    reply = await border.ask(params=send("a secret"))
    assert reply.json["error"]["data"]["reason"] == "policy_denied"
    _, theirs = await border.halves()
    assert theirs == []


async def test_a_suspended_agent_is_not_called(border: Border) -> None:
    agents.suspend_agent(border.abroad.registry, actor=ACTOR, organization=OTHER, agent="sales")
    assert (await border.ask()).json["error"]["data"]["reason"] == "callee_refused"
    _, [theirs] = await border.halves()
    assert theirs["reason"] == "callee_unavailable"


async def test_a_task_belongs_to_the_agent_that_began_it(border: Border) -> None:
    """Each gateway sees to that for itself."""
    border.abroad.upstream.handler = answer(task("TASK_STATE_WORKING"))
    assert (await border.ask()).status == 200
    assert (await border.ask("GetTask", {"id": "task-1"})).status == 200
    request = forged(border, body=message("GetTask", {"id": "task-1"}), action="a2a.tasks.get")
    reply = await border.abroad.send(request.bytes())
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (403, "foreign_reference")


async def refused(border: Border, request: Forged, status: int, detail: str) -> None:
    """The called gateway refuses this before anything is decided, and its own log says why."""
    reply = await border.abroad.send(request.bytes())
    assert reply.status == status, reply.body
    assert "gateway-receipt" not in reply.headers
    assert detail in [each["detail"] for each in await border.refused()]
    _, theirs = await border.halves()
    assert theirs == []
    assert border.abroad.upstream.seen == []


async def test_an_honest_request_of_the_rig_passes(border: Border) -> None:
    assert (await border.abroad.send(forged(border).bytes())).status == 200


async def test_nobody_else_is_trusted(border: Border, tmp_path: Path) -> None:
    """Whoever says so, with a key of their own."""
    keys = tmp_path / "keys"
    keys.mkdir()
    organization_keys.create(keys)
    await refused(border, forged(border, keys), 401, "unknown_peer")


@pytest.mark.parametrize("organization", ["initech", OTHER, "default"])
async def test_a_peer_speaks_only_for_the_organizations_that_were_named(border: Border, organization: str) -> None:
    await refused(border, forged(border, organization=organization), 403, "peer_organization")


async def test_nobody_speaks_for_an_organization_that_is_here(border: Border) -> None:
    """Also if it came after the peer was declared."""
    organizations.create_organization(border.abroad.registry, actor=ACTOR, name=CALLER)
    await refused(border, forged(border), 403, "own_organization")


async def test_nobody_says_that_an_agent_of_this_gateway_is_its_own(border: Border) -> None:
    sales = agents.suspend_agent(border.abroad.registry, actor=ACTOR, organization=OTHER, agent="sales")
    await refused(border, forged(border, agent=sales.id), 403, "own_agent")


async def test_a_request_opens_once(border: Border) -> None:
    request = forged(border)
    assert (await border.abroad.send(request.bytes())).status == 200
    reply = await border.abroad.send(request.bytes())
    assert reply.status == 401
    assert "replayed" in [each["detail"] for each in await border.refused()]
    assert len(border.abroad.upstream.seen) == 1


@pytest.mark.parametrize("part", ["body", "path", "query", "a2a-version", "host", "assertion", "digest", "method"])
async def test_what_was_changed_on_the_way_is_refused(border: Border, part: str) -> None:
    request = forged(border)
    raw = request.bytes()
    other = forged(border)
    if part == "body":
        raw = raw.replace(b"ten chairs", b"ten tables")
    elif part == "path":
        raw = raw.replace(b"/a2a/globex/sales HTTP", b"/a2a/globex/stock HTTP")
    elif part == "query":
        raw = raw.replace(b"/a2a/globex/sales HTTP", b"/a2a/globex/sales?tenant=x HTTP")
    elif part == "a2a-version":
        raw = raw.replace(b"A2A-Version: 1.0", b"A2A-Version: 0.3")
    elif part == "host":
        raw = raw.replace(f"Host: {request.lines['Host']}".encode(), b"Host: elsewhere")
    elif part == "assertion":
        raw = raw.replace(request.lines["gateway-assertion"].encode(), other.lines["gateway-assertion"].encode())
    elif part == "digest":
        raw = raw.replace(b"ten chairs", b"ten tables")
        body = raw.partition(b"\r\n\r\n")[2]
        raw = raw.replace(request.lines["Content-Digest"].encode(), content_digest(body).encode())
    else:
        raw = raw.replace(b"POST /", b"PUT /")
    assert raw != request.bytes()
    reply = await border.abroad.send(raw)
    assert reply.status == 401
    assert border.abroad.upstream.seen == []


@pytest.mark.parametrize(("moved", "detail"), [(-70, "signature_expired"), (70, "signature_early")])
async def test_a_request_has_its_time(border: Border, moved: int, detail: str) -> None:
    await refused(border, forged(border, moved=moved), 401, detail)


@pytest.mark.parametrize("moved", [-50, 50])
async def test_clocks_may_differ_by_less_than_a_minute(border: Border, moved: int) -> None:
    assert (await border.abroad.send(forged(border, moved=moved).bytes())).status == 200


async def test_an_assertion_is_for_one_address(border: Border) -> None:
    """A gateway that is called cannot pass a call on to another one as if it came from the caller."""
    request = forged(border, audience="http://gateway.initech.example/a2a/globex/sales")
    await refused(border, request, 403, "other_audience")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/sales/a2a", "/oauth/token", "/mcp", "/a2a/globex/sales/x"])
async def test_a_peer_reaches_nothing_but_published_agents(border: Border, path: str) -> None:
    await border.abroad.send(forged(border, path=path).bytes())
    reply = await border.abroad.send(forged(border, path=path).bytes())
    assert reply.status in (400, 401, 404)
    await border.refused()
    assert border.abroad.upstream.seen == border.abroad.log(CALLER) == []
    assert not [each for each in border.abroad.log(OTHER) if each["kind"] != "change"]


async def test_an_agent_that_is_not_published_is_not_there(border: Border) -> None:
    reply = await border.abroad.send(forged(border, path="/a2a/globex/stock").bytes())
    assert reply.status == 404


@pytest.mark.parametrize("change", ["removed", "disabled", "other key", "other organization"])
async def test_a_change_of_a_peer_holds_for_the_next_call(border: Border, change: str, tmp_path: Path) -> None:
    assert (await border.ask()).status == 200
    if change == "removed":
        peers.remove_peer(border.abroad.registry, **PEER)
    elif change == "disabled":
        peers.update_peer(border.abroad.registry, **PEER, status="disabled")
    elif change == "other key":
        keys = tmp_path / "keys"
        keys.mkdir()
        organization_keys.create(keys)
        other = organization_keys.public(organization_keys.gateway_keys(keys)).decode()
        peers.update_peer(border.abroad.registry, **PEER, jwks=other)
    else:
        peers.update_peer(border.abroad.registry, **PEER, speaks_for=["initech"])
    reply = await border.ask()
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (502, "counterparty_unproven")
    _, theirs = await border.halves()
    assert len(theirs) == len(border.abroad.upstream.seen) == 1
    ends, _ = await border.halves("completed")
    assert [each["outcome"] for each in ends] == ["ok", "counterparty_unproven"]
    assert "receipt" not in ends[1]


async def test_a_stream_ends_with_the_trust(border: Border) -> None:
    """At once, and not when its agent has done."""
    event = b"data: " + orjson.dumps(task("TASK_STATE_WORKING")) + b"\n\n"
    border.abroad.upstream.handler = stream(event, 60.0, end=True)
    asking = asyncio.create_task(border.ask("SendStreamingMessage"))
    await until(lambda: border.abroad.upstream.seen)
    await asyncio.sleep(0.2)
    peers.remove_peer(border.abroad.registry, **PEER)
    reply = await asyncio.wait_for(asking, 20)
    assert reply.body.startswith(event)
    [mine], [theirs] = await border.halves("completed")
    assert mine["outcome"] not in ("ok", "client_disconnected")
    assert theirs["outcome"] not in ("ok", "client_disconnected")
    assert border.home.open_decisions() == border.abroad.open_decisions() == 0


async def test_an_unknown_counterparty_is_not_called(border: Border) -> None:
    peers.remove_peer(border.home.registry, actor=ACTOR, name="abroad")
    reply = await border.ask()
    assert reply.json["error"]["data"]["reason"] == "callee_unavailable"
    [mine], theirs = await border.halves()
    assert (mine["allow"], mine["reason"], theirs) == (False, "callee_unavailable", [])


def _impostor(border: Border, receipt: str) -> None:
    """Whatever answers the caller's gateway answers with this receipt."""
    add_upstream(
        border.home.registry, Vault.load(border.home.data.keys), actor=ACTOR, organization=CALLER, name="supplier",
        provider="a2a", base_url=f"http://127.0.0.1:{border.home.upstream.port}{a2a.PATH}", secret=None, auth="peer",
        insecure=True, replace=True,
    )  # fmt: skip

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        headers = {"gateway_receipt": await _receipt(border, receipt, seen)} if receipt != "none" else {}
        await answer(task(), **headers)(seen, writer)

    border.home.upstream.handler = handle


async def _receipt(border: Border, kind: str, seen: Seen) -> str:
    keys = border.home.data.keys if kind == "own key" else border.abroad.data.keys
    receipt = said.Receipt(
        organization="initech" if kind == "other organization" else OTHER,
        agent="agt_1",
        decision="dec_1",
        allow=True,
        leaf="0" * 64,
        assertion=said.digest("another" if kind == "other call" else seen.headers["gateway-assertion"]),
        created=1,
        checkpoint="\u2014" * 1000 if kind == "long" else "",
    )
    text = said.signed(receipt, organization_keys.gateway_keys(keys)[0])
    if kind == "tampered":
        head, claims, signature = text.split(".")
        text = f"{head}.{claims[:-2]}{'AA' if not claims.endswith('AA') else 'BB'}.{signature}"
    if kind == "assertion":
        return seen.headers["gateway-assertion"]
    return "nonsense" if kind == "nonsense" else text


@pytest.mark.parametrize(
    "receipt",
    ["none", "nonsense", "own key", "other organization", "other call", "tampered", "assertion", "long"],
)
async def test_an_answer_without_its_receipt_is_not_passed_on(border: Border, receipt: str) -> None:
    _impostor(border, receipt)
    reply = await border.ask()
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (502, "counterparty_unproven")
    assert len(border.home.upstream.seen) == 1
    ends, _ = await border.halves("completed")
    assert ([each["outcome"] for each in ends], border.home.open_decisions()) == (["counterparty_unproven"], 0)
    assert "receipt" not in ends[0]


async def test_an_answer_with_a_good_receipt_of_the_rig_is_passed_on(border: Border) -> None:
    _impostor(border, "good")
    assert (await border.ask()).status == 200


async def test_the_other_gateway_is_down(border: Border) -> None:
    border.abroad.stop.set()
    await border.abroad.serving
    reply = await border.ask()
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (502, "upstream_error")
    ends = [each for each in border.home.log(CALLER) if each["kind"] == "completed"]
    assert ([each["outcome"] for each in ends], border.home.open_decisions()) == (["upstream_error"], 0)


def kept(gateway: Gateway) -> list[tuple[bytes, Entry]]:
    """Every entry of a gateway, in the order in which they were written."""
    with opened_log(gateway.data) as log, log.snapshot(), log.entries(-(2**63), -1) as rows:
        return [(row[7], decode(row[7])) for row in rows]


def faults(found: Iterable[tuple[bytes, Entry]]) -> list[str]:
    """What verification says of calls across the border."""
    check = BorderCheck()
    said = []
    for leaf, entry in found:
        if entry["kind"] == "decided":
            said.append(check.decided(entry, leaf))
        elif entry["kind"] in ("completed", "change"):
            said.append(getattr(check, "changed" if entry["kind"] == "change" else "completed")(entry))
    return [each.text for each in (*said, *check.rest()) if each is not None]


async def declared(border: Border) -> None:
    """Both logs tell of the peers, as those of processes do soon after."""
    for gateway in (border.home, border.abroad):
        await asyncio.to_thread(outbox.drain, gateway.registry, gateway.writer)


async def test_both_logs_verify_and_their_halves_match(border: Border) -> None:
    for text in ("ten chairs", "ten chairs on credit", "a secret"):
        await border.ask(params=send(text))
    await border.abroad.send(forged(border).bytes())  # of which the caller's log has nothing
    await declared(border)
    for gateway in (border.home, border.abroad):
        await gateway.entries()
        assert faults(kept(gateway)) == []
    with opened_log(border.home.data) as one, opened_log(border.abroad.data) as two:
        found = matching.match(one, two)
        assert matching.match(two, one) == found
    assert (found.pairs, found.proven, found.alone) == (2, 2, 0)
    [lie] = found.findings
    assert "which `acme` has not made" in lie


async def test_what_a_log_keeps_of_the_other_cannot_be_changed(border: Border) -> None:
    """Each member that the other gateway has signed, and each word of it."""
    await border.ask()
    await border.ask(params=send("ten chairs on credit"))
    await declared(border)
    for gateway, kind, members in (
        (border.home, "completed", {"receipt", "assertion", "other_decision", "other_leaf", "outcome"}),
        (
            border.abroad,
            "decided",
            {"assertion", "caller", "caller_organization", "caller_name", "other_decision", "action"},
        ),
    ):
        await gateway.entries()
        found = kept(gateway)
        ours = [index for index, (_, entry) in enumerate(found) if entry["kind"] == kind and "assertion" in entry]
        other = {name: found[ours[1]][1][name] for name in members}
        for name in sorted(members):
            changed = list(found)
            leaf, entry = found[ours[0]]
            value = "agt_x" if other[name] == entry[name] else other[name]
            changed[ours[0]] = leaf, {**entry, name: value}
            assert faults(changed), name
        without = [each for each in found if each[1].get("what") not in ("peer.added",)]
        assert len(faults(without)) == 2  # nobody has declared that key


async def test_an_answer_without_a_receipt_is_found(border: Border) -> None:
    await border.ask()
    await declared(border)
    found = kept(border.home)
    bare = [
        (leaf, {name: value for name, value in entry.items() if name not in ("receipt", "other_leaf")})
        for leaf, entry in found
    ]
    [fault] = faults(bare)
    assert "no receipt" in fault
