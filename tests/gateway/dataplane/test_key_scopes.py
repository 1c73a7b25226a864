"""A key for less than its agent may do: what passes, what is refused, and what the log has of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.cli import main
from gateway.identity.key_scope import scope
from gateway.policy.reexecution import Court
from gateway.registry.keys.changes import create_key
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, answer, chat

MODELS = {"object": "list", "data": [{"id": name} for name in ("gpt-4o", "gpt-4o-mini", "gpt-5", "sora-2")]}


def key_for(gateway: Gateway, **parts: list[str]) -> str:
    """A second key of the agent, for these parts only."""
    made = create_key(
        gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent="bot", scope=scope(**parts)
    )
    return f"Authorization: Bearer {made.text}"


def judged_again(gateway: Gateway, entry: dict[str, Any]) -> bool | None:
    return Court(gateway.data.bundles).again(entry, None)[0]


async def test_a_key_is_for_its_scope(gateway: Gateway) -> None:
    key = key_for(gateway, models=["gpt-4o*"], actions=["chat.completions"], networks=["127.0.0.0/8"])
    assert (await gateway.chat("gpt-4o-mini", key)).status == 200
    refused = await gateway.chat("gpt-5", key)
    assert (refused.status, refused.code) == (403, "key_scope")
    assert "gpt-4o*" in refused.json["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    other = await gateway.send(gateway.request({"model": "gpt-4o", "input": "x"}, key, path="/v1/embeddings"))
    assert (other.status, other.code) == (403, "key_scope")
    listing = await gateway.send(gateway.request(None, key))
    assert (listing.status, listing.code) == (403, "key_scope")
    assert len(gateway.upstream.seen) == 1
    first, *denied = await gateway.entries("decided")
    assert (first["allow"], json.loads(first["key_scope_json"])["models"]) == (True, ["gpt-4o*"])
    assert refused.headers["x-decision-id"] == denied[0]["id"]
    for entry in denied:
        assert (entry["allow"], entry["reason"], entry["bundles_json"]) == (False, "key_scope", "[]")
        assert entry["peer_address"] == "127.0.0.1"
        assert judged_again(gateway, entry) is True
        # If the log was changed, the verdict does not come out again.
        assert judged_again(gateway, entry | {"key_scope_json": '{"models":["gpt-*"]}'}) is False
        assert judged_again(gateway, entry | {"reason": "policy_denied"}) is False
    assert judged_again(gateway, first | {"model": "gpt-5"}) is False


@pytest.mark.slow
async def test_a_scope_allows_nothing_by_itself(gateway: Gateway) -> None:
    denied = await gateway.chat("llama-3", key_for(gateway, models=["llama-3"]))
    assert (denied.status, denied.code) == (403, "policy_denied")


@pytest.mark.slow
async def test_a_request_from_elsewhere_is_refused(gateway: Gateway) -> None:
    key = key_for(gateway, networks=["10.0.0.0/8"])
    for headers in ([], ["X-Forwarded-For: 10.1.2.3"], ["Forwarded: for=10.1.2.3"], ["X-Real-IP: 10.1.2.3"]):
        refused = await gateway.send(gateway.request(chat(), key, *headers))
        assert (refused.status, refused.code) == (403, "key_scope")
        assert "10.0.0.0" not in refused.json["error"]["message"]
    assert gateway.upstream.seen == []


@pytest.mark.slow
async def test_every_model_of_a_call_must_be_inside(gateway: Gateway) -> None:
    key = key_for(gateway, models=["gpt-4o"])
    body = chat("gpt-4o", web_search_options={}) | {"moderation": {"model": "gpt-5"}}
    refused = await gateway.send(gateway.request(body, key))
    assert (refused.status, refused.code) == (403, "key_scope")
    assert "names gpt-5" in refused.json["error"]["message"]


@pytest.mark.slow
async def test_the_list_of_models_has_those_of_the_key(gateway: Gateway) -> None:
    key = key_for(gateway, models=["gpt-4o*"])
    gateway.upstream.handler = answer(MODELS)
    listing = await gateway.send(gateway.request(None, key))
    assert [each["id"] for each in listing.json["data"]] == ["gpt-4o", "gpt-4o-mini"]
    whole = await gateway.send(gateway.request(None))
    assert [each["id"] for each in whole.json["data"]] == ["gpt-4o", "gpt-4o-mini", "gpt-5"]
    gateway.upstream.handler = answer({"models": [{"name": "models/gpt-4o"}, {"name": "models/gpt-5"}, 3]})
    assert (await gateway.send(gateway.request(None, key))).json == {"models": [{"name": "models/gpt-4o"}]}
    for unreadable in (b"not JSON gpt-5", b'["gpt-5"]', b'{"data": {"id": "gpt-5"}}'):
        gateway.upstream.handler = answer(unreadable)
        listing = await gateway.send(gateway.request(None, key))
        assert listing.json["data"] == []
        assert b"gpt-5" not in listing.body
    for twice in (
        b'{"data": [{"id": "gpt-5"}], "data": [{"id": "gpt-4o"}]}',
        b'{"data": [{"id": "gpt-5", "id": "gpt-4o"}]}',
    ):
        gateway.upstream.handler = answer(twice)
        listing = await gateway.send(gateway.request(None, key))
        assert listing.json["data"] == [{"id": "gpt-4o"}]
        assert b"gpt-5" not in listing.body, "clients may read the first of two members"
    gateway.upstream.handler = answer({"error": {"message": "later", "code": None}}, status=429)
    assert (await gateway.send(gateway.request(None, key))).json["error"]["message"] == "later"
    one = await gateway.send(gateway.request(None, key, path="/v1/models/gpt-5"))
    assert (one.status, one.code) == (403, "key_scope")


@pytest.mark.slow
async def test_a_model_that_a_policy_puts_in_place_is_not_the_clients_choice(gateway: Gateway) -> None:
    capped = await gateway.chat("gpt-capped", key_for(gateway, models=["gpt-capped"]))
    assert capped.status == 200


@pytest.mark.slow
def test_decide_knows_the_scope(
    run: Callable[..., None], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys: list[str] = []

    async def test(gateway: Gateway) -> None:
        keys.append(key_for(gateway, models=["gpt-4o"], networks=["10.0.0.0/8"]).rpartition(" ")[2])
        await gateway.entries()

    run(test)
    call = tmp_path / "call.json"
    call.write_text(json.dumps(chat("gpt-5")))
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))

    def decide(*arguments: str) -> dict[str, Any]:
        main(["decide", "--agent", "bot", "-i", str(call), "--route", "/v1/chat/completions", "--json", *arguments])
        shown = json.loads(capsys.readouterr().out)
        assert isinstance(shown, dict)
        return shown

    assert decide()["reason"] == "key_scope"
    recorded = decide("--record", "--from", "10.0.0.1")["recorded"]
    call.write_text(json.dumps(chat("gpt-4o")))
    assert decide()["allow"] is True
    assert decide("--from", "192.0.2.7")["reason"] == "key_scope"
    assert decide("--from", "10.0.0.1", "--key", keys[0])["allow"] is True
    assert main(["explain", recorded]) == 0
    assert "judged again, this is the verdict that was recorded" in capsys.readouterr().out
