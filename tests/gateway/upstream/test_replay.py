"""Every recorded exchange with a real provider, through the provider that speaks its API.

The request is a call of the model that was meant, and passes unchanged if nothing has to be changed in it. The answer's
bytes pass unchanged in whatever pieces they come, and its usage is what was billed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Usage
from gateway.errors import Denied
from gateway.upstream.providers.base import Endpoint, Head, Provider
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of

# Which provider speaks to each maker. Where its API begins is a part of an upstream's base URL.
SPEAKERS = {
    "anthropic": "anthropic", "cerebras": "openai-compatible", "deepseek": "deepseek", "groq": "groq",
    "huggingface": "openai-compatible", "mistral": "mistral", "openai": "openai", "openrouter": "openrouter",
    "zai": "openai-compatible",
}  # fmt: skip
NOT_YET = {"azure": 3, "google": 173, "ollama": 3}
"""Recordings that no provider here is asked about yet, by file."""

_ROUTE = re.compile(r"/(chat/completions|responses|embeddings)$")

_CACHE_WRITES = re.compile(r'"cache_write_tokens": ?(\d+)')

# A router's own ways to choose models and run tools: refused on purpose.
REFUSED_MEMBERS = {"plugins", "preset"}


def recordings(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem in NOT_YET:
            continue
        yield from map(json.loads, path.read_text("utf-8").splitlines())


def endpoint_of(recorded: dict[str, Any]) -> tuple[Provider, Endpoint, Head]:
    provider = PROVIDERS[SPEAKERS[recorded["provider"]]]
    path = recorded["path"]
    if provider.name == "openai" and (route := _ROUTE.search(path)) is not None:
        path = "/v1" + route[0]
    found = routes_of(provider).find(recorded["method"], path)
    assert found is not None, recorded["path"]
    route, params = found
    query = dict(part.split("=", 1) for part in recorded["query"].split("&")) if recorded["query"] else {}
    assert query.keys() <= route.query
    return provider, Endpoint("x", route, path, params), Head(query)


def test_every_recording_is_counted(recordings_dir: Path) -> None:
    counted = Counter(
        path.stem for path in recordings_dir.glob("*.jsonl") for _ in path.read_text("utf-8").splitlines()
    )
    assert counted.total() == 788
    assert {name: counted[name] for name in counted if name not in SPEAKERS} == NOT_YET


def test_every_request_is_a_call(recordings_dir: Path) -> None:
    seen = 0
    for recorded in recordings(recordings_dir):
        provider, endpoint, head = endpoint_of(recorded)
        if recorded["request"] is None:
            continue
        raw = json.dumps(recorded["request"]).encode()
        try:
            call = provider.read(endpoint, head, raw)
        except Denied as denied:
            if REFUSED_MEMBERS & recorded["request"].keys():
                continue
            pytest.fail(f"{recorded['note']}: {denied}")
        assert (call.raw, call.body) == (raw, recorded["request"])
        assert call.model == recorded["expect"]["model"], recorded["note"]
        assert call.stream == bool(recorded["request"].get("stream")), recorded["note"]
        assert dict(call.query) == dict(head.query)
        seen += 1
    assert seen >= 590


@pytest.mark.parametrize("size", [1, 7, 4096, 1_000_000])
def test_every_answer_passes_and_its_usage_is_read(recordings_dir: Path, size: int) -> None:
    for recorded in recordings(recordings_dir):
        provider, endpoint, _ = endpoint_of(recorded)
        answer = recorded["response"].encode()
        if len(answer) // size > 20_000:
            continue
        kind = b"text/event-stream" if recorded["stream"] else b"application/json"
        tap = provider.tap(endpoint, kind, (), stores=False)
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        before = b"".join(tap.feed(piece, last=at == len(pieces) - 1) for at, piece in enumerate(pieces))
        held = tap.finish()
        assert before + held == answer, recorded["note"]
        expected = recorded["expect"]["usage"]
        if expected is not None and (written := _CACHE_WRITES.search(recorded["response"])) is not None:
            # OpenAI reports this now, too; the expectation is older.
            expected["cache_write"] = int(written[1])
        assert _as_recorded(tap.report.usage) == expected, recorded["note"]
        if recorded["status"] == 200:
            assert tap.ended or tap.report.failed, recorded["note"]


def _as_recorded(usage: Usage | None) -> dict[str, int] | None:
    names = ("input", "cached", "cache_write", "output", "reasoning")
    return None if usage is None else {name: getattr(usage, name) for name in names}
