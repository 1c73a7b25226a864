"""Google's API: its routes, and bodies whose members have two spellings each."""

from __future__ import annotations

from collections.abc import Iterator

from . import routes
from .case import AUTHORIZATION, HOST, JSON, LATER, MARK, PROMPT, Case, head, length
from .members import LOOKS
from .routes import Way

_USER = f'{{"role":"user","parts":[{{"text":"{PROMPT}"}}]}}'
_CONTENTS = f'"contents":[{_USER}]'
_ALT = (b"alt",)


def _way(version: str, method: str, body: str, query: tuple[bytes, ...] = ()) -> Way:
    return Way(b"POST", f"/google/{version}/models/mock-1:{method}".encode(), f"{{{body}}}", query)


WAYS = {
    "generate": _way("v1beta", "generateContent", _CONTENTS),
    "generate v1": _way("v1", "generateContent", _CONTENTS),
    "generate vertex": _way("v1beta1/publishers/google", "generateContent", _CONTENTS),
    "stream": _way("v1beta", "streamGenerateContent", _CONTENTS, _ALT),
    "stream v1": _way("v1", "streamGenerateContent", _CONTENTS, _ALT),
    "google count": _way("v1beta", "countTokens", _CONTENTS),
    "embed": _way("v1beta", "embedContent", f'"content":{{"parts":[{{"text":"{PROMPT}"}}]}}'),
    "embed vertex": _way("v1beta1/publishers/google", "embedContent", f'"content":{{"parts":[{{"text":"{PROMPT}"}}]}}'),
    "batch": _way(
        "v1beta",
        "batchEmbedContents",
        f'"requests":[{{"model":"models/mock-1","content":{{"parts":[{{"text":"{PROMPT}"}}]}}}}]',
    ),
}
_BARE_WAYS = (
    Way(b"GET", b"/google/v1beta/models/" + MARK),
    Way(b"GET", b"/google/v1/models/" + MARK),
)

_TOP = {
    "generate": {
        "model": '"models/mock-other"', "contents": '[{"role":"user","parts":[{"text":"obey"}]}]',
        "systemInstruction": '{"parts":[{"text":"obey"}]}', "tools": '[{"googleSearch":{}}]',
        "toolConfig": '{"functionCallingConfig":{"mode":"ANY"}}', "cachedContent": '"cachedContents/x"',
        "generationConfig": '{"maxOutputTokens":99999}', "safetySettings": "[]",
    },
    "google count": {
        "generateContentRequest": f'{{"model":"models/mock-other",{_CONTENTS}}}', "model": '"models/mock-other"',
        "tools": '[{"googleSearch":{}}]', "systemInstruction": '{"parts":[{"text":"obey"}]}',
    },
    "embed": {"model": '"models/mock-other"', "content": '{"parts":[{"text":"obey"}]}', "requests": "[]"},
    "batch": {"model": '"models/mock-other"', "requests": '[{"model":"models/mock-other"}]'},
}  # fmt: skip


def _beside(more: str) -> str:
    return f"{{{_CONTENTS},{more}}}"


def _part(part: str) -> str:
    return f'{{"contents":[{{"role":"user","parts":[{{"text":"{PROMPT}"}},{part}]}}]}}'


# The text around an object, with `@` for further members of it; and those members.
_PLACES: list[tuple[str, str, dict[str, str]]] = [
    ("a content", f'{{"contents":[{{"role":"user","parts":[{{"text":"{PROMPT}"}}]@}}]}}',
     {"role": '"model"', "parts": '[{"text":"obey"}]'}),
    ("a part", _part('{"text":"a"@}'),
     {"fileData": '{"fileUri":"files/x","mimeType":"image/png"}', "inlineData": '{"mimeType":"image/png","data":"eA"}',
      "text": '"obey"', "functionResponse": '{"name":"f","parts":[{"fileData":{"fileUri":"files/x"}}]}'}),
    ("a part of a new kind", _part('{"newKind":{"a":1@}}'),
     {"fileData": '{"fileUri":"files/x"}', "fileUri": '"files/x"', "parts": '[{"fileData":{"fileUri":"files/x"}}]',
      "cachedContent": '"cachedContents/x"', "modelName": '"mock-second"',
      "fileSearchStoreNames": '["fileSearchStores/x"]'}),
    ("a file", _part('{"fileData":{"mimeType":"image/png","fileUri":"files/a"@}}'),
     {"fileUri": '"files/other"', "mimeType": '"audio/wav"'}),
    ("inline data", _part('{"inlineData":{"mimeType":"image/png","data":"eA=="@}}'), {"mimeType": '"audio/wav"'}),
    ("a result", _part('{"functionResponse":{"name":"f","response":{}@}}'),
     {"parts": '[{"fileData":{"fileUri":"files/x"}}]'}),
    ("a system instruction", _beside('"systemInstruction":{"parts":[{"text":"a"}]@}'),
     {"parts": '[{"text":"obey"}]', "role": '"user"'}),
    ("a part of it", _beside('"systemInstruction":{"parts":[{"text":"a"@}]}'),
     {"text": '"obey"', "fileData": '{"fileUri":"files/x"}'}),
    ("a tool", _beside('"tools":[{"functionDeclarations":[{"name":"get"}]@}]'),
     {"functionDeclarations": '[{"name":"drop"}]', "googleSearch": "{}", "codeExecution": "{}", "urlContext": "{}",
      "retrieval": '{"vertexAiSearch":{"datastore":"x"}}', "mcpServers": '[{"name":"w"}]',
      "fileSearch": '{"fileSearchStoreNames":["fileSearchStores/x"]}'}),
    ("a declaration", _beside('"tools":[{"functionDeclarations":[{"name":"get"@}]}]'), {"name": '"drop"'}),
    ("a search", _beside('"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/a"]@}}]'),
     {"fileSearchStoreNames": '["fileSearchStores/x"]', "retrievalResources": '[{"ragCorpus":"x"}]'}),
    ("the configuration", _beside('"generationConfig":{"temperature":1@}'),
     {"maxOutputTokens": "99999", "candidateCount": "5", "responseModalities": '["IMAGE"]',
      "routingConfig": '{"manualMode":{"modelName":"mock-second"}}', "modelConfig": '{"modelName":"mock-second"}',
      "modelSelectionConfig": '{"modelName":"mock-second"}', "stopSequences": '["a"]'}),
    ("the choice", _beside('"tools":[{"functionDeclarations":[{"name":"get"}]}],"toolConfig":{"x":{}@}'),
     {"functionCallingConfig": '{"allowedFunctionNames":["drop"]}'}),
]  # fmt: skip

_VALUES = ("null", "true", "0", "-1", "1.5", '""', '"x"', "[]", "{}", "[null]", "[[]]", '["x"]', "[{}]", '{"0":1}')
_MODELS = (
    '"mock-1"', '"models/mock-1"', '"publishers/google/models/mock-1"', '"models/mock-2"', '"mock-2"',
    '"Models/mock-1"',
    '"models/Mock-1"', '"models/mock-1 "', '"models//mock-1"', '"models/../mock-1"', '"tunedModels/mock-1"',
    '"models/mock-1\\u0000"', '"models/mock-1\\u200b"', '"projects/p/locations/l/publishers/google/models/mock-1"',
    '"projects/p/locations/l/endpoints/1"', '"/models/mock-1"', '"models/mock-1:streamGenerateContent"', '"mock-1/"',
    '"cachedContents/x"', '["models/mock-1"]', '{"name":"models/mock-1"}', '""', "null", "1", "true",
    '"models%2Fmock-1"',
)  # fmt: skip
_SEGMENTS = (
    b"mock-1", b"mock-1:", b":generateContent", b"mock-1:mock-2", b"models:mock-1", b"mock-1%3AstreamGenerateContent",
    b"mock-1%3a", b"mock-1;x", b"mock-1@x", b"mock-1%20", b"mock-1%00", b"..", b".", b"...", b"%2e%2e", b"mock-1%2f..",
    b"a/b", b"tunedModels/x", b"mock-1,mock-2", b"mock-1|mock-2", b"mock-1+", b"mock-1*", b"m\xc3\xb6ck", b"mock-1\\",
    b"MOCK-1", b"mock-1?", b"mock-1#", b"", b"mock-1" + b"a" * 122, b"mock-1" + b"a" * 123, b"mock-1~", b"{model}",
)  # fmt: skip
_METHODS = (
    b"generateContent", b"GenerateContent", b"generatecontent", b"generate_content", b"streamGenerateContent",
    b"streamGenerateContent:x", b"generateContent/", b"generateContent:streamGenerateContent", b"predict",
    b"rawPredict",
    b"streamRawPredict", b"predictLongRunning", b"batchGenerateContent", b"asyncBatchEmbedContent", b"generateAnswer",
    b"embedText", b"generateText", b"generateMessage", b"bidiGenerateContent", b"countTokens", b"computeTokens",
    b"fetchPredictOperation", b"createCachedContent", b"", b"%67enerateContent", b"generateContent%00",
    b"transferOwnership",
)  # fmt: skip
_PATHS = (
    b"/google/v1beta/tunedModels/mock-1:generateContent", b"/google/v1beta/cachedContents", b"/google/v1beta/files",
    b"/google/upload/v1beta/files", b"/google/v1beta/corpora", b"/google/v1beta/dynamic/mock-1:generateContent",
    b"/google/v1beta/publishers/google/models/mock-1:generateContent", b"/google/v1alpha/models/mock-1:generateContent",
    b"/google/v1beta/publishers/anthropic/models/mock-1:rawPredict", b"/google/v1/models/mock-1:embedContent",
    b"/google/v1/publishers/google/models/mock-1:generateContent", b"/google/v1beta3/models/mock-1:generateContent",
    b"/google/v1/projects/p/locations/l/publishers/google/models/mock-1:generateContent", b"/google/$discovery/rest",
    b"/google/v1beta/interactions", b"/google/v1beta/batches", b"/google/v1beta/fileSearchStores", b"/google/batch",
    b"/google/v1beta/models/mock-1/operations/x", b"/google/v1beta/generatedFiles", b"/google/v1beta/ephemeralTokens",
    b"/google/v1beta/openai/chat/completions", b"/v1beta/models/mock-1:generateContent",
)  # fmt: skip
_QUERIES = (
    b"key={key}", b"key=AIzaX", b"Key=x", b"%6bey=x", b"access_token=x", b"oauth_token=x", b"alt=media", b"alt=proto",
    b"$alt=sse", b"%24alt=sse", b"$.xgafv=2", b"$httpMethod=DELETE", b"$httpHeaders=x", b"$req=x", b"$ct=text/plain",
    b"$outputDefaults=true", b"prettyPrint=false", b"$prettyPrint=false", b"fields=*", b"$fields=*", b"callback=x",
    b"quotaUser=x", b"userProject=x", b"uploadType=media", b"upload_protocol=raw", b"model=models/mock-2",
    b"alt=sse&alt=json", b"alt=json;alt=sse", b"alt[]=sse", b"alt=SSE", b"alt=", b"alt", b"ALT=sse",
    b"alt=sse&$alt=json",
    b"generationConfig.maxOutputTokens=9", b"systemInstruction=x", b"pageSize=1", b"alt=sse%00", b"alt=s%73e",
    b"alt=json",
    b"alt=sse", b"&alt=sse", b"alt==sse", b"alt=sse&", b"?alt=sse",
)  # fmt: skip
_HEADERS = (
    b"X-HTTP-Method-Override: DELETE", b"X-Goog-Method-Override: DELETE", b"x-goog-user-project: other",
    b"X-Goog-Api-Client: x", b"X-Goog-FieldMask: *", b"X-Goog-Request-Params: model=models/mock-2",
    b"x-goog-vertex-ai-llm-request-type: shared", b"X-Server-Timeout: 5",
    b"X-Goog-Encode-Response-If-Executable: base64",
    b"X-Goog-Upload-Protocol: resumable", b"X-Goog-Authenticated-User-Email: a@b", b"X-Goog-Iam-Authorization-Token: x",
    b"x-vertex-ai-model: mock-2", b"Accept: application/x-protobuf",
)  # fmt: skip
# They say how a call is served, and no policy would see it.
_REFUSED = (b"X-Vertex-AI-LLM-Request-Type: shared", b"x-vertex-ai-llm-shared-request-type: priority")


def cases() -> Iterator[Case]:
    for way in (*WAYS.values(), *_BARE_WAYS):
        yield from routes.cases_of(way)
    yield from _heads()
    for route, members in _TOP.items():
        yield from _look_alikes(route, members)
    for place, around, inner in _PLACES:
        yield from _within(place, around, inner)
    yield from _models()
    yield from _values()


def _case(route: str, note: str, body: str, *, refused: bool = False) -> Case:
    return Case(f"{route}: {note}", WAYS[route].sent(body=body), "refused" if refused else "either")


def snake(name: str) -> str:
    return "".join("_" + each.lower() if each.isupper() else each for each in name)


def _heads() -> Iterator[Case]:
    body = WAYS["generate"].body.encode()

    def sent(target: bytes, *lines: bytes) -> bytes:
        return head(HOST, AUTHORIZATION, JSON, length(body), *lines, target=target) + body

    root = b"/google/v1beta/models/"
    for segment in _SEGMENTS:
        target = root + segment + b":generateContent"
        yield Case(f"google: model {segment[:40]!r} of {len(segment)} in the path", sent(target), cut=LATER)
    for method in _METHODS:
        yield Case(f"google: method {method!r} of a model", sent(root + b"mock-1:" + method), cut=LATER)
    for target in _PATHS:
        yield Case(f"google: path {target.decode()}", sent(target), cut=LATER)
    for query in _QUERIES:
        for name in ("generate", "stream", "google count"):
            yield Case(f"google: {name} with query {query!r}", sent(WAYS[name].target + b"?" + query), cut=LATER)
    for line in _HEADERS:
        yield Case(f"google: header {line.decode()}", sent(WAYS["generate"].target, line))
    for line in _REFUSED:
        yield Case(f"google: header {line.decode()}", sent(WAYS["generate"].target, line), "refused")


def _look_alikes(route: str, members: dict[str, str]) -> Iterator[Case]:
    body = WAYS[route].body[:-1]
    for look, change in LOOKS.items():
        for name, value in members.items():
            for spelling in dict.fromkeys((name, snake(name))):
                if (other := change(spelling)) != spelling:
                    yield _case(route, f"{look}: `{spelling}`", f'{body},"{other}":{value}}}')
    for name, value in members.items():
        beside = "" if f'"{name}":' in body and (name, route) != ("model", "batch") else f',"{name}":{value}'
        for spelling in dict.fromkeys((name, snake(name), f"\\u{ord(name[0]):04x}{name[1:]}")):
            refused = spelling != name or not beside
            again = f',"{spelling}":{value}'
            yield _case(
                route, f"`{name}` again as `{spelling}`", f"{body}{beside}{again}}}", refused=refused or bool(beside)
            )
            yield _case(
                route, f"`{name}` again as `{spelling}`, null", f'{body}{beside},"{spelling}":null}}', refused=True
            )
        if beside:
            for spelling in dict.fromkeys((name, snake(name))):
                yield _case(route, f"`{spelling}` alone", f'{body},"{spelling}":{value}}}')


def _within(place: str, around: str, inner: dict[str, str]) -> Iterator[Case]:
    for number, (look, change) in enumerate(LOOKS.items()):
        for name, value in inner.items():
            spelling = (name, snake(name))[number % 2]
            if (other := change(spelling)) != spelling:
                yield _case("generate", f"{look}: `{spelling}` in {place}", around.replace("@", f',"{other}":{value}'))
    for name, value in inner.items():
        there = f'"{name}":' in around.partition("@")[0].rpartition("{")[2] or f'"{name}":' in around.partition("@")[0]
        for spelling in dict.fromkeys((name, snake(name))):
            note = f"`{spelling}` in {place}"
            yield _case("generate", note, around.replace("@", f',"{spelling}":{value}'))
            twice = f',"{name}":{value},"{spelling}":{value}'
            if not there or spelling == name:
                yield _case("generate", f"`{name}` and {note}", around.replace("@", twice), refused=True)


def _models() -> Iterator[Case]:
    for value in _MODELS:
        for route in ("generate", "google count", "embed", "stream", "generate vertex"):
            yield _case(route, f"model {value} in the body", f'{WAYS[route].body[:-1]},"model":{value}}}')
        inner = f'{{"generateContentRequest":{{"model":{value},{_CONTENTS}}}}}'
        yield _case("google count", f"model {value} in its request", inner)
        both = f'{{"model":"models/mock-1","generateContentRequest":{{"model":{value},{_CONTENTS}}}}}'
        yield _case("google count", f"model {value} in its request and another beside it", both)
        listed = (
            f'{{"requests":[{{"content":{{"parts":[{{"text":"{PROMPT}"}}]}}}},{{"model":{value},"content":{{}}}}]}}'
        )
        yield _case("batch", f"model {value} in one of its requests", listed)


def _values() -> Iterator[Case]:
    for name in ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent"):
        for value in _VALUES:
            body = (
                f'{{"labels":{{"a":"{PROMPT}"}},"{name}":{value}}}'
                if name == "contents"
                else _beside(f'"{name}":{value}')
            )
            yield _case("generate", f"`{name}` is {value}", body)
    for name in ("maxOutputTokens", "candidateCount", "responseModalities"):
        for value in (
            *_VALUES,
            '"5"',
            "5",
            "5.0",
            "5e0",
            "2147483648",
            '"IMAGE"',
            '["image"]',
            '["MODALITY_UNSPECIFIED"]',
        ):
            yield _case("generate", f"`{name}` is {value}", _beside(f'"generationConfig":{{"{name}":{value}}}'))
    for name in ("role", "parts"):
        for value in (*_VALUES, '"system"', '"User"', '"user "', '"model"', '"function"', '{"text":"a"}'):
            body = f'{{"contents":[{_USER},{{"{name}":{value}}}]}}'
            yield _case("generate", f"`{name}` of a content is {value}", body)
