"""Reads a provider's error beyond its status, by closed rules of each provider.

A status does not say whose matter an error is. A 403 mostly means that the gateway's own key is bad, but some providers
say with it that the input was flagged, or that the account may not use the model: the client should know that. And an
account without credit gets 402, 429, 403, 412 or 400: the operator should know. Each provider has a function `reject`
that knows the texts and codes that it documents, or that were seen; whatever else it says is no rejection, so a 403
stays the operator's matter.

The client's text is put together anew from members that are known, so that nothing in it names the operator's key,
project, team or account.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_BYTES: Final = 16 * 1024
"""An error that is larger is not read."""
_LONGEST: Final = 1000
_ACCOUNT: Final = re.compile(
    r"\b(?:sk|xai|gsk|proj|org|team|key|acct)[-_]\w|\b(?:api[ _-]?key|team|organi[sz]ation|project|account|workspace)\b"
    r"|\barn:|\bAKIA|\bprojects/|[0-9a-f]{8}-[0-9a-f]{4}-|@|\*\*",
    re.IGNORECASE,
)
"""Names in a text that are none of a client's business."""


class Why(enum.Enum):
    """The subject of an error, and the words in which the log says it."""

    INPUT = "it refuses what the request says"
    MODEL = "the account may not use this model"
    CREDIT = "the account has no credit left, or has reached its limit of spending"
    COUNTRY = "it does not serve the country of the gateway's address"
    NETWORK = "it takes no calls from the gateway's network"
    BLOCKED = "it has blocked the account's resource"


CLIENTS: Final = frozenset({Why.INPUT, Why.MODEL})
"""These are about the client's request. The others are the operator's matter."""

REMEDIES: Final = {
    Why.CREDIT: "see to the billing of the account at the provider",
    Why.COUNTRY: "let the gateway call from a country that the provider serves",
    Why.NETWORK: "let the gateway's address through in the network settings of the resource",
    Why.BLOCKED: "see to the resource at the provider: a new key does not help",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The subject of an error and, if that is the client's matter, the answer to the client in the provider's shape."""

    why: Why
    document: Any = None

    @property
    def of_client(self) -> bool:
        return self.why in CLIENTS


def parse(body: bytes) -> tuple[dict[str, Any], bool] | None:
    """The document of an error, and whether it stood alone in a list, as Google's do. None if it is none."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    listed = isinstance(document, list) and len(document) == 1
    document = document[0] if listed else document
    return (document, listed) if isinstance(document, dict) else None


def inner(document: dict[str, Any]) -> dict[str, Any]:
    """The member `error`, if it is an object."""
    error = document.get("error")
    return error if isinstance(error, dict) else {}


def text(value: object) -> str:
    """A text, or nothing if it is none or too long for a message."""
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""


def names_account(said: str) -> bool:
    """True if a text may name a key, a project, a team or an account."""
    return _ACCOUNT.search(said) is not None


def strings(value: object) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
