"""The content of calls of agents that opted in, from the wire to what an auditor reads."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.cli import main
from gateway.dataplane.content import stream_texts
from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import ACTOR, MANIFEST, Gateway, Start, answer, stream, until
from tests.rigs.dataplane.content import keep

READS_CONTENT = """\
package bot.authz

allow if contains(input.request.body.messages[0].content, "hello")
"""
PIECES = ["my mail is da", "na@acme.exa", "mple, write"]


async def judge_by_content(gateway: Gateway) -> None:
    """Put a policy into force that reads what was said."""
    files = {".manifest": MANIFEST, "authz.rego": READS_CONTENT.encode()}
    digest = policy_bundle.publish(gateway.data.bundles, files)
    bundle = BundleRecord(name="bot", commit="e" * 40, digest=digest, author="dana", entrypoint="data.bot.authz")
    await asyncio.to_thread(
        activations.activate, gateway.registry, actor=ACTOR, commit="e" * 40, author="dana", bundles=[bundle]
    )
    gateway.plane._policies.load(digest)


def rows(data: Path) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(data / "audit.db")) as db, db:
        return db.execute("SELECT decision, sealed FROM content ORDER BY entry_id").fetchall()


def command(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments, "--data", str(data)])
    return code, *capsys.readouterr()


def test_nothing_is_kept_unless_the_agent_opted_in(run: Callable[..., None], tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await gateway.chat()
        assert not any("content_commitment" in each for each in await gateway.entries())

    run(test)
    assert rows(tmp_path / "data") == []


def test_content_is_sealed_read_recorded_and_erased(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, seen = tmp_path / "data", {}

    async def test(gateway: Gateway) -> None:
        await keep(gateway, redact=[r"[a-z]+@[a-z.]+", r"cust-[0-9]+"])
        seen["one"] = (await gateway.chat(user="cust-4711")).headers["x-decision-id"]
        events = [b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % each.encode() for each in PIECES]
        gateway.upstream.handler = stream(*events, b"data: [DONE]\n\n")
        seen["stream"] = (await gateway.chat(stream=True)).headers["x-decision-id"]
        assert b"cust-4711" in gateway.upstream.seen[0].body  # the forwarded request is not redacted

    run(test)
    assert len(rows(data)) == 4
    everything = b"".join(path.read_bytes() for path in data.glob("audit.db*"))
    assert b"acme.example" not in everything
    assert b"cust-4711" not in everything
    assert b"hello" not in everything

    code, out, _ = command(capsys, data, "audit", "show", seen["one"], "--content", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["content"]["request"]["user"] == "[redacted]"
    assert shown["content"]["request"]["messages"] == [{"role": "user", "content": "hello"}]
    assert shown["content"]["answer"]["choices"][0]["message"]["content"] == "hi"
    decided = shown["decided"]["entry"]
    assert decided["content_redacted"] == 1
    # The id of the end user is a setting that policies judge, too.
    assert (decided["recomputable"], decided["unkept"]) == (False, ["resource.params"])
    code, out, _ = command(capsys, data, "audit", "list", "--json", "--kind", "change", "--limit", "1")
    read = json.loads(out)["entry"]
    assert (read["what"], read["content_of"], read["agent_name"]) == ("content.read", seen["one"], "bot")

    _, out, _ = command(capsys, data, "audit", "show", seen["stream"], "--content", "--json")
    texts = json.loads(out)["content"]["answer"]["texts"]
    assert texts == {"choices[0].delta.content": "my mail is [redacted], write"}  # across three events

    code, out, _ = command(capsys, data, "agents", "erase-content", "bot", "--json")
    assert (code, json.loads(out)["decisions"]) == (0, 2)
    assert rows(data) == []
    code, _, err = command(capsys, data, "audit", "show", seen["one"], "--content")
    assert code == 1
    assert "is kept any more" in err


def test_a_copy_of_the_log_cannot_be_read_without_the_key(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, seen = tmp_path / "data", []

    async def test(gateway: Gateway) -> None:
        await keep(gateway)
        seen.append((await gateway.chat()).headers["x-decision-id"])

    run(test)
    with (
        closing(sqlite3.connect(data / "registry.db")) as db,
        db,
    ):  # as erasing does, without the deletion in this copy of the log
        db.execute("UPDATE agent SET content_key = NULL")
    code, _, err = command(capsys, data, "audit", "show", seen[0], "--content")
    assert (code, "its key was destroyed" in err) == (1, True)


@pytest.mark.parametrize(("redact", "recomputable"), [([], True), (["hello"], False), (["nothing like it"], True)])
def test_a_decision_about_content_can_be_computed_again(
    run: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    redact: list[str],
    recomputable: bool,
) -> None:
    data = tmp_path / "data"

    async def test(gateway: Gateway) -> None:
        await judge_by_content(gateway)
        await gateway.chat()
        await keep(gateway, redact=redact)
        await gateway.chat()
        before, after = await gateway.entries("decided")
        assert (before["recomputable"], "unkept_json" in before) == (False, True)
        assert (after["recomputable"], "unkept_json" in after) == (recomputable, not recomputable)

    run(test)
    _, out, _ = command(capsys, data, "audit", "verify", "--reexecute", "--json", "--public-key", _public_key(data))
    found = json.loads(out)["decisions"]
    assert (found["agree"], found["otherwise"]) == (1 if recomputable else 0, [])


@pytest.mark.slow
def test_the_impact_of_a_change_is_told_where_content_is_kept(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two calls that say the same, the content of one is kept: about the other nobody can tell."""
    data, candidate = tmp_path / "data", tmp_path / "candidate/bot"

    async def test(gateway: Gateway) -> None:
        await gateway.chat()
        await keep(gateway)
        await gateway.chat()

    run(test)
    candidate.mkdir(parents=True)
    (candidate / ".manifest").write_bytes(MANIFEST)
    rule = 'deny contains "said it" if contains(input.request.body.messages[_].content, "hello")'
    (candidate / "authz.rego").write_text(f"package bot.authz\n\nallow := true\n\n{rule}\n")
    code, out, err = command(capsys, data, "policies", "impact", str(candidate.parent), "--json")
    found = json.loads(out)
    assert (code, found["decisions"], found["flips"]) == (1, 2, 1), err
    assert found["rules"][0]["rules"] == ["bot/authz.rego:5 deny"]
    assert list(found["untold"]) == ["content is not kept, and policies read it: request.body.messages"]


@pytest.mark.slow
@pytest.mark.parametrize(("redact", "kept"), [([], True), (["ell"], False)])
def test_an_explanation_uses_what_is_kept_and_the_log_says_so(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], redact: list[str], kept: bool
) -> None:
    """It shows values of what was said, so that somebody reads that is in the log before they see any."""
    data, seen = tmp_path / "data", []

    async def test(gateway: Gateway) -> None:
        await judge_by_content(gateway)
        await keep(gateway, redact=redact)
        seen.append((await gateway.chat()).headers["x-decision-id"])

    run(test)
    code, out, err = command(capsys, data, "explain", seen[0])
    assert code == 0
    assert ("judged again, this is the verdict that was recorded" in out) == kept
    assert ("content is not kept" in out) == (not kept)
    assert ("the log has an entry about it" in err) == kept
    with closing(sqlite3.connect(data / "audit.db")) as db, db:
        query = "SELECT leaf FROM entry WHERE kind = 'change' ORDER BY id DESC LIMIT 1"
        last = json.loads(db.execute(query).fetchone()[0])
    assert (last["what"] == "content.read") == kept
    if kept:
        assert (last["content_of"], last["agent_name"]) == (seen[0], "bot")
    _, out, _ = command(capsys, data, "explain", seen[0], "--json")
    [rule] = json.loads(out)["bundles"][0]["rules"]
    assert (rule["rule"], rule["held"]) == ("data.bot.authz.allow", int(kept))


async def test_what_is_too_large_or_no_json_is_left_out_whole(start: Start) -> None:
    gateway = await start(content_max_bytes=1024)
    await keep(gateway)
    await gateway.chat(user="x" * 2000)
    gateway.upstream.handler = answer(b"not json, but an answer")
    await gateway.chat()
    large, _, _, end = (await gateway.entries())[-4:]
    assert large["content_omitted"] == "too_large"
    assert "content_commitment" not in large
    assert end["content_omitted"] == "not_json"


DONE = b"data: [DONE]\n\n"
LONG_STREAM = [b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 1000) for _ in range(60)]


async def test_a_kept_answer_counts_in_what_a_worker_holds(gateway: Gateway) -> None:
    await keep(gateway)
    go = asyncio.Event()

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
        text = b"".join(LONG_STREAM)
        writer.write(head % (len(text) + len(DONE)) + text)
        await go.wait()
        writer.write(DONE)

    gateway.upstream.handler = handle
    call = asyncio.create_task(gateway.chat(stream=True))
    await until(lambda: gateway.plane.load()[1] >= sum(map(len, LONG_STREAM)))
    go.set()
    assert (await call).complete
    assert gateway.plane.load()[1] == 0
    [end] = await gateway.entries("completed")
    assert "content_commitment" in end


async def test_an_answer_that_cannot_be_held_is_relayed_and_not_kept(start: Start) -> None:
    gateway = await start(max_held_bytes=100_000)
    await keep(gateway)
    gateway.upstream.handler = stream(*LONG_STREAM, DONE)
    reply = await gateway.chat(stream=True)
    assert (reply.complete, reply.body.count(b"x" * 1000)) == (True, len(LONG_STREAM))
    assert gateway.plane.load()[1] == 0
    [end] = await gateway.entries("completed")
    assert (end["outcome"], end["content_omitted"], "content_commitment" in end) == ("ok", "no_memory", False)


def test_texts_of_streams_of_other_providers() -> None:
    anthropic = [
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "find", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
    ]
    gemini = [{"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in ("Hel", "lo")]
    for events, texts in (
        (
            anthropic,
            {
                "content_block_start[1].content_block.name": "find",
                "content_block_delta[1].delta.partial_json": '{"a":1}',
            },
        ),
        (gemini, {"candidates[0].content.parts[0].text": "Hello"}),
    ):
        raw = b"".join(b"event: x\r\ndata: " + orjson.dumps(each) + b"\r\n\r\n" for each in events)
        assert stream_texts(raw) == {"events": len(events), "texts": texts}


def _public_key(data: Path) -> str:
    from gateway.audit import signer
    from gateway.data_directory import DataDirectory

    return str(signer.create_key(DataDirectory(data), "test"))
