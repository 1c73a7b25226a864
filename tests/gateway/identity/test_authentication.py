"""From headers to a credential: exactly one, in exactly one header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Denied
from gateway.identity.authentication import CREDENTIAL_HEADERS, presented
from gateway.identity.credentials import generate

Headers = list[tuple[bytes, bytes]]


def refusal(headers: Headers) -> tuple[str, str]:
    with pytest.raises(Denied) as caught:
        presented(headers)
    return caught.value.code, caught.value.detail


@pytest.mark.parametrize(
    "form", [b"authorization:Bearer ", b"authorization:bearer ", b"x-api-key:", b"api-key:", b"x-goog-api-key:"]
)
def test_each_header_alone_works(form: bytes) -> None:
    name, _, prefix = form.partition(b":")
    key = generate("agent")
    headers = [(b"host", b"x"), (name, prefix + key.text.encode()), (b"x-agent-id", b"somebody-else")]
    assert presented(headers) == key.credential


def test_all_four_headers_count() -> None:
    assert frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"}) == CREDENTIAL_HEADERS


def test_none_or_several() -> None:
    key = generate("agent").text.encode()
    assert refusal([(b"host", b"x")]) == ("bad_credentials", "missing")
    for first in CREDENTIAL_HEADERS:
        for second in CREDENTIAL_HEADERS:  # the same one twice, too, and even with equal values
            value = b"Bearer " + key
            code, detail = refusal([(first, value), (second, value)])
            assert code == "bad_request"
            assert detail.startswith("several credentials")
            with pytest.raises(Denied) as caught:
                presented([(first, value), (second, value)])
            assert "there must be one credential" in caught.value.text  # and the client is told which it has sent
            assert first.decode() in caught.value.text
            assert key.decode() not in caught.value.text


@pytest.mark.parametrize(
    ("query", "detail"),
    [(b"key=x", "in_query"), (b"alt=sse&key=", "in_query"), (b"monkey=x", "missing"), (b"", "missing")],
)
def test_a_key_in_the_query_is_none(query: bytes, detail: str) -> None:
    key = generate("agent")
    with pytest.raises(Denied) as caught:
        presented([(b"host", b"x")], query)
    assert (caught.value.code, caught.value.detail) == ("bad_credentials", detail)
    assert ("must be in a header" in caught.value.text) == (detail == "in_query")
    assert presented([(b"x-api-key", key.text.encode())], query) == key.credential


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (b"Basic dXNlcjpwYXNz", "not_bearer"),
        (b"", "not_bearer"),
        (b"Bearer", "malformed"),
        (b"Bearer ", "malformed"),
        (b"Bearer ' OR '1'='1", "malformed"),
        (b"Bearer sk-proj-abc", "malformed"),
        (b"Bearer \xff\xfe", "malformed"),
        (b"Bearer " + b"a" * 100_000, "malformed"),
    ],
)
def test_what_is_no_key(value: bytes, detail: str) -> None:
    assert refusal([(b"authorization", value)]) == ("bad_credentials", detail)


def test_an_operators_key_opens_nothing_here() -> None:
    value = generate("operator").text.encode()
    assert refusal([(b"x-api-key", value)]) == ("bad_credentials", "operator_key")


def test_a_mistyped_key_is_malformed() -> None:
    text = generate("agent").text
    mistyped = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert refusal([(b"x-api-key", mistyped.encode())]) == ("bad_credentials", "malformed")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(CREDENTIAL_HEADERS), b"host", b"cookie"]),
            st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda value: b"Bearer " + value)),
        ),
        max_size=4,
    )
)
def test_whatever_comes_ends_in_a_denial(headers: Headers) -> None:
    assert refusal(headers)[0] in ("bad_credentials", "bad_request")
