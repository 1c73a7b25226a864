"""The client's headers that go upstream, and those that the log keeps."""

from __future__ import annotations

import pytest

from gateway.dataplane.client_headers import bound_key, forwarded, trace_id, user_agent
from gateway.registry import queries

from .conftest import COMPLETION, ORG, UPSTREAM_KEY, Gateway, answer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("parent", [PARENT, f"cc-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-00-more"])
def test_a_trace_is_known_by_its_id(parent: str) -> None:
    headers = {b"traceparent": parent.encode(), b"tracestate": b"vendor=1"}
    assert trace_id(headers) == TRACE
    sent = forwarded(headers, frozenset(), "agt_1")
    assert (sent["traceparent"], sent["tracestate"]) == (parent, "vendor=1")


@pytest.mark.parametrize(
    "parent",
    [
        "", "x", PARENT.upper(), PARENT + "-more", PARENT + " ", PARENT + ", " + PARENT, PARENT[:-1],
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"cc-{TRACE}-{SPAN}-00more",
        f"00-{TRACE}-{SPAN}-\u0661\u0661",
    ],
)  # fmt: skip
def test_a_malformed_trace_is_dropped(parent: str) -> None:
    headers = {b"traceparent": parent.encode(), b"tracestate": b"vendor=1"}
    assert trace_id(headers) == ""
    assert not {"traceparent", "tracestate"} & set(forwarded(headers, frozenset(), "agt_1"))


def test_a_malformed_state_of_a_trace_is_dropped_alone() -> None:
    sent = forwarded({b"traceparent": PARENT.encode(), b"tracestate": b"a=\xff"}, frozenset(), "agt_1")
    assert "traceparent" in sent
    assert "tracestate" not in sent


@pytest.mark.parametrize(
    ("given", "kept"),
    [(b"", ""), (b"OpenAI/Python 1.2", "OpenAI/Python 1.2"), (b"a\xc3\xa9\x7f\tb", "a????b"), (b"x" * 300, "x" * 256)],
)
def test_what_a_client_calls_itself_is_kept_short_and_plain(given: bytes, kept: str) -> None:
    assert user_agent({b"user-agent": given}) == kept


def test_an_idempotency_key_is_its_agents_own() -> None:
    allowed = frozenset({b"idempotency-key"})
    first, again, other, longer = (
        forwarded({b"idempotency-key": key}, allowed, agent)["idempotency-key"]
        for key, agent in ((b"k", "agt_1"), (b"k", "agt_1"), (b"k", "agt_2"), (b"kk", "agt_1"))
    )
    assert first == again
    assert len({first, other, longer}) == 3
    assert "idempotency-key" not in forwarded({b"idempotency-key": b"k"}, frozenset(), "agt_1")


async def test_they_go_upstream_and_into_the_log(gateway: Gateway) -> None:
    lines = (f"traceparent: {PARENT}", "tracestate: a=1", "Idempotency-Key: k", "User-Agent: OpenAI/Python 1.2")
    reply = await gateway.chat("gpt-4o", *lines, "X-Stainless-Lang: python")
    assert reply.status == 200
    assert (await gateway.chat("o3")).status == 403
    headers = gateway.upstream.seen[0].headers
    (agent,) = queries.agents(gateway.registry, ORG)
    assert (headers["traceparent"], headers["tracestate"]) == (PARENT, "a=1")
    assert headers["idempotency-key"] == bound_key(agent.id, b"k")
    assert "x-stainless-lang" not in headers
    first, second = await gateway.entries("decided")
    assert (first["trace_id"], first["user_agent"]) == (TRACE, "OpenAI/Python 1.2")
    assert not {"trace_id", "user_agent"} & set(second)


async def test_an_answers_headers_reach_the_client_without_the_operators(gateway: Gateway) -> None:
    gateway.upstream.handler = answer(
        COMPLETION,
        x_new="of last week", x_should_retry="false", set_cookie="a=b", openai_organization="org-1",
        x_echo=f"Bearer {UPSTREAM_KEY}", x_decision_id="dec_made-up",
    )  # fmt: skip
    reply = await gateway.chat()
    assert (reply.status, reply.headers["x-new"], reply.headers["x-should-retry"]) == (200, "of last week", "false")
    assert not {"set-cookie", "openai-organization", "x-echo"} & reply.headers.keys()
    [decided] = await gateway.entries("decided")
    assert reply.headers["x-decision-id"] == decided["id"]
