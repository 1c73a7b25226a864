"""Bodies of more than a mebibyte: they wait on disk, are judged like others, and go upstream byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.entry import commitment
from gateway.body import SpooledBody
from gateway.dataplane.held_bytes import Holding
from gateway.dataplane.receiving import SPOOLED, receive_body
from gateway.errors import Denied
from gateway.shares import Shares
from tests.rigs.dataplane.large_bodies import MEBIBYTE, image

from .conftest import UPSTREAM_KEY, Gateway, Seen, Start, chat, until


def files_of_bodies(gateway: Gateway) -> list[str]:
    """The open files without a name in the data directory."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue
        if target.endswith("(deleted)") and target.startswith(str(gateway.data.path)):
            found.append(target)
    return found


async def received(sizes: list[int], directory: Path, limit: int = 8 * MEBIBYTE) -> tuple[bytes | SpooledBody, bytes]:
    """A body that arrives in pieces of these sizes, and its bytes."""
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return messages.pop(0)

    held, spooled = Holding(Shares("bytes", 2 * MEBIBYTE)), Holding(Shares("bytes", 8 * MEBIBYTE))
    return await receive_body(receive, {}, limit, directory, held, spooled), b"".join(pieces)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5), max_size=5), st.integers(-3, 3), st.booleans())
def test_where_the_pieces_end_does_not_matter(small: list[int], offset: int, first: bool) -> None:
    sizes = [SPOOLED - sum(small) + offset, *small]
    body, raw = asyncio.run(received(sizes if first else sizes[::-1], Path("/tmp")))
    assert isinstance(body, SpooledBody) == (len(raw) > SPOOLED)
    assert (body if isinstance(body, bytes) else body.read()) == raw


async def test_a_body_can_be_read_again_until_it_is_released(tmp_path: Path) -> None:
    body, raw = await received([MEBIBYTE, 700_000], tmp_path)
    assert isinstance(body, SpooledBody)
    for _ in range(2):
        assert b"".join([piece async for piece in body.open_stream()]) == raw
    assert b"".join(body.windows()) == raw
    assert os.listdir(tmp_path) == []
    body.release()
    with pytest.raises(ValueError, match="released"):
        body.read()


def test_a_body_beyond_the_limit_is_refused_wherever_it_is(tmp_path: Path) -> None:
    with pytest.raises(Denied) as caught:
        asyncio.run(received([MEBIBYTE] * 3, tmp_path, limit=2 * MEBIBYTE))
    assert caught.value.code == "too_large"


async def test_a_large_body_goes_upstream_as_it_came(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dataplane.proxy.random_bytes", lambda size: b"s" * size)
    raw = image(1_500_000)
    gateway = await start()
    reply = await gateway.send(gateway.request(raw))
    assert reply.status == 200
    (seen,) = gateway.upstream.seen
    assert seen.body == raw
    assert seen.headers["content-length"] == str(len(raw))
    assert seen.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    (decided,) = await gateway.entries("decided")
    assert decided["request_bytes"] == len(raw)
    assert decided["request_commitment"] == commitment(b"s" * 32, "request_body", raw)
    assert files_of_bodies(gateway) == []
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0


async def test_a_large_body_is_changed_like_a_small_one(gateway: Gateway) -> None:
    for raw in (image(1_500_000, model="gpt-capped", stream=True), image(10, model="gpt-capped", stream=True)):
        assert (await gateway.send(gateway.request(raw))).status == 200
        sent = gateway.upstream.seen.pop().json
        assert sent.pop("stream_options") == {"include_usage": True}
        assert sent.pop("max_completion_tokens") == 50
        assert sent == orjson.loads(raw)
    large, small = await gateway.entries("decided")
    assert large["edits_json"] == small["edits_json"]
    assert "forwarded_commitment" in large
    assert gateway.plane._spooled.taken == 0
    assert files_of_bodies(gateway) == []


@pytest.mark.slow
async def test_a_large_form_goes_upstream_as_it_came(start: Start) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    raw = head + random.Random(1).randbytes(1_500_000) + b"\r\n--b--\r\n"
    gateway = await start()
    request = gateway.request(raw, "Content-Type: multipart/form-data; boundary=b", path="/v1/files")
    await gateway.send(request)
    # The policy allows chat alone, so this is a denial; what was read is in the log.
    (decided,) = await gateway.entries("decided")
    assert (decided["action"], decided["request_bytes"]) == ("files.create", len(raw))
    assert gateway.plane._spooled.taken == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (lambda: image(1_500_000, model="o3"), 403),
        (lambda: image(1_500_000) + b"]", 400),
        (lambda: b"[" + b"[]," * 700_000 + b"[]]", 413),
    ],
    ids=["denied", "no JSON", "too many values"],
)
async def test_a_refused_body_leaves_nothing(gateway: Gateway, body: Callable[[], bytes], status: int) -> None:
    assert (await gateway.send(gateway.request(body()))).status == status
    await until(lambda: not files_of_bodies(gateway))
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0
    assert (await gateway.send(gateway.request(image(1_200_000)))).status == 200  # its turn was given back
    assert [each for each in os.listdir(gateway.data.path) if "body" in each] == []


@pytest.mark.slow
async def test_a_client_that_leaves_gives_its_space_back(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(image(1_500_000))[:-10])
    await until(lambda: gateway.plane._spooled.taken > MEBIBYTE)
    assert gateway.plane._held.taken < MEBIBYTE
    writer.close()
    await until(lambda: gateway.plane._spooled.taken == 0 and gateway.plane._held.taken == 0)
    assert files_of_bodies(gateway) == []


@pytest.mark.slow
async def test_bodies_on_disk_share_a_budget(start: Start) -> None:
    gateway = await start(max_spooled_bytes=6 * MEBIBYTE)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(image(1_500_000))[:-10])
    await until(lambda: gateway.plane._spooled.taken > MEBIBYTE)
    refused = await gateway.send(gateway.request(image(1_500_000)))
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert gateway.upstream.seen == []
    writer.close()
    await until(lambda: gateway.plane._spooled.taken == 0)
    assert (await gateway.send(gateway.request(image(1_500_000)))).status == 200


@pytest.mark.slow
async def test_a_body_that_cannot_be_read_in_the_memory_left_is_refused(start: Start) -> None:
    gateway = await start(max_held_bytes=4 * MEBIBYTE)
    refused = await gateway.send(gateway.request(image(1_500_000)))
    assert (refused.status, refused.code) == (503, "overloaded")
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0


@pytest.mark.slow
async def test_a_full_disk_is_an_overload(gateway: Gateway) -> None:
    """The kernel refuses to let any file of this process grow beyond four mebibytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MEBIBYTE, hard))
    try:
        refused = await gateway.send(gateway.request(image(4_000_000)))
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert (await gateway.send(gateway.request(image(1_500_000)))).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(gateway.upstream.seen) == 1
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0
    assert files_of_bodies(gateway) == []


@pytest.mark.slow
async def test_a_large_body_is_sent_again_when_no_answer_came(start: Start) -> None:
    raw = image(1_500_000)
    gateway = await start(upstream_retries=1)
    usual = gateway.upstream.handler

    async def fail(seen: Seen, writer: asyncio.StreamWriter) -> None:
        gateway.upstream.handler = usual
        writer.close()

    gateway.upstream.handler = fail
    assert (await gateway.send(gateway.request(raw, "Idempotency-Key: k"))).status == 200
    first, second = gateway.upstream.seen
    assert first.body == second.body == raw
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0
    assert files_of_bodies(gateway) == []


@pytest.mark.slow
async def test_one_body_is_in_memory_at_a_time(start: Start) -> None:
    """Many are sent at once; beyond what one takes to be read, nothing is held of the others."""
    # Half of it is for reading one, and of the other half an agent has half, for the first mebibyte of each.
    gateway = await start(max_held_bytes=32 * MEBIBYTE)
    raw = image(1_200_000)
    replies = await asyncio.gather(*(gateway.send(gateway.request(raw)) for _ in range(6)))
    assert [reply.status for reply in replies] == [200] * 6
    assert [seen.body == raw for seen in gateway.upstream.seen] == [True] * 6
    assert gateway.plane._held.taken == gateway.plane._spooled.taken == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [12_000_000, 24_000_000], ids=["12 MB", "24 MB"])
async def test_an_image_of_the_openai_client_arrives(start: Start, size: int) -> None:
    document = orjson.loads(image(size))
    gateway = await start()
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=gateway.key, max_retries=0
    ) as client:
        found = await client.chat.completions.create(**document)
    assert found.choices[0].message.content == "hi"
    assert gateway.upstream.seen[0].json == document


@pytest.mark.slow
async def test_the_largest_body_goes_upstream_as_it_came(start: Start) -> None:
    frame = len(orjson.dumps(chat())) + len(b',"x":""')
    raw = orjson.dumps(chat(x="A" * (32 * MEBIBYTE - frame)))
    assert len(raw) == 32 * MEBIBYTE
    gateway = await start()
    assert (await gateway.send(gateway.request(raw))).status == 200
    assert hashlib.sha256(gateway.upstream.seen[0].body).digest() == hashlib.sha256(raw).digest()
    assert (await gateway.send(gateway.request(raw + b" "))).code == "too_large"
