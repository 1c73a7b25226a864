"""The scope of a token: what it may be used for, as text and in relation to the scopes that it came from.

The text is OAuth's (RFC 6749, section 3.3): words with a space between them, in any order. A word is an action, such as
`chat.completions`, or `model:` and a model's name, or `upstream:` and an upstream's; each may be a beginning that ends
in `*`. No word of a sort means that
there is no restriction of that sort. Scopes only shrink on their way from a key over tokens to further tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.errors import GatewayError
from gateway.identity import key_scope
from gateway.identity.key_scope import KeyScope

EVERYTHING: Final = KeyScope()
MAX_LENGTH: Final = 2048

_MODEL = "model:"
_UPSTREAM = "upstream:"


def parse(text: str) -> KeyScope:
    """The scope that a text means; raises `GatewayError` (`invalid_scope`). An empty one restricts nothing."""
    if len(text) > MAX_LENGTH:
        raise GatewayError("invalid_scope", f"the scope is longer than {MAX_LENGTH} characters")
    words = text.split(" ") if text else []
    models = [each.removeprefix(_MODEL) for each in words if each.startswith(_MODEL)]
    upstreams = [each.removeprefix(_UPSTREAM) for each in words if each.startswith(_UPSTREAM)]
    actions = [each for each in words if not each.startswith((_MODEL, _UPSTREAM))]
    return key_scope.scope(actions, models, upstreams=upstreams) or EVERYTHING


def text(scope: KeyScope) -> str:
    named = (*(_MODEL + each for each in scope.models), *(_UPSTREAM + each for each in scope.upstreams))
    return " ".join([*scope.actions, *named])


def fits(scope: KeyScope) -> bool:
    """True if a token can have this scope. A key's scope may be longer, and so may the common part of two scopes."""
    try:
        return parse(text(scope)) == scope
    except GatewayError:
        return False


def narrowed(parents: Iterable[KeyScope | None], wanted: KeyScope | None) -> KeyScope:
    """The scope of a token that comes from credentials of these scopes.

    It is `wanted`, which must be inside all of them, or their common part if nothing is wanted. Raises
    `GatewayError` (`invalid_scope`). Networks belong to the one who connects, and are not part of it.
    """
    actions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    for parent in parents:
        if parent is not None:
            actions = _common(actions, parent.actions, "actions")
            models = _common(models, parent.models, "models")
            upstreams = _common(upstreams, parent.upstreams, "upstreams")
    if wanted is None:
        return KeyScope(actions, models, upstreams=upstreams)
    return KeyScope(
        _inside(wanted.actions, actions, "action"),
        _inside(wanted.models, models, "model"),
        upstreams=_inside(wanted.upstreams, upstreams, "upstream"),
    )


def _common(first: tuple[str, ...], second: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The patterns of what matches one of `first` and one of `second`. An empty list matches everything."""
    if not first or not second:
        return first or second
    both = [one if _covers(other, one) else other for one in first for other in second if _meet(one, other)]
    if not both:
        raise GatewayError("invalid_scope", f"the credentials have no {what} in common")
    return tuple(dict.fromkeys(both))


def _inside(wanted: tuple[str, ...], allowed: Sequence[str], what: str) -> tuple[str, ...]:
    if not allowed:
        return wanted
    for each in wanted:
        if not any(_covers(pattern, each) for pattern in allowed):
            raise GatewayError("invalid_scope", f"the {what} `{each}` is more than the credential is for")
    return wanted or tuple(allowed)


def _covers(pattern: str, other: str) -> bool:
    """True if everything that `other` matches is matched by `pattern`."""
    if pattern.endswith("*"):
        return other.startswith(pattern[:-1])
    return pattern == other


def _meet(one: str, other: str) -> bool:
    return _covers(one, other) or _covers(other, one)
