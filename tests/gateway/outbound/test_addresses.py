"""The addresses that deliveries may go to."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.outbound.addresses import INSIDE, LOOPBACK, PRIVATE, PUBLIC, check_url, reach_of, refusal

NEVER = [
    *("169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%eth0", "100.100.100.200", "fd00:ec2::254", "0.0.0.0"),
    *("224.0.0.1", "ff02::1", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "no address"),
    *("::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "2001:0:1:2:3:4:5601:5601", "2001::1"),
    *("168.63.129.16", "fd20:ce::254"),
]
NETWORK = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "240.0.0.1",
    "::a00:1",
    "fec0::1",
]
MACHINE = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::7f00:1"]
OUTSIDE = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
REACHES = (PUBLIC, LOOPBACK, PRIVATE, INSIDE)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_delivered_to(address: str) -> None:
    assert all(refusal(address, reach) for reach in REACHES)


def test_other_addresses_need_the_operators_word() -> None:
    told = {address: [refusal(address, reach) == "" for reach in REACHES] for address in (*NETWORK, *MACHINE, *OUTSIDE)}
    assert {tuple(told[address]) for address in NETWORK} == {(False, False, True, True)}
    assert {tuple(told[address]) for address in MACHINE} == {(False, True, False, True)}
    assert {tuple(told[address]) for address in OUTSIDE} == {(True, True, True, True)}


def test_each_option_allows_what_it_says_and_nothing_else() -> None:
    given = [
        reach_of(insecure=machine, allow_private=network) for network in (False, True) for machine in (False, True)
    ]
    assert given == [PUBLIC, LOOPBACK, PRIVATE, INSIDE]


@pytest.mark.parametrize(
    ("url", "insecure", "complaint"),
    [
        ("http://alerts.example.com/x", True, "could be read and changed on the way"),
        ("http://127.0.0.1:9/x", False, "could be read and changed on the way"),
        ("https://user:word@alerts.example.com/", False, "must not hold a user or password"),
        ("https://0x7f000001/", False, "its host must be a name or an address in the usual form"),
        ("https://127.1/", False, "its host must be a name or an address in the usual form"),
        ("https:///x", False, "it must be like https://"),
        ("ftp://alerts.example.com/", False, "it must be like https://"),
        ("https://alerts.example.com/a b", False, "plain characters without spaces"),
        ("https://alerts.example.com:99999/", False, "it cannot be read"),
    ],
)
def test_a_url_that_is_none(url: str, insecure: bool, complaint: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_url(url, insecure=insecure)
    assert complaint in caught.value.message
    assert "word" not in caught.value.message.replace("password", "")


def test_a_url_is_taken_as_it_is() -> None:
    for url in ("https://alerts.example.com/gateway?team=a", "https://10.0.0.1:8443/x"):
        assert check_url(url, insecure=False) == url
    for url in ("http://localhost:9/x", "http://127.0.0.1/x", "http://[::1]:9/x"):
        assert check_url(url, insecure=True) == url
