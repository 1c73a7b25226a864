"""Frameworks that agents are made with, unmodified: each runs as a program that knows a base URL and a key alone.

They are heavy, so they have an extra of their own (`clients`) and are tested with the slow tests.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live, environment

pytestmark = pytest.mark.slow
PROGRAMS = Path(__file__).parent / "programs"
SAID = "You said: hello there"

Program = Callable[..., dict[str, Any]]


@pytest.fixture
def run(live: Live, openai_url: str, anthropic_url: str) -> Program:
    """Run one of the programs, and return what it found."""

    def start(name: str, *arguments: str) -> dict[str, Any]:
        known = environment(
            OPENAI_BASE_URL=openai_url,
            OPENAI_API_KEY=live.key,
            ANTHROPIC_BASE_URL=anthropic_url,
            ANTHROPIC_API_KEY=live.key,
            # What frameworks send to their makers is no subject here, and must not be tried.
            OPENAI_AGENTS_DISABLE_TRACING="1",
            LANGSMITH_TRACING="false",
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )
        command = [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
        done = subprocess.run(command, env=known, cwd=live.directory, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return start


def needs(package: str) -> None:
    """Skip a test whose package is missing. It is not imported here: some read the network when they are."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: it belongs to the extra `clients`")


def answers(name: str, agent: str = "The tool said: mock shipped") -> dict[str, Any]:
    return {name: SAID, f"{name} usage": 4, f"{name} stream": SAID, f"{name} agent": agent}


def test_langchain_openai(run: Program) -> None:
    needs("langchain_openai")
    needs("langgraph")
    assert run("langchain_openai_program") == {
        **answers("chat"),
        **answers("responses"),
        "chat tools": "get_order",
        "responses tools": "get_order",
        "embeddings": 1536,
        "denied": 403,
    }


def test_langchain_anthropic(run: Program) -> None:
    needs("langchain_anthropic")
    needs("langgraph")
    assert run("langchain_anthropic_program") == {
        **answers("chat"),
        "chat tools": "get_order",
        "denied": 403,
    }


def test_openai_agents(run: Program, live: Live) -> None:
    needs("agents")
    before = len(live.entries())
    assert run("openai_agents_program") == {**answers("chat"), "denied": 403}
    actions = {entry["action"] for entry in live.entries()[before:] if entry["kind"] == "decided"}
    assert actions == {"responses"}


@pytest.mark.parametrize(
    ("provider", "model", "action"),
    [
        ("openai", "gpt-4o", "responses"),
        ("openai-chat", "gpt-4o", "chat.completions"),
        ("anthropic", "claude-mock-large", "messages"),
    ],
)
def test_pydantic_ai(run: Program, live: Live, provider: str, model: str, action: str) -> None:
    needs("pydantic_ai")
    before = len(live.entries())
    found = run("pydantic_ai_program", provider, model)
    assert found == {**answers("chat"), "denied": 403}
    actions = {entry["action"] for entry in live.entries()[before:] if entry["kind"] == "decided"}
    assert actions == {action}


def test_litellm(run: Program) -> None:
    needs("litellm")
    found = run("litellm_program")
    for name in ("chat", "messages"):
        said = {key: value for key, value in answers(name).items() if not key.endswith("agent")}
        assert found.items() >= {**said, f"{name} tools": "get_order", f"{name} denied": 403}.items()
    assert (found["responses"], found["embeddings"]) == (SAID, 1536)
