"""Shared parts of the tests in `tests/gateway/dataplane/test_workloads.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.registry import issuers
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply
from tests.gateway.dataplane.issuer import Issuer
from tests.rigs.dataplane.tokens import ask

BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLAIMS = {"repository": "acme/app", "ref": "refs/heads/main"}


def trusted(gateway: Gateway, issuer: Issuer, **more: Any) -> None:
    """Register the issuer, and make its tokens with `CLAIMS` the agent `bot`."""
    known = {"issuer": issuer.url, "audience": "gateway", "insecure": True, **more}
    issuers.add_issuer(gateway.registry, actor=ACTOR, organization=ORG, name="ci", **known)
    rule(gateway, "bot", CLAIMS)


def rule(gateway: Gateway, agent: str, claims: dict[str, str], issuer: str = "ci") -> str:
    made = issuers.add_rule(gateway.registry, actor=ACTOR, organization=ORG, issuer=issuer, claims=claims, agent=agent)
    return made.id


async def present(gateway: Gateway, token: str, **more: str) -> Reply:
    return await ask(gateway, grant_type=BEARER, assertion=token, **more)


def with_issuer(
    test: Callable[[Gateway, Issuer], Awaitable[None]], algorithm: str = "RS256"
) -> Callable[[Gateway], Awaitable[None]]:
    async def started(gateway: Gateway) -> None:
        issuer = Issuer(algorithm)
        await issuer.start()
        try:
            await test(gateway, issuer)
        finally:
            await issuer.stop()

    return started
