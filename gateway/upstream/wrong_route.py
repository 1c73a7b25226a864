"""Refusals of requests for which there is no route: they say what is served, and what is probably wrong.

Nobody is authenticated yet when most of them are made, so they tell only what every gateway of this version has in
common, and what the client sent. An SDK adds a path to its base URL (some with the version, some without), so a wrong
path is nearly always a wrong base URL, or an API that is not served.
Specification: architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from gateway.errors import Denied
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import FAMILIES, Routes, split
from gateway.upstream.strict_json import shown

_MAX_PATH = 256
PAGE = "docs/reference/providers.md"
HEADINGS = {
    "openai": "OpenAI",
    "azure": "Azure OpenAI",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
    "mcp": "MCP servers",
}
"""The sections that list the routes of each family."""

_BATCHES = "batches, whose calls no policy would see"
_ASSISTANTS = "the Assistants API: use responses"
_AGENTS = "agents that a provider runs: a request names its model, its prompts and its tools itself"
_ACCOUNT = "the administration of an account at a provider"
_TUNING = "fine-tuning"
_OLD = "older text APIs: use `:generateContent`"
_COHERE = "Cohere's own API: use the one that is compatible with OpenAI's"
_OLLAMA = "Ollama's own API: what models a server has is its operator's business"
# Further APIs that the clients of providers can call, by a segment of its path or by the verb behind a colon. If a
# path has several of them, the first one counts. The provider's own routes are not looked up here.
_KNOWN_APIS = {
    **dict.fromkeys(("batches", "message_batches", "batchPredictionJobs", "batch"), _BATCHES),
    **dict.fromkeys((":batchGenerateContent", ":asyncBatchEmbedContent", ":batchEmbedContent"), _BATCHES),
    **dict.fromkeys(("assistants", "threads"), _ASSISTANTS),
    **dict.fromkeys(("agents", "sessions", "environments", "deployments", "deployment_runs", "dreams"), _AGENTS),
    **dict.fromkeys(("triggers", "automations", "reasoningEngines"), _AGENTS),
    **dict.fromkeys(("organization", "organizations", "projects", "compliance", "user_profiles", "tunnels"), _ACCOUNT),
    **dict.fromkeys(("safety", "credits", "key"), _ACCOUNT),
    **dict.fromkeys(("vaults", "credentials"), "credentials that are kept at a provider"),
    **dict.fromkeys(("fine_tuning", "fine-tuning", "fine-tunes", "finetune", "tunedModels", "tuningJobs"), _TUNING),
    **dict.fromkeys(("auth_tokens", "authTokens", "client_secrets"), "tokens that lead past this gateway"),
    **dict.fromkeys(("realtime", "live", "ws", "transcription_sessions"), "the Realtime and Live APIs"),
    **dict.fromkeys(("videos", ":predictLongRunning"), "videos"),
    **dict.fromkeys(("voices", "voice_consents"), "voices of your own"),
    **dict.fromkeys(("fileSearchStores", "corpora", "ragStores"), "stores of files at Google by their own paths"),
    **dict.fromkeys((":generateText", ":generateMessage", ":generateAnswer", ":embedText"), _OLD),
    **dict.fromkeys(("operations", ":fetchPredictOperation"), "operations that go on at a provider"),
    **dict.fromkeys((":rawPredict", ":streamRawPredict"), "models of other makers at Vertex AI"),
    **dict.fromkeys(("rerank", "score"), "reranking"),
    **dict.fromkeys(("classify", "classifications"), "classifications"),
    **dict.fromkeys(("tokenize", "detokenize"), "the tokens of a text"),
    **dict.fromkeys((":predict", ":computeTokens"), "this method of Google's models"),
    "cachedContents": "cached contents by their own paths",
    "chatkit": "ChatKit",
    "complete": "the Text Completions API: use messages",
    "connectors": "connectors that a provider keeps",
    "containers": "containers by their own paths",
    "content_provenance_checks": "checks of where content comes from",
    "decisions": "decisions of a provider",
    "evals": "evaluations",
    "fim": "completions in the middle of a text",
    "interactions": "the Interactions API: use `:generateContent`",
    "libraries": "libraries of documents",
    "memory_stores": "memory stores",
    "observability": "what a provider records of an account's calls",
    "ocr": "the reading of documents as text",
    "skills": "skills by their own paths",
    "traces": "traces of agents: switch them off in the client (`OPENAI_AGENTS_DISABLE_TRACING=1`)",
    "uploads": "uploads in parts: upload the file in one request",
    "workflows": "workflows that a provider runs",
}
# The meaning of these depends on what stands before them: a family that has routes of these names serves no others
# there.
_OF_A_FAMILY = {
    "/chat/completions/": "completions that the provider keeps: only responses can be fetched later",
    "/v1beta/files": "files of Google's: send the content itself in `inlineData`",
    "/v1/files": "files of this provider",
    "/v1alpha/": "the version v1alpha of this API: use v1beta",
    "/api/chat": "Ollama's own API: use /v1/chat/completions",
    "/api/generate": "Ollama's own API: use /v1/chat/completions",
    "/api/embed": "Ollama's own API: use /v1/embeddings",
    "/api/show": "Ollama's own API: use /v1/models",
    "/api/tags": "Ollama's own API: use /v1/models",
    "/models/chat/completions": "Azure's paths for models of all makers: use /openai/v1/chat/completions",
    **dict.fromkeys(("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/ps"), _OLLAMA),
    **dict.fromkeys(("/v2/chat", "/v2/embed"), _COHERE),
    "/chat/moderations": "moderations of whole chats: use /v1/moderations",
}
_LOCATIONS = "/locations/"
_VERTEX = "Vertex AI by project and location: use its express mode, whose clients have an API key and neither of them"
_HERE = (
    "agents send their requests here: their base URL is mostly this address with `/v1`, or with `/NAME/v1` for the "
    "upstream NAME; `/healthz` and `/readyz` say how the gateway is"
)
# Of state that belongs to single agents; a list would show all of it.
_UNSERVED_LISTS = {"/files": "files", "/vector_stores": "vector stores", "/chat/completions": "kept completions"}


def unknown(method: str, path: str, families: Sequence[Routes] = FAMILIES) -> Denied:
    """The refusal of a path that none of these families has a route for, or none that takes this method."""
    if path == "/":  # somebody has a look at what is here: a client's path is longer
        return Denied("unknown_route", reasons=[_asked(method, path), _HERE])
    if methods := _methods(path, families):
        taken = " or ".join(methods)
        listed = next((name for end, name in _UNSERVED_LISTS.items() if method == "GET" and path.endswith(end)), None)
        why = [] if listed is None else [f"the list of {listed} is not served: it would show those of other agents"]
        return Denied(
            "wrong_method",
            reasons=[f"{_asked(method, path)} is no route: this path takes {taken}", *why],
            headers=[(b"allow", ", ".join(methods).encode())],
        )
    return refusal(method, path, _cause(path, families), families)


def refusal(method: str, path: str, cause: str, families: Sequence[Routes] = FAMILIES) -> Denied:
    """The refusal of a path that leads nowhere for this cause."""
    like = [family for family in families if family.provider is speaker(path)]
    return Denied("unknown_route", reasons=[_asked(method, path), cause, _served(like or families)])


# Headers that only one maker's clients send.
_BY_HEADER = {b"anthropic-version": "anthropic", b"x-goog-api-key": "gemini", b"x-goog-api-client": "gemini"}
# Paths that only one maker has under a version that several have. All else there is OpenAI's, which most clients speak.
_VERSIONS_OF_GEMINI = re.compile(r"/v1(?:beta|alpha)[0-9]*(?:/|$)")
_ONLY_GEMINI = re.compile(r":[A-Za-z]|/publishers/")
_ONLY_ANTHROPIC = re.compile(r"/v1/(?:messages|complete|skills|agents|sessions)(?:/|$)")
_SHARED = re.compile(r"(?:/[A-Za-z0-9._-]+)?/v1(?:/.*)?")


def speaker(path: str, headers: frozenset[bytes] = frozenset()) -> Provider | None:
    """The provider in whose shape such a refusal is made: the one that the request looks like, if there is one.

    `headers` are the names of the client's.
    """
    providers = [family.provider for family in FAMILIES]
    named = split(path)
    if named is not None and (preset := PROVIDERS.get(named[0])) is not None:  # most upstreams are named after theirs
        return next(each for each in providers if each.name == preset.name)
    if _VERSIONS_OF_GEMINI.search(path):
        return next(each for each in providers if each.name == "gemini")
    if _SHARED.fullmatch(path) and not path.startswith("/openai/") and not _ONLY_GEMINI.search(path):
        maker = next((maker for name, maker in _BY_HEADER.items() if name in headers), "openai")
        maker = "anthropic" if _ONLY_ANTHROPIC.search(path) else maker
        return next(each for each in providers if each.name == maker)
    by_route = [each for each in providers if any(route.path in path for route in each.routes)]
    # The segments before a model in its paths, where the version is not a prefix.
    by_model = [
        each
        for each in providers
        if not each.prefix and any(route.path.partition("{")[0] in path for route in each.routes if "{" in route.path)
    ]
    by_prefix = [each for each in providers if any(f"{start}/" in f"{path}/" for start in _starts(each))]
    return next(iter([*by_model, *by_route, *by_prefix]), None)


def _asked(method: str, path: str) -> str:
    return shown(f"{method} {path}", _MAX_PATH)


def _methods(path: str, families: Sequence[Routes]) -> list[str]:
    named = split(path)
    paths = [path] if named is None else [path, named[1]]
    return sorted({method for family in families for each in paths for method in family.methods(each)})


def _served(families: Sequence[Routes]) -> str:
    """The section that lists the routes: there are a hundred, and an SDK shows this text as one line."""
    listed = [HEADINGS[family.provider.name] for family in families if family.provider.name in HEADINGS]
    if not listed:
        return "`gateway upstreams show NAME` lists the operations of the JSON API NAME"
    names = " and ".join(listed)
    sections = ", ".join(f"{PAGE}#{each.lower().replace(' ', '-')}" for each in listed)
    return f"what this gateway serves of {names} is listed in {sections}; each also under /NAME for the upstream NAME"


def _cause(path: str, families: Sequence[Routes]) -> str:
    """The probable fault: the base URL, if the path would be a route with another one; or what was asked for."""
    plain = re.sub(r"/{2,}", "/", path).rstrip("/")
    if _methods(plain, families):
        return "the path has a slash too many: is there one at the end of the base URL?"
    for family in families:
        for start in _starts(family.provider):
            if any(_methods(each, families) for each in _with(plain, start)):
                return f"`{start}` is missing: the base URL should end in it"
            if _methods(_once(plain, start), families):
                return twice(start)
        if any(_methods(plain.removesuffix(route.path), families) for route in family.provider.routes):
            return "the path has a route twice: take it out of the base URL, because the client adds it"
    if _methods(plain.replace("/openai/", "/openai/v1/", 1), families):
        return "`/v1` is missing: the base URL should end in `/openai/v1`"
    if "/v1/openai/v1/" in plain:
        return "the client adds `/openai/v1` itself: the base URL should end before `/v1`"
    if called := _unserved(plain):
        return f"this gateway does not serve {called}"
    asked = {family.provider.name for family in families}
    others = [each.provider.name for each in FAMILIES if each.provider.name not in asked and _methods(plain, [each])]
    if others:
        return f"this upstream speaks another API: the path is one of {others[0]}"
    return "the usual causes are a base URL without `/v1` or with it twice, and an API that is not served"


def _unserved(path: str) -> str:
    """The API that a path belongs to, if it is one that is not served; else empty."""
    named = split(path)
    if named is not None and is_version(named[1].split("/")[1]):
        path = named[1]  # without the upstream's name, which may be any word
    if _LOCATIONS in path:
        return _VERTEX
    for segment in path.split("/"):
        if segment.startswith("webhook"):
            return _ACCOUNT
        name, colon, verb = segment.partition(":")
        if called := _KNOWN_APIS.get(colon + verb if colon and verb else name) or _KNOWN_APIS.get(name):
            return called
    return next((called for part, called in _OF_A_FAMILY.items() if part in path), "")


@functools.lru_cache(maxsize=256)
def _starts(provider: Provider) -> tuple[str, ...]:
    """The beginning of a provider's paths: its prefix or, where clients add the version, with that."""
    if provider.prefix:
        return (provider.prefix,)
    first = dict.fromkeys(route.path.split("/")[1] for route in provider.routes)
    return tuple(f"/{segment}" for segment in first if is_version(segment))


def is_version(segment: str) -> bool:
    """True if a first segment is a version, such as `v1beta`, rather than the name of an upstream."""
    return re.fullmatch(r"v\d[a-z0-9]*", segment) is not None


def twice(prefix: str) -> str:
    """The advice about a prefix that is in the base URL and in what the client adds."""
    return f"the path has `{prefix}` twice: take one out of the base URL"


def _once(path: str, prefix: str) -> str:
    """The path with the prefix once where it stands several times in a row."""
    return re.sub(rf"(?:{re.escape(prefix)}){{2,}}(?=/)", prefix, path)


def _with(path: str, prefix: str) -> list[str]:
    """The path with the prefix in either of its places: at the beginning, or after an upstream's name."""
    named = split(path)
    if named is None or is_version(named[0]):
        return [prefix + path]
    return [prefix + path, f"/{named[0]}{prefix}{named[1]}"]
