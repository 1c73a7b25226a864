"""Images, audio, files, vector stores and conversations: what is read out of a request, and reported by an answer."""

from __future__ import annotations

import functools
from typing import Any

import httpx
import pytest

from gateway.call import Call, Reference, Usage
from gateway.errors import Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.prompts import digest
from gateway.upstream.routes import routes_of
from tests.rigs.upstream.sent import tap_of

PROVIDER = PROVIDERS["openai"]
ROUTES = routes_of(PROVIDER)
EVENTS, DOCUMENT = b"text/event-stream", b"application/json"
PNG = ("a.png", b"\x89PNG", "image/png")


def endpoint(method: str, path: str) -> Endpoint:
    found = ROUTES.find(method, "/v1" + path)
    assert found is not None
    return Endpoint("openai", found[0], "/v1" + path, found[1])


def json(path: str, method: str = "POST", /, **given: Any) -> Call:
    return PROVIDER.read(endpoint(method, path), RequestHead(), strict_json.dump(given))


def form(path: str, /, files: Any, **fields: Any) -> Call:
    request = httpx.Request("POST", "http://x", data=fields, files=files)
    head = RequestHead(content_type=request.headers["content-type"])
    return PROVIDER.read(endpoint("POST", path), head, request.read())


def report(path: str, answer: Any, kind: bytes = DOCUMENT, method: str = "POST") -> Any:
    """The report of an answer, which passes unchanged in pieces of every size."""
    raw = answer if isinstance(answer, bytes) else strict_json.dump(answer)
    for size in (1, 3, 1000):
        tap = tap_of(PROVIDER, endpoint(method, path), kind, (), stores=False)
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        passed = [tap.feed(each, False) for each in pieces]
        if raw:
            assert b"".join(passed) != raw  # the end waits for the record
        assert b"".join(passed) + tap.finish() == raw
        assert tap.ended
    return tap.report


# -- images and audio


def test_an_image() -> None:
    call = json("/images/generations", model="gpt-image-1", prompt="a cat", n=2, size="1024x1024", stream=True)
    assert (call.action, call.model, call.models, call.stream) == (
        "images.generations",
        "gpt-image-1",
        ("gpt-image-1",),
        True,
    )
    assert (call.modalities, call.params) == (("image",), {"n": 2, "size": "1024x1024"})
    assert json("/images/generations", prompt="a cat").model is None  # the provider has a default


def test_an_edit_of_images() -> None:
    call = form("/images/edits", [("image[]", PNG), ("image[]", PNG)], model="gpt-image-1", prompt="x", n="2")
    assert (call.action, call.model, call.params, call.modalities) == (
        "images.edits",
        "gpt-image-1",
        {"n": 2},
        ("image",),
    )
    assert call.body is not None
    assert call.body["image[]"][0] == {"filename": "a.png", "content_type": "image/png", "bytes": 4}
    sent = PROVIDER.prepare(call, "https://api.example/v1", "sk", {})
    assert sent.body == call.raw
    assert sent.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    named = form("/images/edits", [("mask", PNG)], model="m", **{"image[0][file_id]": "file-1"})
    assert named.references == (Reference("file", "file-1"),)


def test_speech() -> None:
    call = json("/audio/speech", model="tts", input="hello", voice="alloy", instructions="calm", stream_format="sse")
    assert (call.model, call.stream, call.modalities, call.params) == ("tts", True, ("audio",), {"voice": "alloy"})
    assert call.system_prompts == (digest("calm"),)
    assert json("/audio/speech", model="tts", input="x", voice={"id": "voice_1"}).references == (
        Reference("voice", "voice_1"),
    )


def test_a_transcription() -> None:
    call = form(
        "/audio/transcriptions", {"file": ("a.mp3", b"ID3")}, model="whisper-1", stream="true", language="en",
        **{"timestamp_granularities[]": ["word", "segment"]},
    )  # fmt: skip
    assert (call.action, call.model, call.stream, call.params) == (
        "audio.transcriptions",
        "whisper-1",
        True,
        {"language": "en"},
    )
    assert form("/audio/translations", {"file": ("a", b"x")}, model="whisper-1").action == "audio.translations"


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/images/generations", {"model": 1}),
        ("/images/generations", {"Model": "x"}),
        ("/images/generations", {"model": "x", "n": 0}),
        ("/images/generations", {"model": "x", "size": {}}),
        ("/images/generations", {"model": "x", "fallbacks": ["y"]}),
        ("/audio/speech", {"input": "x"}),
        ("/audio/speech", {"model": "x", "stream_format": True}),
        ("/audio/speech", {"model": "x", "voice": {}}),
        ("/audio/transcriptions", {}),
        ("/images/edits", {"prompt": "x"}),  # a policy could not give it a model
        ("/audio/transcriptions", {"model": "x", "stream": "1"}),
        ("/audio/transcriptions", {"model": "x", "fallbacks": "y"}),
        ("/audio/transcriptions", {"model[]": ["x", "y"]}),
        ("/images/generations", {"model": "x", "api_base": "http://y"}),
        ("/audio/transcriptions", {"model": "x", "deployment": "y"}),
        ("/audio/transcriptions", {"model": "x", "extra_body[a]": "y"}),
        ("/files", {}),
        ("/files", {"purpose": "a b"}),
    ],
)
def test_what_is_no_call_is_refused(path: str, given: dict[str, Any]) -> None:
    made = json if endpoint("POST", path).route.body == "json" else functools.partial(form, files={"file": PNG})
    with pytest.raises(Denied) as caught:
        made(path, **given)
    assert caught.value.code == "bad_request"


def test_a_model_in_json_can_be_changed_and_one_in_a_form_cannot() -> None:
    changed, names = PROVIDER.edit(json("/audio/speech", model="tts", input="x"), Edits(model="tts-2"))
    assert (changed.model, names) == ("tts-2", ("model",))
    assert PROVIDER.read(endpoint("POST", "/audio/speech"), RequestHead(), changed.raw) == changed
    call = form("/audio/transcriptions", {"file": PNG}, model="whisper-1")
    assert PROVIDER.edit(call, Edits(model="other", max_output_tokens=1, report_usage=True)) == (call, ())


# -- what their answers report

IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 100,
    "total_tokens": 150,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens_details": {"image_tokens": 100, "text_tokens": 0},
}


def event(**document: Any) -> bytes:
    return b"event: " + document["type"].encode() + b"\ndata: " + strict_json.dump(document) + b"\n\n"


def test_usage_of_images() -> None:
    found = report("/images/generations", {"created": 1, "data": [{"b64_json": "aGk="}], "usage": IMAGE_USAGE})
    assert found.usage == Usage(50, 100, image_input=40, image_output=100)
    assert found.images == 1
    assert report("/images/generations", {"created": 1, "data": [{"url": "x"}, {"url": "y"}]}).images == 2


def test_usage_of_a_stream_of_images() -> None:
    """Each image has an event of its own, and no event is known to be the last."""
    partial = event(type="image_generation.partial_image", b64_json="aGk=")
    done = event(type="image_generation.completed", b64_json="aGk=", usage=IMAGE_USAGE)
    found = report("/images/generations", partial + done + partial + done, EVENTS)
    assert found.usage == Usage(100, 200, image_input=80, image_output=200)
    assert (found.images, found.failed) == (2, False)


def test_an_event_with_a_large_image() -> None:
    """An image of 12 megapixels is larger than any other event."""
    image = event(type="image_edit.completed", b64_json="iVBOR/+w" * 2_000_000, usage=IMAGE_USAGE)
    tap = tap_of(PROVIDER, endpoint("POST", "/images/edits"), EVENTS, (), stores=False)
    pieces = [image[at : at + 65_536] for at in range(0, len(image), 65_536)]
    assert b"".join([*(tap.feed(each, False) for each in pieces), tap.finish()]) == image
    assert tap.report.usage == Usage(50, 100, image_input=40, image_output=100)


@pytest.mark.parametrize(
    ("usage", "tokens", "seconds"),
    [
        ({"type": "duration", "seconds": 8.2}, None, 9),
        ({"type": "duration", "seconds": 12}, None, 12),
        ({"type": "duration", "seconds": True}, None, None),
        ({"type": "duration", "seconds": -1}, None, None),
        (
            {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "input_token_details": {"audio_tokens": 14}},
            Usage(14, 45, audio_input=14),
            None,
        ),
        (None, None, None),
    ],
)
def test_usage_of_a_transcription(usage: Any, tokens: Usage | None, seconds: int | None) -> None:
    found = report("/audio/transcriptions", {"text": "hello", "usage": usage})
    assert (found.usage, found.seconds) == (tokens, seconds)


def test_usage_of_a_stream_of_text() -> None:
    said = event(type="transcript.text.delta", delta='he said "error" and transcript.text.done')
    done = event(type="transcript.text.done", text="x", usage={"type": "tokens", "input_tokens": 3, "output_tokens": 4})
    for end in (b"", b"data: [DONE]\n\n"):
        assert report("/audio/transcriptions", said + done + end, EVENTS).usage == Usage(3, 4)


def test_a_stream_that_fails_or_breaks_off() -> None:
    failed = event(type="error", error={"message": "x"})
    for answer in (failed, event(type="transcript.text.delta", delta="x")):
        tap = tap_of(PROVIDER, endpoint("POST", "/audio/transcriptions"), EVENTS, (), stores=False)
        assert tap.feed(answer, True) + tap.finish() == answer
        assert not tap.ended
        assert tap.report.failed is (answer is failed)


@pytest.mark.parametrize("kind", [b"audio/mpeg", b"text/plain; charset=utf-8", b"text/vtt", b""])
def test_answers_that_are_no_documents_pass(kind: bytes) -> None:
    assert report("/audio/speech", b'{"usage": {"input_tokens": 1}}', kind).usage is None


# -- state

FILE, STORE, CONVERSATION = (
    Reference("file", "file-1"),
    Reference("vector_store", "vs_1"),
    Reference("conversation", "c_1"),
)
BATCH = Reference("file_batch", "vsfb_1")


@pytest.mark.parametrize(
    ("method", "path", "action", "references"),
    [
        ("GET", "/files/file-1", "files.retrieve", [FILE]),
        ("DELETE", "/files/file-1", "files.delete", [FILE]),
        ("GET", "/files/file-1/content", "files.content", [FILE]),
        ("GET", "/vector_stores/vs_1", "vector_stores.retrieve", [STORE]),
        ("DELETE", "/vector_stores/vs_1", "vector_stores.delete", [STORE]),
        ("GET", "/vector_stores/vs_1/files", "vector_stores.files.list", [STORE]),
        ("GET", "/vector_stores/vs_1/files/file-1", "vector_stores.files.retrieve", [FILE, STORE]),
        ("DELETE", "/vector_stores/vs_1/files/file-1", "vector_stores.files.delete", [FILE, STORE]),
        ("GET", "/vector_stores/vs_1/files/file-1/content", "vector_stores.files.content", [FILE, STORE]),
        ("GET", "/vector_stores/vs_1/file_batches/vsfb_1", "vector_stores.file_batches.retrieve", [BATCH, STORE]),
        ("POST", "/vector_stores/vs_1/file_batches/vsfb_1/cancel", "vector_stores.file_batches.cancel", [BATCH, STORE]),
        ("GET", "/vector_stores/vs_1/file_batches/vsfb_1/files", "vector_stores.file_batches.files", [BATCH, STORE]),
        ("GET", "/conversations/c_1", "conversations.retrieve", [CONVERSATION]),
        ("DELETE", "/conversations/c_1", "conversations.delete", [CONVERSATION]),
        ("GET", "/conversations/c_1/items", "conversations.items.list", [CONVERSATION]),
        ("GET", "/conversations/c_1/items/msg_1", "conversations.items.retrieve", [CONVERSATION]),
        ("DELETE", "/conversations/c_1/items/msg_1", "conversations.items.delete", [CONVERSATION]),
    ],
)
def test_what_a_path_names(method: str, path: str, action: str, references: list[Reference]) -> None:
    call = PROVIDER.read(endpoint(method, path), RequestHead(), b"")
    assert (call.action, list(call.references), call.stores, call.body) == (action, references, False, None)


@pytest.mark.parametrize(
    ("path", "given", "references"),
    [
        ("/vector_stores", {}, []),
        ("/vector_stores", {"name": "n", "file_ids": ["file-1"]}, [FILE]),
        ("/vector_stores/vs_1", {"name": "n"}, [STORE]),
        ("/vector_stores/vs_1/search", {"query": "q"}, [STORE]),
        ("/vector_stores/vs_1/files", {"file_id": "file-1"}, [FILE, STORE]),
        ("/vector_stores/vs_1/files/file-1", {"attributes": {}}, [FILE, STORE]),
        ("/vector_stores/vs_1/file_batches", {"file_ids": ["file-1"]}, [FILE, STORE]),
        ("/vector_stores/vs_1/file_batches", {"files": [{"file_id": "file-1"}]}, [FILE, STORE]),
        ("/conversations", {"metadata": {"file_id": "mine"}}, []),
        ("/conversations/c_1", {"metadata": {}}, [CONVERSATION]),
        (
            "/conversations/c_1/items",
            {"items": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            [CONVERSATION, FILE],
        ),
    ],
)
def test_what_a_body_names(path: str, given: dict[str, Any], references: list[Reference]) -> None:
    assert list(json(path, **given).references) == references


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/vector_stores", {"file_ids": "file-1"}),
        ("/vector_stores", {"file_ids": [{}]}),
        ("/vector_stores", {"fileIds": ["file-1"]}),
        ("/vector_stores", {"route": "fallback"}),
        ("/vector_stores", {"extra_body": {"file_ids": ["file-1"]}}),
        ("/conversations", {"agent": {"name": "x"}}),
        ("/vector_stores/vs_1/files", {"file_id": 1}),
        ("/vector_stores/vs_1/file_batches", {"files": [{}]}),
        ("/vector_stores/vs_1/file_batches", {"files": [{"fileId": "file-1"}]}),
        ("/conversations", {"items": [{"role": "robot", "content": "x"}]}),
        ("/conversations", {"items": [{"type": "more", "tools": [{"type": "image_generation", "model": "m"}]}]}),
    ],
)
def test_what_names_state_in_another_way_is_refused(path: str, given: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        json(path, **given)


def test_a_conversation_of_another_api() -> None:
    """Mistral's client asks for one with a model and a prompt under the same path."""
    with pytest.raises(Denied) as caught:
        json("/conversations", model="mistral-large", inputs="hello")
    assert "`model` is not supported: this route names no model; another API may have" in caught.value.text


def test_an_upload() -> None:
    call = form("/files", {"file": ("a.jsonl", b"{}\n{}")}, purpose="user_data", **{"expires_after[seconds]": "3600"})
    assert (call.action, call.params, call.modalities, call.stores) == (
        "files.create",
        {"purpose": "user_data"},
        ("file",),
        True,
    )


def test_items_of_a_conversation_are_read_like_those_of_a_response() -> None:
    call = json(
        "/conversations", items=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": "x"}]
    )
    assert (call.roles, call.messages, call.system_prompts) == (("developer", "user"), 2, (digest("be brief"),))


@pytest.mark.parametrize(
    ("path", "answer", "created"),
    [
        ("/files", {"id": "file-1", "object": "file"}, [FILE]),
        ("/vector_stores", {"id": "vs_1"}, [STORE]),
        ("/vector_stores/vs_1", {"id": "vs_1"}, []),
        ("/vector_stores/vs_1/files", {"id": "file-1"}, []),
        ("/vector_stores/vs_1/search", {"data": [{"file_id": "file-2"}]}, []),
        ("/vector_stores/vs_1/file_batches", {"id": "vsfb_1"}, [BATCH]),
        ("/conversations", {"id": "c_1"}, [CONVERSATION]),
        ("/conversations/c_1/items", {"data": [{"id": "msg_1"}, 5, {}]}, [Reference("item", "msg_1")]),
        ("/files", {"error": {"message": "no"}}, []),
    ],
)
def test_what_an_answer_creates(path: str, answer: Any, created: list[Reference]) -> None:
    assert report(path, answer).created == created


def test_what_is_only_shown_is_not_created() -> None:
    for path in ("/files/file-1", "/vector_stores/vs_1", "/conversations/c_1"):
        assert report(path, {"id": path.rpartition("/")[2]}, method="GET").created == []


def test_the_content_of_a_file_is_opaque() -> None:
    """Its type is what the file says: lines of JSON, and no document."""
    assert report("/files/file-1/content", b"{}\n{}\n", method="GET").created == []
