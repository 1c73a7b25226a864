"""Routing: exact bytes, both halves, and the URL comes from the table."""

from __future__ import annotations

import pytest

from gateway.errors import Denied
from gateway.upstream import routing
from gateway.upstream.routing import PROVIDERS, RouteTable, Upstream, target


def upstream(name: str, organization: str = "default", *, default: bool = False, fault: str = "") -> Upstream:
    return Upstream(
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
    ("organization", "path", "url"),
    [
        ("default", b"/v1/chat/completions", "https://openai.example/v1/chat/completions"),
        ("default", b"/openai/v1/chat/completions", "https://openai.example/v1/chat/completions"),
        ("default", b"/groq/v1/chat/completions", "https://groq.example/v1/chat/completions"),
        ("acme", b"/openai/v1/chat/completions", "https://openai.example/v1/chat/completions"),
    ],
)
def test_found(organization: str, path: bytes, url: str) -> None:
    match = TABLE.resolve(organization, target("POST", path))
    assert str(match.url) == url
    assert match.upstream.organization == organization
    assert match.route.action == "chat.completions"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", b"/v1/chat/completions"),
        ("POST", b"/v1/models"),
        ("post", b"/v1/chat/completions"),
        ("POST", b"/v1/chat/completions/"),
        ("POST", b"/v1//chat/completions"),
        ("POST", b"//v1/chat/completions"),
        ("POST", b"/v1/chat/../chat/completions"),
        ("POST", b"/v1/%63hat/completions"),
        ("POST", b"/V1/chat/completions"),
        ("POST", b"/v1/chat/completions;x"),
        ("POST", b"/a/b/v1/chat/completions"),
        ("POST", b"/a%2fb/v1/chat/completions"),
        ("POST", b"/v1/embeddings"),
        ("POST", b"/"),
        ("POST", b""),
        ("POST", "/ä/v1/chat/completions".encode()),
    ],
)
def test_no_such_target(method: str, path: bytes) -> None:
    with pytest.raises(Denied) as caught:
        target(method, path)
    assert caught.value.code == "unknown_route"


@pytest.mark.parametrize(
    ("organization", "path", "code", "says"),
    [
        ("default", b"/nobody/v1/chat/completions", "unknown_route", ""),
        ("acme", b"/groq/v1/chat/completions", "unknown_route", ""),  # another organization's
        ("acme", b"/v1/chat/completions", "unknown_route", "gateway upstreams add"),
        ("default", b"/broken/v1/chat/completions", "upstream_error", ""),
    ],
)
def test_leads_nowhere(organization: str, path: bytes, code: str, says: str) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve(organization, target("POST", path))
    assert caught.value.code == code
    assert says in " ".join(caught.value.reasons)


def test_a_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(upstream("openai"))


def test_every_route_can_be_reached() -> None:
    for provider in routing.PROVIDERS.values():
        for route in provider.routes:
            path = (provider.prefix + route.path).encode()
            assert target(route.method, path).action == route.action
            assert TABLE.resolve("default", target(route.method, b"/groq" + path)).route is route
