"""Requests of coding agents and SDKs under a limit on money of each mode: images, PDFs, searches, kept state."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.dataplane.processes import Live, write_policy
from tests.rigs.usage.media_bounds import png

pytestmark = pytest.mark.slow

LIMIT = "spend_microusd_per_day"
IMAGE = base64.b64encode(png(1280, 800)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj << /Type /Pages /Kids [2 0 R] /Count 1 >> endobj\n%%EOF").decode()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("limited"))
    try:
        write_policy(found.data / "policies", "package bot.authz\n\nallow := true\n")
        provider = found.provider.line(r"base URL (\S+)")[1]
        found.run("upstreams", "add", "openai", "--base-url", provider, "--no-key")
        found.run("upstreams", "add", "anthropic", "--base-url", provider, "--no-key")
        found.start("--workers", "1")
        yield found
        found.stop()
        found.check_log()
    finally:
        found.close()


@pytest.fixture
def calls(live: Live) -> Iterator[dict[str, Callable[[], Any]]]:
    url = live.base_url.removesuffix("/v1")
    with (
        openai.OpenAI(base_url=f"{url}/openai/v1", api_key=live.key, max_retries=0, timeout=300) as one,
        anthropic.Anthropic(base_url=f"{url}/anthropic", api_key=live.key, max_retries=0, timeout=300) as other,
    ):
        yield calls_of(one, other)


def calls_of(of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic) -> dict[str, Callable[[], Any]]:
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    document = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    file = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}

    def chat(*parts: Any, model: str = "gpt-4o") -> Any:
        return of_openai.chat.completions.create(
            model=model, max_tokens=50, messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, *parts]}]
        )

    def respond(given: Any = "x", **members: Any) -> Any:
        return of_openai.responses.create(model="gpt-4o", input=given, max_output_tokens=50, **members)

    def say(*parts: Any, **members: Any) -> Any:
        messages: Any = [{"role": "user", "content": [{"type": "text", "text": "x"}, *parts]}]
        return of_anthropic.messages.create(model="claude-sonnet-4-5", max_tokens=50, messages=messages, **members)

    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    return {
        "image": lambda: chat(shown),
        "image of Claude": lambda: say({"type": "image", "source": source}),
        "PDF": lambda: respond([{"role": "user", "content": [file]}]),
        "PDF of Claude": lambda: say({"type": "document", "source": document}),
        "search": lambda: respond(tools=[{"type": "web_search"}], max_tool_calls=1),
        "search of Claude": lambda: say(tools=[{**search, "max_uses": 1}]),
        "earlier response": lambda: respond(previous_response_id=respond().id),
        "search without a cap": lambda: respond(tools=[{"type": "web_search"}]),
        "search without a cap of Claude": lambda: say(tools=[search]),
        "code": lambda: respond(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
    }


WITHOUT_A_BOUND = {"search without a cap", "search without a cap of Claude", "code"}


@pytest.mark.parametrize("mode", ["hard", "estimate"])
def test_what_agents_send(live: Live, calls: dict[str, Callable[[], Any]], mode: str) -> None:
    live.run("limits", "set", "bot", LIMIT, "$100", "--mode", mode)
    for name, call in calls.items():
        if mode == "hard" and name in WITHOUT_A_BOUND:
            with pytest.raises(
                (openai.PermissionDeniedError, anthropic.PermissionDeniedError), match="--mode estimate"
            ):
                call()
        else:
            call()
    shown = live.run("limits", "show", "bot")
    assert mode in shown


def test_a_limit_that_is_used_up_refuses_each(live: Live, calls: dict[str, Callable[[], Any]]) -> None:
    live.run("limits", "set", "bot", LIMIT, "$0.0001", "--mode", "estimate")
    for call in calls.values():
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)):
            call()
