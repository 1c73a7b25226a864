"""A published agent: who calls it speaks A2A over JSON-RPC, and the gateway judges each message for both sides.

The base URL is the agent's endpoint. The path at which others reach it names its organization and it
(`gateway/a2a/cards.py`); to its own organization it is an upstream like any other.
Specification: https://a2a-protocol.org/v1.0/specification, section 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.a2a.cards import PROVIDER
from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.mcp.messages import ProtocolError
from gateway.outbound.client import Outgoing
from gateway.upstream.guards import CallGuard, Guard
from gateway.upstream.providers import json_rpc
from gateway.upstream.providers.a2a import answers, requests
from gateway.upstream.providers.base import (
    AnswerHead,
    Edits,
    Endpoint,
    Lifetime,
    Provider,
    RequestHead,
    Route,
    Sent,
    call_of,
    plain_url,
)
from gateway.upstream.providers.json_rpc import ProtocolDenied
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import Tap

_HEADERS = frozenset({b"accept", b"a2a-version", b"a2a-extensions"})
_FURTHER = (*(each for each in dict.fromkeys(requests.ACTIONS.values()) if each != requests.SEND),)


class A2a(Provider):
    """See `base.Provider` for what each member promises."""

    name = PROVIDER
    prefix = ""
    routes: Sequence[Route] = (
        Route(
            "POST", "/a2a", requests.SEND, "json", request_headers=_HEADERS, further=_FURTHER,
            lifetime=Lifetime(idle=3600.0, total=3600.0),
        ),
    )  # fmt: skip

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        try:
            body = json_rpc.parsed(raw)
            action, of, facts = requests.read(body, head)
        except ProtocolError as error:
            raise ProtocolDenied(error) from None
        return call_of(endpoint, head, self.name, raw, body, action=action, message_id=of, **facts)

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        """There are no models, outputs or lists of tools here that could be changed."""
        return call, ()

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        sent = {"accept": "application/json, text/event-stream", **headers, "Content-Type": call.content_type}
        if secret is not None:
            sent["Authorization"] = f"Bearer {secret}"
        return Outgoing(call.method, plain_url(base_url), sent, call.raw)

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        return answers.tap(sent, head)

    def guard(self, sent: Sent) -> Guard | CallGuard | None:
        return None

    def essence(self, call: Call) -> bytes | None:
        """The message without its ids, which clients make anew for each attempt."""
        if call.body is None:
            return None
        params = dict(call.body.get("params", {}))
        if isinstance(message := params.get("message"), dict):
            params["message"] = {name: value for name, value in message.items() if name != "messageId"}
        return orjson.dumps({**call.body, "id": None, "params": params}, option=orjson.OPT_SORT_KEYS)

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """An agent's errors are its own."""
        return None

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps(json_rpc.error(denied, denied.message_id))

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        return b"data: " + orjson.dumps(json_rpc.error(denied, sent.message_id)) + b"\n\n"
