"""`gateway decide`: what it says of a call is what the data plane does with it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.cli import main
from gateway.dataplane.obliged import described, obliged
from gateway.policy.obligations import Obligations
from gateway.registry import queries
from gateway.registry.agents.changes import suspend_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Prepared, chat
from tests.rigs.dataplane.decide import Command, command  # noqa: F401  # fixtures among them
from tests.rigs.dataplane.explain import bind_all, request
from tests.rigs.dataplane.limits import limit

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "input.schema.json").read_text("utf-8"))


@pytest.fixture
def ready(prepared: Prepared, tmp_path: Path) -> None:
    """A data directory with one agent, one bundle and one upstream, whose gateway does not run."""
    _, registry, _, _ = prepared.copy(tmp_path, 9)
    registry.close()


@pytest.mark.slow
def test_a_dry_run_decides_as_the_data_plane(run: Callable[..., None], command: Command) -> None:
    """Sixty random requests: verdict, reasons, cap, edits and the input that is judged are the same."""
    dice = random.Random(3)
    bodies = [body for _ in range(60) if (body := request(dice)).get("stream") is not None or dice.random() < 0.5]
    entries: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()

    async def ask(gateway: Gateway) -> None:
        bind_all(gateway, chance=False)
        for body in bodies:
            await gateway.send(gateway.request(body))
        entries.extend(await gateway.entries("decided"))

    run(ask)
    for body, entry in zip(bodies, entries, strict=True):
        code, out, _ = command(body, "--route", "/v1/chat/completions", "--json")
        found = json.loads(out)
        obligations = json.loads(entry.get("obligations_json", "{}"))
        if entry["max_output_tokens"] is not None:
            obligations["max_output_tokens"] = entry["max_output_tokens"]
        expected = entry["allow"], entry["reason"], json.loads(entry["reasons_json"]), obligations
        assert (found["allow"], found["reason"], found["reasons"], found["obligations"]) == expected
        assert found["edits"] == json.loads(entry.get("edits_json", "[]"))
        assert code == (0 if entry["allow"] else 1)
        seen[entry["reason"]] += 1
    assert len(seen) > 1, seen


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        ({"action": "chat.completions", "resource": {"model": "gpt-4o"}}, 0, "allowed"),
        ({"action": "chat.completions", "resource": {"model": "gpt-secret"}}, 1, "policy_denied"),
        ({"action": "models.list"}, 0, "allowed"),
        ({"action": "chat.completions", "resource": {"model": "gpt-capped"}}, 0, "allowed"),
        (
            {
                "action": "chat.completions",
                "resource": {"model": "gpt-4o", "references": [{"kind": "file", "id": "f"}]},
            },
            1,
            "foreign_reference",
        ),
        (
            {"action": "chat.completions", "resource": {"model": "gpt-4o", "models": ["gpt-4o", "o3"]}},
            1,
            "policy_denied",
        ),
    ],
)
def test_parts_of_a_document_are_enough(command: Command, call: dict[str, Any], code: int, reason: str) -> None:
    found_code, out, err = command(call, "--json")
    found = json.loads(out)
    assert (found_code, found["reason"], err) == (code, reason, "")
    jsonschema.validate(found["input"], SCHEMA)
    assert (found["input"]["agent"]["name"], found["input"]["resource"]["upstream"]) == ("bot", "openai")
    # The judged request is a call in itself.
    assert json.loads(command(found["input"], "--json")[1])["reason"] == reason


@pytest.mark.usefixtures("ready")
def test_a_form_is_decided_by_its_fields(command: Command) -> None:
    for model, code in (("gpt-4o-transcribe", 0), ("o3", 1)):
        form = f'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n--x--\r\n'
        found, out, _ = command(form, "--route", "/v1/audio/transcriptions", "--json")
        assert (found, json.loads(out)["reason"]) == (code, "policy_denied" if code else "allowed")
    _, out, _ = command("no form", "--route", "/v1/audio/transcriptions")
    assert "the content type must be multipart/form-data with a boundary" in out


@pytest.mark.usefixtures("ready")
def test_the_answer_for_people(command: Command) -> None:
    code, out, err = command({"action": "chat.completions", "resource": {"model": "gpt-capped"}})
    assert (code, err) == (0, "")
    assert out == (
        "allowed (a dry run: nothing was sent)\n"
        "  call      chat.completions gpt-capped at openai\n"
        "  cap       at most 50 output tokens\n"
        "  changes   max_output_tokens\n"
        "  bundle    bot (grant, commit cccccccccccc): allowed\n"
    )
    code, out, _ = command(chat("o3"), "--route", "/openai/v1/chat/completions", "--explain")
    assert (code, out.splitlines()[0]) == (1, "denied policy_denied (a dry run: nothing was sent)")
    assert 'failed at startswith(input.resource.model, "gpt-")\n        input.resource.model = "o3"' in out


def test_limits_are_asked_and_nothing_is_reserved(run: Callable[..., None], command: Command) -> None:
    """A dry run says of a call what the data plane does with it."""
    call = chat("gpt-4o", max_tokens=80)
    told: list[dict[str, Any]] = []

    async def ask(gateway: Gateway) -> None:
        limit(gateway, "tokens_per_day", 150)
        limit(gateway, "requests_per_month", 9, "agent")
        assert (await gateway.send(gateway.request(call))).status == 200
        reply = await gateway.send(gateway.request(chat("gpt-4o", max_tokens=141)))
        told.extend(reply.json["error"]["details"])
        assert reply.code == "limit_exceeded"

    run(ask)
    code, out, _ = command(call, "--route", "/v1/chat/completions", "--json")
    found = json.loads(out)
    assert (code, found["allow"]) == (0, True)
    room = {each["limit"]: (each["spent"], each["left"], each["has_room"]) for each in found["limits"]["limits"]}
    assert room == {"tokens_per_day": (10, 140, True), "requests_per_month": (1, 8, True)}
    code, out, _ = command(call, "--route", "/v1/chat/completions")
    assert "  limit     org:default tokens_per_day: 140 tokens left of 150 tokens until 2" in out
    big = chat("gpt-4o", max_tokens=141)
    code, out, _ = command(big, "--route", "/v1/chat/completions", "--json")
    found = json.loads(out)
    assert (code, found["reason"]) == (1, "limit_exceeded")
    [full] = [each for each in found["limits"]["limits"] if not each["has_room"]]
    assert told[0].items() <= full.items()
    # A call without an output limit gets what is left, as the gateway gives it.
    code, out, _ = command(chat("gpt-4o"), "--route", "/v1/chat/completions", "--json")
    limits = json.loads(out)["limits"]
    assert (code, limits["tokens"]) == (0, 140)
    assert limits["output_limit"] == json.loads(out)["obligations"]["max_output_tokens"]
    # An input document has no text to count.
    code, out, _ = command({"action": "chat.completions", "resource": {"model": "gpt-4o"}})
    assert "the input counts as if it had no text" in out


@pytest.mark.usefixtures("ready")
def test_nothing_is_recorded_unless_asked(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    def listed() -> list[dict[str, Any]]:
        assert main(["audit", "list", "--kind", "decided", "--json"]) == 0
        return [json.loads(line)["entry"] for line in capsys.readouterr().out.splitlines()]

    call = {"action": "chat.completions", "resource": {"model": "gpt-4o"}}
    command(call)
    assert listed() == []
    code, out, _ = command(call, "--record", "--json")
    [entry] = listed()
    assert (code, entry["id"]) == (0, json.loads(out)["recorded"])
    assert (entry["dry_run"], entry["open"], entry["allow"], entry["by"][:6]) == (True, False, True, "local:")
    assert main(["explain", entry["id"]]) == 0
    shown = capsys.readouterr().out
    assert "a dry run: nothing was forwarded" in shown
    assert "✓ judged again, this is the verdict that was recorded" in shown
    assert main(["audit", "list"]) == 0
    assert "dry run: allowed: chat.completions gpt-4o" in capsys.readouterr().out


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("call", "arguments", "complaint"),
    [
        ("[", [], "the call is not JSON"),
        ("7", [], "the call is not a JSON object"),
        ({"messages": []}, [], "has no `action`: for the body of a request, say which: --route /v1/chat/completions"),
        ({}, [], "has no `action`: write {"),
        ({"action": "chat.completions", "resource": {"modle": "m"}}, [], "did you mean `model`?"),
        ({"action": "chat.completions", "usge": {}}, [], "there is no member `usge`: did you mean `usage`?"),
        ({"action": "chat.completions", "request": {"stream": "yes"}}, [], "request.stream: invalid type"),
        ({"action": "chat.completions", "request": []}, [], "the call's `request` is not an object"),
        ({"action": "x", "agent": {"name": "other"}}, [], "`agent.name` is `other`, not that of agent `bot`"),
        ({"action": "x"}, ["--agent", "bott"], "unknown agent `bott`"),
        ({"action": "x"}, ["-i", "nowhere.json"], "cannot read `nowhere.json`"),
    ],
)
def test_a_call_that_cannot_be_decided_is_exit_2(
    command: Command, call: Any, arguments: list[str], complaint: str
) -> None:
    code, out, err = command(call, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


@pytest.mark.usefixtures("ready")
def test_what_is_refused_before_any_policy_is_a_denial(command: Command) -> None:
    code, out, _ = command({}, "--route", "/v1/chat/completion")
    assert (code, out.splitlines()[0]) == (1, "denied unknown_route (a dry run: nothing was sent)")
    assert "check     the path was matched" in out
    code, out, _ = command({"model": "gpt-4o"}, "--route", "/v1/chat/completions", "--json")
    assert (code, json.loads(out)["reason"]) == (1, "bad_request")
    assert command("", "--route", "get /v1/models", "--json")[0] == 0


def test_a_suspended_agent_and_one_without_bindings(run: Callable[..., None], command: Command) -> None:
    async def prepare(gateway: Gateway) -> None:
        for name in ("lonely", "asleep"):
            await asyncio.to_thread(register_agent, gateway.registry, actor=ACTOR, organization=ORG, name=name)
        await asyncio.to_thread(suspend_agent, gateway.registry, actor=ACTOR, organization=ORG, agent="asleep")

    run(prepare)
    code, out, err = command({"action": "models.list"}, agent="lonely")
    assert (code, out.splitlines()[0]) == (1, "denied no_policy (a dry run: nothing was sent)")
    assert "gateway bind AGENT BUNDLE" in out
    assert "has no key that works" in err
    code, out, _ = command({"action": "models.list"}, agent="asleep")
    assert (code, out.splitlines()[0]) == (1, "denied agent_suspended (a dry run: nothing was sent)")


def test_a_route_with_a_query(run: Callable[..., None], command: Command) -> None:
    run(lambda gateway: asyncio.to_thread(add_upstreams, gateway))
    body = {"messages": [{"role": "user", "content": "hi"}]}
    path = "/azure/openai/deployments/gpt-4o/chat/completions"
    code, out, _ = command(body, "--route", f"{path}?api-version=2024-10-21", "--json")
    assert (code, json.loads(out)["input"]["resource"]["model"]) == (0, "gpt-4o")
    code, out, _ = command(body, "--route", path)
    assert (code, "must have an `api-version`" in out) == (1, True)
    code, out, _ = command(body, "--route", f"{path}?key=secret")
    assert (code, "the query parameter `key` is not known here" in out) == (1, True)


def add_upstreams(gateway: Gateway) -> None:
    add_upstream(
        gateway.registry,
        Vault.load(gateway.data.keys),
        actor=ACTOR,
        organization=ORG,
        name="azure",
        provider="azure",
        base_url="https://r.openai.azure.com",
        secret="secret",
    )


_TOOLS = [{"type": "function", "function": {"name": "shell"}}, {"type": "function", "function": {"name": "look"}}]
_MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("openai", "/chat/completions", {"model": "m", "messages": _MESSAGES, "tools": _TOOLS}),
        ("openai", "/chat/completions", {"model": "m", "messages": _MESSAGES, "max_completion_tokens": 9}),
        ("openai", "/responses", {"model": "m", "input": "hi", "tools": [{"type": "function", "name": "shell"}]}),
        ("openai", "/completions", {"model": "m", "prompt": "hi"}),
        ("openai", "/embeddings", {"model": "m", "input": "hi"}),
        ("openai", "/images/generations", {"model": "m", "prompt": "hi"}),
        ("anthropic", "/messages", {"model": "m", "messages": _MESSAGES, "max_tokens": 90}),
        ("anthropic", "/messages/count_tokens", {"model": "m", "messages": _MESSAGES}),
    ],
)
def test_a_call_without_a_body_is_changed_as_one_with_a_body(provider: str, path: str, body: dict[str, Any]) -> None:
    family = PROVIDERS[provider]
    [route] = [each for each in family.routes if (each.method, each.path) == ("POST", path)]
    real = family.read(Endpoint(provider, route, family.prefix + path), RequestHead(), json.dumps(body).encode())
    wanted = Obligations(max_output_tokens=50, strip_tools=frozenset({"shell"}), model="other")
    expected, names = obliged(family, real, wanted)
    found, named = described(replace(real, raw=b"", body=None), wanted)
    assert set(named) == set(names)
    assert replace(found, raw=b"", body=None) == replace(expected, raw=b"", body=None)
    assert described(found, wanted) == (found, ())


@pytest.mark.usefixtures("ready")
def test_the_time_and_the_person_of_a_document_are_those_that_are_given(command: Command) -> None:
    person = {"subject": "7", "issuer": "https://login.example", "claims": {}}
    call = {"action": "models.list", "time": {"hour": 3}, "usage": {"requests": {"day": 8}}, "on_behalf_of": person}
    found = json.loads(command(call, "--json")[1])["input"]
    assert (found["time"]["hour"], found["usage"], found["on_behalf_of"]) == (
        3,
        {**found["usage"], **call["usage"]},
        person,
    )


def test_a_key_that_is_named_is_refused_as_in_a_request(run: Callable[..., None], command: Command) -> None:
    keys: list[str] = []

    async def prepare(gateway: Gateway) -> None:
        [key] = queries.keys(gateway.registry, ORG, "bot")
        revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=key.id)
        keys.append(key.id)

    run(prepare)
    code, out, _ = command({"action": "models.list"}, "--key", keys[0], "--json")
    found = json.loads(out)
    assert (code, found["reason"], found["detail"]) == (1, "bad_credentials", "revoked")
    # Without one that works, it is asked what the agent could do with another.
    code, _, err = command({"action": "models.list"})
    assert (code, "has no key that works" in err) == (0, True)
