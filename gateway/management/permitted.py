"""Questions beside the one that a command is about, which a narrow token may not ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from gateway.errors import GatewayError

T = TypeVar("T")

_NOT_FOR_THIS_TOKEN: Final = ("token_scope", "forbidden")


def unless_forbidden(ask: Callable[[], T], otherwise: T) -> T:
    """What a question answers, or this if the token may not ask it."""
    try:
        return ask()
    except GatewayError as error:
        if error.code not in _NOT_FOR_THIS_TOKEN:
            raise
        return otherwise
