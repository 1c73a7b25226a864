"""Files, vector stores and conversations: state that the provider keeps, with the agent that made it as its owner.

A thing that a path or a body names is a reference; a thing that an answer creates is reported, so that its agent may
refer to it. The lists of all files and all vector stores are not served: they would show what other agents have made.
Specification: https://platform.openai.com/docs/api-reference/files, …/vector-stores and …/conversations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference
from gateway.upstream.providers import forms, members, settings
from gateway.upstream.providers.base import Endpoint, RequestHead, Route, call_of
from gateway.upstream.providers.openai import responses
from gateway.upstream.providers.openai.dialects import FORWARDED
from gateway.upstream.providers.reported import keep
from gateway.upstream.taps import ProviderReport

UPLOAD, CONTENT = "files.create", "files.content"

INCLUDE = frozenset({"include", "include[]"})
"""The further parts that an answer shall have: OpenAI's own clients write it as a list."""

_PAGES = frozenset({"after", "before", "limit", "order"})
_FILTER = _PAGES | {"filter"}
_STORE, _IN_STORE = "/vector_stores/{vector_store_id}", "/vector_stores/{vector_store_id}/files"
_BATCHES = "/vector_stores/{vector_store_id}/file_batches"
_CONVERSATION = "/conversations/{conversation_id}"

_WHAT: tuple[tuple[str, str, str, Any, frozenset[str]], ...] = (
    ("POST", "/files", UPLOAD, "multipart", frozenset()),
    ("GET", "/files/{file_id}", "files.retrieve", "none", frozenset()),
    ("DELETE", "/files/{file_id}", "files.delete", "none", frozenset()),
    ("GET", "/files/{file_id}/content", CONTENT, "none", frozenset()),
    ("POST", "/vector_stores", "vector_stores.create", "json", frozenset()),
    ("GET", _STORE, "vector_stores.retrieve", "none", frozenset()),
    ("POST", _STORE, "vector_stores.modify", "json", frozenset()),
    ("DELETE", _STORE, "vector_stores.delete", "none", frozenset()),
    ("POST", f"{_STORE}/search", "vector_stores.search", "json", frozenset()),
    ("POST", _IN_STORE, "vector_stores.files.create", "json", frozenset()),
    ("GET", _IN_STORE, "vector_stores.files.list", "none", _FILTER),
    ("GET", f"{_IN_STORE}/{{file_id}}", "vector_stores.files.retrieve", "none", frozenset()),
    ("POST", f"{_IN_STORE}/{{file_id}}", "vector_stores.files.modify", "json", frozenset()),
    ("DELETE", f"{_IN_STORE}/{{file_id}}", "vector_stores.files.delete", "none", frozenset()),
    ("GET", f"{_IN_STORE}/{{file_id}}/content", "vector_stores.files.content", "none", frozenset()),
    ("POST", _BATCHES, "vector_stores.file_batches.create", "json", frozenset()),
    ("GET", f"{_BATCHES}/{{batch_id}}", "vector_stores.file_batches.retrieve", "none", frozenset()),
    ("POST", f"{_BATCHES}/{{batch_id}}/cancel", "vector_stores.file_batches.cancel", "none", frozenset()),
    ("GET", f"{_BATCHES}/{{batch_id}}/files", "vector_stores.file_batches.files", "none", _FILTER),
    ("POST", "/conversations", "conversations.create", "json", frozenset()),
    ("GET", _CONVERSATION, "conversations.retrieve", "none", frozenset()),
    ("POST", _CONVERSATION, "conversations.modify", "json", frozenset()),
    ("DELETE", _CONVERSATION, "conversations.delete", "none", frozenset()),
    ("POST", f"{_CONVERSATION}/items", "conversations.items.create", "json", INCLUDE),
    ("GET", f"{_CONVERSATION}/items", "conversations.items.list", "none", _PAGES | INCLUDE),
    ("GET", f"{_CONVERSATION}/items/{{item_id}}", "conversations.items.retrieve", "none", INCLUDE),
    ("DELETE", f"{_CONVERSATION}/items/{{item_id}}", "conversations.items.delete", "none", frozenset()),
)
ROUTES = tuple(Route(*each, request_headers=FORWARDED) for each in _WHAT)
ACTIONS = frozenset(route.action for route in ROUTES)

# The kind of thing that an answer's `id` names.
_CREATES = {
    UPLOAD: "file",
    "vector_stores.create": "vector_store",
    "vector_stores.file_batches.create": "file_batch",
    "conversations.create": "conversation",
}
_ADD_ITEMS = "conversations.items.create"
# Parameters of paths that name state. An item is part of a conversation that is named, too.
_OWNED = {
    "response_id": "response",
    "file_id": "file",
    "vector_store_id": "vector_store",
    "batch_id": "file_batch",
    "conversation_id": "conversation",
}
_UNSEEN = {**members.UNSEEN, "route": "no model is asked"}
_NAMES = frozenset({"file_id", "file_ids", "files", "items", *_UNSEEN})
_CONTENT = frozenset({"items"})
_FILE_NAMES = frozenset({"file_id", "file_ids"})
_THEIRS = frozenset({"metadata", "attributes", "filters"})
_UPLOAD_NAMES = frozenset({"purpose"})


def references(params: Mapping[str, str]) -> tuple[Reference, ...]:
    """The state that the parameters of a path name."""
    return tuple(Reference(_OWNED[name], value) for name, value in params.items() if name in _OWNED)


def read(endpoint: Endpoint, head: RequestHead, provider: str, raw: Body) -> Call:
    """The call in this request; `Denied` where it is none."""
    action, body, form = endpoint.route.action, None, None
    facts: dict[str, Any] = {}
    if endpoint.route.body == "multipart":
        form = forms.parse(head.content_type, raw, _UPLOAD_NAMES)
        body = form.document()
        purpose = members.word(form.text("purpose"), "`purpose`")
        facts = {
            "references": form.references(),
            "modalities": ("file",),
            "params": {"purpose": purpose},
            "content_type": head.content_type,
        }
    elif endpoint.route.body == "json":
        body = members.body(raw, _NAMES, _UNSEEN, _THEIRS)
        if action.startswith("conversations."):
            facts = responses.content(body.get("items"))
        facts["references"] = (*facts.get("references", ()), *_files(body))
    content = _CONTENT if action.startswith("conversations.") else frozenset[str]()
    named = {*references(endpoint.params), *facts.pop("references", ())}
    return call_of(
        endpoint,
        head,
        provider,
        raw,
        body,
        settings=settings.of(head.query, body if form is None else form.texts(), content),
        stores=action in _CREATES or action == _ADD_ITEMS,
        references=tuple(sorted(named, key=lambda each: (each.kind, each.id))),
        **facts,
    )


def _files(body: dict[str, Any]) -> Iterator[Reference]:
    """The files that are put into a vector store."""
    named = [] if body.get("file_id") is None else [body["file_id"]]
    listed = body.get("file_ids")
    if listed is not None and not isinstance(listed, list):
        members.refuse("`file_ids` must be a list")
    named += listed or []
    named += [each.get("file_id") for each in members.objects(body.get("files"), "files", _FILE_NAMES)]
    for each in named:
        yield Reference("file", members.text(each, "the id of a file"))


class StateAnswers:
    """Reads the answers to one call: what it has made."""

    def __init__(self, action: str) -> None:
        self._action = action

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
        if self._action in _CREATES:
            keep(report, _CREATES[self._action], document.get("id"))
        elif self._action == _ADD_ITEMS:
            items = document.get("data")
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict):
                    keep(report, "item", item.get("id"))
