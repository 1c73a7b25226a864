"""The workload that a certificate names, if it names any."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.errors import Denied, GatewayError
from gateway.identity.certificates import Certificate, check_spiffe_id
from tests.gateway.dataplane.authority import BOT, DOMAIN, Authority, bad_forms, bad_names

OURS, THEIRS = Authority.make("ours"), Authority.make("theirs")

# The handshake refuses these: a chain, or a purpose other than a client's.
OF_THE_HANDSHAKE = {
    *("another authority", "another authority of the same name", "it signs itself", "signed by another client"),
    *("signed by an authority that is not sent", "for servers", "for code"),
}
# These name a workload, which has no agent.
OF_NOBODY = {
    *("another trust domain", "a trust domain that ends like it", "a trust domain that begins like it"),
    *("a final dot", "an upper-case path", "a prefix of it", "more than it", "a child of it", "an agent's name"),
    "a name that was taken away",
}


def detail(der: bytes) -> str:
    """The reason why a certificate is refused before its name is looked up; empty if it is not."""
    try:
        Certificate(der).presented()
    except Denied as denied:
        return denied.detail if denied.code == "bad_credentials" and denied.reasons else denied.code
    return ""


@pytest.mark.parametrize(
    "name",
    [BOT, f"spiffe://{DOMAIN}/a", "spiffe://a_b-c.9/X/y.z/_/-/...", f"spiffe://{'d' * 255}/x", "spiffe://1/1"],
)
def test_a_workload_is_named_by_its_uri(name: str) -> None:
    names = (x509.DNSName("bot.acme.example"), x509.UniformResourceIdentifier(name))
    for pair in (
        OURS.issue(*names),
        OURS.issue(name, ca=None),
        OURS.issue(name, extended=ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        assert Certificate(pair.der).presented().lookup == name
    assert check_spiffe_id(name) == name


def test_names_that_are_no_workload_s() -> None:
    for note, names in bad_names().items():
        found = detail(OURS.issue(*names).der)
        assert found == ("" if note in OF_NOBODY else "certificate_malformed"), note
        if note not in OF_NOBODY and len(names) == 1 and isinstance(names[0], str):
            with pytest.raises(GatewayError, match="is not the SPIFFE ID of a workload"):
                check_spiffe_id(names[0])


def test_forms_that_are_no_client_s() -> None:
    for note, pair in bad_forms(OURS, THEIRS).items():
        wanted = {"expired": "certificate_expired", "not valid yet": "certificate_early"}
        assert detail(pair.der) == ("" if note in OF_THE_HANDSHAKE else wanted.get(note, "certificate_malformed")), note


def test_a_certificate_that_is_none() -> None:
    good = OURS.issue(BOT).der
    for der in (b"", b"\x30\x00", good[:-1], good + b"\0", good.replace(b"spiffe:", b"\xff\xfe\xff\xfe:::")):
        assert detail(der) == "certificate_malformed"


def test_its_time_is_looked_at_for_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may outlive the certificate that it was opened with."""
    pair = OURS.issue(BOT, ends=timedelta(hours=1))
    certificate = Certificate(pair.der)
    assert certificate.presented().spiffe_id == BOT
    last = int(pair.certificate.not_valid_after_utc.timestamp()) * 1_000_000_000
    monkeypatch.setattr("gateway.identity.certificates.time.time_ns", lambda: last + 999_999_999)
    assert certificate.presented().spiffe_id == BOT
    monkeypatch.setattr("gateway.identity.certificates.time.time_ns", lambda: last + 1_000_000_000)
    with pytest.raises(Denied) as caught:
        certificate.presented()
    assert caught.value.detail == "certificate_expired"
