"""Traces as a collector receives them: OTLP over HTTP, parsed by OpenTelemetry's own protobuf messages."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.dataplane.tracing import tracer
from gateway.errors import GatewayError
from gateway.settings import Settings
from tests.gateway.dataplane.conftest import Gateway, Start, answer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector:
    """A small OTLP collector."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.stop()


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


async def flush(gateway: Gateway) -> None:
    assert gateway.plane._tracer is not None
    await asyncio.to_thread(gateway.plane._tracer.close)


def tree(spans: list[Span]) -> dict[str, list[Span]]:
    """The root spans by name, each with its children in order of time."""
    ids = {span.span_id for span in spans}
    found = {}
    for root in [span for span in spans if span.parent_span_id not in ids]:
        children = sorted((s for s in spans if s.parent_span_id == root.span_id), key=lambda s: s.start_time_unix_nano)
        found[root.name] = [root, *children]
    return found


async def test_a_collector_receives_the_span_tree(start: Start, collector: Collector) -> None:
    gateway = await start(otel_endpoint=collector.endpoint)
    assert (await gateway.chat("gpt-4o", f"traceparent: {PARENT}", "tracestate: vendor=1")).status == 200
    (decided,) = await gateway.entries("decided")
    await flush(gateway)
    root, *children = tree(collector.spans)["chat gpt-4o"]
    assert [child.name for child in children] == ["policy", "record decided", "chat gpt-4o", "record completed"]
    # The client's trace goes on, through the gateway to the upstream.
    assert root.trace_id.hex() == decided["trace_id"] == PARENT.split("-")[1]
    assert root.parent_span_id.hex() == PARENT.split("-")[2]
    sent = gateway.upstream.seen[0].headers
    assert sent["traceparent"] == f"00-{root.trace_id.hex()}-{children[2].span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1"
    assert (root.kind, children[2].kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.agent.name": "bot",
        "aig.decision.id": decided["id"],
        "aig.outcome": "ok",
        "http.response.status_code": 200,
    }.items() <= attributes(root).items()
    assert attributes(children[2])["server.port"] == gateway.upstream.port
    for child in children:
        assert root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
        assert child.end_time_unix_nano <= root.end_time_unix_nano
    (resource,) = {request.resource_spans[0].resource.SerializeToString() for request in collector.requests}
    assert b"agent-identity-gateway" in resource


async def test_what_is_denied_refused_or_failed_has_a_span_and_no_content(start: Start, collector: Collector) -> None:
    gateway = await start(otel_endpoint=collector.endpoint)
    secret = "the quarterly figures"
    await gateway.chat("gpt-secret", messages=[{"role": "user", "content": secret}])
    await gateway.chat("gpt-4o", "Authorization: Bearer aig_sk_wrong")
    gateway.upstream.handler = answer({"error": {"message": f"{secret} are bad"}}, 500)
    await gateway.chat("gpt-4o", messages=[{"role": "user", "content": secret}])
    await flush(gateway)
    found = tree(collector.spans)
    denied, *children = found["chat gpt-secret"]
    assert [child.name for child in children] == ["policy", "record decided"]
    assert attributes(denied)["error.type"] == "policy_denied"
    refused, *children = found["request"]
    assert (children, attributes(refused)["error.type"]) == ([], "bad_credentials")
    failed, *children = found["chat gpt-4o"]
    assert len(children) == 4
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert attributes(children[2])["http.response.status_code"] == 500
    everything = b"".join(request.SerializeToString() for request in collector.requests)
    for text in (secret, gateway.key, "sk-upstream-secret", "aig_sk_wrong"):
        assert text.encode() not in everything


@pytest.mark.slow
async def test_a_collector_that_is_away_fails_no_request(start: Start) -> None:
    gateway = await start(otel_endpoint="http://127.0.0.1:1")
    assert (await gateway.chat()).status == 200
    await flush(gateway)  # or its thread would complain during a later test


def test_when_there_are_traces() -> None:
    assert tracer(Settings(), {}) is None
    assert tracer(Settings(otel_endpoint="http://x"), {"OTEL_SDK_DISABLED": "TRUE"}) is None
    found = tracer(Settings(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert found is not None
    found.close()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "gateway.dataplane.spans", None)
    with pytest.raises(GatewayError, match="needs OpenTelemetry") as raised:
        tracer(Settings(otel_endpoint="http://127.0.0.1:4318"), {})
    assert raised.value.hint == "type `pip install 'agent-identity-gateway[otel]'`"
    assert tracer(Settings(), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}) is None
    assert "there are no traces" in caplog.text
