"""From headers to a principal: exactly one credential, in exactly one header."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Denied
from gateway.identity.authentication import CREDENTIAL_HEADERS, authenticate
from gateway.identity.credentials import Credential, generate
from gateway.identity.principals import CredentialRow, Principal, Principals
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import Home

Headers = list[tuple[bytes, bytes]]


@pytest.fixture
def principals(home: Home) -> Iterator[Principals]:
    home.agent()
    reader = RegistryReader(home.data.registry_db)
    yield Principals(reader, home.peppers)
    reader.close()


def refusal(headers: Headers, principals: Principals) -> tuple[str, str]:
    with pytest.raises(Denied) as caught:
        authenticate(headers, principals)
    return caught.value.code, caught.value.detail


@pytest.mark.parametrize(
    "form", [b"authorization:Bearer ", b"authorization:bearer ", b"x-api-key:", b"api-key:", b"x-goog-api-key:"]
)
def test_each_header_alone_works(form: bytes, home: Home, principals: Principals) -> None:
    name, _, prefix = form.partition(b":")
    headers = [(b"host", b"x"), (name, prefix + home.key().encode()), (b"x-agent-id", b"somebody-else")]
    assert authenticate(headers, principals).name == "bot"


def test_all_four_headers_count() -> None:
    assert frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"}) == CREDENTIAL_HEADERS


def test_none_or_several(home: Home, principals: Principals) -> None:
    key = home.key().encode()
    assert refusal([(b"host", b"x")], principals) == ("bad_credentials", "missing")
    for first in CREDENTIAL_HEADERS:
        for second in CREDENTIAL_HEADERS:  # the same one twice, too, and even with equal values
            value = b"Bearer " + key
            code, detail = refusal([(first, value), (second, value)], principals)
            assert code == "bad_request"
            assert detail.startswith("several credentials")


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
def test_what_is_no_key(value: bytes, detail: str, principals: Principals) -> None:
    assert refusal([(b"authorization", value)], principals) == ("bad_credentials", detail)


def test_an_operators_key_opens_nothing_here(principals: Principals) -> None:
    value = generate("operator").text.encode()
    assert refusal([(b"x-api-key", value)], principals) == ("bad_credentials", "operator_key")


def test_a_bad_key_is_refused_without_asking_the_registry() -> None:
    class Untouchable:
        def epoch(self) -> int:
            raise AssertionError("asked")

        def credential(self, credential_id: str) -> CredentialRow | None:
            raise AssertionError("asked")

    text = generate("agent").text
    mistyped = text[:-1] + ("A" if text[-1] != "A" else "B")
    principals = Principals(Untouchable(), None)  # type: ignore[arg-type]  # no pepper is needed either
    assert refusal([(b"x-api-key", mistyped.encode())], principals) == ("bad_credentials", "malformed")


class Nobody(Principals):
    def __init__(self) -> None:
        pass

    def get(self, credential: Credential) -> Principal:
        raise Denied("bad_credentials", "unknown")


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
    assert refusal(headers, Nobody())[0] in ("bad_credentials", "bad_request")
