"""Certificates of clients as a kind of credentials: SPIFFE X.509-SVIDs (mtls.md).

The handshake has verified a certificate against the authorities that the gateway trusts: its chain, its signature and
that the client has its private key. This file asks whose it is. The name of a workload is the one URI in the
certificate (SPIFFE X.509-SVID, sections 2 to 5), and a row of the registry says which agent has that name. Nothing else
in a certificate names anybody.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.errors import Denied, GatewayError
from gateway.identity.principals import CredentialSource, Found, Principal, Uses

MAX_SPIFFE_ID: Final = 2048

# SPIFFE-ID, section 2: no port, user, query, fragment, escape or empty segment; a trust domain is in lower case.
_SPIFFE_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)", re.ASCII)
_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PresentedCertificate:
    """A certificate that has the right form and time. Its owner was not looked up yet."""

    method: ClassVar[Literal["mtls"]] = "mtls"

    spiffe_id: str

    @property
    def lookup(self) -> str:
        return self.spiffe_id


class Certificate:
    """The certificate of one connection's client. The listener puts it into the scope of every request under `KEY`."""

    KEY: Final = "gateway.certificate"

    __slots__ = ("_der", "_read")

    def __init__(self, der: bytes) -> None:
        self._der = der
        self._read: _Read | None = None

    def presented(self) -> PresentedCertificate:
        """The credential that the certificate is; `Denied` if it names no workload, or is not in its time.

        It is read once. Its time is looked at for every request: a connection may outlive it.
        """
        if self._read is None:
            self._read = _read(self._der)
        found = self._read
        if found.fault:
            raise Denied("bad_credentials", "certificate_malformed", reasons=[found.fault])
        now = time.time_ns()
        if now < found.not_before_ns:
            raise Denied("bad_credentials", "certificate_early", reasons=["the client's certificate is not valid yet"])
        if now >= found.not_after_ns:
            raise Denied("bad_credentials", "certificate_expired", reasons=["the client's certificate has expired"])
        return found.presented


@dataclass(frozen=True, slots=True)
class _Read:
    presented: PresentedCertificate
    not_before_ns: int
    not_after_ns: int
    fault: str = ""


class Certificates:
    """A `CredentialKind`."""

    method: ClassVar[Literal["mtls"]] = "mtls"

    def __init__(self, source: CredentialSource, uses: Uses | None = None) -> None:
        self._source = source
        self._uses = uses

    async def find(self, lookup: str) -> Found | None:
        row = await self._source.workload(lookup)
        return None if row is None else Found(row, lookup)

    def check(self, presented: PresentedCertificate, proof: str | None) -> None:
        """The handshake has proved the name: there is nothing else to check."""
        if proof != presented.spiffe_id:
            raise Denied("bad_credentials", "unknown_workload")

    async def admit(self, presented: PresentedCertificate, principal: Principal) -> None:
        """A certificate may be used any number of times; when its name was used last is noted."""
        if self._uses is not None:
            self._uses.note(principal.key_id, principal.expires_ns)


def check_spiffe_id(text: str) -> str:
    """The SPIFFE ID of a workload, in the one way to write it. Raises `GatewayError`."""
    if fault := _fault_of(text):
        hint = "write it like spiffe://acme.example/agents/reporter"
        raise GatewayError("invalid_spiffe_id", f"`{text}` is not the SPIFFE ID of a workload: {fault}", hint=hint)
    return text


def _fault_of(text: str) -> str:
    """The reason why a text is not the SPIFFE ID of a workload; empty if it is one."""
    if len(text) > MAX_SPIFFE_ID:
        return f"it may have at most {MAX_SPIFFE_ID} characters"
    if not text.startswith("spiffe://"):
        return "it must begin with spiffe:// in lower case"
    found = _SPIFFE_ID.fullmatch(text)
    if found is None:
        return (
            "after spiffe:// it has a trust domain of a-z 0-9 . _ - and a path of segments of A-Z a-z 0-9 . _ -, "
            "and nothing else"
        )
    if any(segment in (".", "..") for segment in found[2].split("/")):
        return "no segment of its path may be `.` or `..`"
    return ""


def _read(der: bytes) -> _Read:
    """The content of a certificate; with a fault if it is no X.509-SVID of a workload."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        name, fault = _name(extensions)
        fault = fault or _misuse(extensions)
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        UnsupportedAlgorithm,
    ):
        return _Read(PresentedCertificate(""), 0, 0, "the client's certificate cannot be read")
    # The second that the certificate names is still in its time (RFC 5280, section 4.1.2.5).
    return _Read(PresentedCertificate(name), _ns(not_before), _ns(not_after) + _SECOND, fault)


def _name(extensions: x509.Extensions) -> tuple[str, str]:
    """The SPIFFE ID, or why there is none."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "", "the client's certificate has no URI name (SAN)"
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(found) != 1:
        return "", f"the client's certificate must have exactly one URI name (SAN), and has {len(found)}"
    if fault := _fault_of(found[0]):
        return "", f"the URI name of the client's certificate is not the SPIFFE ID of a workload: {fault}"
    return found[0], ""


def _misuse(extensions: x509.Extensions) -> str:
    """The reason why a certificate is not for a client; empty if it is."""
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "the client's certificate is one of an authority"
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return "the client's certificate does not say what its key is for (key usage)"
    if usage.key_cert_sign or usage.crl_sign:
        return "the key of the client's certificate is one of an authority"
    return "" if usage.digital_signature else "the key of the client's certificate is not for digital signatures"


def _ns(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds()) * _SECOND
