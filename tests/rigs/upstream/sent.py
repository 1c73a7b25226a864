"""Calls that were sent, and the heads of their answers, for providers to read."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.upstream.providers.base import AnswerHead, Endpoint, Provider, Sent
from gateway.upstream.taps import Tap


def sent_to(endpoint: Endpoint, edits: Sequence[str] = (), *, stores: bool = False) -> Sent:
    """A call of a route that has one action."""
    return Sent(endpoint, endpoint.route.action, edits, stores)


def head_of(kind: bytes, status: int = 200) -> AnswerHead:
    return AnswerHead(status, [(b"content-type", kind)], kind.partition(b";")[0].strip().lower())


def tap_of(
    provider: Provider, endpoint: Endpoint, kind: bytes, edits: Sequence[str] = (), *, stores: bool = False
) -> Tap:
    """The tap of an answer of this kind."""
    return provider.tap(sent_to(endpoint, edits, stores=stores), head_of(kind))
