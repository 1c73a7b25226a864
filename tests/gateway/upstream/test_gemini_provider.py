"""The Gemini provider: a body becomes a call, or is refused where two readers could disagree about it."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from typing import Any

import pytest

from gateway.call import Call, Reference, Tool, Usage
from gateway.errors import REASONS, Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.prompts import digest
from gateway.upstream.routes import routes_of
from tests.rigs.upstream.sent import sent_to, tap_of

PROVIDER = PROVIDERS["gemini"]
USER = {"role": "user", "parts": [{"text": "hello"}]}
PLAIN = {"contents": [USER]}
FLASH = "gemini-2.5-flash"


def endpoint(verb: str = "generateContent", model: str = FLASH, root: str = "/v1beta") -> Endpoint:
    path = f"{root}/models/{model}:{verb}"
    found = routes_of(PROVIDER).find("POST", path)
    assert found is not None
    return Endpoint("g", found[0], path, found[1])


GENERATE, STREAM = endpoint(), endpoint("streamGenerateContent")


def read(at: Endpoint = GENERATE, head: RequestHead | None = None, **given: Any) -> Call:
    return PROVIDER.read(at, head or RequestHead(), strict_json.dump(PLAIN | given))


def parts(*given: Any) -> Any:
    return [{"role": "user", "parts": list(given)}]


def test_a_plain_call() -> None:
    found = read()
    assert (found.action, found.provider, found.model) == ("generate_content", "gemini", FLASH)
    assert (found.models, found.stream, found.max_output_tokens) == ((FLASH,), False, None)
    assert (found.roles, found.messages, found.tools, found.params) == (("user",), 1, (), {"model": FLASH})
    assert found.raw == strict_json.dump(PLAIN)


@pytest.mark.parametrize("query", [{}, {"alt": "sse"}, {"alt": "json"}])
def test_a_stream_is_named_by_its_path(query: dict[str, str]) -> None:
    found = read(STREAM, RequestHead(query))
    assert (found.action, found.stream, found.query) == ("generate_content", True, query)


def test_another_form_of_answer_is_refused() -> None:
    with pytest.raises(Denied) as caught:
        read(STREAM, RequestHead({"alt": "proto"}))
    assert "`alt` must be `sse`" in caught.value.text


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}], [Tool("function", "a"), Tool("function", "b")]),
        ([{"function_declarations": [{"name": "a"}]}], [Tool("function", "a")]),
        # One object instead of a list, as in Google's own examples.
        ({"functionDeclarations": {"name": "a"}}, [Tool("function", "a")]),
        ([{"googleSearch": {}}, {"codeExecution": {}}], [Tool("googleSearch", ""), Tool("codeExecution", "")]),
        ([{"google_search": {}, "url_context": {}}], [Tool("googleSearch", ""), Tool("urlContext", "")]),
        (
            [{"googleSearch": {}, "functionDeclarations": [{"name": "a"}]}],
            [Tool("googleSearch", ""), Tool("function", "a")],
        ),
        ([{"something_new": {}}], [Tool("somethingNew", "")]),
        (
            [{"mcp_servers": [{"name": "wiki", "streamableHttpTransport": {"url": "https://w.example/mcp?k=1"}}]}],
            [Tool("mcp", "wiki", "https://w.example/mcp")],
        ),
    ],
)  # fmt: skip
def test_tools(tools: Any, expected: list[Tool]) -> None:
    assert list(read(tools=tools).tools) == expected


FILE = {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x1", "mimeType": "video/mp4"}}
FILE_REFERENCE = Reference("file", "https://generativelanguage.googleapis.com/v1beta/files/x1")


@pytest.mark.parametrize(
    ("given", "references"),
    [
        ({"contents": parts(FILE)}, [FILE_REFERENCE]),
        ({"contents": parts({"file_data": {"file_uri": "files/x2"}})}, [Reference("file", "files/x2")]),
        ({"contents": parts({"functionResponse": {"name": "f", "parts": [FILE]}})}, [FILE_REFERENCE]),
        ({"systemInstruction": {"parts": [FILE]}}, [FILE_REFERENCE]),
        ({"cachedContent": "cachedContents/c1"}, [Reference("cached_content", "cachedContents/c1")]),
        ({"cached_content": "cachedContents/c1"}, [Reference("cached_content", "cachedContents/c1")]),
        (
            {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s1", "s2"]}}]},
            [Reference("file_search_store", "fileSearchStores/s1"), Reference("file_search_store", "s2")],
        ),
        (
            {"tools": [{"file_search": {"file_search_store_names": "fileSearchStores/s1"}}]},
            [Reference("file_search_store", "fileSearchStores/s1")],
        ),
    ],
)  # fmt: skip
def test_references(given: dict[str, Any], references: list[Reference]) -> None:
    assert list(read(**given).references) == references


@pytest.mark.parametrize(
    ("given", "modalities"),
    [
        ({}, ()),
        ({"contents": parts({"inlineData": {"mimeType": "image/png", "data": "x"}})}, ("image",)),
        ({"contents": parts({"inline_data": {"mime_type": "AUDIO/wav", "data": "x"}}, FILE)}, ("audio", "video")),
        ({"contents": parts({"inlineData": {"mimeType": "application/pdf", "data": "x"}})}, ("file",)),
        ({"contents": parts({"inlineData": {"data": "x"}})}, ("file",)),
        ({"contents": parts({"functionResponse": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}})}, ("image",)),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, ("image",)),
        ({"generation_config": {"response_modalities": ["Audio"]}}, ("audio",)),
    ],
)  # fmt: skip
def test_modalities(given: dict[str, Any], modalities: tuple[str, ...]) -> None:
    assert read(**given).modalities == modalities


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"maxOutputTokens": 100}, 100),
        ({"max_output_tokens": 100}, 100),
        ({"maxOutputTokens": 100, "candidateCount": 3}, 300),
        ({"maxOutputTokens": None}, None),
        ({"candidateCount": 3}, None),
    ],
)
def test_the_limit_of_all_answers(config: dict[str, Any], limit: int | None) -> None:
    assert read(generationConfig=config).max_output_tokens == limit


def test_system_prompts() -> None:
    text, parted = {"parts": [{"text": "Be brief."}]}, {"parts": [{"text": "Be"}, {"text": "brief."}]}
    assert read(systemInstruction=text).system_prompts == (hashlib.sha256(b"Be brief.").hexdigest(),)
    assert read(system_instruction={"role": "system", **text}).system_prompts == (digest("Be brief."),)
    assert read(systemInstruction={"parts": {"text": "Be brief."}}).system_prompts == (digest("Be brief."),)
    assert read(systemInstruction=parted).system_prompts == (digest(parted["parts"]),)
    assert read().system_prompts == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"contents": []}, "at least one content"),
        ({"contents": [{"role": "system", "parts": []}]}, "`role` of a content"),
        ({"contents": "hello"}, "must be an object"),
        ({"model": "models/gemini-2.5-pro"}, "as in the path"),
        ({"model": "projects/p/models/" + FLASH}, "as in the path"),
        ({"model": 1}, "as in the path"),
        ({"Model": "models/" + FLASH}, "must be spelled `model`"),
        ({"tools": [], "Tools": []}, "must be spelled `tools`"),
        ({"generationConfig": {}, "generation_config": {}}, "two spellings"),
        ({"generation-config": {}}, "must be spelled `generationConfig`"),
        ({"generationconfig": {}}, "must be spelled `generationConfig`"),
        ({"generation__config": {}}, "must be spelled `generationConfig`"),
        ({"generationConfig\u200b": {}}, "may hold only letters"),
        ({"generationConfig": {"maxOutputTokens": "100"}}, "whole number"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "whole number"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "whole number"),
        ({"generationConfig": {"maxOutputTokens": 2**31}}, "whole number"),
        ({"generationConfig": {"candidateCount": True}}, "whole number"),
        ({"generationConfig": {"maxOutputTokens": 5, "max_output_tokens": 500}}, "two spellings"),
        ({"generationConfig": {"MaxOutputTokens": 5}}, "must be spelled `maxOutputTokens`"),
        ({"generationConfig": {"responseModalities": ["SMELL"]}}, "is not known"),
        ({"generationConfig": {"responseModalities": [2]}}, "must be a string"),
        ({"generationConfig": {"routingConfig": {"manualMode": {"modelName": "x"}}}}, "the model is named in the path"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "`name` of a tool"),
        ({"tools": [{"FunctionDeclarations": [{"name": "x"}]}]}, "must be spelled `functionDeclarations`"),
        ({"tools": [{"function_declarations": [], "functionDeclarations": []}]}, "two spellings"),
        ({"tools": [{"new_tool": {}, "newTool": {}}]}, "two spellings"),
        ({"tools": [{"New-Tool": {}}]}, "is not the name of a kind of tool"),
        ({"tools": [{"googleSearch": None}]}, "must be an object"),
        ({"tools": [{"retrieval": {"vertexAiSearch": {"datastore": "d"}}}]}, "data that no policy would see"),
        ({"tools": ["googleSearch"]}, "must be an object"),
        ({"contents": parts({"InlineData": {}})}, "must be spelled `inlineData`"),
        ({"contents": parts({"fileData": {"mimeType": "image/png"}})}, "`fileUri` must be a string"),
        ({"contents": parts({"fileData": {"fileUri": "a", "file_uri": "b"}})}, "two spellings"),
        ({"generateContentRequest": PLAIN}, "belongs to the counting of tokens"),
        ({"cachedContent": 7}, "`cachedContent` must be a string"),
        ({"safetySettings": [], "safety_settings": []}, "could be taken for each other"),
        ({"generationConfig": {"stopSequences": [], "stop_sequences": []}}, "could be taken for each other"),
        ({"toolConfig": {"functionCallingConfig": {}, "function_calling_config": {}}}, "could be taken for each other"),
        ({"generationConfig": {"modelSelectionConfig": {}}}, "policies could not see it"),
        ({"generationConfig": {"x": {"modelName": "y"}}}, "policies could not see it"),
        ({"toolConfig": {"fallbacks": ["y"]}}, "policies could not see it"),
        ({"contents": parts({"newKind": {"fileData": {"fileUri": "files/x"}}})}, "policies could not see it"),
        ({"contents": parts({"newKind": {"parts": []}})}, "policies could not see it"),
        ({"toolConfig": {"cachedContent": "cachedContents/x"}}, "policies could not see it"),
        ({"models": ["x"]}, "the model is named in the path"),
        ({"fallback_model": "x"}, "the model is named"),
        ({"extra_body": {"model": "x"}}, "`extra_body` is not supported"),
        ({"agent": "x"}, "`agent` is not supported"),
        ({"options": {"num_predict": 9}}, "policies could not see it"),
    ],
)  # fmt: skip
def test_what_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(Denied) as caught:
        read(**given)
    assert caught.value.code == "bad_request"
    assert says in caught.value.text


@pytest.mark.parametrize("model", ["a:b", "a:streamGenerateContent", "a:generateContent", ":"])
def test_a_model_holds_no_colon(model: str) -> None:
    routes = routes_of(PROVIDER)
    assert routes.find("POST", f"/v1beta/models/{model}:generateContent") is None
    assert routes.find("GET", f"/v1beta/models/{model}") is None


def test_models_are_listed_and_looked_up() -> None:
    for path, model in [("/v1beta/models", None), ("/v1/models/" + FLASH, FLASH)]:
        found = routes_of(PROVIDER).find("GET", path)
        assert found is not None
        call = PROVIDER.read(Endpoint("g", found[0], path, found[1]), RequestHead(), b"")
        assert (call.model, call.body) == (model, None)
        assert call.action == ("models.list" if model is None else "models.retrieve")
        assert PROVIDER.edit(call, Edits(max_output_tokens=1)) == (call, ())


def test_the_counting_of_tokens() -> None:
    whole = {"model": "models/" + FLASH, **PLAIN, "tools": [{"googleSearch": {}}], "systemInstruction": USER}
    found = PROVIDER.read(endpoint("countTokens"), RequestHead(), strict_json.dump({"generateContentRequest": whole}))
    assert found.action == "generate_content.count_tokens"
    assert (found.tools, found.messages, len(found.system_prompts)) == ((Tool("googleSearch", ""),), 1, 1)
    assert read(endpoint("countTokens")).messages == 1
    for given, says in [
        ({"generateContentRequest": whole, **PLAIN}, "nothing else may stand beside it"),
        ({"generateContentRequest": {**whole, "model": "models/other"}}, "as in the path"),
        ({"generateContentRequest": {"generate_content_request": whole}}, "must not hold another one"),
    ]:
        with pytest.raises(Denied) as caught:
            PROVIDER.read(endpoint("countTokens"), RequestHead(), strict_json.dump(given))
        assert says in caught.value.text


def test_embeddings() -> None:
    one = {"model": "models/" + FLASH, "content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}
    found = PROVIDER.read(endpoint("embedContent"), RequestHead(), strict_json.dump(one))
    assert (found.action, found.model, found.modalities, found.messages) == ("embed_content", FLASH, ("image",), 0)
    several = {"requests": [one, {"content": {"parts": [FILE]}}]}
    found = PROVIDER.read(endpoint("batchEmbedContents"), RequestHead(), strict_json.dump(several))
    assert (found.action, found.modalities, found.references) == (
        "embed_content.batch", ("image", "video"), (FILE_REFERENCE,),
    )  # fmt: skip
    with pytest.raises(Denied) as caught:
        PROVIDER.read(
            endpoint("batchEmbedContents"),
            RequestHead(),
            strict_json.dump({"requests": [one, {"model": "models/other"}]}),
        )
    assert "as in the path" in caught.value.text


# -- edits


FUNCTIONS = [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}, {"google_search": {}}]


@pytest.mark.parametrize(
    ("given", "edits", "expected"),
    [
        ({}, Edits(max_output_tokens=50), {"generationConfig": {"maxOutputTokens": 50}}),
        (
            {"generation_config": {"max_output_tokens": 99, "topK": 1}},
            Edits(max_output_tokens=50),
            {"generation_config": {"max_output_tokens": 50, "topK": 1}},
        ),
        (
            {"generationConfig": {"candidateCount": 4}},
            Edits(max_output_tokens=50),
            {"generationConfig": {"candidateCount": 4, "maxOutputTokens": 12}},
        ),
        ({"generationConfig": {"maxOutputTokens": 50}}, Edits(max_output_tokens=50), None),
        ({"tools": FUNCTIONS}, Edits(strip_tools=frozenset({"c"})), None),
        (
            {"tools": FUNCTIONS},
            Edits(strip_tools=frozenset({"a", "googleSearch"})),
            {"tools": [{"functionDeclarations": [{"name": "b"}]}]},
        ),
        (
            {
                "tools": FUNCTIONS,
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a"]}, "x": {}},
            },
            Edits(strip_tools=frozenset({"a"})),
            {"tools": [{"functionDeclarations": [{"name": "b"}]}, {"google_search": {}}], "toolConfig": {"x": {}}},
        ),
        (
            {"tools": {"functionDeclarations": {"name": "a"}}, "tool_config": {"function_calling_config": {}}},
            Edits(strip_tools=frozenset({"a"})),
            {},
        ),
    ],
)
def test_edits(given: dict[str, Any], edits: Edits, expected: dict[str, Any] | None) -> None:
    call = read(**given)
    changed, names = PROVIDER.edit(call, edits)
    if expected is None:
        assert (changed, names) == (call, ())
        return
    assert changed.body == PLAIN | expected
    assert len(names) == 1
    assert PROVIDER.read(GENERATE, RequestHead(), changed.raw) == changed


@pytest.mark.parametrize("root", ["/v1beta", "/v1", "/v1beta1/publishers/google"])
@pytest.mark.parametrize("named", [{}, {"model": "models/" + FLASH}])
def test_another_model(root: str, named: dict[str, str]) -> None:
    call = read(endpoint(root=root), **named)
    changed, names = PROVIDER.edit(call, Edits(model="gemini-2.5-pro"))
    assert names == ("model",)
    assert changed == PROVIDER.read(endpoint(model="gemini-2.5-pro", root=root), RequestHead(), changed.raw)
    assert (changed.raw == call.raw) == (not named)
    sent = PROVIDER.prepare(changed, "https://g.example", "secret", {})
    assert str(sent.url) == f"https://g.example{root}/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize("root", ["/v1beta", "/v1beta1/publishers/google"])
def test_another_model_in_a_batch(root: str) -> None:
    raw = strict_json.dump({"requests": [{"model": "models/" + FLASH, "content": {}}, {"content": {}}]})
    asked = PROVIDER.read(endpoint("batchEmbedContents", root=root), RequestHead(), raw)
    changed, _ = PROVIDER.edit(asked, Edits(model="other"))
    assert changed.body == {"requests": [{"model": "models/other", "content": {}}, {"content": {}}]}
    assert changed == PROVIDER.read(endpoint("batchEmbedContents", "other", root=root), RequestHead(), changed.raw)


def test_a_model_that_cannot_stand_in_a_path() -> None:
    call = read()
    assert PROVIDER.edit(call, Edits(model="../x")) == (call, ())


def test_what_goes_upstream() -> None:
    sent = PROVIDER.prepare(read(STREAM, RequestHead({"alt": "sse"})), "https://g.example", "secret", {"accept": "*/*"})
    assert str(sent.url) == f"https://g.example/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
    assert sent.headers == {"accept": "*/*", "Content-Type": "application/json", "x-goog-api-key": "secret"}


@pytest.mark.parametrize("base", ["", "/v1", "/v1beta", "/v1beta1"])
@pytest.mark.parametrize("root", ["/v1beta", "/v1", "/v1beta1/publishers/google"])
def test_the_version_is_that_of_the_call(base: str, root: str) -> None:
    sent = PROVIDER.prepare(read(endpoint(root=root)), "https://g.example/proxy" + base, None, {})
    assert str(sent.url) == f"https://g.example/proxy{root}/models/{FLASH}:generateContent"


def test_no_route_takes_a_key_in_its_query() -> None:
    assert {name for route in PROVIDER.routes for name in route.query} == {"alt", "pageSize", "pageToken"}


# -- answers


def part(text: str = "x", **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 7, "totalTokenCount": 9}
    return {
        "candidates": [{"content": {"parts": [{"text": text}]}, **more}],
        "usageMetadata": usage,
        "modelVersion": "m",
    }


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\r\n\r\n"


FIRST, LAST = part("a"), part("b", finishReason="STOP")
LAST["usageMetadata"] = {
    "promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 5, "toolUsePromptTokenCount": 2,
    "cachedContentTokenCount": 4, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"modality": "IMAGE", "tokenCount": 2}],
}  # fmt: skip
USAGE = Usage(9, 8, cached=4, reasoning=5, audio_input=6, image_output=2)


def tap(content_type: bytes = b"text/event-stream", at: Endpoint = STREAM) -> Any:
    return tap_of(PROVIDER, at, content_type, (), stores=False)


def test_the_last_event_is_held_back() -> None:
    found = tap()
    assert found.feed(event(FIRST), last=False) == event(FIRST)
    assert found.feed(event(LAST), last=True) == b""
    assert not found.ended  # another may follow
    assert found.finish() == event(LAST)
    assert (found.ended, found.report.usage, found.report.model) == (True, USAGE, "m")


def test_an_event_after_the_last_one() -> None:
    found = tap()
    found.feed(event(FIRST) + event(LAST), last=False)
    assert found.feed(b": still there\n\n", last=False) == b""
    usage_only = event({"usageMetadata": {"promptTokenCount": 8}})
    assert found.feed(usage_only, last=True) == event(LAST) + b": still there\n\n"
    assert found.finish() == usage_only
    assert (found.ended, found.report.usage.input) == (True, 10)


def test_every_candidate_must_finish() -> None:
    found = tap()
    both = {"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}]}
    assert found.feed(event(both), last=True) == event(both)
    assert found.finish() == b""
    assert not found.ended
    found = tap()
    found.feed(event({"candidates": [{"index": 0, "finishReason": "STOP"}]}), last=False)
    second = event({"candidates": [{"index": 1}]})
    assert found.feed(second, last=False).endswith(second)
    third = event({"candidates": [{"index": 1, "finishReason": "STOP"}]})
    assert found.feed(third, last=True) == b""
    assert (found.finish(), found.ended) == (third, True)


def test_of_a_stream_of_ever_more_candidates_little_is_kept() -> None:
    """All of it was, and each event was compared with all candidates before it."""
    found = tap()
    more = [
        event(
            {"candidates": [{"index": index, "finishReason": "STOP"}], "usageMetadata": {f"{'x' * 500}{index}": index}}
        )
        for index in range(1001)
    ]
    tracemalloc.start()
    for each in more:
        found.feed(each, last=False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 300_000
    found.finish()
    assert not found.ended


def test_a_blocked_prompt_ends_a_stream() -> None:
    found = tap()
    blocked = event({"promptFeedback": {"blockReason": "SAFETY"}})
    assert found.feed(blocked, last=True) == b""
    assert (found.finish(), found.ended) == (blocked, True)


@pytest.mark.parametrize("cut", [1, 10, len(event(LAST)) - 5])
def test_a_stream_that_was_cut(cut: int) -> None:
    found = tap()
    assert found.feed(event(FIRST) + event(LAST)[:cut], last=True) == event(FIRST)
    assert found.finish() == event(LAST)[:cut]
    assert not found.ended


def test_a_stream_that_was_cut_after_its_last_event() -> None:
    found = tap()
    found.feed(event(LAST) + b'data: {"cand', last=True)
    assert found.finish() == event(LAST) + b'data: {"cand'
    assert not found.ended


def test_a_last_event_without_its_blank_line() -> None:
    found = tap()
    found.feed(event(FIRST) + event(LAST).rstrip(), last=True)
    assert (found.finish(), found.ended) == (event(LAST).rstrip(), True)


def test_a_stream_that_fails() -> None:
    found = tap()
    failure = event({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})
    assert found.feed(event(FIRST) + failure, last=True) == event(FIRST) + failure
    found.finish()
    assert (found.report.failed, found.ended) == (True, False)


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_an_array(size: int) -> None:
    answer = b"[" + json.dumps(FIRST).encode() + b"\n,\r\n" + json.dumps(LAST).encode() + b"\n]\n"
    found = tap(b"application/json; charset=UTF-8")
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    shown = b"".join(found.feed(piece, last=False) for piece in pieces)
    held = found.finish()
    assert shown + held == answer
    assert held == b"\n]\n"
    assert (found.ended, found.report.usage, found.report.model) == (True, USAGE, "m")


def test_parts_of_an_array_arrive_whole() -> None:
    found = tap(b"application/json")
    first = b"[" + json.dumps(FIRST).encode()
    assert found.feed(first, last=False) == first


def test_an_array_that_was_cut() -> None:
    found = tap(b"application/json")
    found.feed(b"[" + json.dumps(FIRST).encode(), last=False)
    assert found.finish() == b""
    assert not found.ended


@pytest.mark.parametrize("body", [b'{"error": {"code": 400}}', b'[{"error": {"code": 400}}]'])
def test_an_error_instead_of_an_array(body: bytes) -> None:
    found = tap(b"application/json")
    shown = found.feed(body[:5], last=False) + found.feed(body[5:], last=False)
    held = found.finish()
    assert shown + held == body
    assert held
    assert (found.ended, found.report.failed) == (True, True)


def test_counting_is_not_billed() -> None:
    found = tap(b"application/json", endpoint("countTokens"))
    found.feed(json.dumps({"totalTokens": 3, "usageMetadata": {"promptTokenCount": 3}}).encode(), last=True)
    found.finish()
    assert (found.report.usage, found.ended) == (None, True)


# -- errors


@pytest.mark.parametrize(("headers", "delays"), [([], []), ([(b"retry-after", b"3600")], ["3600s"])])
def test_the_wait_stands_where_clients_of_google_look(headers: list[tuple[bytes, bytes]], delays: list[str]) -> None:
    """The Gemini CLI ends at once if the wait is long, and tries again ten times if it finds none."""
    denied = Denied("limit_exceeded", facts=[], headers=headers)
    details = json.loads(PROVIDER.error(denied))["error"]["details"]
    assert [each["retryDelay"] for each in details if each["@type"].endswith("/google.rpc.RetryInfo")] == delays


@pytest.mark.parametrize("code", sorted(REASONS))
def test_errors_have_the_shape_of_google(code: str) -> None:
    denied = Denied(code, "internal detail", reasons=["because"])
    error = json.loads(PROVIDER.error(denied))["error"]
    assert error.keys() == {"code", "message", "status", "details"}
    assert error["code"] == denied.reason.status
    assert error["details"][0]["reason"] == code
    assert "internal" not in error["message"]
    assert PROVIDER.error_event(sent_to(STREAM), denied) == b"data: " + PROVIDER.error(denied) + b"\n\n"
