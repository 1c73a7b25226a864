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
from collections.abc import Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.dataplane.phases import Observed, Request

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

    def begin(self, request: Request, headers: Mapping[str, str]) -> None:
        offset = time.time_ns() - time.monotonic_ns()
        root = self._tracer.start_span(
            "request",
            self._propagator.extract(dict(headers)),
            SpanKind.SERVER,
            start_time=request.started_ns + offset,
        )
        request.trace = Trace(root, offset)
        request.trace_id = format_trace_id(root.get_span_context().trace_id)

    def forward(self, observed: Observed, headers: dict[str, str]) -> None:
        trace = observed.request.trace
        assert isinstance(trace, Trace)
        inside = set_span_in_context(trace.root)
        trace.upstream = self._tracer.start_span(_name(observed), inside, SpanKind.CLIENT, start_time=time.time_ns())
        self._propagator.inject(headers, set_span_in_context(trace.upstream))

    def closed(self, observed: Observed, outcome: str) -> None:
        trace = observed.request.trace
        assert isinstance(trace, Trace)
        trace.told = observed.decision_id
        if not trace.root.is_recording():
            return
        self._judged(trace, observed)
        span, trace.upstream = trace.upstream, None
        if span is not None:
            _describe(span, observed, outcome)
            address = urlsplit("" if observed.match is None else observed.match.destination.base_url)
            if address.hostname:
                span.set_attribute("server.address", address.hostname)
                span.set_attribute("server.port", address.port or (443 if address.scheme == "https" else 80))
            if observed.upstream_status is not None:
                span.set_attribute("http.response.status_code", observed.upstream_status)
            if observed.first_byte_ns is not None:
                took = (observed.first_byte_ns - observed.sent_ns) / 1e9
                span.set_attribute("gen_ai.response.time_to_first_chunk", took)
            span.end(observed.answered_ns + trace.offset)
        self._part(trace, "record completed", observed.answered_ns, observed.closed_ns)

    def finished(self, observed: Observed) -> None:
        if observed.request.trace is None:  # refused by its head
            self.begin(observed.request, {})
        trace = observed.request.trace
        assert isinstance(trace, Trace)
        if trace.root.is_recording():
            if trace.told != observed.decision_id:
                self._judged(trace, observed)
            _describe(trace.root, observed, observed.outcome)
            if observed.status is not None:
                trace.root.set_attribute("http.response.status_code", observed.status)
            trace.root.set_attribute("http.request.method", observed.request.method)
            trace.root.update_name(_name(observed))
        trace.root.end()

    def close(self) -> None:
        self._provider.shutdown()

    def _judged(self, trace: Trace, observed: Observed) -> None:
        """The spans of steps 5 and 6, as far as they were done."""
        if not observed.judged_ns:
            return
        self._part(trace, "policy", observed.judging_ns, observed.judged_ns)
        if observed.decided_ns:
            self._part(trace, "record decided", observed.judged_ns, observed.decided_ns)

    def _part(self, trace: Trace, name: str, began_ns: int, ended_ns: int) -> None:
        inside = set_span_in_context(trace.root)
        self._tracer.start_span(name, inside, start_time=began_ns + trace.offset).end(ended_ns + trace.offset)


def _action(observed: Observed) -> str:
    if not observed.action and observed.match is not None:
        return observed.match.endpoint.route.action
    return observed.action


def _model(observed: Observed) -> str:
    return (observed.model or "")[:_LONGEST]


def _name(observed: Observed) -> str:
    action, model = _action(observed), _model(observed)
    return f"{_OPERATIONS.get(action, action)} {model}".strip() or "request"


def _describe(span: Span, observed: Observed, outcome: str) -> None:
    action, model, principal, match = _action(observed), _model(observed), observed.principal, observed.match
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
    if observed.recorded:
        span.set_attribute("aig.decision.id", observed.decision_id)
    report = observed.report
    if report.model is not None:
        span.set_attribute("gen_ai.response.model", report.model[:_LONGEST])
    if report.usage is not None:
        span.set_attribute("gen_ai.usage.input_tokens", report.usage.input)
        span.set_attribute("gen_ai.usage.output_tokens", report.usage.output)
    span.set_attribute("aig.outcome", outcome)
    if outcome not in _NO_ERRORS:
        span.set_attribute("error.type", outcome)
        span.set_status(Status(StatusCode.ERROR))
