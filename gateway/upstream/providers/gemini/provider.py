"""Google's Gemini API (https://ai.google.dev/api): generation, the counting of tokens, embeddings, and models.

Also Vertex AI in its express mode, which serves the same calls to a key under other paths
(https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/overview).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import (
    AnswerHead,
    Edits,
    Endpoint,
    Provider,
    RequestHead,
    Route,
    Sent,
    call_about_model,
    document_tap,
    request_of,
    without_version,
)
from gateway.upstream.providers.gemini import requests
from gateway.upstream.providers.gemini.answers import GeminiAnswers
from gateway.upstream.providers.rejections import Rejection, Why, inner, text
from gateway.upstream.taps import ArrayTap, EventTap, Tap

_FORWARDED = frozenset({b"accept", b"x-server-timeout"})
_FORM, _PAGES = frozenset({"alt"}), frozenset({"pageSize", "pageToken"})
_VERSIONS = ("/v1beta1", "/v1beta", "/v1")
_STREAM = ":streamGenerateContent"
# The request refers to something that is not there, or is another project's.
_NOT_THERE = re.compile(
    r"You do not have permission to access the File [A-Za-z0-9_-]{1,64} or it may not exist\."
    r"|CachedContent not found \(or permission denied\)"
)
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def _routes() -> list[Route]:
    routes: list[Route] = []
    for version in ("/v1beta", "/v1"):
        routes += _model_routes(version)
        routes.append(Route("GET", f"{version}/models", "models.list", "none", _PAGES, _FORWARDED))
        routes.append(
            Route("GET", f"{version}/models/{{model}}", "models.retrieve", "none", request_headers=_FORWARDED)
        )
    for version in ("/v1beta1", "/v1"):
        routes += _model_routes(f"{version}/publishers/google")
    return routes


def _model_routes(root: str) -> list[Route]:
    def route(method: str, action: str, query: frozenset[str] = frozenset()) -> Route:
        return Route("POST", f"{root}/models/{{model}}{method}", action, "json", query, _FORWARDED)

    return [
        route(":generateContent", requests.GENERATE),
        route(_STREAM, requests.GENERATE, _FORM),
        route(":countTokens", requests.COUNT),
        route(":embedContent", requests.EMBED),
        route(":batchEmbedContents", requests.BATCH),
    ]


class Gemini(Provider):
    """The provider; see `base.Provider` for what each member promises."""

    name = "gemini"
    # Clients add the version to their base URL, so an upstream's base URL need not have it.
    prefix = ""
    routes: Sequence[Route] = tuple(_routes())

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        stream = endpoint.route.path.endswith(_STREAM)
        if head.query.get("alt", "json") not in ("json", "sse"):
            members.refuse("`alt` must be `sse`, `json` or absent")
        if endpoint.route.body == "json":
            return requests.read(endpoint, head, self.name, stream=stream, raw=raw)
        return call_about_model(endpoint, head, self.name, raw, settings=settings.of(head.query, None))

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        return (call, ()) if call.body is None else requests.edit(call, edits)

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        return request_of(call, without_version(base_url, _VERSIONS), headers, ("x-goog-api-key", secret))

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        answers = GeminiAnswers(reports=sent.action in (requests.GENERATE, requests.EMBED, requests.BATCH))
        if head.kind == b"text/event-stream":
            return EventTap(answers.event)
        if sent.endpoint.route.path.endswith(_STREAM):
            return ArrayTap(answers.document, expected=head.kind == b"application/json")
        return document_tap(head, answers.document)

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        error = inner(document)
        said = text(error.get("message"))
        if status == 403 and error.get("status") == _STATUSES[403] and _NOT_THERE.fullmatch(said):
            return Rejection(Why.INPUT, {"error": {"code": 403, "message": said, "status": _STATUSES[403]}})
        return None

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps(_error(denied))

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        return b"data: " + orjson.dumps(_error(denied)) + b"\n\n"


def _error(denied: Denied) -> dict[str, object]:
    details: list[object] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": denied.code,
            "domain": "agent-identity-gateway",
        }
    ]
    if denied.facts is not None:
        details.append({"@type": "type.googleapis.com/google.protobuf.ListValue", "value": denied.facts})
    if (wait := dict(denied.headers).get(b"retry-after")) is not None:
        # Google's clients look for the wait here. Without it, they try again and again.
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait.decode()}s"})
    status = denied.reason.status
    return {
        "error": {
            "code": status,
            "message": denied.text,
            "status": _STATUSES.get(status, "UNAVAILABLE"),
            "details": details,
        }
    }
