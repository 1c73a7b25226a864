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

from tests.gateway.dataplane.processes import Live

pytestmark = pytest.mark.slow
PROGRAMS = Path(__file__).parent / "programs"
SAID = "You said: hello there"

Program = Callable[..., dict[str, Any]]


@pytest.fixture
def run(live: Live, known: dict[str, str]) -> Program:
    """Run one of the programs, and return what it found."""

    def start(name: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
        command = [python, str(PROGRAMS / f"{name}.py"), *arguments]
        done = subprocess.run(
            command,
            env=known,
            cwd=live.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
        )
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


def test_autogen(run: Program) -> None:
    needs("autogen_agentchat")
    needs("autogen_ext")
    assert run("autogen_program") == {**answers("chat"), "chat stream usage": 4, "denied": 403}


def test_crewai(run: Program, crewai: str) -> None:
    assert run("crewai_program", python=crewai) == {**answers("chat"), **answers("messages"), "denied": 403}
