"""Shared parts of the tests in `tests/gateway/identity/test_tokens.py`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.identifiers import new_id
from gateway.identity import token_keys
from gateway.identity.key_scope import KeyScope
from gateway.identity.token_keys import TokenKeys
from gateway.identity.tokens import Link, Token


def link() -> Link:
    return Link(new_id("agt"), new_id("key"))


def token(*chain: Link, actor: str | None = None, scope: KeyScope = KeyScope()) -> Token:  # noqa: B008  # frozen
    now = int(time.time())
    return Token(new_id("tok"), chain or (link(),), scope, now, now + 300, actor)


@pytest.fixture
def keys(tmp_path: Path) -> TokenKeys:
    token_keys.create(tmp_path)
    return TokenKeys(tmp_path)
