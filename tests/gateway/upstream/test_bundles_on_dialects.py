"""The bundles to copy say the same of the same call, whichever API it is written in.

A rule that reads a member which only one API has would let the others pass, or refuse them.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.cache import CompiledBundle, compile_bundle
from gateway.policy.decision import read as verdict
from gateway.policy.input import build_input
from gateway.policy.rollout.candidates import bundles_in
from tests.rigs.upstream.said import read

POLICIES = Path(__file__).resolve().parents[3] / "policies"
BUNDLES = {name: compile_bundle(files, "0" * 64, name) for name, files in bundles_in(POLICIES).items()}
SERVER = "https://tools.evil.example/mcp"
USER = {"role": "user", "content": "hello"}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
DIALECTS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("openai", "chat.completions"): {
        "plain": {"messages": [USER]},
        "function": {"messages": [USER], "tools": [{"type": "function", "function": {"name": "NAME"}}]},
        "search": {"messages": [USER], "web_search_options": {}},
    },
    ("openai", "responses"): {
        "plain": {"input": "hello"},
        "function": {"input": "hello", "tools": [{"type": "function", "name": "NAME", "parameters": SCHEMA}]},
        "search": {"input": "hello", "tools": [{"type": "web_search"}]},
        "server": {"input": "hello", "tools": [{"type": "mcp", "server_label": "evil", "server_url": SERVER}]},
    },
    ("anthropic", "messages"): {
        "plain": {"messages": [USER], "max_tokens": 9},
        "function": {"messages": [USER], "max_tokens": 9, "tools": [{"name": "NAME", "input_schema": SCHEMA}]},
        "search": {
            "messages": [USER],
            "max_tokens": 9,
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        },
        "server": {
            "messages": [USER],
            "max_tokens": 9,
            "mcp_servers": [{"type": "url", "url": SERVER, "name": "evil"}],
        },
    },
    ("gemini", "generate_content"): {
        "plain": {"contents": [{"parts": [{"text": "hello"}]}]},
        "function": {
            "contents": [{"parts": [{"text": "hello"}]}],
            "tools": [{"functionDeclarations": [{"name": "NAME"}]}],
        },
        "search": {"contents": [{"parts": [{"text": "hello"}]}], "tools": [{"googleSearch": {}}]},
        "server": {
            "contents": [{"parts": [{"text": "hello"}]}],
            "tools": [{"mcpServers": [{"name": "evil", "streamableHttpTransport": {"url": SERVER}}]}],
        },
    },
}


CHAT_ONLY = ("analytics", "support")
"""Bundles that close the other APIs altogether."""


class _Agent:
    """As much of a principal as the bundles ask for."""

    document: typing.ClassVar[dict[str, Any]] = {
        "id": "agt_x", "organization": "default", "name": "bot", "version": 1, "team": "t", "owner": "dana",
        "environment": "dev", "capabilities": [], "labels": {}, "delegation": [],
        "credential": {"id": "key_x", "method": "api_key", "strength": 1},
    }  # fmt: skip
    person = None


def denials(bundle: CompiledBundle, provider: str, action: str, body: dict[str, Any]) -> tuple[str, ...]:
    """The reasons why a bundle denies a call."""
    call = read(provider, action, body if provider == "gemini" else {"model": "m", **body})
    document = build_input(_Agent(), call, 1_772_618_400_000_000_000)  # type: ignore[arg-type]
    return verdict(bundle.decide(document, now_ns=0, seed=0).value, "guard").reasons


@pytest.mark.parametrize("name", BUNDLES)
def test_a_tool_is_the_same_tool_in_every_api(name: str) -> None:
    said: dict[str, dict[str, bool]] = {}
    for (provider, action), bodies in DIALECTS.items():
        plain = denials(BUNDLES[name], provider, action, bodies["plain"])
        if name in CHAT_ONLY and action != "chat.completions":
            assert len(plain) == 1
            continue
        for what, body in bodies.items():
            more = set(denials(BUNDLES[name], provider, action, body)) - set(plain)
            said.setdefault(what, {})[action] = bool(more)
    for what, answers in said.items():
        assert len({*answers.values()}) == 1, (what, answers)
