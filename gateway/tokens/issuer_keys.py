"""The public keys of outside issuers: fetched from where an operator said, kept, and fetched again now and then.

Only requests for tokens wait for this, never those with a credential. A document is small, comes by https (or from
this machine, for tests), within a few seconds and without redirects. The set is fetched again after ten minutes, and at
most once a minute for a token whose key is not in it, so that tokens with made-up keys cause no flood at the issuer. If
the issuer cannot be reached, its last set counts for an hour. See tokens.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from yarl import URL

from gateway.errors import Denied, GatewayError
from gateway.identity import jose
from gateway.identity.jose import Key
from gateway.identity.workload import WorkloadIssuer
from gateway.outbound import addresses
from gateway.outbound.client import Outgoing
from gateway.outbound.fetch import fetch
from gateway.settings import is_loopback

logger = logging.getLogger("gateway.tokens.issuer_keys")

FRESH_SECONDS = 600.0
KEPT_SECONDS = 3600.0
UNKNOWN_SECONDS = 60.0
"""The least time between two fetches because of tokens with an unknown key."""
RETRY_SECONDS = 5.0
"""The pause before a failed fetch is tried again."""
MAX_BYTES = 256 * 1024
_SECONDS = 5.0
_MAX_ISSUERS = 1024
_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(slots=True)
class _Kept:
    """The set of one issuer. Times are of the monotonic clock."""

    keys: tuple[Key, ...] = ()
    fetched: float = float("-inf")
    tried: float = float("-inf")
    fault: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


def reach_of(issuer: WorkloadIssuer, url: str) -> str | None:
    """The addresses from which keys may be fetched there; None if they may not be fetched there at all.

    By https, or from this machine if an operator has said that it is meant. An issuer elsewhere must not have the
    gateway knock on doors of its own machine or network by naming them in a document.
    """
    parts, configured = urlsplit(url), urlsplit(issuer.jwks_url or issuer.issuer)
    if parts.scheme == "https":
        return issuer.reach if parts.hostname == configured.hostname else addresses.PUBLIC
    local = parts.scheme == configured.scheme == "http" and all(
        is_loopback(each.hostname or "") for each in (parts, configured)
    )
    return issuer.reach if local else None


class IssuerKeys:
    """The keys that one worker has; used from its event loop's thread only."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], _Kept] = {}

    async def of(self, issuer: WorkloadIssuer, kid: str | None) -> tuple[Key, ...]:
        """The keys of an issuer, with the one of this name if it has it. Raises `Denied` if none can be had."""
        place = (issuer.id, issuer.jwks_url, issuer.jwks)
        kept = self._kept.get(place)
        if kept is None:
            if len(self._kept) >= _MAX_ISSUERS:
                self._kept.clear()
            kept = self._kept[place] = _Kept()
        if issuer.jwks:
            if not kept.keys:
                kept.keys = jose.key_set(issuer.jwks)
            return kept.keys
        # A fetch under way may bring what this one needs.
        if self._due(kept, kid) or (kept.turn.locked() and not self._has(kept, kid)):
            async with kept.turn:
                if self._due(kept, kid):  # nobody has fetched while this one waited
                    await self._fetch(issuer, kept)
        if not self._has(kept, None):
            raise Denied("registry_unavailable", f"the keys of issuer {issuer.name} cannot be fetched: {kept.fault}")
        return kept.keys

    def _has(self, kept: _Kept, kid: str | None) -> bool:
        """True if there is a set that still counts, with the key of this name."""
        if not kept.keys or time.monotonic() - kept.fetched > KEPT_SECONDS:
            return False
        return kid is None or any(each.kid == kid for each in kept.keys)

    def _due(self, kept: _Kept, kid: str | None) -> bool:
        now = time.monotonic()
        if now - kept.fetched >= FRESH_SECONDS:
            return now - kept.tried >= RETRY_SECONDS
        known = kid is None or any(each.kid == kid for each in kept.keys)
        return not known and now - kept.tried >= UNKNOWN_SECONDS

    async def _fetch(self, issuer: WorkloadIssuer, kept: _Kept) -> None:
        kept.tried = time.monotonic()
        try:
            async with asyncio.timeout(_SECONDS):
                url = issuer.jwks_url or await self._discovered(issuer)
                kept.keys = jose.key_set(await self._get(issuer, url))
        except (OSError, ValueError, GatewayError) as error:  # TimeoutError is an OSError
            why = error.detail if isinstance(error, Denied) else ""
            why = why or (error.message if isinstance(error, GatewayError) else str(error))
            kept.fault = why or type(error).__name__
            logger.warning("the keys of issuer %s cannot be fetched: %s", issuer.name, kept.fault)
        else:
            kept.fetched, kept.fault = kept.tried, ""

    async def _discovered(self, issuer: WorkloadIssuer) -> str:
        """Return the URL of the issuer's keys, from its metadata (OpenID Connect Discovery, section 4)."""
        document: Any = orjson.loads(await self._get(issuer, issuer.issuer.rstrip("/") + _DISCOVERY))
        if not isinstance(document, dict) or document.get("issuer") != issuer.issuer:
            raise ValueError("its discovery document is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("its discovery document has no jwks_uri")
        return url

    async def _get(self, issuer: WorkloadIssuer, url: str) -> bytes:
        reach = reach_of(issuer, url)
        if reach is None:
            raise ValueError("keys are fetched by https only")
        request = Outgoing("GET", URL(url), {"Accept": "application/json"}, b"")
        status, found = await fetch(request, reach, seconds=_SECONDS, most=MAX_BYTES)
        if status != 200:
            raise ValueError(f"status {status}")
        return found
