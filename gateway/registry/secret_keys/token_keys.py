"""Replacing the keys that sign the gateway's own tokens, with entries in the log of the deployment (tokens.md).

The keys are files, and what the files are counts in every worker (`gateway/identity/token_keys.py`). They are changed
before the registry is: a new key is on the disk before an old one goes, and the epoch of authority changes last, so
that workers look again at tokens that they have verified. A crash in between leaves a gateway that signs, and the
same command can be typed again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import col, update

from gateway.audit.intents import Fields
from gateway.errors import UnavailableError
from gateway.identity import token_keys
from gateway.identity.token_keys import TokenKeyState
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import Epoch


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new key, and the older ones that are still kept, until their tokens have expired."""

    key: TokenKeyState
    older: tuple[TokenKeyState, ...]
    at_once: bool


def rotate(registry: Registry, keys: Path, *, actor: str, at_once: bool, reason: str = "") -> Rotation:
    """Add a key, which signs from now on.

    Tokens of older keys are good until they expire; `at_once` ends them at the next request, in every worker.
    """
    with registry.write() as session:  # one rotation at a time
        number = token_keys.add(keys)
        if at_once:
            token_keys.remove(keys, [each.number for each in token_keys.states(keys) if each.number < number])
            # No row of the registry says what files there are, so no trigger does this.
            value = col(Epoch.value) + 1
            session.execute(update(Epoch).values(value=value, authority=value))
        newest, *older = token_keys.states(keys)
        if newest.number != number or not newest.signs:
            raise UnavailableError("key_file_unusable", newest.fault or "the new key is gone", subject=str(keys))
        fields: Fields = {"token_key": number, "kid": newest.kid, "at_once": at_once}
        outbox.add_change(session, None, actor, "token_key.rotated", fields, reason)
    return Rotation(newest, tuple(older), at_once)


def remove_replaced(registry: Registry, keys: Path, *, actor: str) -> list[TokenKeyState]:
    """Remove the keys whose last tokens have expired; returns them."""
    now_ns = time.time_ns()
    over = [each for each in token_keys.states(keys) if each.kept_until_ns is not None and each.kept_until_ns < now_ns]
    if over:
        with registry.write() as session:
            token_keys.remove(keys, [each.number for each in over])
            for each in over:
                fields: Fields = {"token_key": each.number, "kid": each.kid}
                outbox.add_change(session, None, actor, "token_key.removed", fields)
    return over
