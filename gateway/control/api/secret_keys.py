"""The key that secrets are sealed under, and the peppers that keys are hashed with: those of the whole gateway."""

from __future__ import annotations

import re

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, Page, Reasoned
from gateway.control.problems import Problem
from gateway.registry.secret_keys import peppers, vault_rotation
from gateway.registry.secret_keys.peppers import PepperUse
from gateway.registry.secret_keys.vault_rotation import Rewrapped, VaultState

_LEFT = {"type": "integer", "description": "How many are not sealed under the key in force."}
_NUMBER = {"type": "integer"}


@Operation("GET /vault", noun="secret-keys", about="gateway", answer=shapes.record(VaultState, left=_LEFT))
def vault(ask: Ask) -> Answer:
    """Show which key secrets are sealed under, and what is sealed under which."""
    found = vault_rotation.state(ask.registry, ask.context.data.keys)
    members = {name: getattr(found, name) for name in ("key", "older", "sealed", "where")}
    return Answer(body={**members, "left": found.left})


# PUT: it is many transactions, which an Idempotency-Key does not hold together, and goes on where it was.
@Operation("PUT /vault", tool="rotate_vault", noun="secret-keys", about="gateway", heavy=True)
def rotate(ask: Ask[Reasoned]) -> Answer[Rewrapped]:
    """Make a new key and put everything sealed under it, or go on with that."""
    return Answer(body=vault_rotation.rotate(ask.change(), ask.context.data.keys, ask.actor, reason=ask.body.reason))


@Operation("GET /peppers", noun="secret-keys", about="gateway")
def listed(ask: Ask) -> Answer[Page[PepperUse]]:
    """List the peppers, and how many keys that work are hashed under each."""
    return Answer(body={"items": peppers.uses(ask.registry, ask.context.data.keys), "next": None})


@Operation("POST /peppers", noun="secret-keys", about="gateway", status=201, answer=shapes.closed({"pepper": _NUMBER}))
def add(ask: Ask) -> Answer:
    """Make a new pepper, under which keys are hashed from now on."""
    made = peppers.add(ask.change(), ask.context.data.keys, ask.actor)
    ask.context.peppers.look()  # what this process hashes from now on is under it
    return Answer(body={"pepper": made})


@Operation(
    "DELETE /peppers/{pepper}",
    noun="secret-keys",
    about="gateway",
    answer=shapes.closed({"pepper": _NUMBER, "removed": {"type": "boolean"}}),
)
def remove(ask: Ask) -> Answer:
    """Delete a pepper that no key which works is hashed under."""
    if not re.fullmatch(r"[0-9]{1,9}", ask.path["pepper"]):
        raise Problem(404, "unknown_pepper", "a pepper is named by its number", hint="GET /api/v1/peppers lists them")
    version = int(ask.path["pepper"])
    peppers.remove(ask.change(), ask.context.data.keys, ask.actor, version)
    return Answer(body={"pepper": version, "removed": True})
