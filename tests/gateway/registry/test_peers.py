"""Other gateways that are trusted: what an operator may declare, and that each change is in force and in the log."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlmodel import select

from gateway.errors import GatewayError
from gateway.identity import organization_keys, token_keys
from gateway.registry import peers
from gateway.registry.models import Outbox
from gateway.registry.organizations.changes import create_organization
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from tests.gateway.conftest import ACTOR, ORG, Home, at_once


def jwks(*seeds: int) -> str:
    return organization_keys.public(tuple(token_keys.key_of(bytes([seed] * 32)) for seed in seeds)).decode()


def add(home: Home, name: str = "acme-gw", keys: str = "", speaks_for: tuple[str, ...] = ("acme",)) -> peers.PeerRecord:
    return peers.add_peer(home.registry, actor=ACTOR, name=name, jwks=keys or jwks(1), speaks_for=speaks_for)


def in_force(home: Home) -> list[tuple[str, list[str]]]:
    """What a data worker reads."""
    reader = RegistryReader(home.data.registry_db)
    try:
        return [(each.name, sorted(each.speaks_for)) for each in at_once(reader.peers())]
    finally:
        reader.close()


def refused(home: Home, **given: Any) -> str:
    with pytest.raises(GatewayError) as error:
        add(home, **given)
    return error.value.code


def test_a_peer_is_in_force_and_in_the_log_at_once(home: Home) -> None:
    made = add(home, speaks_for=("acme", "acme-labs"))
    assert (made.speaks_for, made.keys, made.status) == (["acme", "acme-labs"], [_kid(1)], "active")
    assert in_force(home) == [("acme-gw", ["acme", "acme-labs"])]
    with home.registry.read() as session:
        entry = session.exec(select(Outbox).order_by(Outbox.position.desc())).first()  # type: ignore[attr-defined]  # a column
        assert entry is not None
        assert (entry.organization, entry.entry["what"]) == ("system", "peer.added")
        kept = orjson.loads(entry.entry["fields"]["jwks"])
        assert [each["kid"] for each in kept["keys"]] == made.keys


def _kid(seed: int) -> str:
    return token_keys.key_of(bytes([seed] * 32)).kid or ""


def test_changes_are_in_force_at_once(home: Home) -> None:
    add(home)
    by: dict[str, Any] = {"actor": ACTOR, "name": "acme-gw"}
    assert peers.update_peer(home.registry, **by, status="disabled").status == "disabled"
    assert in_force(home) == []
    assert peers.update_peer(home.registry, **by, status="active", speaks_for=["initech"]).version == 3
    assert in_force(home) == [("acme-gw", ["initech"])]
    assert peers.update_peer(home.registry, **by, jwks=jwks(2, 3)).keys == [_kid(2), _kid(3)]
    peers.remove_peer(home.registry, **by)
    assert in_force(home) == []
    assert add(home).keys == [_kid(1)]  # the name, the key and the organization are free again


def test_a_name_means_one_thing(home: Home) -> None:
    add(home)
    assert refused(home, name="acme-gw", keys=jwks(2), speaks_for=("initech",)) == "peer_exists"
    assert refused(home, name="other", keys=jwks(2), speaks_for=("initech", "acme")) == "organization_taken"
    assert refused(home, name="other", keys=jwks(2, 1), speaks_for=("initech",)) == "key_taken"
    assert refused(home, name="other", keys=jwks(2), speaks_for=(ORG,)) == "own_organization"
    assert refused(home, name="other", keys=jwks(2), speaks_for=("system",)) == "invalid_organization"
    assert refused(home, name="other", keys=jwks(2), speaks_for=()) == "invalid_peer"
    create_organization(home.registry, actor=ACTOR, name="acme")
    with pytest.raises(GatewayError, match="organization of this gateway"):
        peers.update_peer(home.registry, actor=ACTOR, name="acme-gw", status="active")


@pytest.mark.parametrize(
    "keys",
    [
        "no JSON",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "AAAA"}]}',
        '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
    ],
)
def test_keys_are_public_ones_of_one_kind(home: Home, keys: str) -> None:
    assert refused(home, keys=keys) == "invalid_jwks"


def test_a_secret_key_is_refused(home: Home) -> None:
    document = token_keys.key_of(bytes(32)).key.as_dict(private=True)
    assert refused(home, keys=orjson.dumps({"keys": [document]}).decode()) == "invalid_jwks"


def test_a_key_has_the_name_that_follows_from_it(home: Home) -> None:
    """What a file calls it says nothing, so no key can pass for another."""
    document = orjson.loads(jwks(1))
    document["keys"][0]["kid"] = _kid(2)
    assert add(home, keys=orjson.dumps(document).decode()).keys == [_kid(1)]


@pytest.mark.parametrize(
    ("provider", "url", "auth"),
    [
        ("openai", "https://b.example/a2a/globex/sales", "peer"),
        ("a2a", "https://b.example/rpc", "peer"),
        ("a2a", "https://b.example/a2a/globex", "peer"),
        ("a2a", "https://b.example/a2a/globex/sales", "key"),
        ("a2a", "https://b.example/a2a/globex/sales", "token"),
    ],
)
def test_only_an_agent_of_another_gateway_is_called_with_an_assertion(
    home: Home, provider: str, url: str, auth: str
) -> None:
    with pytest.raises(GatewayError) as error:
        add_upstream(
            home.registry, home.vault, actor=ACTOR, organization=ORG, name="sales", provider=provider, base_url=url,
            secret=None, auth=auth,
        )  # fmt: skip
    assert error.value.code in ("invalid_auth", "invalid_provider")
