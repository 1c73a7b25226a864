"""The scope of a key: what it may be used for, of all that its agent may do.

A scope only takes away. Policies are asked about a call that is inside, as about any other. Each of the four parts is
a list; an empty one does not restrict. Actions, models and upstreams are whole names, or beginnings that end in `*`;
networks are those that the connection must come from. A published agent is the upstream `ORGANIZATION/AGENT`.

A call that names several models needs each of them inside. One that names none is inside a scope with models only if
the scope lists its action by its whole name, or if it asks for the list of models, of which the client gets only those
inside (`gateway/dataplane/guarding.py`).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from gateway.errors import GatewayError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MODEL_LIST: Final = "models.list"
NOWHERE: Final = ("0.0.0.0/32",)
"""A network that no connection comes from."""
MAX_NAMES: Final = 32
"""In each part of a scope, so that an entry of the log can hold it."""

_PATTERN: Final = re.compile(r"[!-)+-~]{1,200}\*?")
_SHOWN: Final = 4  # named in one reason
_PARTS: Final = ("actions", "models", "networks", "upstreams")


@dataclass(frozen=True, slots=True)
class KeyScope:
    """The scope of a key. `text` is how the registry and the log have it: JSON with the parts that restrict."""

    actions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return orjson.dumps(self.document()).decode()

    def document(self) -> dict[str, list[str]]:
        parts = zip(_PARTS, (self.actions, self.models, self.networks, self.upstreams), strict=True)
        return {name: list(part) for name, part in parts if part}

    def outside(self, action: str, models: Sequence[str], peer: str | None, upstream: str = "") -> str:
        """The reason why a call is outside, in words for the client; empty if it is inside.

        `peer` is the address that the connection comes from, or None if that is not known. The networks are not told:
        who is outside should not learn where inside is.
        """
        if self.networks and not _within(peer, self.networks):
            where = f"from {peer}" if peer else "from an unknown address"
            return f"this key may be used from certain networks only, and the request comes {where}"
        if self.actions and not _matches(action, self.actions):
            return f"this key is for {_listed(self.actions)} only, and the request is {action}"
        if self.upstreams and not _matches(upstream, self.upstreams):
            return f"this key is for the upstreams {_listed(self.upstreams)} only, and the request is for {upstream}"
        if not self.models:
            return ""
        only = f"this key is for the models {_listed(self.models)} only"
        if not models:
            known = action == MODEL_LIST or action in self.actions
            return "" if known else f"{only}, and the request names no model"
        others = [each for each in models if not self.allows_model(each)]
        return f"{only}, and the request names {_listed(others)}" if others else ""

    def allows_model(self, model: str) -> bool:
        return not self.models or _matches(model, self.models)


def scope(
    actions: Iterable[str] = (),
    models: Iterable[str] = (),
    networks: Iterable[str] = (),
    upstreams: Iterable[str] = (),
) -> KeyScope | None:
    """The scope of these parts; None if nothing restricts. Raises `GatewayError` (`invalid_scope`)."""
    made = KeyScope(
        tuple(_pattern("action", each) for each in dict.fromkeys(actions)),
        tuple(_pattern("model", each) for each in dict.fromkeys(models)),
        tuple(dict.fromkeys(str(_network(each)) for each in networks)),
        tuple(_pattern("upstream", each) for each in dict.fromkeys(upstreams)),
    )
    for name, part in made.document().items():
        if len(part) > MAX_NAMES:
            raise _invalid(f"a key takes at most {MAX_NAMES} {name}", "make several keys")
    return made if made != KeyScope() else None


def parse(text: str | None) -> KeyScope | None:
    """A scope from its text; None if there is none. Raises `ValueError` for a text that is no scope."""
    if text is None or text == "null":
        return None
    document: Any = orjson.loads(text)
    if not isinstance(document, dict) or not document.keys() <= set(_PARTS):
        raise ValueError("not the scope of a key")
    found = [document.get(name, []) for name in _PARTS]
    if not all(isinstance(part, list) and all(isinstance(each, str) for each in part) for part in found):
        raise ValueError("not the scope of a key")
    return KeyScope(*map(tuple, found))


def common_networks(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The networks inside all of these parts; `NOWHERE` if there are none. An empty part does not restrict."""
    common: tuple[str, ...] = ()
    for part in parts:
        if part:
            common = _common(common, part) if common else part
    return common


@functools.lru_cache(maxsize=1024)
def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if one == other:
        return one
    found: dict[str, None] = {}
    for a in _parsed(one):
        for b in _parsed(other):
            if a.prefixlen >= b.prefixlen and a.network_address in b:  # false for addresses of the other version
                found[str(a)] = None
            elif b.network_address in a:
                found[str(b)] = None
    return tuple(found) or NOWHERE


def address(text: str) -> str:
    """The text of an address, checked. Raises `GatewayError`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise _invalid(f"`{text}` is not an address", "write 10.1.2.3 or 2001:db8::1") from error


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns)


def _within(peer: str | None, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # an IPv4 client of a socket that takes both
    return any(address in each for each in _parsed(networks))


@functools.lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in networks)


def _pattern(what: str, text: str) -> str:
    if not _PATTERN.fullmatch(text):
        hint = f"write a whole name, or its beginning and a `*` at the end, such as {_EXAMPLES[what]}"
        raise _invalid(f"`{text}` is no {what}", hint)
    return text


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        try:
            meant = str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise _invalid(f"`{text}` is no network", "write 10.0.0.0/8 or 2001:db8::/32") from error
        raise _invalid(f"`{text}` is an address inside a network", f"write {meant}") from error


def _invalid(message: str, hint: str) -> GatewayError:
    return GatewayError("invalid_scope", message, hint=hint)


_EXAMPLES: Final = {"action": "`chat.completions`", "model": "`gpt-4o*`", "upstream": "`github`"}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
