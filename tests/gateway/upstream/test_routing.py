"""Routing: exact bytes, both halves, and the URL comes from the table."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gateway.errors import Denied
from gateway.registry import names
from gateway.upstream.providers.openai.dialects import OPENAI
from gateway.upstream.providers.openai.provider import OpenAI
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Choices, Destination, Pool, PoolMember, RouteTable, target


def upstream(name: str, organization: str = "default", *, default: bool = False, fault: str = "") -> Destination:
    return Destination(
        id=f"ups_{name}",
        organization=organization,
        name=name,
        provider=PROVIDERS["openai"],
        base_url=f"https://{name}.example/v1",
        default=default,
        secret="s3cret",
        fault=fault,
    )


TABLE = RouteTable(
    [
        upstream("openai", default=True),
        upstream("groq"),
        upstream("openai", "acme"),
        upstream("broken", fault="sealed under another key"),
    ]
)


@pytest.mark.parametrize(
    ("organization", "path", "base_url"),
    [
        ("default", b"/v1/chat/completions", "https://openai.example/v1"),
        ("default", b"/openai/v1/chat/completions", "https://openai.example/v1"),
        ("default", b"/groq/v1/chat/completions", "https://groq.example/v1"),
        ("acme", b"/openai/v1/chat/completions", "https://openai.example/v1"),
    ],
)
def test_found(organization: str, path: bytes, base_url: str) -> None:
    match = TABLE.resolve(organization, target("POST", path))
    assert match.destination.base_url == base_url
    assert match.destination.organization == organization
    assert match.endpoint.route.action == "chat.completions"
    assert (match.endpoint.path, match.endpoint.params) == ("/v1/chat/completions", {})
    # Worked out once, not for every request.
    assert TABLE.resolve(organization, target("POST", path)) is match


@pytest.mark.parametrize("name", ["gpt-4o", "ft:gpt-4o-mini:acme::7p4lURel", "o3.5_x", "a" * 128, "..."])
@pytest.mark.parametrize(("prefix", "upstream"), [(b"", "openai"), (b"/groq", "groq")])
def test_a_parameter_is_one_segment(name: str, prefix: bytes, upstream: str) -> None:
    match = TABLE.resolve("default", target("GET", prefix + b"/v1/models/" + name.encode()))
    assert (match.endpoint.route.action, match.endpoint.params) == ("models.retrieve", {"model": name})
    assert (match.endpoint.upstream, match.endpoint.path) == (upstream, f"/v1/models/{name}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", b"/v1/chat/completions/"),
        ("POST", b"/v1//chat/completions"),
        ("POST", b"//v1/chat/completions"),
        ("POST", b"/v1/chat/../chat/completions"),
        ("POST", b"/v1/%63hat/completions"),
        ("POST", b"/V1/chat/completions"),
        ("POST", b"/v1/chat/completions;x"),
        ("POST", b"/a/b/v1/chat/completions"),
        ("POST", b"/a%2fb/v1/chat/completions"),
        ("POST", b"/v1/batches"),
        ("GET", b"/v1/models/"),
        ("GET", b"/v1/models/a/b"),
        ("GET", b"/v1/models/a%2fb"),
        ("GET", b"/v1/models/a b"),
        ("GET", b"/v1/models/a;b"),
        ("GET", b"/v1/models/a\n"),
        ("GET", "/v1/models/ä".encode()),
        ("GET", b"/v1/models/" + b"a" * 129),
        ("POST", b"/"),
        ("POST", b""),
        ("POST", "/ä/v1/chat/completions".encode()),
    ],
)
def test_no_such_target(method: str, path: bytes) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("default", target(method, path))
    assert caught.value.code == "unknown_route"


@pytest.mark.parametrize(
    ("organization", "path", "code", "says"),
    [
        ("default", b"/nobody/v1/chat/completions", "unknown_route", "there is no upstream `nobody`"),
        ("default", b"/openia/v1/chat/completions", "unknown_route", "did you mean `openai`?"),
        ("default", b"/v1/v1/chat/completions", "unknown_route", "has `/v1` twice"),
        ("default", b"/v1/v1beta/models/m:generateContent", "unknown_route", "the base URL must end before `/v1`"),
        ("default", b"/v1beta/v1beta/models/m:generateContent", "unknown_route", "must end before `/v1beta`"),
        ("acme", b"/groq/v1/chat/completions", "unknown_route", "no upstream `groq`"),  # another organization's
        ("acme", b"/v1/chat/completions", "unknown_route", "gateway upstreams add"),
        ("default", b"/broken/v1/chat/completions", "upstream_unavailable", ""),
    ],
)
def test_leads_nowhere(organization: str, path: bytes, code: str, says: str) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve(organization, target("POST", path))
    assert caught.value.code == code
    assert says in " ".join(caught.value.reasons)


def test_only_upstreams_of_the_organization_are_suggested() -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("acme", target("POST", b"/grok/v1/chat/completions"))
    assert "did you mean" not in caught.value.text


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", b"/v1/chat/completions", b"POST"),
        ("POST", b"/v1/models", b"GET"),
        ("post", b"/v1/chat/completions", b"POST"),
        ("OPTIONS", b"/openai/v1/chat/completions", b"POST"),
        ("DELETE", b"/v1/models/a", b"GET"),
    ],
)
def test_another_method(method: str, path: bytes, allow: bytes) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("default", target(method, path))
    assert (caught.value.code, caught.value.reason.status) == ("wrong_method", 405)
    assert caught.value.headers == ((b"allow", allow),)
    assert f"`{method} {path.decode()}` is no route: this path takes {allow.decode()}" in caught.value.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/chat/completions", "`/v1` is missing"),
        ("/openai/chat/completions", "`/v1` is missing"),
        ("//chat/completions", "`/v1` is missing"),
        ("/openai/v1/v1/chat/completions", "the path has `/v1` twice"),
        ("//v1/chat/completions", "a slash too many"),
        ("/v1/chat/completions/", "a slash too many"),
        ("/v1/chat/completions/chat/completions", "the path has a route twice"),
        ("/v1beta/models/gemini-2.5-flash:generateContent/", "a slash too many"),
        ("/anthropic/v1/skills", "does not serve skills by their own paths"),
        ("/live/v1/nothing", "the usual causes are"),  # the first segment is an upstream's name
        ("/v1/realtime/client_secrets", "does not serve the Realtime and Live APIs"),
        ("/v1beta/interactions", "does not serve the Interactions API"),
        ("/v1beta/models/m:batchGenerateContent", "does not serve batches"),
        ("/v1beta/models/gemini-2.5-flash:predict", "docs/reference/providers.md#gemini;"),
        ("/azure/openai/deployments/gpt-4o/images", "docs/reference/providers.md#azure-openai;"),
        ("/messages", "`/v1` is missing"),
        ("/anthropic/v1/v1/messages", "the path has `/v1` twice: take one out of the base URL"),
        ("/responses", "`/v1` is missing"),
        ("/v1/batches", "does not serve batches"),
        ("/v1/messages/batches", "does not serve batches"),
        ("/v1/threads/thread_1/runs", "does not serve the Assistants API: use responses"),
        ("/v1/traces/ingest", "switch them off in the client"),
        ("/groq/api/show", "does not serve Ollama's own API"),
        ("/groq/api/embed", "does not serve Ollama's own API: use /v1/embeddings"),
        ("/groq/api/pull", "does not serve Ollama's own API"),
        ("/groq/v1/openai/v1/chat/completions", "the client adds `/openai/v1` itself: the base URL should end before"),
        ("/azure/openai/chat/completions", "the base URL should end in `/openai/v1`"),
        ("/groq/v1/chat/moderations", "use /v1/moderations"),
        ("/groq/v1/libraries", "does not serve libraries of documents"),
        ("/v2/chat", "does not serve Cohere's own API"),
        ("/groq/v2/embed", "does not serve Cohere's own API"),
        ("/azure/models/chat/completions", "use /openai/v1/chat/completions"),
        (
            "/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent",
            "does not serve Vertex AI by project and location: use its express mode",
        ),
        ("/openai/v1/messages", "this upstream speaks another API: the path is one of anthropic"),
        ("/", "their base URL is mostly this address with `/v1`"),
        ("/x\x1b[2J", "the usual causes are"),
    ],
)
def test_a_wrong_path_is_explained(path: str, says: str) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("default", target("POST", path.encode("latin-1")))
    text = caught.value.text
    assert says in text
    assert ("docs/reference/providers.md#" in text) is (path != "/")
    assert text.isprintable()


def test_a_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(upstream("openai"))


def test_every_route_can_be_reached() -> None:
    for name, provider in PROVIDERS.items():
        table = RouteTable([replace(upstream("its", default=True), provider=provider)])
        for route in provider.routes:
            path = re.sub(r"\{\w+\}", "m", provider.prefix + route.path).encode()
            for asked in (path, b"/its" + path):
                if asked == b"/mcp":  # all servers as one
                    continue
                match = table.resolve("default", target(route.method, asked))
                assert match.endpoint.route is route, name
                assert match.endpoint.path == path.decode()


def test_a_destination_speaks_its_own_dialect() -> None:
    table = RouteTable([replace(upstream("local"), provider=PROVIDERS["ollama"])])
    match = table.resolve("default", target("POST", b"/local/v1/chat/completions"))
    assert match.destination.provider is PROVIDERS["ollama"]


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/openai/v1/chat/completions", "chat.completions"),
        ("GET", "/openai/v1/models", "models.list"),
        ("GET", "/openai/v1/models/llama-3.3-70b-versatile", "models.retrieve"),
        ("POST", "/openai/v1/audio/transcriptions", "audio.transcriptions"),
    ],
)
def test_the_clients_of_groq_add_more_than_the_version(method: str, path: str, action: str) -> None:
    """`groq` and `groq-sdk` end their base URL before `/openai/v1`, which the upstream's base URL has."""
    groq = replace(upstream("fast"), provider=PROVIDERS["groq"], preset="groq")
    table = RouteTable([upstream("openai", default=True), groq, replace(upstream("other"), preset="openai")])
    match = table.resolve("default", target(method, f"/fast{path}".encode()))
    assert (match.destination, match.endpoint.route.action) == (groq, action)
    assert match.endpoint.path == path.removeprefix("/openai")  # what follows the upstream's base URL
    assert table.resolve("default", target(method, path.encode())).destination.name == "openai"  # the name comes first
    with pytest.raises(Denied):
        table.resolve("default", target(method, f"/other{path}".encode()))


def test_a_route_asks_groq_under_its_own_paths_only_where_no_other_member_has_them() -> None:
    groq = replace(upstream("groq"), provider=PROVIDERS["groq"], preset="groq")
    azure = replace(upstream("azure"), provider=PROVIDERS["azure"], preset="azure")
    path = target("POST", b"/fast/openai/v1/chat/completions")

    def asked(*members: Destination) -> list[tuple[str, bool]]:
        pool = Pool("default", "fast", False, tuple(PoolMember(each.id, 1, 1) for each in members))
        found = RouteTable([groq, azure], [pool]).resolve("default", path)
        assert isinstance(found, Choices)
        return [(match.destination.name, "api-version" in match.endpoint.route.query) for _, match in found.members]

    assert asked(groq) == [("groq", False)]
    assert asked(groq, azure) == [("azure", True)]


def test_every_provider_can_be_added() -> None:
    # `http` has no routes of its own: each upstream brings them.
    assert {*PROVIDERS, "http"} == names.PROVIDERS.keys()


def test_a_default_without_the_route_leaves_it_to_the_only_other_one() -> None:
    """Agents of two providers need not name an upstream, as long as there is no doubt which one is meant."""
    chat_only = OnlyChat()
    table = RouteTable(
        [
            replace(upstream("openai", default=True), provider=chat_only),
            upstream("groq"),
            upstream("a", "two", default=True),
            upstream("b", "two"),
        ]
    )
    assert table.resolve("default", target("POST", b"/v1/chat/completions")).destination.name == "openai"
    assert table.resolve("default", target("GET", b"/v1/models")).destination.name == "groq"
    doubtful = RouteTable(
        [*(upstream(name) for name in "xy"), replace(upstream("z", default=True), provider=chat_only)]
    )
    with pytest.raises(Denied) as caught:
        doubtful.resolve("default", target("GET", b"/v1/models"))
    assert "x, y" in caught.value.text


class OnlyChat(OpenAI):
    """A provider with fewer routes than others."""

    routes = OpenAI.routes[:1]

    def __init__(self) -> None:
        super().__init__(OPENAI)
