"""The digest of a tool, and what was approved of it: a server may not change a tool behind the back of its readers.

A server says what a tool is called, what it does and which arguments it takes, and a model believes it. The digest is
over what the server said, without `_meta`, which may differ from one answer to the next. No member is left out for
being unknown: a later revision of the protocol may give it a meaning for clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from gateway.frozen import frozen

PROVIDER: Final = "mcp"
"""The provider of an upstream that is an MCP server."""

State = Literal["pinned", "new", "changed"]
"""A tool is `pinned` if it is as somebody approved it, or as it was when its server was first trusted."""
STATES: Final[Mapping[str, State]] = {"pinned": "pinned", "new": "new", "changed": "changed"}

Trust = Literal["approve", "first_use", "trust"]
"""Tools of a server that may be called: approved ones, also those of its first list, or all."""
TRUSTS: Final[Mapping[str, Trust]] = {"approve": "approve", "first_use": "first_use", "trust": "trust"}

MAX_BYTES: Final = 64 * 1024
"""The largest definition of a tool that is kept."""
MAX_NAME: Final = 128
"""Characters of a tool's name."""

_DOMAIN: Final = b"agent-identity-gateway/mcp-tool/v1\0"
_VARYING: Final = "_meta"


@frozen()
class Pin:
    """A tool of a server as it was approved. `new`: nobody has yet. `changed`: the server says something else now.

    `document` is the approved definition, or the one that waits for an approval if the tool is new.
    """

    name: str
    digest: str
    state: State
    document: Mapping[str, Any]


@frozen()
class Pins:
    """The tools of a server by their names; `fault` says why none of them can be trusted, empty if they can."""

    tools: Mapping[str, Pin]
    fault: str = ""


def definition(document: Mapping[str, Any]) -> bytes:
    """What a server says of a tool, in one canonical form: names sorted, no spaces, `_meta` left out.

    Raises `ValueError` for what is no JSON, or too deep.
    """
    kept = {name: value for name, value in document.items() if name != _VARYING}
    try:
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def tool_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 over the definition, in hex, of a domain of its own."""
    return hashlib.sha256(_DOMAIN + definition(document)).hexdigest()
