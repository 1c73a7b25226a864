"""Recorded exchanges with real providers: every request is understood, every answer's usage is read as it was meant.

For all providers that speak the OpenAI chat API, not only for OpenAI itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream import strict_json
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from tests.recordings import all_recordings
from tests.rigs.upstream.sent import tap_of

_TOTAL = re.compile(rb'"(?:total_tokens|totalTokenCount)": ?(\d+)')
PROVIDER = PROVIDERS["openai"]
CHAT = Endpoint("x", PROVIDER.routes[0], "/v1/chat/completions")
EVENTS, DOCUMENT = b"text/event-stream", b"application/json"
SPEAKERS = ("openai", "groq", "mistral", "deepseek", "openrouter", "cerebras", "ollama", "huggingface", "zai")


def chats(recordings: Path, *speakers: str) -> Iterator[dict[str, Any]]:
    for speaker in speakers:
        for line in (recordings / f"{speaker}.jsonl").read_text("utf-8").splitlines():
            recorded = json.loads(line)
            if recorded["api"] == "chat" and recorded["request"] is not None:
                yield recorded


def test_every_request_is_a_call(recordings_dir: Path) -> None:
    seen = 0
    for recorded in chats(recordings_dir, *SPEAKERS):
        body = recorded["request"]
        raw = json.dumps(body).encode()
        call = PROVIDER.read(CHAT, RequestHead(), raw)
        assert call.model == recorded["expect"]["model"], recorded["note"]
        assert call.messages == len(body["messages"])
        assert call.stream == bool(body.get("stream"))
        assert len(call.tools) == len(body.get("tools") or []) + ("web_search_options" in body)
        assert strict_json.parse(strict_json.dump(call.body)) == body
        seen += 1
    assert seen > 200


@pytest.mark.parametrize("size", [1, 7, 4096, 1_000_000])
def test_usage_and_the_end_of_every_answer(recordings_dir: Path, size: int) -> None:
    seen = streams = 0
    for recorded in chats(recordings_dir, "openai"):
        answer = recorded["response"].encode()
        if len(answer) // size > 20_000:
            continue
        tap = tap_of(PROVIDER, CHAT, EVENTS if recorded["stream"] else DOCUMENT, (), stores=False)
        before = b"".join(
            tap.feed(answer[at : at + size], at + size >= len(answer)) for at in range(0, len(answer), size)
        )
        after = tap.finish()
        assert before + after == answer, recorded["note"]
        expected = recorded["expect"]["usage"]
        if expected is None:
            assert tap.report.usage is None, recorded["note"]
        else:
            assert tap.report.usage is not None, recorded["note"]
            found = (
                tap.report.usage.input,
                tap.report.usage.output,
                tap.report.usage.cached,
                tap.report.usage.reasoning,
            )
            wanted = tuple(expected[name] for name in ("input", "output", "cached", "reasoning"))
            assert found == wanted, recorded["note"]
        if recorded["stream"]:
            assert (tap.ended, after) == (True, b"data: [DONE]\n\n"), recorded["note"]
            streams += 1
        elif recorded["status"] == 200:
            assert tap.report.model == json.loads(answer)["model"]
        seen += 1
    assert seen > 50
    assert streams > 5


def test_hiding_usage_removes_one_event(recordings_dir: Path) -> None:
    for recorded in chats(recordings_dir, "openai"):
        if not recorded["stream"]:
            continue
        answer = recorded["response"].encode()
        tap = tap_of(PROVIDER, CHAT, EVENTS, ("stream_options.include_usage",), stores=False)
        shown = tap.feed(answer, True) + tap.finish()
        events = answer.split(b"\n\n")
        hidden = [event for event in events if b'"choices":[],"usage":{' in event]
        assert len(hidden) == 1
        assert shown == b"\n\n".join(event for event in events if event not in hidden)


def test_usage_of_the_other_speakers_in_total(recordings_dir: Path) -> None:
    """Their extensions differ; what is billed in all does not."""
    seen = 0
    for recorded in chats(recordings_dir, *SPEAKERS[1:]):
        expected = recorded["expect"]["usage"]
        if expected is None:
            continue
        answer = recorded["response"].encode()
        tap = tap_of(PROVIDER, CHAT, EVENTS if recorded["stream"] else DOCUMENT, (), stores=False)
        tap.feed(answer, True)
        tap.finish()
        assert tap.report.usage is not None, recorded["note"]
        assert (tap.report.usage.input, tap.report.usage.output) == (expected["input"], expected["output"]), recorded[
            "note"
        ]
        seen += 1
    assert seen > 50


def test_the_tokens_of_every_answer_are_the_providers_own_total(recordings_dir: Path) -> None:
    seen: set[str] = set()
    answers = 0
    for each in all_recordings(recordings_dir):
        kind = EVENTS if each.recorded["stream"] else DOCUMENT
        tap = tap_of(PROVIDERS[each.provider], each.endpoint, kind, (), stores=False)
        tap.feed(each.answer, True)
        tap.finish()
        totals = _TOTAL.findall(each.answer)
        if tap.report.usage is not None and totals:
            assert tap.report.usage.input + tap.report.usage.output == int(totals[-1]), each.note
            seen.add(each.provider)
            answers += 1
    assert (answers, len(seen)) == (594, 12)
