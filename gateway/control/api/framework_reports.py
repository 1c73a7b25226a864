"""Reports on a log by the requirements of frameworks (reports.md)."""

from __future__ import annotations

from typing import Any, Final

from pydantic import AwareDatetime, Field

from gateway.audit import search
from gateway.audit.framework_report import FrameworkReport
from gateway.audit.intents import SYSTEM
from gateway.audit.search import Filters
from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.registry.documents import timestamp

_PAGE: Final = 2000
_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_ENTRY = shapes.or_null(shapes.closed({"log": _TEXT, "index": _COUNT, "id": _TEXT}))
_ANSWER = shapes.closed(
    {
        **dict.fromkeys(("framework", "title", "text"), _TEXT),
        "logs": {"type": "array", "items": _TEXT},
        "since": shapes.or_null(shapes.TIME),
        "until": shapes.or_null(shapes.TIME),
        "entries": _COUNT,
        "requirements": {
            "type": "array",
            "items": shapes.closed(
                {
                    **dict.fromkeys(("id", "asks", "outside"), _TEXT),
                    "shows": {
                        "type": "array",
                        "items": shapes.closed({"says": _TEXT, "count": _COUNT, "first": _ENTRY, "last": _ENTRY}),
                    },
                }
            ),
        },
    }
)


class ReportQuery(Query):
    """Which framework, and which time."""

    framework: str = Field(description="Its name: eu-ai-act, soc2, nist-ai-rmf, gdpr, iso42001 or owasp-agentic.")
    since: AwareDatetime | None = Field(None, description="Only entries from this time on.")
    until: AwareDatetime | None = Field(None, description="Not included.")


@Operation("GET /audit/report", answer=_ANSWER, heavy=True, tool="report_by_framework")
def report(ask: Ask[None, ReportQuery]) -> Answer:
    """Count what the log shows for each requirement of a framework, with references to entries."""
    given = ask.query
    since_ns, until_ns = nanoseconds(given.since), nanoseconds(given.until)
    made = FrameworkReport(given.framework)
    logs = []
    with ask.context.log() as log:
        end = search.last_position(log)
        # The system log has activations and checkpoints, which concern everybody.
        for organization in (ask.tenant, *([SYSTEM] if ask.caller.organization is None else [])):
            if (head := log.head(organization)) is None:
                continue
            logs.append(head.origin)
            filters, position = Filters(organization=organization, since_ns=since_ns, until_ns=until_ns), 0
            while position < end:
                found, position = search.after(log, position, filters, _PAGE)
                made.add(found)
    body: dict[str, Any] = made.document(
        logs,
        None if since_ns is None else timestamp(since_ns),
        None if until_ns is None else timestamp(until_ns),
    )
    return Answer(body=body)
