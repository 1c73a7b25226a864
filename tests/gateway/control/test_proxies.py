"""The origin of a request: what a named proxy says, and nothing that anybody else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.http.proxies import TrustedProxies, in_front_of
from gateway.settings import Settings, load_settings
from tests.gateway.control.conftest import Client, Control, elsewhere

NETWORKS = ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "sent", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the client has sent the first one
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, ", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7 evil", "10.0.0.1"),
        ("10.0.0.1", "2130706433", "10.0.0.1"),
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("127.0.0.1", "1.1.1.1", "127.0.0.1"),
        ("", "1.1.1.1", ""),
    ],
)
def test_the_client_of_a_request(peer: str, sent: str, client: str) -> None:
    told = TrustedProxies(elsewhere, NETWORKS, "x-forwarded-for")
    assert told.client_of(peer, [(b"x-forwarded-for", sent.encode())]) == client
    # The header that these proxies do not set may be the client's.
    assert told.client_of(peer, [(b"forwarded", f"for={sent}".encode())]) == peer


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ('For="[2001:db8::1]:4711";proto=https;by=10.0.0.1', "2001:db8::1"),
        ("proto=https;for=203.0.113.7, for=10.0.0.4", "203.0.113.7"),
        ("for=_hidden", "10.0.0.1"),
        ("for=unknown", "10.0.0.1"),
        ("xfor=1.1.1.1", "10.0.0.1"),
    ],
)
def test_the_standard_header(sent: str, client: str) -> None:
    assert TrustedProxies(elsewhere, NETWORKS, "forwarded").client_of("10.0.0.1", [(b"forwarded", sent.encode())]) == (
        client
    )


def test_several_headers_are_one() -> None:
    told = TrustedProxies(elsewhere, NETWORKS, "x-forwarded-for")
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7")]
    assert told.client_of("10.0.0.1", headers) == "203.0.113.7"
    assert told.client_of("10.0.0.1", [(b"x-forwarded-for", b"1.1.1.1," * 20_000 + b"203.0.113.7")]) == "203.0.113.7"


def test_settings(tmp_path: Path) -> None:
    assert in_front_of(elsewhere, Settings()) is elsewhere
    assert load_settings({"data": tmp_path}, {"AIG_PROXIES": "10.0.0.0/8 10.1.2.3"}).proxies == (
        "10.0.0.0/8",
        "10.1.2.3",
    )
    for wrong in ("0.0.0.0/0", "::/0", "proxy.example", "10.0.0.1/8"):
        with pytest.raises(GatewayError, match="proxies"):
            load_settings({"data": tmp_path}, {"AIG_PROXIES": wrong})


def test_the_pace_of_wrong_tokens_is_each_clients(control: Control) -> None:
    """Behind a proxy, one operator's mistakes refuse nobody else."""
    api = TrustedProxies(control.api, ("10.0.0.0/8",), "x-forwarded-for")

    def status(client: str, token: str) -> int:
        asked = Client(api, token, address="10.0.0.1")
        return asked("GET", "/me", headers={"x-forwarded-for": client}).status

    good = control.operator().token
    assert good is not None
    statuses = [status("203.0.113.7", "aig_op_wrong") for _ in range(60)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert status("203.0.113.8", good) == 200
