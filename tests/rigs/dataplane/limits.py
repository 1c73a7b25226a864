"""Shared parts of the tests in `tests/gateway/dataplane/test_limits.py`."""

from __future__ import annotations

from typing import Any

from gateway.audit import signer, verify
from gateway.audit.balance import VALUES
from gateway.registry.limits import usage_limits
from gateway.registry.limits.usage_limits import Part
from tests.gateway.audit.conftest import stored_balances
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway


def limit(
    gateway: Gateway,
    name: str,
    value: int,
    kind: str = "organization",
    part: Part | None = None,
    actor: str = ACTOR,
    mode: str | None = None,
) -> None:
    subject = ORG if kind == "organization" else "bot"
    usage_limits.set_limit(
        gateway.registry,
        actor=actor,
        organization=ORG,
        kind=kind,  # type: ignore[arg-type]
        subject=subject,
        name=name,
        value=value,
        mode=mode,
        part=part or usage_limits.ALL,
    )


def balance(gateway: Gateway, scope: str) -> dict[str, int]:
    """The balance of the scope that begins like this."""
    [found] = [each for name, each in stored_balances(gateway.data.audit_db).items() if name.startswith(scope)]
    return dict(zip(VALUES, found.values(), strict=True))


def proven(gateway: Gateway) -> list[Any]:
    """The findings of a verification of the whole log."""
    verifier = signer.create_key(gateway.data, "test")
    return verify.verify(gateway.data.audit_db, verifier).findings
