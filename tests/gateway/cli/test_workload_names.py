"""`gateway keys add-spiffe`: names of workloads as credentials of agents."""

from __future__ import annotations

from contextlib import closing

import orjson
import pytest

from gateway.errors import Denied, GatewayError
from gateway.identity.certificates import Certificates, PresentedCertificate
from gateway.identity.principals import Principals
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import MAX_LIVE_NAMES, revoke_key
from gateway.registry.keys.spiffe_ids import add_spiffe_id
from gateway.registry.organizations.changes import create_organization
from gateway.registry.reader import RegistryReader
from gateway.registry.secret_keys.peppers import uses
from tests.gateway.conftest import ACTOR, ORG, Home, Run, at_once

NAME = "spiffe://acme.example/agents/bot"


def add(home: Home, agent: str, name: str = NAME, organization: str = ORG) -> str:
    return add_spiffe_id(home.registry, name, actor=ACTOR, organization=organization, agent=agent).id


def test_a_name_is_added_listed_and_revoked(at: Run, home: Home) -> None:
    home.agent()
    made = at("keys", "add-spiffe", "--agent", "bot", NAME, "--model", "gpt-4o*", "--json").json
    assert (made["key_id"], made["method"], made["agent"]) == (NAME, "mtls", "bot")
    assert made["scope"] == {"models": ["gpt-4o*"]}
    assert f"{NAME}  active" in at("agents", "show", "bot").out
    assert at("keys", "add-spiffe", "--agent", "bot", f"{NAME}/").complains().startswith(
        f"`{NAME}/` is not the SPIFFE ID of a workload: "
    )  # fmt: skip
    assert at("keys", "revoke", NAME).out == f"revoked key {NAME} ({made['id']}) of agent bot\n"
    entries = [orjson.loads(line)["entry"] for line in at("audit", "list", "--json").out.splitlines()]
    added = next(each for each in entries if each.get("what") == "key.added")
    assert (added["credential"], added["credential_method"], added["key"]) == (NAME, "mtls", made["id"])


def test_one_agent_at_a_time_has_a_name(home: Home) -> None:
    home.agent()
    home.agent("other")
    create_organization(home.registry, actor=ACTOR, name="evil")
    register_agent(home.registry, actor=ACTOR, organization="evil", name="bot")
    first = add(home, "bot")
    for agent, organization, why in (
        ("bot", ORG, "the agent has this SPIFFE ID already"),
        ("other", ORG, "another agent has this SPIFFE ID"),
        ("bot", "evil", "another organization has this SPIFFE ID"),
    ):
        with pytest.raises(GatewayError, match=why) as refused:
            add(home, agent, organization=organization)
        assert "`gateway" not in getattr(refused.value.hint, "api", refused.value.hint)
    with pytest.raises(GatewayError):
        revoke_key(home.registry, actor=ACTOR, organization="evil", key=NAME)
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=NAME)
    second = add(home, "other")
    with closing(RegistryReader(home.data.registry_db)) as reader:
        row = at_once(reader.workload(NAME))
        assert row is not None
        assert (row.key_id, row.name) == (second, "other")
        revoke_key(home.registry, actor=ACTOR, organization=ORG, key=NAME)
        row = at_once(reader.workload(NAME))
        assert row is not None, "so that the log can tell that it was revoked"
        assert row.key_id == second != first
        assert row.revoked_ns is not None
        assert at_once(reader.workload(NAME + "2")) is None


def test_an_agent_has_a_few_names(home: Home) -> None:
    home.agent()
    for number in range(MAX_LIVE_NAMES):
        add(home, "bot", f"{NAME}{number}")
    with pytest.raises(GatewayError, match=f"has {MAX_LIVE_NAMES} SPIFFE IDs already"):
        add(home, "bot")
    home.key()  # they are no keys


def test_what_is_for_keys_leaves_names_alone(at: Run, home: Home) -> None:
    home.agent()
    add(home, "bot")
    home.key()
    assert [each.keys for each in uses(home.registry, home.data.keys)] == [1]
    assert at("keys", "rotate", NAME).complains().startswith(f"{NAME} is the name of a workload")
    assert at("keys", "rotate", "--agent", "bot").code == 0


def test_a_principal_ends_with_its_name_and_no_other_agent_takes_its_place(home: Home) -> None:
    home.agent()
    home.agent("other")
    add(home, "bot")
    with closing(RegistryReader(home.data.registry_db)) as reader:
        principals = Principals([Certificates(reader)])

        def epoch() -> int:
            return at_once(reader.epochs()).authority

        before = at_once(principals.get(PresentedCertificate(NAME), epoch()))
        assert (before.name, before.method, before.strength) == ("bot", "mtls", 2)
        assert before.document["credential"] == {"id": before.key_id, "method": "mtls", "strength": 2}
        revoke_key(home.registry, actor=ACTOR, organization=ORG, key=NAME)
        with pytest.raises(Denied) as caught:
            at_once(principals.get(PresentedCertificate(NAME), epoch()))
        assert caught.value.detail == "revoked"
        add(home, "other")
        for _ in range(2):  # before and after the other agent is in the cache
            denied = at_once(principals.withdrawn(before, epoch()))
            assert denied is not None, "a call under way of the first agent must end"
            assert denied.detail == "revoked"
            with pytest.raises(Denied) as caught:
                at_once(principals.refresh(before, epoch()))
            assert caught.value.detail == "revoked"
            assert at_once(principals.get(PresentedCertificate(NAME), epoch())).name == "other"
        with pytest.raises(Denied) as caught:
            at_once(principals.get(PresentedCertificate(f"{NAME}2"), epoch()))
        assert caught.value.detail == "unknown_workload"
