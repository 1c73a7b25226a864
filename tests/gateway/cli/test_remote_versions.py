"""A command and a gateway elsewhere of different versions: what the answer lacks is said, and what it adds is left out.

`older_answers.json` holds answers of a gateway from before limits said who has set them, as they came over the wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.gateway.conftest import Run
from tests.rigs.cli.remote import URL, Elsewhere, elsewhere, gateway, offline, there

__all__ = ["elsewhere", "gateway", "offline", "there"]

OLDER: Final = json.loads((Path(__file__).parent / "older_answers.json").read_text("utf-8"))
READING: Final = """
    agents list
    agents show bot
    agents history bot
    keys list
    teams list
    teams show red
    orgs list
    orgs show default
    operators list
    operators show olga
    operators token list olga
    limits list
    limits show bot
    upstreams list
    upstreams show openai
    routes list
    issuers list
    webhooks list
    bindings list
    usage
    policies status
    prices list
    tokens keys
    adopt list
    """
LACKING: Final = (
    "agents list",
    "agents show bot",
    "keys list",
    "limits list",
    "limits show bot",
    "upstreams list",
    "usage",
)


@pytest.fixture
def older(elsewhere: Elsewhere, gateway: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the older gateway."""
    token = elsewhere.token()

    def answer(_self: object, request: httpx.Request) -> httpx.Response:
        kept = OLDER[f"{request.method} {request.url.path.removeprefix('/api/v1')}"]
        headers = {"content-type": kept["type"]}
        return httpx.Response(kept["status"], headers=headers, json=kept["body"], request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    return lambda *arguments: gateway("--server", URL, *arguments, AIG_TOKEN=token)


def test_what_an_older_gateway_does_not_say_is_not_known(older: Run) -> None:
    done = older("limits", "list")
    assert (done.code, done.err) == (0, "")
    heads, organization, agent = (line.split() for line in done.out.splitlines())
    assert heads[-2:] == ["SET", "BY"]
    assert [(line[0], line[2], line[-1]) for line in (organization, agent)] == [
        ("org:default", "900", "-"),
        ("bot", "7", "-"),
    ]
    assert {each["by_gateway"] for each in json.loads(older("limits", "list", "--json").out)} == {None}
    shown = older("limits", "show", "bot")
    assert shown.code == 0
    assert "set by" not in older("agents", "show", "bot").out


def test_a_change_on_an_older_gateway_is_told_as_one(older: Run) -> None:
    done = older("limits", "set", "bot", "requests_per_day", "5")
    assert (done.code, done.err) == (0, "")
    assert "requests_per_day 5" in done.out


@pytest.mark.parametrize(
    "command", ["policies status", "issuers update ci --jwks-url http://127.0.0.1:9/x --reason y"], ids=["404", "405"]
)
def test_a_command_that_an_older_gateway_does_not_know_says_so(older: Run, command: str) -> None:
    done = older(*command.split())
    said = f"error: the gateway at {URL} is older than this command, and cannot do this: upgrade that gateway\n"
    assert (done.code, done.err) == (1, said)


def test_what_an_older_gateway_does_not_take_may_be_for_its_age(
    there: Run, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Elsewhere.answer

    def answer(self: Elsewhere, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            body = {**json.loads(request.content), "novelty": 1}
            headers = {name: text for name, text in request.headers.items() if name != "content-length"}
            request = httpx.Request("POST", request.url, headers=headers, json=body)
        return real(self, request)

    monkeypatch.setattr(Elsewhere, "answer", answer)
    done = there("teams", "create", "red")
    assert done.code == 1
    assert done.err.startswith("error: /novelty: there is no such member: the gateway may be older than this command")


@pytest.fixture
def changed(there: Run, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Any], Any]]:
    """The changes to the documents that the gateway elsewhere answers."""
    changes: list[Callable[[Any], Any]] = []
    for line in ("teams create red", "agents register bot --team red", "limits set bot requests_per_day 5"):
        assert there(*line.split()).code == 0
    assert there("upstreams", "add", "openai", "--no-key").code == 0
    real = Elsewhere.answer

    def answer(self: Elsewhere, request: httpx.Request) -> httpx.Response:
        response = real(self, request)
        if response.status_code >= 300:
            return response
        body = response.json()
        for change in changes:
            body = change(body)
        headers = {name: text for name, text in response.headers.items() if name != "content-length"}
        return httpx.Response(response.status_code, headers=headers, json=body, request=request)

    monkeypatch.setattr(Elsewhere, "answer", answer)
    return changes


def _named(document: object) -> set[str]:
    if isinstance(document, list):
        return {name for each in document for name in _named(each)}
    if isinstance(document, dict):
        return set(document) | {name for each in document.values() for name in _named(each)}
    return set()


def _with(document: Any, make: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(document, list):
        return [_with(each, make) for each in document]
    if isinstance(document, dict):
        return make({name: _with(each, make) for name, each in document.items()})
    return document


def test_what_a_newer_gateway_adds_is_left_out(there: Run, changed: list[Callable[[Any], Any]]) -> None:
    lines = [line.split() for line in READING.strip().splitlines()]
    before = [there(*line) for line in lines]
    assert [(line, done.err) for line, done in zip(lines, before, strict=True) if done.code] == []
    changed.append(lambda body: _with(body, lambda each: {**each, "novelty": {"since": 1}}))
    for line, done in zip(lines, before, strict=True):
        assert there(*line).code == done.code, line


@pytest.mark.slow
@pytest.mark.parametrize("command", LACKING)
def test_whatever_an_older_gateway_leaves_out_is_named(
    there: Run, changed: list[Callable[[Any], Any]], command: str
) -> None:
    names: set[str] = set()

    def note(body: Any) -> Any:
        names.update(_named(body))
        return body

    changed.append(note)
    assert there(*command.split()).code == 0
    for name in sorted(names):
        changed[:] = [lambda body, gone=name: _with(body, lambda each: {n: v for n, v in each.items() if n != gone})]
        done = there(*command.split())
        assert done.code in (0, 1), (name, done.err)
        if done.code:
            assert done.err.count("\n") == 1, (name, done.err)
            said = f"the gateway is older than this command: its answer lacks `{name}`"
            assert said in done.err or "does not answer as a control API" in done.err, (name, done.err)
