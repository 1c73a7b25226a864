"""Every recorded exchange through a whole gateway: its own processes, and a server that plays the provider back.

The client gets the provider's bytes, in whatever pieces they came, and the log has the model and what was billed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.data_directory import DataDirectory
from gateway.processes import local
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.recordings import COUNT, WITHOUT_BODY, Recording, all_recordings

from .conftest import Handler, Reply, Seen, Upstream, read_reply
from .processes import Live, write_policy

pytestmark = pytest.mark.slow

POLICY = """\
package bot.authz

default allow := true

references := "allowed"
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("replay"))
    try:
        write_policy(found.data / "policies", POLICY, models=True)
        yield found
    finally:
        found.close()


def play(each: Recording, size: int | None) -> Handler:
    """The recorded answer: whole, or in pieces of this size."""
    body, status = each.answer, each.recorded["status"]
    kind = each.recorded["response_headers"]["content-type"]
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n"

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if size is None:
            writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
            return
        writer.write(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    return handle


def upstream_name(each: Recording) -> str:
    return f"{each.provider}{each.base.replace('/', '-')}"


def add_upstreams(live: Live, recordings: Iterable[Recording], port: int) -> None:
    with local.changing(live.data) as registry:
        vault = Vault.load(DataDirectory(live.data).keys)
        for name, each in {upstream_name(each): each for each in recordings}.items():
            add_upstream(
                registry,
                vault,
                actor="local:0",
                organization="default",
                name=name,
                provider=each.provider,
                base_url=f"http://127.0.0.1:{port}{each.base}",
                secret="maker-secret",
                replace=True,
            )


async def ask(live: Live, each: Recording) -> Reply:
    path = f"/{upstream_name(each)}{each.endpoint.path}"
    if each.recorded["query"]:
        path += "?" + each.recorded["query"]
    head = [f"{each.recorded['method']} {path} HTTP/1.1", "host: gateway", f"authorization: Bearer {live.key}"]
    if each.body:
        head += ["content-type: application/json", f"content-length: {len(each.body)}"]
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + each.body)
        return await read_reply(reader)
    finally:
        writer.close()


async def replay(live: Live, recordings: list[Recording], size: int | None) -> dict[str, Recording]:
    """Make every call; returns the recordings by the ids of the decisions on them."""
    upstream = Upstream()
    port = await upstream.start()
    try:
        add_upstreams(live, recordings, port)
        found: dict[str, Recording] = {}
        for each in recordings:
            upstream.handler = play(each, size)
            reply = await ask(live, each)
            assert (reply.status, reply.complete) == (each.recorded["status"], True), (each.note, reply.body)
            assert reply.body == each.answer, each.note
            assert reply.headers["content-type"] == each.recorded["response_headers"]["content-type"]
            found[reply.headers["x-decision-id"]] = each
            check_sent(upstream.seen[-1], each)
        assert len(upstream.seen) == len(recordings)
    finally:
        await upstream.stop()
    return found


def check_sent(seen: Seen, each: Recording) -> None:
    """The provider got the call as it was made: the same path and body, but for the wish for usage in a stream."""
    query = f"?{each.recorded['query']}" if each.recorded["query"] else ""
    assert seen.head.split(b" ", 2)[1].decode() == each.recorded["path"] + query
    if seen.body != each.body:
        asked = {"stream_options": {"include_usage": True}}
        assert seen.json == each.recorded["request"] | asked, each.note


def check_entries(live: Live, found: dict[str, Recording]) -> None:
    seen = 0
    for entry in live.entries():
        each = found.get(str(entry.get("decision") or entry["id"]))
        if each is None:
            continue
        if entry["kind"] == "decided":
            assert (entry["model"], entry["stream"]) == (each.model, each.recorded["stream"]), each.note
        else:
            seen += 1
            check_completed(entry, each)
    assert seen == len(found)


def check_completed(entry: dict[str, Any], each: Recording) -> None:
    failed = each.recorded["stream"] and re.search(rb'"error": ?\{', each.answer) is not None
    outcome = "provider_error" if each.recorded["status"] >= 400 else "upstream_error" if failed else "ok"
    assert (entry["outcome"], entry["response_bytes"]) == (outcome, len(each.answer)), each.note
    names = {
        "input": "input_tokens", "output": "output_tokens", "cached": "cached_tokens",
        "reasoning": "reasoning_tokens", "cache_write": "cache_write_tokens",
    }  # fmt: skip
    usage = {name: entry.get(field) for name, field in names.items()}
    if usage["input"] is not None and usage["cache_write"] is None:
        usage["cache_write"] = 0  # left out of the entry
    assert usage == (each.usage or dict.fromkeys(names)), each.note


def callable_recordings(folder: Path) -> list[Recording]:
    return [each for each in all_recordings(folder) if each.body]


def run(live: Live, recordings: list[Recording], size: int | None) -> None:
    if live.up is None:
        live.start("--workers", "1")
    check_entries(live, asyncio.run(replay(live, recordings, size)))


@pytest.mark.parametrize("size", [None, 13, 999])
def test_all(live: Live, recordings_dir: Path, size: int | None) -> None:
    recordings = callable_recordings(recordings_dir)
    assert len(recordings) == COUNT - WITHOUT_BODY
    if size is not None:
        recordings = [each for each in recordings if each.recorded["stream"] or len(each.answer) < 4000]
    run(live, recordings, size)
    live.stop()
    live.check_log()
