"""What is no chat stands on the same contract: an action in the body, a list that policies filter, a long stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.body import Body
from gateway.call import Call, Tool
from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.upstream.guards import Guard
from gateway.upstream.providers import members
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
    document_tap,
    request_of,
    simplest,
)
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import Event, EventTap, ProviderReport, Tap, nothing
from tests.gateway.dataplane.conftest import Gateway, Start, answer, stream
from tests.rigs.dataplane.obligations import put_into_force

LIST, CALL = "tools.list", "tools.call"
_POST = Route("POST", "/rpc", "tools", "json", further=(LIST, CALL))
_LISTEN = Route("GET", "/rpc", "tools.listen", "none", lifetime=Lifetime(first_byte=60.0, idle=60.0, total=60.0))


def show(event: bytes, report: ProviderReport) -> Event:
    return Event.PERHAPS_LAST


class Tools(Provider):
    """Tools behind one path, in the manner of JSON-RPC."""

    name = "tools"
    prefix = ""
    routes: Sequence[Route] = (_POST, _LISTEN)

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        if endpoint.route is _LISTEN:
            return call_of(endpoint, head, self.name, raw, None)
        body = members.body(raw, frozenset({"method", "name"}), {}, frozenset())
        action = str(body.get("method")).replace("/", ".")
        if action not in endpoint.route.further:
            members.refuse("the method is not known")
        tools = (Tool("mcp", members.word(body.get("name"), "`name`")),) if action == CALL else ()
        return call_of(endpoint, head, self.name, raw, body, action=action, tools=tools)

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        return call, ()

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        return request_of(call, base_url, headers, ("x-key", secret))

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        return EventTap(show) if head.kind == b"text/event-stream" else document_tap(head, nothing)

    def guard(self, sent: Sent) -> Guard | None:
        if sent.action != LIST:
            return None
        return Guard(
            lists=((("result", "tools"), "name"),),
            prefix="",
            nothing=b'{"result":{"tools":[]}}',
            uses=(simplest(self, sent.endpoint.upstream, _POST, CALL),),
            using=lambda call, name: replace(call, tools=(Tool("mcp", name),)),
            inputs=(("request", "tools"),),
            in_scope=lambda scope: None,
        )

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        return None

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps({"error": {"message": denied.text, "code": denied.code}})

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        return b""


POLICY = f"""package bot.authz

allow if input.action in {{"{LIST}", "tools.listen"}}

allow if {{
	input.action == "{CALL}"
	every tool in input.request.tools {{ tool.name == "search" }}
}}
"""


async def with_tools(start: Start, monkeypatch: pytest.MonkeyPatch, **settings: float) -> Gateway:
    monkeypatch.setitem(PROVIDERS, "openai-compatible", Tools())
    gateway = await start(**settings)
    gateway.add_upstream("rpc", "openai-compatible", secret="sk-tools-1234567890")
    put_into_force(gateway, POLICY)
    return gateway


async def test_the_body_says_the_action_and_policies_filter_a_list(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = await with_tools(start, monkeypatch)
    tools.upstream.handler = answer({"id": 1, "result": {"tools": [{"name": "search"}, {"name": "delete"}]}})
    listed = await tools.send(tools.request({"method": "tools/list"}, path="/rpc/rpc"))
    assert listed.json == {"id": 1, "result": {"tools": [{"name": "search"}]}}
    tools.upstream.handler = answer({"result": {}})
    statuses = [
        (await tools.send(tools.request({"method": "tools/call", "name": name}, path="/rpc/rpc"))).status
        for name in ("search", "delete")
    ]
    assert statuses == [200, 403]
    assert (await tools.send(tools.request({"method": "tools/other"}, path="/rpc/rpc"))).code == "bad_request"
    assert [each["action"] for each in await tools.entries("decided")] == [LIST, CALL, CALL]
    assert len(tools.upstream.seen) == 2


async def test_a_route_may_let_its_answers_take_longer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ("upstream_first_byte_timeout", "upstream_idle_timeout", "upstream_total_timeout")
    tools = await with_tools(start, monkeypatch, **dict.fromkeys(limits, 0.2))
    tools.upstream.handler = stream(b"data: 1\n\n", 0.5, b"data: 2\n\n")
    reply = await tools.send(tools.request(None, path="/rpc/rpc"))
    assert (reply.status, reply.body) == (200, b"data: 1\n\ndata: 2\n\n")
    assert [each["outcome"] for each in await tools.entries("completed")] == ["ok"]
