"""Clients for Node, unmodified: those of OpenAI and Anthropic, `ai` with providers of three APIs, LangChain, others.

Each runs as a program of `node/` that knows base URLs and a key alone. They are installed with npm, from ranges of
versions; without it these tests are skipped.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live

pytestmark = pytest.mark.slow
SAID, TOLD = "You said: hello there", "The tool said: shipped"
# The class, the status, and how many requests it took where a client may try once more.
FAILURES = {
    "mock-status-400": "BadRequestError 400 1",
    "mock-status-404": "NotFoundError 404 1",
    "mock-status-422": "UnprocessableEntityError 422 1",
    "mock-status-429": "RateLimitError 429 2",
    "mock-status-503": "InternalServerError 503 2",
    "mock-status-401": "InternalServerError 502 1",
    "o3": "PermissionDeniedError 403 1",
}
REFUSED = {"wrong key": "AuthenticationError 401", "no route": "NotFoundError 404"}

Program = Callable[[str], dict[str, Any]]


@pytest.fixture
def run(node: Path, known: dict[str, str]) -> Program:
    def start(name: str) -> dict[str, Any]:
        done = subprocess.run(["node", f"{name}.mjs"], env=known, cwd=node, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return start


def test_openai(run: Program) -> None:
    assert run("openai") == {
        "chat": SAID,
        "chat usage": 4,
        "chat stream": SAID,
        "chat tools": TOLD,
        "chat runner": TOLD,
        "responses": SAID,
        "responses usage": 4,
        "responses stream": SAID,
        "responses tools": TOLD,
        "embeddings": 1536,
        "chat failures": FAILURES,
        "responses failures": FAILURES,
        **REFUSED,
    }


def test_anthropic(run: Program) -> None:
    assert run("anthropic") == {
        "messages": SAID,
        "messages usage": 4,
        "messages stream": SAID,
        "messages helper": SAID,
        "messages tools": TOLD,
        "counted": 2,
        "messages failures": {**FAILURES, "mock-status-503": "ServiceUnavailableError 503 2"},
        **REFUSED,
    }


def test_ai(run: Program, live: Live) -> None:
    before = len(live.entries())
    found = run("ai")
    assert found.pop("embeddings") == 1536
    names = ("responses", "chat", "messages", "gemini")
    assert found == {
        f"{name}{what}": value
        for name in names
        for what, value in {
            "": SAID,
            " usage": 4,
            " stream": SAID,
            " agent": "The tool said: mock shipped",
            " streaming agent": "The tool said: mock shipped",
            " object": True,
            " denied": "APICallError 403",
            " 404": "APICallError 404",
            " 429": "APICallError 429",
            " 503": "APICallError 503",
        }.items()
    }
    actions = {entry["action"] for entry in live.entries()[before:] if entry["kind"] == "decided"}
    assert actions == {"responses", "chat.completions", "messages", "generate_content", "embeddings"}


def test_langchain(run: Program, live: Live) -> None:
    before = len(live.entries())
    expected = {"": SAID, " stream": SAID, " agent": "The tool said: mock shipped", " object": True, " denied": True}
    names = ("chat", "responses", "messages", "gemini")
    assert run("langchain") == {
        **{f"{name}{what}": value for name in names for what, value in expected.items()},
        "embeddings": 1536,
    }
    denied = [entry for entry in live.entries()[before:] if entry["kind"] == "decided" and not entry["open"]]
    assert len(denied) == len(names)


def test_others(run: Program) -> None:
    expected = {"": SAID, " stream": SAID, " agent": "The tool said: mock shipped", " denied": 403}
    assert run("others") == {
        **{f"{name}{what}": value for name in ("responses", "chat_completions") for what, value in expected.items()},
        "gemini": SAID,
        "gemini stream": SAID,
        "gemini denied": 403,
        "groq": SAID,
        "groq denied": 403,
        "ai groq": SAID,
        "ai compatible": SAID,
    }
