"""`gateway routes`: what it does, what it prints, and what it refuses."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Home, Run
from tests.rigs.cli.commands import logged

URL = ("--base-url", "http://127.0.0.1:9/v1", "--no-key")


@pytest.fixture
def three(at: Run, home: Home) -> None:
    for name, provider in (("openai", "openai"), ("groq", "groq"), ("claude", "anthropic")):
        assert at("upstreams", "add", name, "--provider", provider, *URL).code == 0


@pytest.mark.slow
def test_a_route_from_its_creation_to_its_end(at: Run, home: Home, three: None) -> None:
    assert at("routes", "list").err.startswith("no routes yet")
    done = at("routes", "set", "chat", "openai:3", "groq", "--model", "groq:gpt-5=llama", "--default")
    assert done.out == "route chat leads to openai, then groq, also under /v1/…\n"
    assert "openai:3 groq:1  yes" in at("routes", "list").out
    shown = at("routes", "show", "chat").out
    assert "gpt-5 = llama" in shown
    assert at("routes", "set", "chat", "openai:3,groq:1", "--json").json["version"] == 2
    assert "75 %" in at("routes", "show", "chat").out
    assert at("routes", "list", "--json").json[0]["default"] is True
    assert at("status", "--json").out
    assert at("upstreams", "remove", "openai").code == 0
    assert at("routes", "list", "--json").json[0]["members"] == [
        {"upstream": "groq", "tier": 1, "weight": 1, "models": {}}
    ]
    assert at("routes", "remove", "chat").out == "removed route chat\n"
    changed = [what for _, what in logged(home) if what.startswith("route.")]
    assert changed == ["route.created", "route.replaced", "route.replaced", "route.removed"]


@pytest.mark.slow
def test_what_is_refused(at: Run, home: Home, three: None) -> None:
    for arguments, said in (
        (("set", "openai", "groq"), "`openai` is the name of an upstream"),
        (("set", "chat", "opnai"), "did you mean `openai`?"),
        (("set", "chat", "openai", "claude"), "speak different APIs"),
        (("set", "chat", "openai", "openai"), "is named twice"),
        (("set", "chat", "openai:0"), "must be 1 to 1000000, not 0"),
        (("set", "chat", "openai:x"), "put commas between upstreams"),
        (("set", "chat", "openai,,groq"), "put commas between upstreams"),
        (("set", "chat", "openai", "--model", "gpt-5=x"), "write it as --model"),
        (("set", "chat", "openai", "--model", "groq:a=b"), "which the route does not have"),
        (("set", "a b", "openai"), "is not a name"),
        (("show", "chta"), "unknown route `chta`"),
        (("remove", "chat"), "unknown route `chat`"),
    ):
        assert said in at("routes", *arguments).complains(), arguments
    assert at("routes", "set", "chat", "openai").code == 0
    assert "did you mean `chat`?" in at("routes", "show", "chta").complains()
    assert "route `chat` exists already" in at("upstreams", "add", "chat", *URL).complains()
