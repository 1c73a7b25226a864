"""Traces of requests for OpenTelemetry: one span for each request, with the policies, the log and the upstream in it.

    chat gpt-4o                      server, from the head of the request to its end
    ├── policy                       judging it
    ├── record decided               until the decision is durable
    ├── chat gpt-4o                  client: the call to the upstream, until its answer has ended
    └── record completed             until the closing record is durable

Each attempt at another upstream adds four more. Names and attributes follow the conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/); the gateway's own begin with `aig.`. No content, no credential
and no text of an error is in a span: the log's `detail` may quote an upstream. Spans are exported in batches by a
thread; if nobody takes them they are dropped.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.dataplane.exchange import Exchange

_NAME = "agent-identity-gateway"
_LONGEST = 128

# Actions that the conventions have a name for. Others keep their own.
_OPERATIONS = {
    **dict.fromkeys(("chat.completions", "messages", "responses"), "chat"),
    "completions": "text_completion",
    **dict.fromkeys(("embeddings", "embed_content", "embed_content.batch"), "embeddings"),
}
_PROVIDERS = {"azure": "azure.ai.openai", "gemini": "gcp.gemini"}
_NO_ERRORS = frozenset({"ok", "client_disconnected"})


class Trace:
    """The spans of one request that have begun."""

    __slots__ = ("offset", "root", "told", "upstream")

    def __init__(self, root: Span, offset: int) -> None:
        self.root = root
        # From the monotonic clock to the time of day.
        self.offset = offset
        self.upstream: Span | None = None
        # The attempt (its decision) whose spans have ended.
        self.told = ""


class Spans:
    """Makes the spans of one worker: a `Tracer`. `endpoint` is the collector's; without it, OTEL_* variables count."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_NAME, version(_NAME))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, exchange: Exchange) -> None:
        offset = time.time_ns() - time.monotonic_ns()
        root = self._tracer.start_span(
            "request",
            self._propagator.extract(dict(exchange.head.headers)),
            SpanKind.SERVER,
            start_time=exchange.started_monotonic_ns + offset,
        )
        exchange.trace = Trace(root, offset)
        exchange.trace_id = format_trace_id(root.get_span_context().trace_id)

    def forward(self, exchange: Exchange, headers: dict[str, str]) -> None:
        trace = exchange.trace
        assert isinstance(trace, Trace)
        inside = set_span_in_context(trace.root)
        trace.upstream = self._tracer.start_span(_name(exchange), inside, SpanKind.CLIENT, start_time=time.time_ns())
        self._propagator.inject(headers, set_span_in_context(trace.upstream))

    def closed(self, exchange: Exchange, outcome: str) -> None:
        trace = exchange.trace
        assert isinstance(trace, Trace)
        trace.told = exchange.decision_id
        if not trace.root.is_recording():
            return
        self._judged(trace, exchange)
        span, trace.upstream = trace.upstream, None
        if span is not None:
            _describe(span, exchange, outcome)
            assert exchange.match is not None
            address = urlsplit(exchange.match.destination.base_url)
            if address.hostname:
                span.set_attribute("server.address", address.hostname)
                span.set_attribute("server.port", address.port or (443 if address.scheme == "https" else 80))
            if exchange.upstream_status is not None:
                span.set_attribute("http.response.status_code", exchange.upstream_status)
            if exchange.first_byte_monotonic_ns is not None:
                took = (exchange.first_byte_monotonic_ns - exchange.sent_ns) / 1e9
                span.set_attribute("gen_ai.response.time_to_first_chunk", took)
            span.end(exchange.answered_ns + trace.offset)
        self._part(trace, "record completed", exchange.answered_ns, exchange.closed_ns)

    def finished(self, exchange: Exchange) -> None:
        if exchange.trace is None:  # refused by its head
            self.begin(exchange)
        trace = exchange.trace
        assert isinstance(trace, Trace)
        if trace.root.is_recording():
            if trace.told != exchange.decision_id:
                self._judged(trace, exchange)
            _describe(trace.root, exchange, exchange.outcome)
            if exchange.status is not None:
                trace.root.set_attribute("http.response.status_code", exchange.status)
            if exchange.target is not None:
                trace.root.set_attribute("http.request.method", exchange.target.method)
            trace.root.update_name(_name(exchange))
        trace.root.end()

    def close(self) -> None:
        self._provider.shutdown()

    def _judged(self, trace: Trace, exchange: Exchange) -> None:
        """The spans of steps 5 and 6, as far as they were done."""
        if not exchange.judged_ns:
            return
        self._part(trace, "policy", exchange.judging_ns, exchange.judged_ns)
        if exchange.decided_ns:
            self._part(trace, "record decided", exchange.judged_ns, exchange.decided_ns)

    def _part(self, trace: Trace, name: str, began_ns: int, ended_ns: int) -> None:
        inside = set_span_in_context(trace.root)
        self._tracer.start_span(name, inside, start_time=began_ns + trace.offset).end(ended_ns + trace.offset)


def _action(exchange: Exchange) -> str:
    if exchange.call is not None:
        return exchange.call.action
    if not exchange.action and exchange.match is not None:
        return exchange.match.endpoint.route.action
    return exchange.action


def _model(exchange: Exchange) -> str:
    model = exchange.call.model if exchange.call is not None else exchange.model
    return (model or "")[:_LONGEST]


def _name(exchange: Exchange) -> str:
    action, model = _action(exchange), _model(exchange)
    return f"{_OPERATIONS.get(action, action)} {model}".strip() or "request"


def _describe(span: Span, exchange: Exchange, outcome: str) -> None:
    action, model, principal, match = _action(exchange), _model(exchange), exchange.principal, exchange.match
    if action:
        span.set_attribute("gen_ai.operation.name", _OPERATIONS.get(action, action))
        span.set_attribute("aig.action", action)
    if match is not None:
        provider = match.destination.provider.name
        span.set_attribute("gen_ai.provider.name", _PROVIDERS.get(provider, provider))
        span.set_attribute("aig.upstream", match.destination.name)
    if model:
        span.set_attribute("gen_ai.request.model", model)
    if principal is not None:
        span.set_attribute("gen_ai.agent.id", principal.agent_id)
        span.set_attribute("gen_ai.agent.name", principal.name)
        span.set_attribute("aig.organization", principal.organization)
    if exchange.recorded:
        span.set_attribute("aig.decision.id", exchange.decision_id)
    report = exchange.report
    if report.model is not None:
        span.set_attribute("gen_ai.response.model", report.model[:_LONGEST])
    if report.usage is not None:
        span.set_attribute("gen_ai.usage.input_tokens", report.usage.input)
        span.set_attribute("gen_ai.usage.output_tokens", report.usage.output)
    span.set_attribute("aig.outcome", outcome)
    if outcome not in _NO_ERRORS:
        span.set_attribute("error.type", outcome)
        span.set_status(Status(StatusCode.ERROR))
