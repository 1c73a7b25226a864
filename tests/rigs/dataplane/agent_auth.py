"""Shared parts of the tests in `tests/gateway/dataplane/test_agent_auth.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.identity import public_keys
from gateway.registry.keys.public_keys import add_public_key
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway

HELLO: Any = [{"role": "user", "content": "hello there"}]
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
    b'"choices":[{"index":0,"delta":%s}]}\n\n'
)


def key_file(gateway: Gateway, kind: public_keys.KeyType = "ed25519") -> Path:
    """The file of a new private key of the agent, which has nothing else to show."""
    key = public_keys.generate(kind)
    add_public_key(gateway.registry, key.public_key(), actor=ACTOR, organization=ORG, agent="bot")
    path = gateway.data.path / f"{kind}.pem"
    public_keys.write_private(path, key)
    return path
