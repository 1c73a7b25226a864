"""Trying an upstream before agents depend on it: one harmless request with the stored key (providers.md).

The request is the provider's list of models, which costs nothing and which each family has. It is made as the data
plane makes its own, with the same client. JSON APIs (`http`) have no request of which that is known, and where calls
have tokens of their own there is no call here, so for them only the connection and TLS are tried. No agent calls here,
so there is no decision; who had it done is on record before the key is used (`control/api/upstreams.py`). The
provider's text is shown nowhere: some repeat the key.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from gateway.errors import Denied
from gateway.identity.call_tokens import KEY
from gateway.identity.key_scope import MODEL_LIST
from gateway.outbound.addresses import RefusedAddressError
from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.fetch import fetch
from gateway.upstream.providers.base import Endpoint, RequestHead, plain_url
from gateway.upstream.routing import Destination

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 20.0
"""For one answer."""
LONGEST_SECONDS: Final = 60.0
"""Enough for a check: a connection of its own and two requests at most."""
_MAX_BYTES: Final = 4 * 1024 * 1024  # long lists have one; a parsed one takes 25 times as much memory
# The largest page of a list that the provider gives.
_WHOLE: Final = {"limit": "1000", "pageSize": "1000"}
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCheck:
    """The findings of a check, as far as it got.

    `key` is `accepted`, `refused`, `none` (there is none, and none was asked for), `missing` (there is none, and one
    was asked for), `unproven` (nothing says that the list of models is refused without one) or `unknown`. `tls` is the
    version, empty for plain HTTP. `models` is how many are listed, None if there is no list. `milliseconds` is how long
    the request took, with a connection of its own, or the connection alone. `problem` is empty if nothing is wrong.
    """

    name: str
    base_url: str
    tried: str
    ok: bool = False
    reached: bool = False
    tls: str = ""
    key: str = "unknown"
    status: int | None = None
    models: int | None = None
    milliseconds: int = 0
    problem: str = ""
    hint: str = ""


async def check(upstreams: Iterable[Destination]) -> list[UpstreamCheck]:
    """Try upstreams, all at the same time. Raises nothing for what is wrong with one."""
    client = UpstreamClient(connect_timeout=CONNECT_SECONDS, idle_timeout=ANSWER_SECONDS)
    try:
        return await asyncio.gather(*(_check(client, each) for each in upstreams))
    finally:
        await client.close()


async def _check(client: UpstreamClient, upstream: Destination) -> UpstreamCheck:
    asked = _list_of_models(upstream, upstream.secret) if upstream.auth == KEY else None
    tried = f"connect to {upstream.base_url}" if asked is None else f"GET {asked.url}"
    found = UpstreamCheck(name=upstream.name, base_url=upstream.base_url, tried=tried)
    if upstream.fault:
        return replace(found, problem=upstream.fault, hint=_add_again(upstream, "its key again"))
    began = time.monotonic()
    found = replace(await _connected(client, upstream, found), milliseconds=_since(began))
    if not found.problem:
        found = replace(found, ok=True) if asked is None else await _asked(upstream, asked, found)
    return found


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _list_of_models(upstream: Destination, secret: str | None) -> Outgoing | None:
    """The request for the list of models; None if the provider has none."""
    provider = upstream.provider
    listing = [(provider.prefix + each.path, each) for each in provider.routes if each.action == MODEL_LIST]
    if not listing:
        return None
    # Azure's older path demands the date of a version.
    path, route = next((each for each in listing if "/v1/" in each[0]), listing[0])
    head = RequestHead({name: value for name, value in _WHOLE.items() if name in route.query})
    call = provider.read(Endpoint(upstream.name, route, path), head, b"")
    return provider.prepare(call, upstream.base_url, secret, upstream.headers)


# ---- the connection


async def _connected(client: UpstreamClient, upstream: Destination, found: UpstreamCheck) -> UpstreamCheck:
    """Tells if a connection can be made, TLS included."""
    try:
        connection = await client.connect(plain_url(upstream.base_url), upstream.reach)
    except (OSError, ValueError) as error:
        problem, hint = _no_connection(error, upstream.base_url)
        # Somebody has shown a certificate, or hung up.
        reached = isinstance(error, ssl.SSLError | ConnectionResetError)
        return replace(found, reached=reached, problem=problem, hint=hint)
    found = replace(found, reached=True, tls=connection.tls)
    connection.abort()
    return found


def _no_connection(error: OSError | ValueError, base_url: str) -> tuple[str, str]:
    """The reason why there is no connection, and what to do."""
    url = plain_url(base_url)
    host, place, check_url = url.host, url.authority, "check the base URL"
    if isinstance(error, RefusedAddressError):
        return error.text, f"{check_url}; an operator of the whole gateway can add upstreams inside its network"
    if isinstance(error, TimeoutError):
        return f"no connection to {place} within {CONNECT_SECONDS:g} s", f"{check_url}, and firewalls in between"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"the name {host} has no address here", f"{check_url}, and the DNS of the gateway's machine"
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f"{check_url}; an authority of your own is trusted if SSL_CERT_FILE names its certificate"
        return f"the certificate of {place} is not accepted: {error.verify_message.rstrip('.')}", hint
    if isinstance(error, ssl.SSLError):
        if error.reason in _NO_TLS:
            return f"{place} does not speak TLS", f"{check_url}: is it http://?"
        return f"TLS with {place} fails: {(error.reason or str(error)).lower().replace('_', ' ')}", check_url
    if isinstance(error, ConnectionResetError):
        return f"{place} closes the connection when TLS begins", f"{check_url}: is it http://?"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return f"{place} refuses the connection: nothing listens there", f"start it, or {check_url}"
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot connect to {place}: {why.lower()}", check_url


# ---- the request


async def _asked(upstream: Destination, asked: Outgoing, found: UpstreamCheck) -> UpstreamCheck:
    """The meaning of the answer to the request."""
    began = time.monotonic()
    try:
        status, body = await fetch(asked, upstream.reach, seconds=ANSWER_SECONDS, most=_MAX_BYTES)
    except TimeoutError:
        problem = f"no answer within {ANSWER_SECONDS:g} s"
        return replace(found, milliseconds=_since(began), problem=problem, hint="try again later")
    except Denied as denied:
        return replace(found, problem=denied.detail or denied.message, hint="check the base URL")
    except ValueError as error:
        return replace(found, milliseconds=_since(began), problem=str(error), hint="check the base URL")
    found = _judged(upstream, replace(found, status=status, milliseconds=_since(began)), body)
    if found.ok and upstream.secret is not None and not await _demands_a_key(upstream):
        return replace(found, key="unproven")
    return found


async def _demands_a_key(upstream: Destination) -> bool:
    """True if the list of models is refused without a key, so that getting it proves something about the key."""
    asked = _list_of_models(upstream, None)
    assert asked is not None
    try:
        status, _ = await fetch(asked, upstream.reach, seconds=ANSWER_SECONDS, most=_MAX_BYTES)
    except (Denied, TimeoutError, ValueError):
        return False
    # An overloaded provider would not have given it to anybody. Some lead to a login.
    return 300 <= status < 500 and status not in (408, 429)


def _judged(upstream: Destination, found: UpstreamCheck, body: bytes) -> UpstreamCheck:
    """The meaning of a status and a body."""
    status, has_key, check_url = found.status or 0, upstream.secret is not None, "check the base URL"
    # Gemini says so with 400.
    if status in (401, 403) or (status == 400 and b"API_KEY_INVALID" in body):
        if not has_key:
            problem = f"the provider demands a key, and the gateway has none (status {status})"
            return replace(found, key="missing", problem=problem, hint=_add_again(upstream, "one"))
        rights = ", or does not let it list models" if status == 403 else ""
        problem = f"the provider refuses the key{rights} (status {status})"
        return replace(found, key="refused", problem=problem, hint=_add_again(upstream, "another key"))
    if 300 <= status < 400:
        problem = f"the provider redirects (status {status}), which the gateway does not follow"
        return replace(found, problem=problem, hint=check_url)
    if status in (404, 405):
        problem = f"there is no list of models at this address (status {status})"
        return replace(found, problem=problem, hint=f"{check_url}; a few providers have no such list")
    if status == 402:
        problem = "the account at the provider has no credit (status 402)"
        return replace(found, problem=problem, hint="see to its billing")
    if status == 429:
        problem = "the provider takes no more requests for now (status 429)"
        return replace(found, problem=problem, hint="the key has no credit, or too many requests are made with it")
    if not 200 <= status < 300:
        problem = f"the provider answers with an error (status {status})"
        return replace(found, problem=problem, hint="try again later" if status >= 500 else check_url)
    models = _count(body)
    if models is None:
        problem = f"the answer is no list of models (status {status})"
        return replace(found, problem=problem, hint=f"{check_url}: mostly it ends with the version, such as /v1")
    return replace(found, ok=True, key="accepted" if has_key else "none", models=models)


def _count(body: bytes) -> int | None:
    """The number of models in an answer; None if it is no list. Together's is an array, Gemini's is under `models`."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    if isinstance(document, dict):
        document = document.get("data", document.get("models"))
    return len(document) if isinstance(document, list) else None


def _add_again(upstream: Destination, what: str) -> str:
    return f"give it {what}: `gateway upstreams add {upstream.name} --replace …`"
