"""Asks an OpenID Connect provider where operators log in for its metadata, and for a token in exchange for a code.

All of it is small, comes by https (or from this machine, for a provider there), within a few seconds and without
redirects. The metadata is fetched again after ten minutes; the last that was fetched counts for an hour.
Sources: OpenID Connect Discovery 1.0; RFC 6749, sections 2.3.1, 4.1.3 and 5; RFC 7636; RFC 8414; RFC 9207.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson
from yarl import URL

from gateway.errors import Denied, GatewayError
from gateway.identity import logins
from gateway.identity.jose import Key
from gateway.identity.workload import WorkloadIssuer
from gateway.outbound.addresses import ANYWHERE
from gateway.outbound.client import Outgoing
from gateway.outbound.fetch import fetch
from gateway.registry.operators.login_providers import LoginProviderRecord
from gateway.settings import is_loopback
from gateway.tokens.issuer_keys import FRESH_SECONDS, KEPT_SECONDS, RETRY_SECONDS, IssuerKeys

logger = logging.getLogger("gateway.control.provider_client")

MAX_BYTES: Final = 256 * 1024
_SECONDS: Final = 10.0
_DISCOVERY: Final = "/.well-known/openid-configuration"
_ERROR: Final = re.compile(r"[a-z_]{1,40}")


class ProviderUnavailableError(Exception):
    """The provider cannot be asked, or does not answer as one; the message is for the gateway's log."""


class CodeRefusedError(Exception):
    """The provider takes the code for no good one: made up, used before, expired, of another client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The URLs of a provider's parts, and its capabilities."""

    authorization: str
    token: str
    keys: str
    posts_secret: bool
    names_itself: bool
    """True if its answers say which provider they come from (RFC 9207)."""


@dataclass(slots=True)
class _Kept:
    """A provider's last metadata. Times are of the monotonic clock."""

    metadata: Metadata | None = None
    fetched: float = float("-inf")
    tried: float = float("-inf")
    fault: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderClient:
    """Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._keys = IssuerKeys()

    async def metadata(self, provider: LoginProviderRecord) -> Metadata:
        """The provider's metadata, fetched if it is due. Raises `ProviderUnavailableError`."""
        kept = self._kept.setdefault((provider.id, provider.issuer), _Kept())
        if self._due(kept) or (kept.metadata is None and kept.turn.locked()):
            async with kept.turn:
                if self._due(kept):  # nobody has asked while this one waited
                    await self._fetch(provider, kept)
        if kept.metadata is None or time.monotonic() - kept.fetched > KEPT_SECONDS:
            raise ProviderUnavailableError(kept.fault)
        return kept.metadata

    def _due(self, kept: _Kept) -> bool:
        now = time.monotonic()
        return now - kept.fetched >= FRESH_SECONDS and now - kept.tried >= RETRY_SECONDS

    async def _fetch(self, provider: LoginProviderRecord, kept: _Kept) -> None:
        kept.tried = time.monotonic()
        try:
            status, found = await self._ask("GET", provider.issuer.rstrip("/") + _DISCOVERY, provider)
            if status != 200:
                raise ProviderUnavailableError(f"its discovery document: status {status}")
            kept.metadata = _metadata(found, provider)
        except ProviderUnavailableError as error:
            kept.fault = str(error)
            logger.warning("login provider %s cannot be asked: %s", provider.name, kept.fault)
        else:
            kept.fetched, kept.fault = kept.tried, ""

    async def keys(
        self, provider: LoginProviderRecord, found: Metadata, kid: str | None
    ) -> tuple[WorkloadIssuer, list[Key]]:
        """The provider as an issuer of tokens for this client, and its keys. Raises `ProviderUnavailableError`."""
        issuer = WorkloadIssuer(
            id=provider.id,
            organization="",
            name=provider.name,
            issuer=provider.issuer,
            audience=provider.client_id,
            jwks_url=found.keys,
            jwks="",
            purpose="persons",
            max_age=logins.MAX_AGE,
            reach=ANYWHERE,  # only operators of the whole gateway add login providers
        )
        try:
            return issuer, list(await self._keys.of(issuer, kid))
        except GatewayError as error:
            raise ProviderUnavailableError(error.detail if isinstance(error, Denied) else error.message) from error

    async def exchange(
        self,
        provider: LoginProviderRecord,
        found: Metadata,
        secret: str | None,
        *,
        code: str,
        verifier: str,
        redirect_uri: str,
    ) -> str:
        """The id_token for a code. Raises `CodeRefusedError` or `ProviderUnavailableError`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        if secret is None or found.posts_secret:
            form["client_id"] = provider.client_id
        if secret is not None and found.posts_secret:
            form["client_secret"] = secret
        elif secret is not None:
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, answer = await self._ask("POST", found.token, provider, form, headers)
        if status == 200:
            token = answer.get("id_token")
            if not isinstance(token, str):
                raise ProviderUnavailableError("its token endpoint gives no id_token")
            return token
        error = answer.get("error")
        code_of_it = error if isinstance(error, str) and _ERROR.fullmatch(error) else "no error code"
        if 400 <= status < 500 and code_of_it == "invalid_grant":
            raise CodeRefusedError
        raise ProviderUnavailableError(f"its token endpoint: status {status}, {code_of_it}")

    async def _ask(
        self,
        method: str,
        url: str,
        provider: LoginProviderRecord,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """One request: the status, and the JSON object of the answer; an empty one if the status tells of an error."""
        _check_url(url, provider)
        sent = {"Accept": "application/json", **(headers or {}), **({} if form is None else {"Content-Type": _FORM})}
        request = Outgoing(method, URL(url), sent, b"" if form is None else urlencode(form).encode())
        try:
            status, found = await fetch(request, ANYWHERE, seconds=_SECONDS, most=MAX_BYTES)
        except (OSError, ValueError, GatewayError) as error:  # TimeoutError is an OSError
            why = error.detail or error.message if isinstance(error, Denied) else str(error)
            raise ProviderUnavailableError(why or type(error).__name__) from error
        return status, _object(status, found)


_FORM: Final = "application/x-www-form-urlencoded"


def _object(status: int, found: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(found)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict):
        return document
    if status == 200:
        raise ProviderUnavailableError("its answer is no JSON object")
    return {}


def _metadata(document: dict[str, Any], provider: LoginProviderRecord) -> Metadata:
    if document.get("issuer") != provider.issuer:
        raise ProviderUnavailableError("its discovery document is another issuer's")
    places = []
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        url = document.get(name)
        if not isinstance(url, str) or "#" in url or not url.isascii() or not url.isprintable():
            raise ProviderUnavailableError(f"its discovery document has no {name}")
        _check_url(url, provider)
        places.append(url)
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise ProviderUnavailableError("it does not support PKCE with S256")
    ways = document.get("token_endpoint_auth_methods_supported")
    posts = isinstance(ways, list) and "client_secret_basic" not in ways and "client_secret_post" in ways
    return Metadata(
        authorization=places[0],
        token=places[1],
        keys=places[2],
        posts_secret=posts,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _check_url(url: str, provider: LoginProviderRecord) -> None:
    """Only https; plain HTTP only on this machine, and only for a provider that was added so."""
    parts = urlsplit(url)
    local = provider.issuer.startswith("http://") and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ProviderUnavailableError("a place in its discovery document is not at https://")
