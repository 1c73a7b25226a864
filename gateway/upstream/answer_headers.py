"""The headers of an upstream's answer that reach the agent: all but those of this file.

A provider's headers are part of its answer: clients read ids of requests, limits of rates and whether to try again, and
people look for whatever a provider has added since. Left out are those of the connection to the upstream, those by
which a server speaks for its host, since the agent's host is the gateway, and those that name or open the operator's
account. Providers think of new ones, so for the last the words of a name decide.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from gateway.upstream.routing import Destination

Headers = list[tuple[bytes, bytes]]

# Headers of a connection (RFC 9110, section 7.6.1), and those that the gateway writes itself.
_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"proxy-authenticate", b"proxy-authentication-info", b"content-encoding", b"date", b"x-decision-id"}
    | {b"gateway-receipt"}
)
# A browser, or another client, would believe this of the gateway's host, or go past the gateway.
_HOST: Final = frozenset(
    {b"alt-svc", b"clear-site-data", b"content-location", b"expect-ct", b"link", b"location", b"nel", b"refresh"}
    | {b"public-key-pins", b"report-to", b"reporting-endpoints", b"service-worker-allowed", b"sourcemap", b"via"}
    | {b"strict-transport-security", b"timing-allow-origin"}
)
_HOST_PREFIXES: Final = (b"access-control-",)
# Headers about the account, its remaining quota, and anything that opens it or leads to it.
_ACCOUNT: Final = frozenset(
    b"account accounts balance billing credit credits customer email org organisation organization organizations orgs "
    b"owner plan principal project projects subscription subscriptions team tenant user username users workspace "
    b"apikey auth authenticate authentication authorization cookie cookie2 credential credentials csrf key keys "
    b"password secret secrets session sessions signature token xsrf "
    b"backend backends base host hostname uri url urls".split()
)
# Such words stand in them, too, and they say amounts.
_RATES: Final = re.compile(rb"(?:[a-z]+-)?rate-?limit.*")
# Their statements about the bytes of an answer are wrong if the client does not get all of them.
OF_ALL_BYTES: Final = frozenset(
    {b"content-length", b"content-md5", b"content-range", b"accept-ranges", b"etag"}
    | {b"digest", b"content-digest", b"repr-digest"}
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TELLING: Final = (
    8  # characters; what is shorter (`EMPTY`, `1`) is no secret and stands in values that mean another thing
)


def passing(headers: Headers, destination: Destination, *, whole: bool) -> Headers:
    """The headers of an answer that reach the agent. Their names are in small letters.

    `whole` says whether the client gets all bytes of the answer.
    """
    also = destination.provider.response_headers
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(each.strip().lower() for each in value.split(b","))
    found = [
        (name, value)
        for name, value in headers
        if (_passes(name) or name in also) and (whole or name not in OF_ALL_BYTES) and name not in named
    ]
    for said in said_of_account(destination):
        found = [header for header in found if said not in header[1]]
    if _CONTROL.search(b"".join([value for _, value in found])):
        found = [header for header in found if not _CONTROL.search(header[1])]
    return found


def said_of_account(destination: Destination) -> list[bytes]:
    """The names of the operator's account that the gateway itself sends: some servers send them back."""
    found: list[bytes] | None = destination.derived.get("said_of_account")
    if found is None:
        found = destination.derived["said_of_account"] = [*keys(destination), *names(destination)]
    return found


def keys(destination: Destination) -> list[bytes]:
    """The upstream's key, if there is one."""
    return _telling([] if destination.secret is None else [destination.secret])


def names(destination: Destination) -> list[bytes]:
    """The words of the upstream's settings of the account."""
    return _telling([text for name, text in destination.headers.items() if not _passes(name.lower().encode())])


def _telling(texts: list[str]) -> list[bytes]:
    return [text.encode("utf-8", "replace") for text in texts if len(text) >= _TELLING]


@functools.lru_cache(maxsize=1024)
def _passes(name: bytes) -> bool:
    """True if a header of this name may pass. Providers have few names, and each answer asks for all of its own."""
    if _RATES.fullmatch(name):
        return True
    if name in _CONNECTION or name in _HOST or name.startswith(_HOST_PREFIXES):
        return False
    return _ACCOUNT.isdisjoint(re.split(rb"[-_.]", name))
