"""Shared parts of the tests in `tests/gateway/dataplane/test_token_corpus.py`."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.identity import jose
from tests.gateway.corpus.tokens import Signer
from tests.gateway.dataplane.conftest import Gateway
from tests.rigs.dataplane.tokens import ask


def signer_of(gateway: Gateway, token: str) -> Signer:
    seed = (gateway.data.keys / "token.1").read_bytes()
    kid = jose.parse(token).kid
    assert kid is not None
    return Signer(Ed25519PrivateKey.from_private_bytes(seed), "EdDSA", kid)


async def no_call(gateway: Gateway, note: str, token: str) -> None:
    """The token as a credential of the data plane."""
    line = f"Authorization: Bearer {token}".encode("utf-8", "replace").decode("latin-1")
    if any(mark in line for mark in "\r\n\0"):
        return  # cannot stand in a header
    reply = await gateway.chat("gpt-4o", line)
    assert reply.status in (400, 401), (note, reply.status, reply.body)


async def no_token(gateway: Gateway, note: str, **form: str) -> None:
    reply = await ask(gateway, **form)
    assert reply.status in (400, 401, 413), (note, reply.status, reply.body)
    assert reply.json["error"] in ("invalid_grant", "invalid_request", "invalid_client"), (note, reply.body)
