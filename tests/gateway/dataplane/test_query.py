"""The reading of a query string, and the query that the provider gets."""

from __future__ import annotations

import pytest

from gateway.dataplane import preconditions
from gateway.errors import Denied
from gateway.upstream.providers.base import Endpoint, RequestHead, url_of
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of

ALLOWED = frozenset({"include", "include[]", "limit"})


@pytest.mark.parametrize("name", ["include[]", "include%5B%5D", "include%5b%5d"])
def test_a_list(name: str) -> None:
    found = preconditions.query(f"{name}=reasoning.encrypted_content&limit=2&{name}=b_2".encode(), ALLOWED)
    assert found == {"include[]": "reasoning.encrypted_content,b_2", "limit": "2"}
    sent = url_of("http://x", "/y", found)
    assert sent.raw_query_string == "include%5B%5D=reasoning.encrypted_content&include%5B%5D=b_2&limit=2"
    assert preconditions.query(sent.raw_query_string.encode(), ALLOWED) == found


@pytest.mark.parametrize(
    "text",
    [
        *("include[]=a,b", "include[]=a%2Cb", "include[]=", "include[]", "include[0]=a", "include=a&include=b"),
        *("limit[]=1", "include[][]=a", "include%255B%255D=a", "INCLUDE[]=a", "[]=a", "limit=1&limit=1"),
    ],
)
def test_nothing_that_could_be_read_in_two_ways(text: str) -> None:
    with pytest.raises(Denied) as caught:
        preconditions.query(text.encode(), ALLOWED)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "path", ["/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/v1/conversations/c/items"]
)
def test_the_provider_gets_the_list(path: str) -> None:
    provider = PROVIDERS["openai"]
    found = routes_of(provider).find("GET", path)
    assert found is not None
    head = RequestHead(preconditions.query(b"include%5B%5D=a.b&include%5B%5D=c", found[0].query))
    call = provider.read(Endpoint("x", found[0], path, found[1]), head, b"")
    sent = provider.prepare(call, "http://x/v1", None, {})
    assert str(sent.url) == f"http://x{path}?include%5B%5D=a.b&include%5B%5D=c"
