"""Azure's two forms of each path: the deployment in it and the model in the body, and the version in the query."""

from __future__ import annotations

from collections.abc import Iterator

from . import routes
from .case import AUTHORIZATION, HOST, JSON, LATER, MARK, PROMPT, Case, head, length
from .routes import Way

_VERSION = b"?api-version=2024-10-21"
_USER = f'"messages":[{{"role":"user","content":"{PROMPT}"}}]'
_DEPLOYMENT = b"/azure/openai/deployments/mock-1/"


def _deployed(path: bytes, body: str) -> Way:
    return Way(b"POST", _DEPLOYMENT + path + _VERSION, f"{{{body}}}")


DEPLOYED = {
    "azure chat": _deployed(b"chat/completions", _USER),
    "azure embeddings": _deployed(b"embeddings", f'"input":"{PROMPT}"'),
    "azure completions": _deployed(b"completions", f'"prompt":"{PROMPT}"'),
    "azure images": _deployed(b"images/generations", f'"prompt":"{PROMPT}"'),
    "azure speech": _deployed(b"audio/speech", f'"voice":"a","input":"{PROMPT}"'),
}
NAMED = {
    "azure v1 chat": Way(
        b"POST", b"/azure/openai/v1/chat/completions", f'{{"model":"mock-1",{_USER}}}', (b"api-version",)
    ),
    "azure v1 responses": Way(
        b"POST", b"/azure/openai/v1/responses", f'{{"model":"mock-1","input":"{PROMPT}"}}', (b"api-version",)
    ),
    "azure dated responses": Way(
        b"POST", b"/azure/openai/responses" + _VERSION, f'{{"model":"mock-1","input":"{PROMPT}"}}'
    ),
}
_BARE = (
    Way(b"GET", b"/azure/openai/v1/responses/resp_" + MARK),
    Way(b"DELETE", b"/azure/openai/files/file-" + MARK + _VERSION),
    Way(b"GET", b"/azure/openai/v1/models/" + MARK),
)
_MODELS = (
    '"mock-1"', '"mock-2"', '"Mock-1"', '"mock-1 "', '" mock-1"', '"mock-1\\u0000"', '"mock-1\\u200b"', '"ｍock-1"',
    '""', "null",
    '["mock-1"]', '["mock-1","mock-2"]', '{"name":"mock-1"}', "1", "true", '"mock-1/"', '"deployments/mock-1"',
    '"openai/mock-1"',
)  # fmt: skip
_DEPLOYMENTS = (
    b"mock-1", b"mock-2", b"MOCK-1", b"mock-1%20", b"mock-1%2f..%2fmock-2", b"mock-1/../mock-2", b"mock-1;x", b"..",
    b".", b"",
    b"mock-1%00", b"mock-1:x", b"mock.1", b"mock_1", b"mock-1/extensions", b"{deployment}", b"mock-1,mock-2",
    b"mock-1\\", b"a/b",
    b"mock-1@", b"mock-1" + b"a" * 122, b"mock-1" + b"a" * 123, b"mock-1?x", b"m\xc3\xb6ck-1", b"deployments",
    b"mock-1/mock-2",
)  # fmt: skip
_VERSIONS = (
    b"2024-10-21", b"2025-04-01-preview", b"preview", b"v1", b"latest", b"V1", b"2024-10-21-Preview",
    b"2024-10-21,v1", b"", b"x",
    b"2024-10-21%00", b"2024%2d10%2d21", b"2024-10-21%20", b"%32024-10-21", b"2024-13-99", b"20241021",
    b"2024-10-21;x=1", b"../x",
    b"2024-10-21+", b"2024-10-21#", b"2024-10-21/..", b"\xd9\xa2024-10-21",
)  # fmt: skip
_PATHS = (
    b"/azure/openai/deployments", b"/azure/openai/deployments/mock-1", b"/azure/openai/deployments/mock-1/responses",
    b"/azure/openai/deployments/mock-1/files", b"/azure/openai/assistants", b"/azure/openai/threads/x/runs",
    b"/azure/openai/batches",
    b"/azure/openai/deployments/mock-1/extensions/chat/completions", b"/azure/openai/engines/mock-1/completions",
    b"/azure/openai/images/generations:submit",
    b"/azure/openai/realtime", b"/azure/models/chat/completions",
    b"/azure/openai/v1/deployments/mock-1/chat/completions",
    b"/azure/openai/deployments/mock-1/v1/chat/completions", b"/azure/v1/chat/completions",
    b"/azure/OpenAI/v1/chat/completions",
    b"/openai/v1/chat/completions", b"/openai/deployments/mock-1/chat/completions",
    b"/azure/openai/v2/chat/completions",
    b"/azure/openai/chat/completions", b"/azure/openai/v1/v1/chat/completions",
    b"/azure/openai/openai/v1/chat/completions",
    b"/azure/openai/fine_tuning/jobs", b"/azure/openai/v1/evals", b"/azure/openai/v1/containers",
    b"/azure/openai/operations/images/x",
    b"/azure/openai/deployments/mock-1/deployments/mock-2/chat/completions", b"/azure/managementOperations",
)  # fmt: skip
_HEADERS = (
    b"api-version: v1", b"x-ms-oai-assistant-testenv: x", b"azureml-model-deployment: mock-2",
    b"extra-parameters: pass-through",
    b"x-ms-model-mesh-model-name: mock-2", b"x-policy-id: x", b"aoai-evals: x",
    b"x-ms-useragent: x", b"OpenAI-Organization: org", b"x-ms-client-request-id: x", b"Ocp-Apim-Subscription-Key: x",
    b"x-ms-upstream: https://evil.example", b"x-ms-enable-preview: true",
)  # fmt: skip


# It names a model that no policy would see.
_REFUSED = (b"x-ms-oai-image-generation-deployment: mock-2", b"X-MS-OAI-Image-Generation-Deployment: mock-1")


def cases() -> Iterator[Case]:
    for way in (*DEPLOYED.values(), *NAMED.values(), *_BARE):
        yield from routes.cases_of(way)
    for route, way in DEPLOYED.items():
        for value in _MODELS:
            body = f'{way.body[:-1]},"model":{value}}}'
            yield Case(f"{route}: model {value} in the body", way.sent(body=body), "either")
            for name in ("models", "fallbacks"):
                body = f'{way.body[:-1]},"{name}":[{value}]}}'
                yield Case(f"{route}: model {value} in `{name}`", way.sent(body=body), "either")
        for deployment in _DEPLOYMENTS:
            target = way.target.replace(b"/mock-1/", b"/%s/" % deployment)
            yield Case(
                f"{route}: deployment {deployment[:30]!r} of {len(deployment)}", way.sent(target=target), cut=LATER
            )
    yield from _versions()
    data = DEPLOYED["azure chat"].body.encode()
    for path in _PATHS:
        for query in (b"", _VERSION, b"?api-version=preview"):
            sent = head(HOST, AUTHORIZATION, JSON, length(data), target=path + query) + data
            yield Case(f"azure: path {path.decode()} with {query!r}", sent, cut=LATER)
    for route in ("azure chat", "azure v1 responses"):
        way = {**DEPLOYED, **NAMED}[route]
        for line in _HEADERS:
            yield Case(f"{route}: header {line.decode()}", way.sent(line), "served")
        for line in _REFUSED:
            yield Case(f"{route}: header {line.decode()}", way.sent(line), "refused")


def _versions() -> Iterator[Case]:
    for route, way in {**DEPLOYED, **NAMED}.items():
        path = way.target.partition(b"?")[0]
        for version in _VERSIONS:
            yield Case(f"{route}: version {version!r}", way.sent(target=path + b"?api-version=" + version), cut=LATER)
        for again in (
            b"api-version=v1",
            b"api-version=2024-10-21",
            b"API-Version=v1",
            b"api%2dversion=v1",
            b"api_version=v1",
            b"api-version[]=v1",
        ):
            once = b"api-version=2024-10-21"
            for query in dict.fromkeys((once + b"&" + again, again + b"&" + once, once + b";" + again)):
                yield Case(f"{route}: versions {query!r}", way.sent(target=path + b"?" + query), "refused", cut=LATER)
