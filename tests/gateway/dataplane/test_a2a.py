"""Calls between agents of two organizations: both sides judge, each log has its half, and cards say who is who."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import orjson
import pytest

from gateway.a2a import cards
from gateway.audit import merkle, storage
from gateway.audit.entry import encode
from gateway.dataplane.dry_run import DryRun
from gateway.identity import jose
from gateway.policy import authorization, reexecution
from gateway.registry.agents import changes as agent_changes
from gateway.registry.policies import bindings
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.published import withdraw
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, answer, stream
from tests.rigs.dataplane.a2a import OTHER, PATH, SECRET, ask, into_force, message, send, serve, task

THEIRS: dict[str, Any] = {"actor": ACTOR, "organization": OTHER}


async def halves(gateway: Gateway, kind: str = "decided") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entries of this kind of both logs."""
    mine = await gateway.entries(kind)
    return mine, [each for each in gateway.log(OTHER) if each["kind"] == kind]


def hashed(entry: dict[str, Any]) -> str:
    return merkle.leaf_hash(encode(entry)).hex()


async def test_both_sides_allow_a_call_and_each_log_has_its_half(gateway: Gateway) -> None:
    sales = serve(gateway)
    gateway.upstream.handler = answer(task())
    reply = await ask(gateway)
    assert (reply.status, reply.json) == (200, task())
    [seen] = gateway.upstream.seen
    assert seen.head.startswith(b"POST /rpc HTTP/1.1\r\n")
    assert (seen.json, seen.headers["a2a-version"]) == (message("SendMessage"), "1.0")
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.headers["gateway-caller"] == "default/bot"
    [mine], [theirs] = await halves(gateway)
    assert seen.headers["gateway-decision"] == theirs["id"] == mine["other_decision"]
    assert (mine["action"], mine["allow"], mine["callee"]) == ("a2a.message.send", True, sales.id)
    assert (mine["callee_organization"], mine["callee_name"]) == (OTHER, "sales")
    assert (theirs["allow"], theirs["direction"], theirs["agent"]) == (True, "receive", sales.id)
    assert (theirs["caller_organization"], theirs["caller_name"]) == (ORG, "bot")
    assert theirs["other_decision"] == mine["id"]
    assert mine["other_leaf"] == hashed(theirs)
    [end], [their_end] = await halves(gateway, "completed")
    assert (end["outcome"], their_end["outcome"], their_end["decision"]) == ("ok", "ok", theirs["id"])
    assert their_end["other_leaf"] == hashed(mine)
    assert gateway.open_decisions() == 0


async def test_each_side_has_only_its_own_policies_and_reasons(gateway: Gateway) -> None:
    serve(gateway)
    denied = await ask(gateway, "CancelTask", {"id": "task-1"})
    assert denied.status == 403
    mine, theirs = await halves(gateway)
    assert theirs == []
    assert mine[-1]["reason"] == "foreign_reference"  # nobody has begun that task here

    gateway.upstream.handler = answer(task("TASK_STATE_WORKING"))
    assert (await ask(gateway)).status == 200
    denied = await ask(gateway, "CancelTask", {"id": "task-1"})
    error = denied.json["error"]
    assert (denied.status, error["data"]["reason"]) == (403, "callee_refused")
    assert b"closed today" not in denied.body
    mine, theirs = await halves(gateway)
    assert (mine[-1]["reason"], mine[-1]["allow"], theirs[-1]["allow"]) == ("callee_refused", False, False)
    assert orjson.loads(theirs[-1]["reasons_json"]) == ["closed today"]
    assert "closed today" not in str(mine)
    assert theirs[-1]["id"] in error["message"]
    assert mine[-1]["other_leaf"] == hashed(theirs[-1])
    names = [{each["name"] for each in orjson.loads(entry["bundles_json"])} for entry in (mine[-1], theirs[-1])]
    assert names == [{"bot"}, {"desk"}]
    assert len(gateway.upstream.seen) == 1


async def test_the_other_side_is_not_asked_about_what_this_one_denies(gateway: Gateway) -> None:
    serve(gateway)
    denied = await ask(gateway, params=send("a secret"))
    assert (denied.status, denied.json["error"]["data"]["reason"]) == (403, "policy_denied")
    mine, theirs = await halves(gateway)
    assert [each["reason"] for each in mine] == ["policy_denied"]
    assert "other_decision" not in mine[0]
    assert theirs == []
    assert gateway.upstream.seen == []


@pytest.mark.parametrize("effect", ["grant", "guard"])
async def test_nobody_reaches_an_agent_without_a_bundle_that_receives(gateway: Gateway, effect: Any) -> None:
    serve(gateway)
    bindings.bind(
        gateway.registry, **THEIRS, kind="agent", subject="sales", bundle="desk", effect=effect, other_effect=True
    )
    denied = await ask(gateway)
    assert denied.json["error"]["data"]["reason"] == "callee_refused"
    _, [theirs] = await halves(gateway)
    assert (theirs["reason"], theirs["allow"]) == ("no_policy", False)


async def test_a_bundle_that_receives_grants_its_subject_nothing(gateway: Gateway) -> None:
    """Also not if it is the only one, and it allows everything."""
    serve(gateway, receiving="package desk.authz\n\nallow := true\n")
    bindings.bind(
        gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="desk", effect="receive"
    )
    bindings.unbind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="bot")
    denied = await ask(gateway)
    assert denied.json["error"]["data"]["reason"] == "no_policy"


@pytest.mark.parametrize(
    "demand",
    [
        'limits := {"requests_per_day": 5}\n\nover_limit contains {"reason": "it is used up"}',
        'require_approval contains {"reason": "a person looks at it"}',
        'obligations := {"set_headers": {"x-data-class": "internal"}}',
    ],
)
async def test_what_a_receiving_bundle_demands_and_nobody_enforces_denies(gateway: Gateway, demand: str) -> None:
    serve(gateway, receiving=f"package desk.authz\n\nallow := true\n\n{demand}\n")
    assert (await ask(gateway)).json["error"]["data"]["reason"] == "callee_refused"
    _, [theirs] = await halves(gateway)
    assert theirs["reason"] == "policy_unsupported"


@pytest.mark.parametrize("change", ["suspend", "revoke"])
async def test_a_suspended_or_revoked_agent_is_called_no_more(gateway: Gateway, change: str) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    assert (await ask(gateway)).status == 200
    getattr(agent_changes, f"{change}_agent")(gateway.registry, **THEIRS, agent="sales")
    denied = await ask(gateway)
    assert (denied.status, denied.json["error"]["data"]["reason"]) == (403, "callee_unavailable")
    mine, theirs = await halves(gateway)
    assert (mine[-1]["reason"], len(theirs)) == ("callee_unavailable", 1)
    card = await gateway.send(gateway.request(path=f"{PATH}/.well-known/agent-card.json"))
    assert card.status == 404
    assert len(gateway.upstream.seen) == 1


async def test_policies_of_both_sides_see_who_calls_whom(gateway: Gateway) -> None:
    serve(gateway)
    agent = {"name": "sales", "organization": "globex", "owner": "olga@globex", "state": "active", "capabilities": []}
    lines = [f"\tinput.resource.agent.{name} == {orjson.dumps(each).decode()}" for name, each in agent.items()]
    conditions = "\n".join(lines)
    card = (await gateway.send(gateway.request(path=f"{PATH}/.well-known/agent-card.json"))).json
    into_force(
        gateway,
        f'package bot.authz\n\nallow if {{\n{conditions}\n\tinput.resource.agent.card == "{cards.digest(card)}"\n'
        "\tnot input.direction\n}\n",
        f'package desk.authz\n\nallow if {{\n{conditions}\n\tinput.agent.name == "bot"\n\tinput.usage == {{}}\n'
        '\tinput.direction == "receive"\n\tinput.request.body.params.message.parts[0].text == "hello"\n}\n',
    )
    gateway.upstream.handler = answer(task())
    assert (await ask(gateway, params=send("hello"))).status == 200
    assert (await ask(gateway, params=send("other"))).json["error"]["data"]["reason"] == "callee_refused"


async def test_a_card_is_signed_by_its_organization(gateway: Gateway) -> None:
    serve(gateway)
    shown = await gateway.send(b"GET /a2a/globex/sales/.well-known/agent-card.json HTTP/1.1\r\nHost: gateway\r\n\r\n")
    keys = await gateway.send(b"GET /a2a/globex/.well-known/jwks.json HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert (shown.status, keys.status, b'"d"' in keys.body) == (200, 200, False)
    trusted = jose.key_set(keys.body)
    assert cards.verify(shown.json, trusted).kid == trusted[0].kid
    [interface] = shown.json["supportedInterfaces"]
    assert interface["url"].endswith(PATH)
    assert [each["id"] for each in shown.json["skills"]] == ["order"]
    withdraw(gateway.registry, **THEIRS, agent="sales")
    for path in (f"{PATH}/.well-known/agent-card.json", "/a2a/globex/.well-known/jwks.json"):
        assert (await gateway.send(gateway.request(path=path))).status == 404
    assert (await ask(gateway)).status == 404


async def test_tasks_and_conversations_belong_to_the_agent_that_began_them(gateway: Gateway) -> None:
    serve(gateway)
    for method, params in (
        ("GetTask", {"id": "task-1"}),
        ("SubscribeToTask", {"id": "task-1"}),
        ("ListTasks", {"contextId": "ctx-1"}),
        ("SendMessage", send(taskId="task-1")),
        ("SendMessage", send(contextId="ctx-1")),
        ("SendMessage", send(referenceTaskIds=["task-1"])),
    ):
        denied = await ask(gateway, method, params)
        assert denied.json["error"]["data"]["reason"] == "foreign_reference", method
    gateway.upstream.handler = answer(task("TASK_STATE_INPUT_REQUIRED"))
    assert (await ask(gateway)).status == 200
    assert (await ask(gateway, params=send(taskId="task-1", contextId="ctx-1"))).status == 200
    gateway.upstream.handler = answer({"jsonrpc": "2.0", "id": 1, "result": task()["result"]["task"]})
    assert (await ask(gateway, "GetTask", {"id": "task-1"})).status == 200


async def test_a_stream_reaches_the_caller_event_by_event(gateway: Gateway) -> None:
    serve(gateway)

    def event(found: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": found}) + b"\n\n"

    working = event({"task": {"id": "task-2", "contextId": "ctx-2", "status": {"state": "TASK_STATE_WORKING"}}})
    done = event({"statusUpdate": {"taskId": "task-2", "status": {"state": "TASK_STATE_COMPLETED"}}})
    gateway.upstream.handler = stream(working, 0.05, done)
    reply = await ask(gateway, "SendStreamingMessage")
    assert (reply.status, reply.body, reply.complete) == (200, working + done, True)
    gateway.upstream.handler = stream(working)  # the agent has not said that it rests
    broken = await ask(gateway, "SendStreamingMessage")
    assert done not in broken.body
    outcomes = [each["outcome"] for each in await gateway.entries("completed")]
    assert outcomes[0] == "ok"
    assert outcomes[1] != "ok"
    gateway.upstream.handler = answer({"jsonrpc": "2.0", "id": 1, "result": {"id": "task-2", "status": {}}})
    assert (await ask(gateway, "GetTask", {"id": "task-2"})).status == 200


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (send() | {"tenant": "other"}, "tenant"),
        (send() | {"configuration": {"taskPushNotificationConfig": {"url": "https://evil.example"}}}, "push"),
        (send() | {"configuration": {"push_notification_config": {"url": "https://evil.example"}}}, "spelled"),
        (send(task_id="task-9"), "spelled"),
        (send(role="ROLE_AGENT"), "role"),
        (send(parts=[]), "parts"),
        (send(parts=[{"Text": "hello"}]), "spelled"),
        ({"message": "hello"}, "message"),
    ],
)
async def test_what_no_policy_could_judge_is_refused(gateway: Gateway, params: dict[str, Any], why: str) -> None:
    serve(gateway)
    reply = await ask(gateway, params=params)
    assert reply.status == 400
    assert why in reply.json["error"]["message"]
    assert reply.json["id"] == 1
    assert gateway.upstream.seen == []


@pytest.mark.parametrize("method", ["GetExtendedAgentCard", "CreateTaskPushNotificationConfig", "tools/call"])
async def test_other_methods_are_unknown(gateway: Gateway, method: str) -> None:
    serve(gateway)
    reply = await ask(gateway, method, {})
    assert (reply.status, reply.json["error"]["code"]) == (404, -32601)


async def test_an_answer_to_another_request_is_not_passed_on(gateway: Gateway) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task(of=2))
    reply = await ask(gateway)
    assert b"task-1" not in reply.body


async def test_no_agent_is_where_none_is_published(gateway: Gateway) -> None:
    serve(gateway)
    for path in ("/a2a/globex/other", "/a2a/nobody/sales", "/a2a/default/bot"):
        reply = await gateway.send(gateway.request(message("SendMessage"), path=path))
        assert reply.status == 404, path


async def test_both_halves_can_be_judged_again(gateway: Gateway) -> None:
    """The receiver's with the receiver's bundle, from what its own log has kept."""
    serve(
        gateway,
        "package bot.authz\n\nallow := true\n",
        'package desk.authz\n\nallow if input.agent.organization == "default"\n',
    )
    gateway.upstream.handler = answer(task())
    await ask(gateway)
    for organization, entries in zip((ORG, OTHER), await halves(gateway), strict=True):
        [entry] = entries
        document = kept(gateway, entry["id"])
        found = reexecution.judge_again(gateway.data.bundles, entry, document)
        assert (found.agrees, found.problem) == (True, ""), organization
        assert document.get("direction") == (None if organization == ORG else "receive")
    into_force(gateway, "package bot.authz\n\nallow := true\n", "package desk.authz\n\nallow := false\n")
    await ask(gateway)
    mine, theirs = await halves(gateway)
    found = reexecution.judge_again(gateway.data.bundles, mine[-1], kept(gateway, mine[-1]["id"]))
    assert (found.agrees, "the agent that was called" in found.problem) == (None, True)
    found = reexecution.judge_again(gateway.data.bundles, theirs[-1], kept(gateway, theirs[-1]["id"]))
    assert found.agrees is True
    assert mine[-1]["reason"] in authorization.OF_CALLEE


def kept(gateway: Gateway, decision: str) -> dict[str, Any]:
    with closing(storage.connect_read_only(gateway.data.audit_db)) as db:
        query = "SELECT p.input FROM private p JOIN entry e ON e.id = p.entry_id WHERE e.event_id = ?"
        document: dict[str, Any] = orjson.loads(db.execute(query, (decision,)).fetchone()[0])
    return document


@pytest.mark.parametrize("specification", [None, "", "{}", "[]", '{"agent": "agt_x"}'])
async def test_nobody_reaches_an_agent_that_the_registry_does_not_name(gateway: Gateway, specification: Any) -> None:
    serve(gateway, "package bot.authz\n\nallow := true\n")
    with gateway.registry.write() as session:
        statement = "UPDATE upstream SET specification = ? WHERE name = 'sales'"
        session.connection().exec_driver_sql(statement, (specification,))
    assert (await ask(gateway)).status == 404
    assert gateway.upstream.seen == []
    assert (await gateway.chat()).status == 200  # nobody else is touched


async def test_a_dry_run_is_of_the_side_that_calls(gateway: Gateway) -> None:
    """The other side's policies are not asked: whoever asks is not told what they say."""
    serve(gateway, receiving="package desk.authz\n\nallow := false\n")
    settings = Settings(data=gateway.data)
    with closing(DryRun(settings, Vault.load(gateway.data.keys), gateway.plane._policies.get)) as dry:
        agent = await RegistryReader(gateway.data.registry_db).agent(ORG, "bot")
        assert agent is not None
        principal = await dry.principal(agent.id, "api_key")
        for text, code in (("ten chairs", "allowed"), ("a secret", "policy_denied")):
            body = orjson.dumps(message("SendMessage", send(text)))
            found = await dry.judge_request(principal, "POST", PATH, body)
            assert (found.authorization.code, found.authorization.input["resource"]["agent"]["name"]) == (code, "sales")
    assert gateway.log(OTHER) == []
