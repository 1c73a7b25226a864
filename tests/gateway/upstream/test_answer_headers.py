"""The headers of an upstream's answer that reach the agent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.upstream import answer_headers
from gateway.upstream.answer_headers import Headers
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.http.api import Api
from gateway.upstream.providers.http.provider import Http
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination


def _names(text: str) -> list[str]:
    return text.split()


SECRET = "sk-of-the-operator"
PASS = _names("""
content-type content-length x-request-id request-id apim-request-id x-amzn-requestid cf-ray x-ds-trace-id
mistral-correlation-id openai-model openai-processing-ms openai-version x-ms-region x-ms-deployment-name
x-ms-rai-invoked x-gemini-service-tier x-groq-region x-ratelimit-limit-requests x-ratelimit-remaining-tokens
x-ratelimit-limit-project-tokens x-ratelimit-remaining-tokens-minute anthropic-ratelimit-input-tokens-remaining
ratelimit-limit ratelimitbysize-remaining retry-after retry-after-ms x-should-retry server server-timing cache-control
vary etag last-modified content-disposition content-language x-total-count x-what-nobody-knows
""")
STAY = _names("""
connection keep-alive transfer-encoding trailer te upgrade proxy-authenticate content-encoding date x-decision-id
set-cookie set-cookie2 www-authenticate alt-svc strict-transport-security access-control-allow-origin nel report-to
via location content-location refresh link x-goog-upload-url x-litellm-model-api-base
x-goog-upload-header-x-google-backends openai-organization openai-project anthropic-organization-id
anthropic-workspace-id x-databricks-org-id x-codex-plan-type x-codex-credits-balance x-ms-user-id x_account_id
x-api-key x-auth-token x-csrf-token x-clerk-auth-status idempotency-key
""")


def destination(
    provider: Provider = PROVIDERS["openai"], headers: Mapping[str, str] | None = None, secret: str = SECRET
) -> Destination:
    return Destination(
        id="ups_1", organization="default", name="openai", provider=provider, base_url="https://api.example/v1",
        default=True, secret=secret, headers=headers or {},
    )  # fmt: skip


def left(headers: Headers, to: Destination | None = None, *, whole: bool = True) -> Headers:
    return answer_headers.passing(headers, to or destination(), whole=whole)


@pytest.mark.parametrize("preset", ["openai", "anthropic", "gemini", "azure", "groq"])
def test_an_answers_headers_pass_but_for_those_that_are_not_the_agents_business(preset: str) -> None:
    headers = [(name.encode(), b"1") for name in (*PASS, *STAY)]
    assert [name.decode() for name, _ in left(headers, destination(PROVIDERS[preset]))] == PASS


def test_headers_that_come_twice_pass_twice_and_in_their_order() -> None:
    headers = [(b"warning", b"a"), (b"x-request-id", b"1"), (b"warning", b"b")]
    assert left(headers) == headers


def test_a_json_api_says_where_to_find_what_was_made() -> None:
    crm = destination(Http("crm", Api(header="", prefix="", operations=())))
    headers = [(b"location", b"/customers/7"), (b"link", b'</customers?page=2>; rel="next"'), (b"set-cookie", b"a=b")]
    assert left(headers, crm) == headers[:2]


def test_what_the_connection_names_is_the_connections() -> None:
    headers = [(b"x-hop", b"1"), (b"x-request-id", b"2"), (b"connection", b"close, X-Hop"), (b"x-other", b"3")]
    assert left(headers) == [(b"x-request-id", b"2"), (b"x-other", b"3")]


def test_what_the_gateway_says_of_the_account_does_not_come_back() -> None:
    named = destination(headers={"openai-organization": "org-acme-17", "x-region": "eu-central-1"})
    headers = [
        (b"x-served-for", b"org-acme-17/a"),
        (b"x-echo", f"Bearer {SECRET}".encode()),
        (b"x-from", b"eu-central-1"),
    ]
    assert left(headers, named) == [(b"x-from", b"eu-central-1")]


@pytest.mark.parametrize("secret", ["x", "1", "EMPTY", "ollama", ""])
def test_what_local_servers_take_for_a_key_keeps_no_header_back(secret: str) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"content-length", b"1"), (b"x-served-by", b"ollama EMPTY")]
    assert left(headers, destination(headers={"openai-project": "e"}, secret=secret)) == headers


def test_what_is_said_of_all_bytes_is_not_said_of_some() -> None:
    headers = [(b"content-length", b"9"), (b"etag", b'"a"'), (b"content-digest", b"sha-256=:x:"), (b"x-a", b"1")]
    assert left(headers) == headers
    assert left(headers, whole=False) == [(b"x-a", b"1")]


def test_a_value_that_could_end_a_header_does_not_pass() -> None:
    headers = [(b"x-a", b"1\rx-b: 2"), (b"x-c", b"a\tb\xff"), (b"x-d", b"\x00"), (b"x-e", b"5")]
    assert left(headers) == [(b"x-c", b"a\tb\xff"), (b"x-e", b"5")]
