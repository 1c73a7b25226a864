"""A program that keeps its provider key while it moves, against a real gateway of two workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.dataplane.processes import Live
from tests.gateway.dataplane.rotation import BUNDLE
from tests.rigs.dataplane.key_life import until
from tests.rigs.dataplane.provider_secret import files_with

pytestmark = pytest.mark.slow

OLD = "sk-canary-old-2c9b1f0a77d34e58"


def status(live: Live, *flags: str) -> dict[str, Any]:
    found = json.loads(live.run("adopt", "status", "--json", *flags))
    assert isinstance(found, dict)
    return found


def ask(live: Live, key: str) -> None:
    """One call as an existing program makes it: nothing but its base URL is new."""
    with openai.OpenAI(base_url=live.base_url, api_key=key, max_retries=0, timeout=300) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])


def test_a_program_moves(tmp_path: Path) -> None:
    live = Live(tmp_path)
    try:
        live.start("--workers", "2")
        with pytest.raises(openai.AuthenticationError):
            ask(live, OLD)
        live.run(
            *("adopt", "start", "--upstream", "mock", "--until", "5d", "--owner", "dana@example.com"),
            *("--key-env", "OLD_KEY"),
            env={"OLD_KEY": OLD},
        )
        with pytest.raises(openai.PermissionDeniedError) as denied:
            ask(live, OLD)
        assert denied.value.code == "no_policy"
        live.run("bind", "legacy", BUNDLE)
        ask(live, OLD)
        until(lambda: status(live)["to_move"])
        until(lambda: sum(each["calls"] for each in status(live)["to_move"]) == 2)
        (found,) = status(live)["to_move"]
        assert (found["client"], found["models"]) == ("OpenAI/Python", ["gpt-4o-mini"])
        assert status(live, "--address", "127.0.0.1")["to_move"] == [found]
        assert status(live, "--address", "127.0.0.2")["to_move"] == []

        ask(live, OLD)
        live.stop()  # everything that was not written yet is written now
        (found,) = status(live)["to_move"]
        assert found["calls"] == 3
        live.start("--workers", "2")
        assert live.up is not None
        live.up.line("the old key of upstream `mock` of `default` ends in 4 days")

        ask(live, live.key)
        until(lambda: not status(live)["to_move"])
        (moved,) = status(live)["moved"]
        assert moved["agent"] == "bot"

        live.run("adopt", "stop")
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(live, OLD)
        assert "legacy" not in str(refused.value)
        ask(live, live.key)
        live.stop()
        live.run("audit", "verify", "--reexecute")
        assert files_with(tmp_path, OLD) == []  # logs of the processes are among them
    finally:
        live.close()
