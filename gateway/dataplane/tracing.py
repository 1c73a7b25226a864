"""The interface by which the data plane tells a tracer of a request. `spans.py` implements it, if it is installed.

Off, as it is by default, nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Protocol

from gateway.dataplane.phases import Observed, Request
from gateway.errors import GatewayError
from gateway.settings import Settings

logger = logging.getLogger("gateway.dataplane.tracing")

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracer(Protocol):
    """Makes a trace of each request. Owned by the worker's event loop."""

    def begin(self, request: Request, headers: Mapping[str, str]) -> None:
        """The head of a request was accepted: begin its span, as a child of the client's if its headers name one."""

    def forward(self, observed: Observed, headers: dict[str, str]) -> None:
        """A call goes upstream with these headers: begin its span, and name that as the parent there."""

    def closed(self, observed: Observed, outcome: str) -> None:
        """A call has ended and its closing is recorded."""

    def finished(self, observed: Observed) -> None:
        """The request has ended."""

    def close(self) -> None:
        """Export what is left. Blocks."""


def tracer(settings: Settings, environment: Mapping[str, str] = os.environ) -> Tracer | None:
    """The tracer, if traces are wanted: by `otel_endpoint` or by OpenTelemetry's own variables.

    Raises `GatewayError` (`otel_missing`) if `otel_endpoint` is set and the extra is not installed.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if not settings.otel_endpoint and not any(environment.get(name) for name in _VARIABLES):
        return None
    try:
        from gateway.dataplane.spans import Spans
    except ImportError as error:
        hint = "type `pip install 'agent-identity-gateway[otel]'`"
        if settings.otel_endpoint:
            raise GatewayError("otel_missing", "`otel_endpoint` needs OpenTelemetry", hint=hint) from error
        logger.warning("there are no traces, because OpenTelemetry is not installed: %s", hint)
        return None
    return Spans(settings.otel_endpoint)
