"""Azure OpenAI: the deployment in the path is the model, and the rest is OpenAI's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.call import Call, Reference
from gateway.errors import Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of
from tests.rigs.upstream.sent import tap_of

PROVIDER = PROVIDERS["azure"]
CHAT = {"messages": [{"role": "user", "content": "hello"}]}
DATED = RequestHead({"api-version": "2024-10-21"})
OLD, NEW = "/openai/deployments/gpt-4o/chat/completions", "/openai/v1/chat/completions"


def read(path: str, head: RequestHead, body: dict[str, Any] | None, method: str = "POST") -> Call:
    found = routes_of(PROVIDER).find(method, path)
    assert found is not None
    raw = b"" if body is None else strict_json.dump(body)
    return PROVIDER.read(Endpoint("a", found[0], path, found[1]), head, raw)


@pytest.mark.parametrize("named", [{}, {"model": "gpt-4o"}])
def test_the_deployment_is_the_model(named: dict[str, str]) -> None:
    call = read(OLD, DATED, CHAT | named)
    assert (call.action, call.provider, call.model, call.models) == ("chat.completions", "azure", "gpt-4o", ("gpt-4o",))
    assert call.raw == strict_json.dump(CHAT | named)


@pytest.mark.parametrize(
    ("path", "body", "action"),
    [
        ("/openai/deployments/e/embeddings", {"input": "x"}, "embeddings"),
        ("/openai/deployments/e/completions", {"prompt": "x"}, "completions"),
        ("/openai/deployments/e/images/generations", {"prompt": "x"}, "images.generations"),
        ("/openai/deployments/e/audio/speech", {"input": "x"}, "audio.speech"),
    ],
)
def test_other_calls_of_a_deployment(path: str, body: dict[str, Any], action: str) -> None:
    call = read(path, DATED, body)
    assert (call.action, call.model) == (action, "e")
    assert_moved(read(path, DATED, body | {"model": "other"}), body | {"model": "e"})


def test_a_body_that_names_the_model_that_was_deployed() -> None:
    call = read(OLD, DATED, CHAT | {"model": "gpt-4o-2024-11-20", "stream": True})
    assert_moved(call, CHAT | {"model": "gpt-4o", "stream": True})
    changed, names = PROVIDER.edit(call, Edits(report_usage=True, model="gpt-4o-mini"))
    assert names == ("model", "stream_options.include_usage")
    assert changed.body is not None
    assert (changed.model, changed.body.get("model")) == ("gpt-4o-mini", None)
    assert changed == read(changed.path, DATED, changed.body)


def assert_moved(call: Call, body: dict[str, Any]) -> None:
    """Assert that the call is one of the deployment in its path, also for whoever reads its body."""
    changed, names = PROVIDER.edit(call, Edits())
    assert names == ("model",)
    assert (changed.body, changed.raw) == (body, strict_json.dump(body))
    assert changed.models == call.models == (body["model"],)
    assert changed == read(call.path, DATED, body)
    assert PROVIDER.edit(changed, Edits()) == (changed, ())


@pytest.mark.parametrize("name", [{"model": 7}, {"model": "a\n"}, {"model": ["gpt-4o"]}, {"model": ""}])
@pytest.mark.parametrize(
    "path", [OLD, "/openai/deployments/gpt-4o/embeddings", "/openai/deployments/gpt-4o/audio/speech"]
)
def test_what_is_no_name_of_a_model_is_refused_beside_a_deployment(path: str, name: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        read(path, DATED, (CHAT if path == OLD else {"input": "x"}) | name)
    assert "model" in caught.value.text


@pytest.mark.parametrize("more", [{"models": ["gpt-4o", "o3"]}, {"fallbacks": [{"model": "o3"}]}])
def test_no_other_model_is_named(more: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        read(OLD, DATED, CHAT | more)
    assert "must be `gpt-4o`, the deployment in the path, or absent" in caught.value.text


@pytest.mark.parametrize("version", [None, "", "latest", "2024", "2024-10-21-beta", "2024-10-21x"])
def test_a_deployment_needs_a_version(version: str | None) -> None:
    with pytest.raises(Denied) as caught:
        read(OLD, RequestHead({} if version is None else {"api-version": version}), CHAT)
    assert "must have an `api-version`" in caught.value.text


@pytest.mark.parametrize("version", [None, "v1", "preview", "latest"])
def test_the_new_paths(version: str | None) -> None:
    head = RequestHead({} if version is None else {"api-version": version})
    assert read(NEW, head, CHAT | {"model": "my-deployment"}).model == "my-deployment"
    response = read("/openai/v1/responses/resp_1", head, None, "GET")
    assert response.references == (Reference("response", "resp_1"),)


def test_a_date_is_no_version_of_the_new_paths() -> None:
    with pytest.raises(Denied) as caught:
        read(NEW, DATED, CHAT | {"model": "x"})
    assert "`api-version` under `/openai/v1`" in caught.value.text


def test_responses_of_older_clients() -> None:
    call = read("/openai/responses", DATED, {"model": "gpt-4o", "input": "hello"})
    assert (call.action, call.model) == ("responses", "gpt-4o")


@pytest.mark.parametrize(
    ("path", "head", "url"),
    [
        (OLD, DATED, f"https://r.openai.azure.com{OLD}?api-version=2024-10-21"),
        (NEW, RequestHead(), f"https://r.openai.azure.com{NEW}"),
    ],
)
def test_what_goes_upstream(path: str, head: RequestHead, url: str) -> None:
    sent = PROVIDER.prepare(read(path, head, CHAT | {"model": "gpt-4o"}), "https://r.openai.azure.com", "secret", {})
    assert str(sent.url) == url
    assert sent.headers == {"Content-Type": "application/json", "api-key": "secret"}


@pytest.mark.parametrize("base", ["", "/openai", "/openai/v1"])
def test_a_base_url_may_end_in_the_version(base: str) -> None:
    sent = PROVIDER.prepare(read(OLD, DATED, CHAT), "https://r.openai.azure.com" + base, None, {})
    assert str(sent.url) == f"https://r.openai.azure.com{OLD}?api-version=2024-10-21"


@pytest.mark.parametrize("named", [{}, {"model": "gpt-4o"}])
def test_another_deployment(named: dict[str, str]) -> None:
    call = read(OLD, DATED, CHAT | named)
    changed, names = PROVIDER.edit(call, Edits(model="gpt-4o-mini", max_output_tokens=9))
    assert names == ("max_output_tokens", "model")
    assert changed.path == "/openai/deployments/gpt-4o-mini/chat/completions"
    assert changed.body is not None
    assert changed == read(changed.path, DATED, changed.body)
    only_model, _ = PROVIDER.edit(call, Edits(model="gpt-4o-mini"))
    assert (only_model.raw == call.raw) == (not named)


def test_a_model_that_cannot_stand_in_a_path() -> None:
    call = read(OLD, DATED, CHAT)
    assert PROVIDER.edit(call, Edits(model="a/b")) == (call, ())


def test_another_model_under_the_new_paths() -> None:
    changed, names = PROVIDER.edit(read(NEW, RequestHead(), CHAT | {"model": "a"}), Edits(model="b"))
    assert (names, changed.model, changed.path) == (("model",), "b", NEW)


def test_the_model_of_a_stream_whose_first_chunk_names_none() -> None:
    found = routes_of(PROVIDER).find("POST", OLD)
    assert found is not None
    tap = tap_of(PROVIDER, Endpoint("a", found[0], OLD, found[1]), b"text/event-stream", (), stores=False)
    tap.feed(b'data: {"model":"","choices":[]}\n\ndata: {"model":"gpt-4o-2024","choices":[{}]}\n\n', last=False)
    assert tap.report.model == "gpt-4o-2024"


def test_a_form_goes_to_the_deployment_and_stays_as_it_is() -> None:
    for fields, moved in (({"language": "en"}, True), ({"model": "whisper"}, False)):
        request = httpx.Request("POST", "http://x", data=fields, files={"file": ("a.mp3", b"x")})
        path = "/openai/deployments/whisper/audio/transcriptions"
        found = routes_of(PROVIDER).find("POST", path)
        assert found is not None
        head = RequestHead(DATED.query, content_type=request.headers["content-type"])
        call = PROVIDER.read(Endpoint("a", found[0], path, found[1]), head, request.read())
        assert (call.model, call.action) == ("whisper", "audio.transcriptions")
        changed, names = PROVIDER.edit(call, Edits(model="other"))
        assert (changed.raw, changed.model) == (call.raw, "other" if moved else "whisper")
        assert names == (("model",) if moved else ())
        sent = PROVIDER.prepare(changed, "https://x.example", "k", {})
        assert sent.headers["Content-Type"] == head.content_type
        assert sent.url.path.startswith(f"/openai/deployments/{changed.model}/")
