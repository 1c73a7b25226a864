"""More frameworks and the packages of other makers, unmodified: those of `frameworks.txt`, one program each.

They need older packages than the clients of `test_frameworks.py`, so an environment of their own has them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live
from tests.rigs.clients.frameworks import SAID, Program, run

__all__ = ["run"]  # a fixture
pytestmark = pytest.mark.slow
TOLD = "The tool said: mock shipped"
WRAPPED = 'The tool said: {"result": "mock shipped"}'  # a tool's result as JSON


def answers(*names: str, agent: str = TOLD, **more: object) -> dict[str, Any]:
    """A plain answer, a stream, and an agent that calls a tool, for each of these; `more` is said of each, too."""
    found: dict[str, Any] = {}
    for name in names:
        found |= {name: SAID, f"{name} stream": SAID, f"{name} agent": agent}
        found |= {f"{name} {what}": value for what, value in more.items()}
    return found


EXPECTED: dict[str, dict[str, Any]] = {
    "agent_framework": answers("responses", "chat", object=True, denied=403),
    "agno": {**answers("chat", "responses", "groq"), "object": True},
    "dspy": {**dict.fromkeys(("chat", "responses", "messages", "gemini"), SAID), "object": True, "denied": True},
    "google_adk": {**answers("gemini"), **answers("chat", "messages", agent=WRAPPED), "object": True, "denied": 403},
    "groq": {
        "chat": SAID, "chat usage": 4, "chat stream": SAID, "chat tools": "get_order", "models": True, "denied": 403,
        "langchain": SAID, "langchain stream": SAID,
    },
    "haystack": {**answers("chat", "responses", denied=403), "object": True, "embeddings": 1536},
    "instructor": {
        f"{name}{what}": True for name in ("openai", "anthropic", "google") for what in ("", " stream", " denied")
    },
    "langchain_google": {**answers("chat", usage=4), "object": True, "embeddings": 1536, "denied": True},
    "llama_index": answers("chat", "responses", object=True, denied=403),
    "mistral": {**answers("chat", usage=4), "object": True, "denied": 403},
    "semantic_kernel": {**answers("chat"), "object": True, "denied": True},
    "smolagents": {"chat": SAID, "chat stream": SAID, "tools": ["get_order"], "denied": True},
    "strands": {**answers("chat", "responses", "messages", object=True), "denied": 403},
}  # fmt: skip
ACTIONS = {
    "agent_framework": {"responses", "chat.completions"},
    "agno": {"responses", "chat.completions"},
    "dspy": {"responses", "chat.completions", "messages", "generate_content"},
    "google_adk": {"chat.completions", "messages", "generate_content"},
    "groq": {"chat.completions", "models.list"},
    "haystack": {"responses", "chat.completions", "embeddings"},
    "instructor": {"chat.completions", "messages", "generate_content"},
    "langchain_google": {"generate_content", "embed_content.batch"},
    "llama_index": {"responses", "chat.completions"},
    "strands": {"responses", "chat.completions", "messages"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_framework(run: Program, live: Live, frameworks: str, name: str) -> None:
    before = len(live.entries())
    found = run(f"{name}_program", python=frameworks)
    if name == "agno":  # its run ends with the text of the error
        assert "no policy allows chat.completions of" in found.pop("denied")
    assert found == EXPECTED[name]
    decided = [entry for entry in live.entries()[before:] if entry["kind"] == "decided"]
    assert {entry["action"] for entry in decided} == ACTIONS.get(name, {"chat.completions"})
    denied = [entry for entry in decided if not entry["open"]]
    asked = sum("denied" in what for what in [*EXPECTED[name], *(["denied"] if name == "agno" else [])])
    assert len(denied) == asked
