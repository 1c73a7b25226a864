"""The Anthropic API: messages, the counting of their tokens, files, and models (https://docs.claude.com/en/api)."""

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
from gateway.upstream.providers.anthropic import files, messages
from gateway.upstream.providers.anthropic.answers import AnthropicAnswers
from gateway.upstream.providers.base import (
    USUAL_TIERS,
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
)
from gateway.upstream.providers.rejections import Rejection, Why, inner, text
from gateway.upstream.taps import DocumentTap, EventTap, Tap, nothing

_BETA, _VERSION = "anthropic-beta", "anthropic-version"
_FORWARDED = frozenset(
    {b"accept", b"idempotency-key", _BETA.encode(), _VERSION.encode(), *(each.encode() for each in settings.HEADERS)}
)
_QUERY = frozenset({"beta"})
_PAGES = frozenset({"after_id", "before_id", "limit"}) | _QUERY
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DEFAULT_VERSION = "2023-06-01"
# It says so with 400, and with `invalid_request_error`.
_NO_CREDIT = ("Your credit balance is too low", "You have reached your specified API usage limits")
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 413: "request_too_large", 415: "invalid_request_error", 426: "invalid_request_error",
    429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip


class Anthropic(Provider):
    """The provider; see `base.Provider` for what each member promises."""

    name = "anthropic"
    prefix = "/v1"
    routes: Sequence[Route] = (
        Route("POST", "/messages", messages.CREATE, "json", _QUERY, _FORWARDED),
        Route("POST", "/messages/count_tokens", messages.COUNT, "json", _QUERY, _FORWARDED),
        Route("POST", "/files", files.UPLOAD, "multipart", _QUERY, _FORWARDED),
        Route("GET", "/files/{file_id}", files.RETRIEVE, "none", _QUERY, _FORWARDED),
        Route("GET", "/files/{file_id}/content", files.CONTENT, "none", _QUERY, _FORWARDED),
        Route("DELETE", "/files/{file_id}", files.DELETE, "none", _QUERY, _FORWARDED),
        Route("GET", "/models", "models.list", "none", _PAGES, _FORWARDED),
        Route("GET", "/models/{model}", "models.retrieve", "none", _QUERY, _FORWARDED),
    )
    # Its priority tier is capacity that was bought before.
    usual_tiers = USUAL_TIERS | {"priority"}

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        betas = _betas(head)
        if endpoint.route.action in files.ACTIONS:
            return files.read(endpoint, head, self.name, betas, raw)
        if endpoint.route.body == "json":
            return messages.read(endpoint, head, self.name, betas, raw)
        judged = settings.of(head.query, None, headers=settings.of_headers(head.headers))
        return call_about_model(endpoint, head, self.name, raw, betas=betas, settings=judged)

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        return (call, ()) if call.body is None or call.action in files.ACTIONS else messages.edit(call, edits)

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        sent = {_VERSION: _DEFAULT_VERSION, **headers}
        return request_of(call, base_url, sent, ("x-api-key", secret), self.prefix)

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        if sent.action == files.CONTENT:  # opaque, whatever its type says
            return DocumentTap(nothing, opaque=True)
        if sent.action in files.ACTIONS:
            return document_tap(head, files.created if sent.action == files.UPLOAD else nothing, opaque=True)
        answers = AnthropicAnswers(reports=sent.action == messages.CREATE, stores=sent.stores)
        if head.kind == b"text/event-stream":
            return EventTap(answers.event, answers.silent)
        return document_tap(head, answers.document)

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """It flags inputs with 400 and does not know models with 404, so a 403 is about the key or the account."""
        if status == 400 and text(inner(document).get("message")).startswith(_NO_CREDIT):
            return Rejection(Why.CREDIT)
        return None

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps(_error(denied))

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(_error(denied)) + b"\n\n"


def _error(denied: Denied) -> dict[str, object]:
    kind = _ERROR_TYPES.get(denied.reason.status, "api_error")
    facts = {} if denied.facts is None else {"details": denied.facts}
    return {"type": "error", "error": {"type": kind, "message": denied.text, "code": denied.code, **facts}}


def _betas(head: RequestHead) -> tuple[str, ...]:
    """The features that the client switches on, in order. Refuses a version that is no date."""
    if not _DATE.fullmatch(head.headers.get(_VERSION, _DEFAULT_VERSION)):
        members.refuse("`anthropic-version` must be a date")
    return members.features(head.headers.get(_BETA), _BETA)
