"""The texts of a 401: five different things to those who may know them, and one to clients that only guess."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import gateway as gateway_package
from gateway.errors import TOLD, looks_like
from gateway.identity import credentials
from gateway.registry.keys.changes import create_key, revoke_key
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.dataplane.conftest import Gateway
from tests.rigs.dataplane.tokens import another, bearer, own

AUTHENTICATE = "www-authenticate"


def wrong_secret(key: str) -> str:
    """A key of the same id and the right form, with another secret."""
    material = key[:20] + credentials.generate("agent").text[20:63]
    return material + credentials._check_digits(material.encode())


async def test_five_reasons_are_told_apart(gateway: Gateway) -> None:
    who: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "agent": "bot"}
    short = create_key(gateway.registry, gateway.peppers, lifetime_ns=1, **who).text

    async def ask(line: str = "authorization: omit") -> tuple[str, dict[str, str], bytes]:
        lines = ["authorization: omit", line] if line.startswith("x-") else [line]
        reply = await gateway.send(gateway.request(None, *lines))
        assert (reply.status, reply.json["error"].get("code", "bad_credentials")) == (401, "bad_credentials")
        return reply.json["error"]["message"], reply.headers, reply.body

    told = {
        "missing": await ask(),
        "malformed": await ask("x-api-key: sk-proj-1234"),
        "unknown": await ask(f"authorization: Bearer {credentials.generate('agent').text}"),
        "expired": await ask(f"authorization: Bearer {short}"),
    }
    revoke_key(gateway.registry, key=gateway.key[:19], actor=ACTOR, organization=ORG)
    told["revoked"] = await ask(f"authorization: Bearer {gateway.key}")
    assert [
        part in told[name][0]
        for name, part in (
            ("missing", "no key was sent"),
            ("malformed", "no key of this gateway"),
            ("unknown", "no agent of this gateway"),
            ("expired", "has expired"),
            ("revoked", "was revoked"),
        )
    ] == [True] * 5
    for name, (text, headers, _) in told.items():
        assert headers[AUTHENTICATE].startswith("Bearer realm="), name
        assert ("invalid_token" in headers[AUTHENTICATE]) == (name != "missing")
        assert f"(refusal {headers['x-refusal-id']})" in text
    # An operator finds what the client was told.
    ids = {each["id"] for each in await _entries(gateway)}
    assert {headers["x-refusal-id"] for _, headers, _ in told.values()} <= ids


async def test_an_unknown_id_and_a_wrong_secret_look_alike(gateway: Gateway) -> None:
    async def ask(key: str) -> tuple[dict[str, str], bytes]:
        reply = await gateway.send(gateway.request(None, f"authorization: Bearer {key}"))
        assert reply.status == 401
        return {k: v for k, v in reply.headers.items() if k != "date"}, reply.body

    guess = wrong_secret(gateway.key)
    assert credentials.parse(guess) is not None
    answers = [await ask(each) for each in (credentials.generate("agent").text, guess) * 2]
    assert all(each == answers[0] for each in answers)
    # The log tells them apart, and names the id that was told.
    entries = [each for each in await _entries(gateway) if each["reason"] == "bad_credentials"]
    assert {each["detail"]: each["count"] for each in entries} == {"unknown": 2, "wrong_secret": 2}
    told = answers[0][0]["x-refusal-id"]
    assert sorted(each.get("told_as", each["id"]) for each in entries) == [told, told]


def test_every_401_says_what_is_wrong() -> None:
    """Whatever detail the code gives without reasons has a text."""
    silent = []
    for path in (Path(gateway_package.__file__).parent).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Denied" or len(call.args) < 2:
                continue
            code, detail = (getattr(each, "value", "") for each in call.args[:2])
            has_reasons = any(each.arg == "reasons" for each in call.keywords)
            if code == "bad_credentials" and isinstance(detail, str) and not has_reasons:
                silent += [f"{path.name}: {detail}"] if detail and looks_like(detail) not in TOLD else []
    assert silent == []


async def test_a_token_that_is_not_right_is_told_so(gateway: Gateway) -> None:
    other, _ = another(gateway, "other")
    token, grant = await own(gateway), await own(gateway, requested_actor=other)
    told = {}
    for name, text in (
        ("changed", token[:-8] + "AAAAAAAA"),
        ("cut", token[:-40]),
        ("of two parts", token.rpartition(".")[0]),
        ("for an exchange", grant),
    ):
        reply = await gateway.chat("gpt-4o", bearer(text))
        assert (reply.status, reply.code) == (401, "bad_credentials")
        told[name] = reply.json["error"]["message"]
    assert "the token's signature is not right" in told["changed"]
    assert "signature is not right" in told["cut"] or "no token that this gateway has given out" in told["cut"]
    assert "no key of this gateway" in told["of two parts"]
    assert "for an exchange at `/oauth/token`" in told["for an exchange"]


async def _entries(gateway: Gateway) -> list[dict[str, Any]]:
    """The refusals of both logs, once all that was counted is recorded."""
    gateway.plane._teller._refusals.flush()
    await asyncio.to_thread(gateway.settle)
    return [each for log in (ORG, "system") for each in gateway.log(log) if each["kind"] == "refused"]
