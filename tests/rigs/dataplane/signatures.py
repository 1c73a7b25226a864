"""Shared parts of the tests in `tests/gateway/dataplane/test_signatures.py`."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.identity.message_signatures import thumbprint
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.keys.public_keys import add_public_key
from tests.gateway.corpus.drafts import Keys, Private
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway


def named(key: Private) -> tuple[Private, str]:
    return key, thumbprint(key.public_key())


def add(gateway: Gateway, agent: str, kind: str = "ed25519", lifetime_ns: int | None = None) -> tuple[Private, str]:
    """A new key pair whose public half is this agent's."""
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    add_public_key(
        gateway.registry, key.public_key(), actor=ACTOR, organization=ORG, agent=agent, lifetime_ns=lifetime_ns
    )
    return named(key)


def keys(gateway: Gateway) -> Keys:
    for name in ("other", "second", "third", "gone"):
        register_agent(gateway.registry, actor=ACTOR, organization=ORG, name=name)
    made = Keys(
        good=add(gateway, "bot"),
        p256=add(gateway, "bot", "p256"),
        other=add(gateway, "other"),
        unknown=named(Ed25519PrivateKey.generate()),
        revoked=add(gateway, "second"),
        expired=add(gateway, "third", lifetime_ns=1),
        of_revoked_agent=add(gateway, "gone"),
        api_key=gateway.key,
    )
    revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=made.revoked[1])
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="gone")
    return made


async def details(gateway: Gateway) -> list[str]:
    """The reasons why requests were refused, as the logs have them: those of known keys, and the others."""
    gateway.plane._teller._refusals.flush()
    return [str(entry.get("detail")) for entry in [*await gateway.entries("refused"), *gateway.log("system")]]
