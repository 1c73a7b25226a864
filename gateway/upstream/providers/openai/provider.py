"""The OpenAI API, as OpenAI and the many compatible servers speak it.

Chat completions (`chat.py`), responses (`responses.py`), embeddings, moderations and the older completions
(`simple.py`), images and audio (`media.py`), files, vector stores and conversations (`state.py`), and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import (
    USAGE_EDIT,
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
from gateway.upstream.providers.openai import chat, media, responses, simple, state
from gateway.upstream.providers.openai.answers import OpenAIAnswers
from gateway.upstream.providers.openai.dialects import FORWARDED as _FORWARDED
from gateway.upstream.providers.openai.dialects import Dialect
from gateway.upstream.providers.openai.response_answers import ResponseAnswers
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import DocumentTap, EventTap, Tap, nothing

_BETA = "openai-beta"
_RESUME = frozenset({"stream", "starting_after", "include_obfuscation", "beta"}) | state.INCLUDE
_PAGES = frozenset({"after", "before", "limit", "order", "beta"}) | state.INCLUDE
_RESPONSES = frozenset({responses.COUNT, *responses.GENERATING})
# `client.beta.responses` says with every request that it is one.
_BETA_PATH = frozenset({"beta"})
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error",
    426: "invalid_request_error",
}  # fmt: skip


class OpenAI(Provider):
    """The provider, in one dialect; see `base.Provider` for what each member promises."""

    name = "openai"
    prefix = "/v1"
    routes: Sequence[Route] = (
        Route("POST", "/chat/completions", chat.ACTION, "json", request_headers=_FORWARDED),
        Route("POST", "/responses", responses.CREATE, "json", _BETA_PATH, _FORWARDED),
        Route("POST", "/responses/input_tokens", responses.COUNT, "json", _BETA_PATH, _FORWARDED),
        Route("POST", "/responses/compact", responses.COMPACT, "json", _BETA_PATH, _FORWARDED),
        Route("GET", "/responses/{response_id}", "responses.retrieve", "none", _RESUME, _FORWARDED),
        Route("DELETE", "/responses/{response_id}", "responses.delete", "none", _BETA_PATH, _FORWARDED),
        Route("POST", "/responses/{response_id}/cancel", "responses.cancel", "none", _BETA_PATH, _FORWARDED),
        Route("GET", "/responses/{response_id}/input_items", "responses.input_items", "none", _PAGES, _FORWARDED),
        Route("POST", "/embeddings", simple.EMBEDDINGS, "json", request_headers=_FORWARDED),
        Route("POST", "/moderations", simple.MODERATIONS, "json", request_headers=_FORWARDED),
        Route("POST", "/completions", simple.COMPLETIONS, "json", request_headers=_FORWARDED),
        *media.ROUTES,
        *state.ROUTES,
        Route("GET", "/models", "models.list", "none", request_headers=_FORWARDED),
        Route("GET", "/models/{model}", "models.retrieve", "none", request_headers=_FORWARDED),
    )

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        betas = members.features(head.headers.get(_BETA), _BETA)
        call = self._read(endpoint, head, raw)
        return replace(call, betas=betas) if betas else call

    def _read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        action = endpoint.route.action
        if action == chat.ACTION:
            return chat.read(endpoint, head, self.name, self._dialect, raw)
        if action in _RESPONSES:
            return responses.read(endpoint, head, self.name, raw)
        if action in media.ACTIONS:
            return media.read(endpoint, head, self.name, raw)
        if action in state.ACTIONS:
            return state.read(endpoint, head, self.name, raw)
        if endpoint.route.body == "json":
            return simple.read(endpoint, head, self.name, raw)
        streams = head.query.get("stream", "false")
        if streams not in ("true", "false"):
            members.refuse("the query parameter `stream` must be true or false")
        return call_about_model(
            endpoint,
            head,
            self.name,
            raw,
            settings=settings.of(head.query, None),
            # Responses are state: an agent sees its own.
            references=state.references(endpoint.params),
            stream=streams == "true",
        )

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        if call.body is None or call.action in state.ACTIONS:
            return call, ()
        if call.action in media.ACTIONS:
            return media.edit(call, edits)
        if self._dialect.reports_usage:
            edits = replace(edits, report_usage=False)
        if call.action == chat.ACTION:
            return chat.edit(call, edits, self._dialect)
        if call.action in _RESPONSES:
            return responses.edit(call, edits)
        return simple.edit(call, edits)

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        credential = None if secret is None else f"Bearer {secret}"
        return request_of(call, base_url, headers, ("Authorization", credential), self.prefix)

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        action, streams = sent.action, head.kind == b"text/event-stream"
        if action == state.CONTENT:  # opaque, whatever its type says
            return DocumentTap(nothing, opaque=True)
        if action in state.ACTIONS:
            return document_tap(head, state.StateAnswers(action).document, opaque=True)
        if action in media.ACTIONS:
            sound = media.MediaAnswers()
            return EventTap(sound.event) if streams else document_tap(head, sound.document, opaque=True)
        answers: OpenAIAnswers | ResponseAnswers
        if _is_response(action):
            reports = action in responses.GENERATING
            answers = ResponseAnswers(stores=sent.stores, reports=reports, charges=self._dialect.charges)
        else:
            charges, caches = self._dialect.charges, self._dialect.caches
            answers = OpenAIAnswers(
                stores=sent.stores, hide_usage=USAGE_EDIT in sent.edits, charges=charges, caches=caches
            )
        return EventTap(answers.event, answers.silent) if streams else document_tap(head, answers.document)

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        return self._dialect.reject(status, document)

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps(_error(denied))

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        if _is_response(sent.action):
            failure = {"type": "error", "code": denied.code, "message": denied.text, "param": None}
            return b"event: error\ndata: " + orjson.dumps(failure) + b"\n\n"
        return b"data: " + orjson.dumps(_error(denied)) + b"\n\n"


def _is_response(action: str) -> bool:
    return action.partition(".")[0] == responses.CREATE


def _error(denied: Denied) -> dict[str, object]:
    kind = _ERROR_TYPES.get(denied.reason.status, "server_error")
    if denied.code == "limit_exceeded" and not denied.retry:
        # OpenAI's word for a quota that is used up: Codex ends, and else waits for as many hours as `retry-after` says.
        kind = "insufficient_quota"
    facts = {} if denied.facts is None else {"details": denied.facts}
    return {"error": {"message": denied.text, "type": kind, "param": None, "code": denied.code, **facts}}
