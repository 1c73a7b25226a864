"""Frameworks that agents are made with, unmodified: each runs as a program that knows a base URL and a key alone.

They are heavy, so they have an extra of their own (`clients`) and are tested with the slow tests.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live
from tests.rigs.clients.frameworks import SAID, Program, needs, run  # noqa: F401  # fixtures among them

pytestmark = pytest.mark.slow


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
