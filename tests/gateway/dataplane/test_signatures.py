"""Signed requests at the data plane: good ones are served, and hundreds of bad ones open nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.client.signing import Signer
from gateway.identity import public_keys
from gateway.policy import bundle as policy_bundle
from gateway.registry.agents.changes import resume_agent, revoke_agent, suspend_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.policies import activations
from gateway.registry.policies.bindings import bind
from gateway.registry.records import BundleRecord
from tests.gateway.corpus import signed
from tests.gateway.corpus.drafts import BODY, COVERED, Private, digest, draft
from tests.rigs.dataplane.decide import Command, command  # noqa: F401  # a fixture
from tests.rigs.dataplane.signatures import add, details, keys, named

from .conftest import ACTOR, MANIFEST, ORG, POLICY, Gateway, Reply, read_reply

Run = Callable[..., None]


async def refused(gateway: Gateway, cases: list[tuple[str, bytes]]) -> list[tuple[str, int, bytes]]:
    """The cases that were not refused as they should be."""
    wrong = []
    for at in range(0, len(cases), 16):
        some = cases[at : at + 16]
        replies = await asyncio.gather(*(gateway.send(sent) for _, sent in some))
        answered = zip(some, replies, strict=True)
        wrong += [(note, each.status, each.body) for (note, _), each in answered if each.status not in (400, 401)]
    assert gateway.upstream.seen == []
    return wrong


async def test_good_signatures_are_served_and_a_sample_of_bad_ones_refused(gateway: Gateway) -> None:
    known = keys(gateway)
    assert await refused(gateway, list(signed.cases(known))[::15]) == []
    for number, (note, sent) in enumerate(signed.good(known), 1):
        reply = await gateway.send(sent)
        assert reply.status == 200, (note, reply.body)
        assert len(gateway.upstream.seen) == number
    head = gateway.upstream.seen[-1].headers
    assert head["authorization"] == "Bearer sk-upstream-secret"
    assert not {"signature", "signature-input", "content-digest"} & head.keys()
    for entry in await gateway.entries("decided"):
        assert (entry["credential_method"], entry["credential_strength"]) == ("signature", 2)
        assert entry["key"].startswith("key_")


@pytest.mark.slow
async def test_hundreds_of_bad_signatures_open_nothing(gateway: Gateway) -> None:
    known = keys(gateway)
    cases = list(signed.cases(known))
    assert len(cases) > 800
    assert await refused(gateway, cases) == []
    assert (await gateway.send(draft(known.good).sent())).status == 200


async def test_a_signature_opens_the_gateway_once(gateway: Gateway) -> None:
    key, nonce = add(gateway, "bot"), '"nonce-nonce-nonce-1"'
    sent = draft(key, nonce=nonce).sent()
    together = await asyncio.gather(*(gateway.send(sent) for _ in range(8)))
    assert sorted(each.status for each in together) == [200] + [401] * 7
    again = [
        sent,
        draft(key, nonce=nonce).sent(),  # signed anew
        draft(key, nonce=nonce, body=BODY + b" ").sent(),
        draft(key, nonce=nonce, method="GET", path="/v1/models", body=b"").sent(),
    ]
    assert [(await gateway.send(each)).status for each in again] == [401] * 4
    # A nonce is its key's: another agent may use the same.
    register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    other = await gateway.send(draft(add(gateway, "other"), nonce=nonce).sent())
    assert (other.status, other.code) == (403, "no_policy")
    assert len(gateway.upstream.seen) == 1
    assert "replayed" in await details(gateway)


@pytest.mark.slow
async def test_a_forged_signature_does_not_use_a_nonce_up(gateway: Gateway) -> None:
    key, nonce = add(gateway, "bot"), '"nonce-nonce-nonce-1"'
    forged = draft((Ed25519PrivateKey.generate(), key[1]), nonce=nonce).sent()
    assert (await gateway.send(forged)).status == 401
    assert (await gateway.send(draft(key, nonce=nonce).sent())).status == 200


@pytest.mark.slow
async def test_a_body_of_any_size_must_be_the_signed_one(gateway: Gateway) -> None:
    key = add(gateway, "bot")
    for size in (70_000, 1_500_000):  # hashed on a thread, and out of a file
        body = BODY[:-1] + b',"user":"' + b"x" * size + b'"}'
        assert (await gateway.send(draft(key, body=body, digest=digest(body, "sha-512")).sent())).status == 200
        assert gateway.upstream.seen[-1].body == body
        reply = await gateway.send(draft(key, body=body).sent()[:-3] + b'y"}')
        assert (reply.status, reply.code) == (401, "bad_credentials")
        assert "the body is not the one that was signed" in reply.json["error"]["message"]
    assert len(gateway.upstream.seen) == 2
    assert await details(gateway) == ["body_differs"] * 2


@pytest.mark.slow
async def test_a_bad_signature_is_refused_before_its_body_is_sent(gateway: Gateway) -> None:
    sent = draft(named(Ed25519PrivateKey.generate()), more=["Expect: 100-continue"]).sent()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent.removesuffix(BODY))
    assert (await read_reply(reader)).status == 401
    writer.close()


async def test_a_key_ends_with_its_revocation_its_expiry_and_its_agent(gateway: Gateway) -> None:
    async def ask(key: tuple[Private, str]) -> Reply:
        return await gateway.send(draft(key).sent())

    first, second = add(gateway, "bot"), add(gateway, "bot", "p256")
    assert [(await ask(each)).status for each in (first, second)] == [200, 200]
    revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=first[1])
    assert [(await ask(each)).status for each in (first, second)] == [401, 200]
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    reply = await ask(second)
    assert (reply.status, reply.code) == (403, "agent_suspended")
    assert (await ask(first)).status == 401
    resume_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert (await ask(second)).status == 401


@pytest.mark.slow
async def test_nobody_is_let_in_whose_nonce_cannot_be_kept(gateway: Gateway) -> None:
    key = add(gateway, "bot")
    with closing(sqlite3.connect(gateway.data.runtime_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        reply = await gateway.send(draft(key).sent())
        assert (reply.status, reply.code) == (503, "registry_unavailable")
        other.execute("ROLLBACK")
    assert (await gateway.send(draft(key).sent())).status == 200
    gateway.data.runtime_db.rename(gateway.data.path / "moved.db")
    assert (await gateway.send(draft(key).sent())).status == 503
    assert (await gateway.chat()).status == 200  # a key needs no nonce


@pytest.mark.slow
async def test_a_client_is_told_what_it_can_mend_and_nothing_else(gateway: Gateway) -> None:
    known = keys(gateway)
    told: dict[str, str] = {}
    for name in ("unknown", "revoked", "expired", "of_revoked_agent"):
        told[name] = (await gateway.send(draft(getattr(known, name)).sent())).json["error"]["message"]
    told["forged"] = (await gateway.send(draft((known.other[0], known.good[1])).sent())).json["error"]["message"]
    # Only a right signature shows that the client is whoever it says.
    assert told["unknown"] == told["forged"]
    for name, part in (("revoked", "was revoked"), ("expired", "has expired"), ("of_revoked_agent", "was revoked")):
        assert part in told[name]
    assert "no agent of this gateway" in told["unknown"]
    late = await gateway.send(draft(known.good, created="1700000000", expires="1700000060").sent())
    assert "the clock of the client" in late.json["error"]["message"]
    form = await gateway.send(draft(known.good, tag='"web-bot-auth"').sent())
    assert "Signature-Input does not have" in form.json["error"]["message"]
    assert set(await details(gateway)) >= {
        *("unknown", "revoked", "expired", "wrong_signature", "signature_expired", "signature_malformed")
    }


PROOF = """\
package proof.authz

deny contains "sign your requests" if input.agent.credential.strength < 2
"""


@pytest.mark.slow
def test_a_policy_can_demand_a_signature(run: Run, command: Command) -> None:
    async def test(gateway: Gateway) -> None:
        manifest = orjson.dumps({"roots": ["proof"], "metadata": {"gateway": {"entrypoint": "data.proof.authz"}}})
        bundles = []
        for name, files in {
            "bot": {".manifest": MANIFEST, "authz.rego": POLICY.encode()},
            "proof": {".manifest": manifest, "authz.rego": PROOF.encode()},
        }.items():
            digest = policy_bundle.publish(gateway.data.bundles, files)
            gateway.plane._policies.load(digest)
            found = BundleRecord(name=name, commit="d" * 40, digest=digest, author="", entrypoint=f"data.{name}.authz")
            bundles.append(found)
        activations.activate(gateway.registry, actor=ACTOR, commit="d" * 40, author="dana", bundles=bundles)
        whole = {"kind": "organization", "subject": ORG, "bundle": "proof", "effect": "guard"}
        bind(gateway.registry, actor=ACTOR, organization=ORG, **whole)  # type: ignore[arg-type]  # keywords
        reply = await gateway.chat()
        assert (reply.status, reply.code) == (403, "policy_denied")
        assert "sign your requests" in reply.json["error"]["message"]
        assert (await gateway.send(draft(add(gateway, "bot")).sent())).status == 200
        for entry in await gateway.entries("decided"):
            seen[entry["credential_method"]] = entry["allow"], entry["key"]
        assert {method: allow for method, (allow, _) in seen.items()} == {"api_key": False, "signature": True}

    seen: dict[str, tuple[bool, str]] = {}
    run(test)
    call = {"action": "chat.completions", "resource": {"model": "gpt-4o"}}
    assert command(call)[0] == 0  # the newest key is the public one
    for allow, key in seen.values():
        assert command(call, "--key", key)[0] == (0 if allow else 1)


async def test_only_signed_headers_go_on_where_some_are_signed(gateway: Gateway) -> None:
    """Nobody on the way adds one to a request that covers those that it has."""
    key = keys(gateway).good
    quoted = tuple(f'"{name}"' for name in COVERED)
    added = ["openai-beta: assistants=v2", "accept: text/plain"]
    assert (await gateway.send(draft(key, more=added).sent())).status == 200
    covered = (*quoted, '"content-type"', '"accept"')
    covering = draft(key, covered=covered, more=added, signed={"accept": "text/plain"})
    assert (await gateway.send(covering.sent())).status == 200
    first, second = (each.headers for each in gateway.upstream.seen)
    assert (first["openai-beta"], first["accept"]) == ("assistants=v2", "text/plain")
    assert ("openai-beta" in second, second["accept"]) == (False, "text/plain")
    # The parts of a form are where its content-type says, which another boundary would change.
    form = draft(key, content_type="multipart/form-data; boundary=x", path="/v1/images/edits")
    reply = await gateway.send(form.sent())
    assert (reply.status, "must cover content-type" in reply.json["error"]["message"]) == (401, True)


def test_the_programs_of_this_package_sign_what_goes_on() -> None:
    signer = Signer(public_keys.generate("ed25519"))
    others = {"content-type": "multipart/form-data; boundary=x", "anthropic-beta": "b", "user-agent": "u"}
    said = signer.headers("POST", "gateway", "/v1/x", "sha-256=:AA==:", others)["signature-input"]
    assert said.startswith(
        'sig=("@method" "@authority" "@path" "@query" "content-digest" "anthropic-beta" "content-type");'
    )
