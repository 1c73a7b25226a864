"""Images, audio and kept state, end to end: real processes and the `openai` package as the agents have it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.rigs.dataplane.obligations import put_into_force

from .conftest import Gateway
from .processes import Live, write_policy

# Real processes, which take their time.
pytestmark = pytest.mark.slow

POLICY = """\
package bot.authz

default allow := false

_media := {"images", "audio"}

_state := {"files", "vector_stores", "conversations"}

_kind := split(input.action, ".")[0]

allow if {
	_kind in _media
	input.resource.model in {"gpt-image-1", "whisper-1", "tts-1"}
}

allow if _kind in _state

deny contains "one image at most" if input.resource.params.n > 1

deny contains "files for batches are not wanted" if input.resource.params.purpose == "batch"
"""
PNG = ("a.png", b"\x89PNG" + bytes(range(256)) * 1000, "image/png")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("media"))
    try:
        write_policy(found.data / "policies", POLICY)
        provider = found.provider.line(r"base URL (\S+)")[1]
        found.run("upstreams", "add", "claude", "--provider", "anthropic", "--base-url", provider, "--no-key")
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.base_url, api_key=live.key, max_retries=0, timeout=300) as made:
        yield made


@pytest.fixture(scope="module")
def other_key(live: Live) -> str:
    """The key of another agent of the same organization, bound to the same policy."""
    live.run("agents", "register", "other")
    live.run("bind", "other", "starter")
    return str(json.loads(live.run("keys", "create", "other", "--json"))["key"])


@pytest.fixture
def other(live: Live, other_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.base_url, api_key=other_key, max_retries=0, timeout=300) as made:
        yield made


def last(live: Live, kind: str) -> dict[str, Any]:
    return [entry for entry in live.entries() if entry["kind"] == kind][-1]


def test_an_image(live: Live, client: openai.OpenAI) -> None:
    made = client.images.generate(model="gpt-image-1", prompt="a cat")
    assert made.data is not None
    assert base64.b64decode(made.data[0].b64_json or "").startswith(b"\x89PNG")
    assert (last(live, "decided")["action"], last(live, "decided")["model"]) == ("images.generations", "gpt-image-1")
    closing = last(live, "completed")
    assert (closing["outcome"], closing["input_tokens"], closing["output_tokens"]) == ("ok", 2, 4)
    with pytest.raises(openai.PermissionDeniedError, match="one image at most"):
        client.images.generate(model="gpt-image-1", prompt="cats", n=2)


def test_an_edit_of_several_images(client: openai.OpenAI) -> None:
    made = client.images.edit(model="gpt-image-1", image=[PNG, PNG], prompt="a hat", mask=PNG)
    assert made.data is not None
    with pytest.raises(openai.PermissionDeniedError, match="one image at most"):
        client.images.edit(model="gpt-image-1", image=PNG, prompt="a hat", n=2)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.images.edit(model="gpt-image-9", image=PNG, prompt="a hat")
    assert caught.value.code == "policy_denied"


def test_speech_is_bytes(live: Live, client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hi") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.read() == b"ID3hi"
    assert last(live, "completed")["outcome"] == "ok"


def test_a_transcription(live: Live, client: openai.OpenAI) -> None:
    sound = ("ä.mp3", io.BytesIO(b"\xff\xfb" * 5000), "audio/mpeg")
    made = client.audio.transcriptions.create(model="whisper-1", file=sound, timestamp_granularities=["word"])
    assert made.text == "10000 bytes for whisper-1"
    assert last(live, "completed")["audio_seconds"] == 7
    plain = client.audio.transcriptions.create(model="whisper-1", file=PNG, response_format="text")
    assert str(plain) == "256004 bytes for whisper-1"
    assert last(live, "completed")["outcome"] == "ok"


def test_a_transcription_in_a_stream(live: Live, client: openai.OpenAI) -> None:
    with client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"x"), stream=True) as events:
        kinds = [each.type for each in events]
    assert kinds[-1] == "transcript.text.done"
    closing = last(live, "completed")
    assert (closing["outcome"], closing["input_tokens"], closing["output_tokens"]) == ("ok", 3, 5)


def test_files_belong_to_the_agent_that_uploaded_them(live: Live, client: openai.OpenAI, other: openai.OpenAI) -> None:
    content = b'{"a": 1}\n\r\n--\x00' * 10_000
    file = client.files.create(file=("lines.jsonl", content), purpose="user_data")
    assert json.loads(last(live, "completed")["created_json"]) == [{"kind": "file", "id": file.id}]
    assert client.files.retrieve(file.id).bytes == len(content)
    assert client.files.content(file.id).read() == content
    store = client.vector_stores.create(name="mine", file_ids=[file.id])
    client.vector_stores.files.create(store.id, file_id=file.id)
    for refused in (
        lambda: other.files.retrieve(file.id),
        lambda: other.files.content(file.id),
        lambda: other.files.delete(file.id),
        lambda: other.vector_stores.retrieve(store.id),
        lambda: other.vector_stores.search(store.id, query="x"),
        lambda: other.vector_stores.create(file_ids=[file.id]),
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            refused()
        assert caught.value.code == "foreign_reference"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_conversations(client: openai.OpenAI, other: openai.OpenAI) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "hello"}])
    assert client.conversations.retrieve(made.id).id == made.id
    assert list(client.conversations.items.list(made.id)) == []
    with pytest.raises(openai.PermissionDeniedError):
        other.conversations.retrieve(made.id)


def test_files_of_anthropic(live: Live, other_key: str) -> None:
    url = live.base_url.removesuffix("/v1") + "/claude"
    with (
        anthropic.Anthropic(base_url=url, api_key=live.key, max_retries=0) as mine,
        anthropic.Anthropic(base_url=url, api_key=other_key, max_retries=0) as theirs,
    ):
        file = mine.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
        assert (file.filename, file.size_bytes, file.mime_type) == ("a.txt", 5, "text/plain")
        decided = last(live, "decided")
        assert (decided["action"], decided["upstream"]) == ("files.create", "claude")
        assert mine.beta.files.retrieve_metadata(file.id).id == file.id
        assert mine.beta.files.download(file.id).read() == b"hello"
        with pytest.raises(anthropic.PermissionDeniedError, match="foreign_reference"):
            theirs.beta.files.download(file.id)
        with pytest.raises(anthropic.APIStatusError, match="the list of files is not served"):
            mine.beta.files.list()
        mine.beta.files.delete(file.id)


def test_a_purpose_can_be_denied(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="files for batches"):
        client.files.create(file=PNG, purpose="batch")


@pytest.mark.parametrize("name", ["files", "vector_stores"])
def test_lists_of_everybody_s_are_refused_by_name(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        getattr(client, name).list()
    assert (caught.value.status_code, caught.value.code) == (405, "wrong_method")
    assert "is not served: it would show those of other agents" in str(caught.value)


def test_a_form_that_could_be_read_in_two_ways_is_refused(live: Live) -> None:
    head = {"authorization": f"Bearer {live.key}", "content-type": "multipart/form-data; boundary=x"}
    field = b'Content-Disposition: form-data; name="model"\r\n\r\n'
    body = b"--x\r\n" + field + b"whisper-1\r\n--x\r\n" + field + b"whisper-9\r\n--x--\r\n"
    reply = httpx.post(f"{live.base_url}/audio/transcriptions", headers=head, content=body, timeout=300)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")
    assert "the field `model` appears twice" in reply.json()["error"]["message"]
    head["content-type"] = "text/plain"
    reply = httpx.post(f"{live.base_url}/audio/transcriptions", headers=head, timeout=300)
    assert reply.status_code == 415
    assert "multipart/form-data" in reply.json()["error"]["message"]


async def test_a_form_is_not_changed_but_denied(gateway: Gateway) -> None:
    put_into_force(gateway, 'package bot.authz\n\nallow := true\n\nobligations.model := "whisper-2"\n')
    for model, status in (("whisper-1", 403), ("whisper-2", 200)):
        field = b'Content-Disposition: form-data; name="model"\r\n\r\n' + model.encode()
        body = b"--x\r\n" + field + b"\r\n--x--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x"
        reply = await gateway.send(gateway.request(body, kind, path="/v1/audio/transcriptions"))
        assert reply.status == status, reply.body
    assert [seen.body for seen in gateway.upstream.seen] == [body]
    assert gateway.upstream.seen[0].headers["content-type"] == "multipart/form-data; boundary=x"
    assert [entry["reason"] for entry in await gateway.entries("decided")] == ["policy_unsupported", "allowed"]
