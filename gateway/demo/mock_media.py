"""The mock provider besides text: images, speech, transcriptions, and things that it keeps until they are deleted.

Forms are read by Starlette, so that another parser than the gateway's finds the same fields. Kept objects have numbers
for ids, and are gone when the process ends.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Scope

from gateway.demo.mock_answers import BadRequestError, Document

_CREATED = 1_700_000_000
# One black pixel.
_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
_IMAGE_USAGE = {
    "input_tokens": 2,
    "output_tokens": 4,
    "total_tokens": 6,
    "input_tokens_details": {"text_tokens": 2, "image_tokens": 0},
}
_KEPT = {"files": ("file-mock-", "file"), "vector_stores": ("vs_mock_", "vector_store")}
_KEPT |= {"conversations": ("conv_mock_", "conversation")}


@dataclass(slots=True)
class MockReply:
    body: bytes
    kind: bytes = b"application/json"
    status: int = 200


class MockMedia:
    """The state of one mock provider besides that of its faults."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._kept: dict[str, Document] = {}
        self._contents: dict[str, bytes] = {}

    async def answer(self, scope: Scope, body: bytes) -> MockReply | None:
        """The answer to a request; None if it is for another part of the API."""
        path = scope["path"].removeprefix("/v1/").split("/")
        match scope["method"], path:
            case "POST", ["images", ("generations" | "edits" | "variations")]:
                return _images(await _members(scope, body))
            case "POST", ["audio", "speech"]:
                return MockReply(b"ID3" + str(_json(body).get("input")).encode(), b"audio/mpeg")
            case "POST", ["audio", ("transcriptions" | "translations")]:
                return _transcription(await _members(scope, body))
            case "POST", [("files" | "vector_stores" | "conversations") as kind]:
                return await self._create(kind, await _members(scope, body))
            case method, [("files" | "vector_stores" | "conversations"), identifier, *rest]:
                return self._about(method, identifier, rest, body)
        return None

    async def _create(self, kind: str, given: Mapping[str, Any]) -> MockReply:
        prefix, name = _KEPT[kind]
        identifier = f"{prefix}{next(self._numbers)}"
        made: Document = {"id": identifier, "object": name, "created_at": _CREATED}
        if kind == "files":
            file = given.get("file")
            if not isinstance(file, UploadFile):
                raise BadRequestError("`file` must be a file", "file")
            content = self._contents[identifier] = await file.read()
            made |= {"bytes": len(content), "filename": file.filename, "purpose": given.get("purpose")}
            made |= {"status": "processed"}
            # Anthropic's names of them.
            made |= {"type": "file", "size_bytes": len(content), "mime_type": file.content_type, "downloadable": True}
        elif kind == "vector_stores":
            made |= {"name": given.get("name"), "status": "completed", "usage_bytes": 0, "metadata": {}}
            made |= {"file_counts": dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), 0)}
        else:
            made |= {"metadata": given.get("metadata") or {}}
        self._kept[identifier] = made
        return MockReply(orjson.dumps(made))

    def _about(self, method: str, identifier: str, rest: list[str], body: bytes) -> MockReply:
        found = self._kept.get(identifier)
        if found is None:
            return MockReply(
                orjson.dumps({"error": {"message": f"no {identifier}", "type": "invalid_request_error"}}), status=404
            )
        match method, rest:
            case "GET", []:
                return MockReply(orjson.dumps(found))
            case "DELETE", []:
                del self._kept[identifier]
                return MockReply(
                    orjson.dumps({"id": identifier, "object": f"{found['object']}.deleted", "deleted": True})
                )
            case "GET", ["content"]:
                return MockReply(self._contents[identifier], b"application/octet-stream")
            case "POST", ["files"]:
                made = {"id": _json(body).get("file_id"), "object": "vector_store.file", "created_at": _CREATED}
                made |= {"vector_store_id": identifier, "status": "completed", "usage_bytes": 0}
                return MockReply(orjson.dumps(made))
            case _:
                page = {"object": "list", "data": [], "has_more": False, "search_query": []}
                return MockReply(orjson.dumps(page | {"first_id": None, "last_id": None}))


def _images(given: Mapping[str, Any]) -> MockReply:
    image = {"b64_json": base64.b64encode(_PNG).decode()}
    images = [image] * int(given.get("n") or 1)
    return MockReply(orjson.dumps({"created": _CREATED, "data": images, "usage": _IMAGE_USAGE}))


def _transcription(given: Mapping[str, Any]) -> MockReply:
    file = given.get("file")
    if not isinstance(file, UploadFile):
        raise BadRequestError("`file` must be a file", "file")
    text = f"{file.size} bytes for {given.get('model')}"
    if given.get("stream") == "true":
        usage = {"type": "tokens", "input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        events: list[Document] = [{"type": "transcript.text.delta", "delta": word} for word in text.split()]
        events.append({"type": "transcript.text.done", "text": text, "usage": usage})
        return MockReply(b"".join(b"data: %s\n\n" % orjson.dumps(each) for each in events), b"text/event-stream")
    if given.get("response_format") == "text":
        return MockReply(text.encode(), b"text/plain")
    return MockReply(orjson.dumps({"text": text, "usage": {"type": "duration", "seconds": 7}}))


async def _members(scope: Scope, body: bytes) -> Mapping[str, Any]:
    """The members of a body, in JSON or as a form."""
    kind = dict(scope["headers"]).get(b"content-type", b"")
    if not kind.startswith(b"multipart/form-data"):
        return _json(body)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return await Request(scope, receive).form()


def _json(body: bytes) -> dict[str, Any]:
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise BadRequestError("the body must be an object")
    return found
