"""Agents that act for a person whom an outside issuer's token names. The issuer really runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.audit import search, storage
from gateway.cli import main
from gateway.errors import Denied
from gateway.policy import bundle as policy_bundle
from gateway.registry import issuers
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.issuers import PersonTokens
from gateway.registry.keys.changes import revoke_key
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.tokens import issuer_keys
from tests.gateway.corpus import tokens as corpus
from tests.gateway.corpus.tokens import WRONG_TIMES, Signer
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply, answer, chat, until
from tests.gateway.dataplane.issuer import Issuer
from tests.rigs.dataplane.limits import proven
from tests.rigs.dataplane.revoked_calls import OPENAI, Streaming, endless, refusal
from tests.rigs.dataplane.token_corpus import no_call, no_token, signer_of
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, ask, bearer, claims, on_behalf, own
from tests.rigs.dataplane.workloads import BEARER, with_issuer

Run = Callable[..., None]

SUBJECT = "00u1-dana-4711"

FINANCE = """\
package bot.authz

default allow := false

allow if "finance" in input.on_behalf_of.claims.groups

deny contains "only people of the company" if {
    input.on_behalf_of
    not input.on_behalf_of.claims.email_domain == "acme.example"
}
"""


def trusted(gateway: Gateway, issuer: Issuer, *, name: str = "idp", audience: str = "app", **more: Any) -> None:
    """Register the issuer for persons, and let the agent `bot` act for those who are staff."""
    tokens = PersonTokens(**{"claims": ["groups", "email_domain"], **more})
    issuers.add_issuer(
        gateway.registry, actor=ACTOR, organization=ORG, name=name, issuer=issuer.url, audience=audience,
        insecure=True, persons=tokens,
    )  # fmt: skip
    right(gateway, "bot", {"groups": "staff"}, name)


def right(gateway: Gateway, agent: str, wanted: dict[str, str], issuer: str = "idp") -> str:
    made = issuers.add_rule(gateway.registry, actor=ACTOR, organization=ORG, issuer=issuer, claims=wanted, agent=agent)
    return made.id


def person(issuer: Issuer, **more: Any) -> str:
    """An id_token of a person of two groups."""
    usual = {
        "aud": "app", "sub": SUBJECT, "groups": ["staff", "finance"], "email": "dana@acme.example",
        "email_verified": True, "repository": None, "ref": None, "nbf": None, "jti": None,
    }  # fmt: skip
    return issuer.token(**{**usual, **more})


async def exchange(gateway: Gateway, token: str, key: str = "", kind: str = "id_token", **form: str) -> Reply:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": TYPES + kind, **form}
    return await ask(gateway, key=key or gateway.key, **form)


async def for_person(gateway: Gateway, token: str, key: str = "", **form: str) -> str:
    reply = await exchange(gateway, token, key, **form)
    assert reply.status == 200, reply.body
    return str(reply.json["access_token"])


def judged_by(gateway: Gateway, source: str) -> None:
    """Put another policy of the bundle `bot` into force."""
    manifest = {"roots": ["bot"], "metadata": {"gateway": {"entrypoint": "data.bot.authz"}}}
    digest = policy_bundle.publish(
        gateway.data.bundles, {".manifest": orjson.dumps(manifest), "authz.rego": source.encode()}
    )
    gateway.plane._policies.load(digest)
    bundle = BundleRecord(name="bot", commit="d" * 40, digest=digest, author="", entrypoint="data.bot.authz")
    activations.activate(gateway.registry, actor=ACTOR, commit="d" * 40, author="dana", bundles=[bundle])


def inputs(gateway: Gateway) -> list[dict[str, Any]]:
    """The kept input of each decision."""
    with closing(storage.connect_read_only(gateway.data.audit_db)) as db:
        return [json.loads(kept or b"null") for _, kept in search.decided_after(db, 0, 100)]


def test_an_agent_acts_for_a_person_whom_policies_see(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        judged_by(gateway, FINANCE)
        token = await for_person(gateway, person(issuer), scope="chat.completions")
        assert claims(token)["person"]["claims"] == {"groups": ["staff", "finance"], "email_domain": "acme.example"}
        assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        others = await for_person(gateway, person(issuer, groups=["staff"]))
        assert (await gateway.chat("gpt-4o", bearer(others))).code == "policy_denied"
        strangers = await for_person(gateway, person(issuer, email_verified=False))
        assert (await gateway.chat("gpt-4o", bearer(strangers))).code == "policy_denied"
        assert (await gateway.chat("gpt-4o")).code == "policy_denied"  # for itself
        first, *_, last = await gateway.entries("decided")
        kept, *_, without = inputs(gateway)
        assert kept["on_behalf_of"] == {
            "issuer": issuer.url,
            "subject": SUBJECT,
            "claims": {"groups": ["staff", "finance"], "email_domain": "acme.example"},
        }
        assert "on_behalf_of" not in without
        assert "person_commitment" not in last
        assert first["person_right"] == claims(token)["person"]["cid"]
        issued = next(each for each in await gateway.entries("change") if each["what"] == "token.issued")
        assert (issued["issuer_name"], issued["person_right"]) == ("idp", first["person_right"])

    run(with_issuer(test))


@pytest.mark.slow
def test_the_person_stays_along_a_chain_of_agents(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        worker, key = another(gateway, "worker", models=["gpt-4o"])
        first = await for_person(gateway, person(issuer), scope="chat.completions")
        granted = await own(gateway, first, requested_actor="worker")
        reply = await exchange(gateway, granted, key, kind="jwt")
        assert reply.json["scope"] == "chat.completions model:gpt-4o"
        token = reply.json["access_token"]
        assert claims(token)["person"] == claims(first)["person"]
        assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        (decided,) = await gateway.entries("decided")
        assert decided["agent"] == worker
        assert [each["name"] for each in json.loads(decided["delegation_json"])] == ["bot"]
        (kept,) = inputs(gateway)
        assert kept["on_behalf_of"]["subject"] == SUBJECT
        # A token of a token names the same person, and may do no more.
        narrow = await own(gateway, token, scope="chat.completions model:gpt-4o")
        assert claims(narrow)["person"] == claims(first)["person"]
        # An agent that acts for somebody cannot take up another person or agent.
        for taken in (await exchange(gateway, person(issuer, sub="other"), token),
                      await exchange(gateway, person(issuer, sub="other"), first),
                      await on_behalf(gateway, gateway.key, "worker", token)):  # fmt: skip
            assert (taken.status, taken.json["error"]) == (400, "invalid_grant")
        # The other agent has no right of its own.
        assert (await exchange(gateway, person(issuer), key)).json["error"] == "invalid_grant"

    run(with_issuer(test))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["rule", "issuer", "key", "agent"])
def test_a_chain_ends_with_the_right_the_issuer_and_each_link(end: str, run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        _, key = another(gateway, "worker")
        first = await for_person(gateway, person(issuer))
        granted = await own(gateway, first, requested_actor="worker")
        second = str((await exchange(gateway, granted, key, kind="jwt")).json["access_token"])
        for token in (first, second):
            assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        if end == "agent":
            revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
        elif end == "key":
            revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=gateway.key)
        elif end == "issuer":
            issuers.remove_issuer(gateway.registry, actor=ACTOR, organization=ORG, name="idp")
        else:
            rule = claims(first)["person"]["cid"]
            issuers.remove_rule(gateway.registry, actor=ACTOR, organization=ORG, rule=rule)
        for token in (first, second):
            assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"
        assert (await exchange(gateway, granted, key, kind="jwt")).json["error"] == "invalid_grant"
        if end in ("rule", "issuer"):
            assert (await gateway.chat("gpt-4o")).status == 200  # the agent itself lives
            assert (await exchange(gateway, person(issuer))).json["error"] == "invalid_grant"

    run(with_issuer(test))


@pytest.mark.slow
def test_a_stream_ends_with_the_right(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        token = await for_person(gateway, person(issuer))
        gateway.upstream.handler = endless(OPENAI)
        call = Streaming(gateway, chat(stream=True), OPENAI, key=token)
        await call.begin()
        issuers.remove_issuer(gateway.registry, actor=ACTOR, organization=ORG, name="idp")
        assert (
            (await call.rest())
            .rstrip()
            .endswith(refusal("openai", Denied("bad_credentials", "person_right_ended")).rstrip())
        )
        await until(lambda: not gateway.open_decisions())
        (completed,) = await gateway.entries("completed")
        assert (completed["outcome"], completed["detail"]) == ("revoked", "person_right_ended")

    run(with_issuer(test))


@pytest.mark.slow
def test_a_program_s_issuer_names_no_person_and_the_other_way_round(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        issuers.add_issuer(
            gateway.registry, actor=ACTOR, organization=ORG, name="ci", issuer=issuer.url, audience="ci", insecure=True
        )
        right(gateway, "bot", {"repository": "acme/app"}, "ci")
        program = issuer.token(aud="ci")
        refused = await exchange(gateway, program, kind="jwt")
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        assert "a program's" in refused.json["error_description"]
        subject = {"subject_token": person(issuer), "subject_token_type": f"{TYPES}jwt"}
        for kind, form in (("jwt-bearer", {"assertion": person(issuer)}), ("token-exchange", subject)):
            refused = await ask(gateway, grant_type=f"urn:ietf:params:oauth:grant-type:{kind}", **form)
            assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
            assert "a person's" in refused.json["error_description"]
        both = person(issuer, aud=["app", "ci"], azp="app", repository="acme/app")
        assert (await exchange(gateway, both)).json["error"] == "invalid_grant"
        assert (await ask(gateway, grant_type=BEARER, assertion=both)).json["error"] == "invalid_grant"
        # Without the agent's own credential a person's token is worth nothing, and it is no credential itself.
        assert (await gateway.chat("gpt-4o", bearer(person(issuer)))).status == 401
        actor = {"actor_token": gateway.key, "actor_token_type": f"{TYPES}access_token"}
        form = {"subject_token": person(issuer), "subject_token_type": f"{TYPES}id_token"}
        assert (await ask(gateway, grant_type=EXCHANGE, **form, **actor)).status == 200

    run(with_issuer(test))


@pytest.mark.slow
def test_an_issuer_is_one_organization_s(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        create_organization(gateway.registry, actor=ACTOR, name="acme")
        issuers.add_issuer(
            gateway.registry, actor=ACTOR, organization="acme", name="idp", issuer=issuer.url, audience="app",
            insecure=True, persons=PersonTokens(),
        )  # fmt: skip
        refused = await exchange(gateway, person(issuer))
        assert "no issuer is registered" in refused.json["error_description"]
        assert issuer.asked == {}  # nothing is fetched for a stranger

    run(with_issuer(test))


@pytest.mark.slow
def test_no_issuer_of_another_organization_stands_in_the_way(run: Run) -> None:
    """An operator who registered one of the other audiences of a token made it mean two issuers."""

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        create_organization(gateway.registry, actor=ACTOR, name="acme")
        issuers.add_issuer(
            gateway.registry, actor=ACTOR, organization="acme", name="idp", issuer=issuer.url, audience="other",
            insecure=True, persons=PersonTokens(),
        )  # fmt: skip
        assert (await exchange(gateway, person(issuer, aud=["app", "other"], azp="app"))).status == 200
        trusted(gateway, issuer, name="second", audience="third")
        refused = await exchange(gateway, person(issuer, aud=["app", "third"], azp="app"))
        assert "several issuers" in refused.json["error_description"]

    run(with_issuer(test))


@pytest.mark.slow
def test_nobody_is_named_in_public(
    run: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No entry, line or answer has the person's subject or token; who knows the subject finds the calls."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        outside = person(issuer)
        token = await for_person(gateway, outside)
        reply = await gateway.chat("gpt-4o", bearer(token))
        refused = [await gateway.chat("gpt-secret", bearer(token)), await exchange(gateway, person(issuer, exp=1))]
        for members in ({"groups": []}, {"azp": "x"}, {"iat": 1}, {"groups": ["staff", "x" * 300]}):
            refused += [await exchange(gateway, person(issuer, **members))]
        refused.append(await exchange(gateway, outside[:-4] + "AAAA"))
        another_token = await for_person(gateway, person(issuer, sub="somebody else"))
        assert (await gateway.chat("gpt-4o", bearer(another_token))).status == 200
        entries = await gateway.entries()
        first, second = [each for each in entries if "person_commitment" in each and each["kind"] == "decided"][:2]
        assert first["person_commitment"] != second["person_commitment"]  # nobody can be counted by it either
        public = json.dumps([entries, gateway.log("system"), [str(each) for each in (reply, *refused)]])
        signature = outside.rpartition(".")[2]
        said.extend([first["id"], second["id"]])
        for secret in (SUBJECT, outside, signature, token, "dana@acme.example"):
            assert secret not in public
            assert secret not in caplog.text
        sent = gateway.upstream.seen[0]
        assert SUBJECT.encode() not in sent.head + sent.body

    run(with_issuer(test))
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))
    capsys.readouterr()

    def listed(*arguments: str) -> list[str]:
        assert main(["audit", "list", "--json", *arguments]) == 0
        return [json.loads(line)["entry"]["id"] for line in capsys.readouterr().out.splitlines()]

    assert [each for each in listed("--person", SUBJECT) if each.startswith("dec_")] == said
    assert any(each.startswith("chg_") for each in listed("--person", SUBJECT))
    assert listed("--person", SUBJECT, "--id", said[0]) == said[:1]
    assert listed("--person", SUBJECT, "--agent", "bot", "--kind", "decided") == said
    assert listed("--person", SUBJECT.upper()) == []
    assert main(["explain", said[0], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["agrees"], shown["input"]["on_behalf_of"]["subject"]) == (True, SUBJECT)
    assert main(["audit", "show", said[0]]) == 0
    assert f"{SUBJECT} of http://127.0.0.1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_log_verifies_and_decisions_are_made_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        judged_by(gateway, FINANCE)
        for groups in (["staff", "finance"], ["staff"]):
            token = await for_person(gateway, person(issuer, groups=groups))
            await gateway.chat("gpt-4o", bearer(token))
        decided = await gateway.entries("decided")
        assert [each["reason"] for each in decided] == ["allowed", "policy_denied"]
        ids.extend(each["id"] for each in decided)
        await until(lambda: not gateway.open_decisions())
        assert proven(gateway) == []

    ids: list[str] = []
    run(with_issuer(test))
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))
    for decision in ids:
        assert main(["explain", decision, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["agrees"] is True
    # The same question by hand, with another person.
    call = tmp_path / "call.json"
    for groups, code in ((["finance"], 0), (["staff"], 1)):
        kept = {"groups": groups, "email_domain": "acme.example"}
        by_hand = {"issuer": "https://x.example", "subject": "x", "claims": kept}
        asked = {"action": "chat.completions", "resource": {"model": "gpt-4o"}, "on_behalf_of": by_hand}
        call.write_text(json.dumps(asked))
        assert main(["decide", "--agent", "bot", "-i", str(call)]) == code, capsys.readouterr()
    call.write_text(json.dumps({"action": "chat.completions", "on_behalf_of": {"subject": "x"}}))
    assert main(["decide", "--agent", "bot", "-i", str(call)]) == 2
    assert "on_behalf_of" in capsys.readouterr().err


def bad_cases(issuer: Issuer) -> list[tuple[str, str]]:
    """Bad tokens of persons, from a good one."""
    good = person(issuer)
    signing = Signer(issuer.key.private_key, issuer.algorithm, "first")
    now = int(issuer.claims()["iat"])
    changed: dict[str, list[Any]] = {
        "iss": ["https://other.example", "", None, 1, [issuer.url], issuer.url + "/", issuer.url.upper(), "test"],
        "aud": [
            "other", "", None, 1, ["other"], [], [["app"]], {"app": 1}, "App", "app ", ["x"] * 100, ["app", "other"],
            "gateway", "test/data", ["other", "app"],
        ],
        "azp": ["other", "", None, 1, ["app"], "App", {"app": 1}, True],
        "sub": ["", None, 1, ["00u1"], {}, " ", " a", "a ", "a\n", "a\x00", "a" * 256, "ä", "a\u202eb", True],
        "exp": WRONG_TIMES,
        "nbf": [now + 3600, "x", True, [], 2**64],
        "iat": [now + 3600, "x", True, [], -1, 0, now - 3700, None, 1.0, {}],
        "groups": [
            "finance", [], None, "staff,finance", ["STAFF"], ["staff "], [["staff"]], {"staff": 1}, 1, True, "sta",
            ["staff", 1], ["staff", None], ["staff", "x" * 257], ["staff"] * 65, ["staff", *["x" * 200] * 6],
        ],
        "email": ["a@" + "b" * 300],
        "cnf": [{}, {"jkt": "x"}, {"x5t#S256": "x"}, None],
        "act": [{"sub": "x"}, {}, None, "x"],
        "may_act": [{"sub": "bot"}, {}],
        "gty": ["client-credentials"],
        "idtyp": ["app"],
        "client_id": [SUBJECT],
        "appid": [SUBJECT],
        "cid": [SUBJECT],
    }  # fmt: skip
    made = [
        *corpus.forged(good, signing),
        *(case for case in corpus.headers(good, signing) if "'typ': None" not in case[0]),
        *corpus.claims_of(good, signing, changed),
    ]
    header = {"alg": issuer.algorithm, "kid": "first"}
    kinds = ("at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt")
    made += [(f"typ {typ}", corpus.sign(signing, {**header, "typ": typ}, claims(good))) for typ in kinds]
    return [case for case in made if case[1] != good and not case[0].startswith(("without azp", "without email"))]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_all_bad_tokens_of_persons_open_nothing(algorithm: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "UNKNOWN_SECONDS", 1e9)
    monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 1e9)

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        gateway.upstream.handler = answer({"error": "nothing may come here"}, status=500)
        trusted(gateway, issuer)
        cases = bad_cases(issuer)
        for number, (note, token) in enumerate(cases):
            form = {"grant_type": EXCHANGE, "subject_token": token, "client_secret": gateway.key}
            await no_token(gateway, note, subject_token_type=f"{TYPES}id_token", **form)
            if number % 5 == 0:
                await no_token(gateway, note, subject_token_type=f"{TYPES}jwt", **form)
                await no_token(gateway, note, grant_type=BEARER, assertion=token)
                await no_call(gateway, note, token)
        assert len(cases) > 450
        good = person(issuer)
        form = {"grant_type": EXCHANGE, "subject_token": good, "client_secret": gateway.key}
        await no_token(gateway, "another kind", subject_token_type=f"{TYPES}access_token", **form)
        _, other = another(gateway, "other")
        await no_token(gateway, "another agent", subject_token_type=f"{TYPES}jwt", **{**form, "client_secret": other})
        assert gateway.upstream.seen == []
        issued = [each for each in await gateway.entries("change") if each["what"] == "token.issued"]
        assert issued == []
        assert (await exchange(gateway, good)).status == 200  # and nothing of it did harm
        assert issuer.asked["/keys"] == 1

    run(with_issuer(test, algorithm))


@pytest.mark.slow
def test_no_claim_of_our_own_tokens_names_another_person(run: Run) -> None:
    """Even with the right key, which nobody has, a token must name a right that is in force for its first agent."""

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        other, _ = another(gateway, "other")
        others = right(gateway, "other", {})
        good = await for_person(gateway, person(issuer))
        signing, said = signer_of(gateway, good), claims(good)["person"]
        gone = right(gateway, "bot", {"groups": "gone"})
        issuers.remove_rule(gateway.registry, actor=ACTOR, organization=ORG, rule=gone)
        issuers.add_issuer(
            gateway.registry, actor=ACTOR, organization=ORG, name="ci", issuer=issuer.url, audience="ci", insecure=True
        )
        programs = right(gateway, "bot", {"repository": "acme/app"}, "ci")
        nobody = said["cid"][:-1] + ("0" if said["cid"][-1] != "0" else "1")
        changed: dict[str, list[Any]] = {
            "person": [
                {}, [], "x", 1, True, {"sub": SUBJECT}, {**said, "x": 1}, {**said, "sub": ""}, {**said, "sub": None},
                {**said, "claims": []}, {**said, "claims": {"x": {}}}, *({**said, "cid": each} for each in (
                    others, gone, programs, nobody, "rul_x", None, claims(good)["cid"], other, "", f"{said['cid']} ")),
            ]
        }  # fmt: skip
        for note, token in corpus.claims_of(good, signing, changed):
            if note != "without person":
                await no_call(gateway, note, token)
                await no_token(gateway, note, grant_type="client_credentials", client_secret=token)

    run(with_issuer(test))


@pytest.mark.slow
def test_a_person_s_token_may_be_exchanged_again(run: Run) -> None:
    """A person's token may be exchanged again while it lasts, also at the same time."""

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        outside = person(issuer)
        replies = await asyncio.gather(*(exchange(gateway, outside) for _ in range(4)))
        assert [each.status for each in replies] == [200] * 4
        assert len({each.json["access_token"] for each in replies}) == 4
        ends = int(issuer.claims()["exp"]) - 200
        assert claims(await for_person(gateway, person(issuer, exp=ends)))["exp"] == ends

    run(with_issuer(test))
