"""Certificate authorities of tests, and the certificates that they sign: good ones, and bad ones of every kind."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "acme.example"
BOT, OTHER, REMOVED = (f"spiffe://{DOMAIN}/agents/{name}" for name in ("bot", "other", "removed"))


class Pair(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        none = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)

    def write(self, directory: Path, name: str, *chain: Pair) -> tuple[Path, Path]:
        """The certificate, followed by those of `chain`, and the key as two files."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        for path, text in ((certificate, b"".join(each.pem for each in (self, *chain))), (key, self.key_pem)):
            new = path.with_suffix(f"{path.suffix}.new")
            new.write_bytes(text)
            new.chmod(0o600)
            new.replace(path)
        return certificate, key


@dataclass(frozen=True)
class Authority:
    """One that signs certificates."""

    pair: Pair

    @classmethod
    def make(cls, name: str) -> Authority:
        return cls(issue(None, [], ca=True, usage=authority_usage(), common_name=name))

    def issue(self, *names: str | x509.GeneralName, **more: object) -> Pair:
        """A client's certificate for these names; a text is a URI."""
        return issue(self.pair, names, **more)  # type: ignore[arg-type]  # keywords pass through

    def server(self) -> Pair:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return issue(self.pair, names, extended=ExtendedKeyUsageOID.SERVER_AUTH, common_name="gateway")


def authority_usage() -> x509.KeyUsage:
    return _usage(certificate_sign=True)


def client_usage() -> x509.KeyUsage:
    return _usage(digital=True)


def issue(
    issuer: Pair | None,
    names: Iterator[str | x509.GeneralName] | list[x509.GeneralName] | tuple[str | x509.GeneralName, ...],
    *,
    ca: bool | None = False,
    usage: x509.KeyUsage | None = None,
    without_usage: bool = False,
    extended: x509.ObjectIdentifier | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
    common_name: str = "",
) -> Pair:
    """A certificate; without an issuer it signs itself. `ca` None leaves the basic constraints out."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or "agent")])
    now = datetime.now(UTC)
    parent = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.public_key()), critical=False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not without_usage:
        builder = builder.add_extension(usage or client_usage(), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
    uris = [_uri(each) if isinstance(each, str) else each for each in names]
    if uris:
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    return Pair(builder.sign(parent, hashes.SHA256()), key)


def bad_names() -> dict[str, tuple[str | x509.GeneralName, ...]]:
    """Names in a certificate of the right authority that are nobody's, each by what is wrong with it."""
    path = BOT.removeprefix("spiffe://")
    return {
        "no name at all": (),
        "two URIs": (BOT, OTHER),
        "the same URI twice": (BOT, BOT),
        "a URI of another kind beside it": (BOT, "https://acme.example/agents/bot"),
        "a DNS name only": (x509.DNSName("bot.acme.example"),),
        "the SPIFFE ID as a DNS name": (x509.DNSName(BOT),),
        "the SPIFFE ID as a mail address": (x509.RFC822Name(BOT),),
        "an https URI": (f"https://{path}",),
        "another trust domain": (BOT.replace(DOMAIN, "evil.example"),),
        "a trust domain that ends like it": (BOT.replace(DOMAIN, f"evil.{DOMAIN}"),),
        "a trust domain that begins like it": (BOT.replace(DOMAIN, f"{DOMAIN}.evil"),),
        "a final dot": (BOT.replace(DOMAIN, f"{DOMAIN}."),),
        "an upper-case scheme": (BOT.replace("spiffe", "SPIFFE"),),
        "an upper-case trust domain": (BOT.replace(DOMAIN, "Acme.example"),),
        "an upper-case path": (BOT.replace("bot", "Bot"),),
        "a slash at the end": (f"{BOT}/",),
        "an empty segment": (BOT.replace("/agents", "//agents"),),
        "no path": (f"spiffe://{DOMAIN}",),
        "an empty path": (f"spiffe://{DOMAIN}/",),
        "no trust domain": ("spiffe:///agents/bot",),
        "a dot segment": (BOT.replace("/bot", "/./bot"),),
        "a way up": (BOT.replace("/bot", "/other/../bot"),),
        "a percent escape": (BOT.replace("bot", "b%6ft"),),
        "an escaped slash": (BOT.replace("/bot", "%2fbot"),),
        "an escaped end": (f"{BOT}%00",),
        "a query": (f"{BOT}?x=1",),
        "an empty query": (f"{BOT}?",),
        "a fragment": (f"{BOT}#x",),
        "a port": (BOT.replace(DOMAIN, f"{DOMAIN}:443"),),
        "a user": (BOT.replace(DOMAIN, f"bot@{DOMAIN}"),),
        "a space before": (f" {BOT}",),
        "a space after": (f"{BOT} ",),
        "a line feed after": (f"{BOT}\n",),
        "a NUL after": (f"{BOT}\0",),
        "a backslash": (BOT.replace("/bot", "\\bot"),),
        "an asterisk": (BOT.replace("bot", "*"),),
        "one slash after the scheme": (BOT.replace("//", "/"),),
        "no scheme": (path,),
        "a prefix of it": (BOT[:-1],),
        "more than it": (f"{BOT}2",),
        "a child of it": (f"{BOT}/x",),
        "too long": (f"{BOT}/{'a' * 2048}",),
        "SQL": (f"{BOT}' OR '1'='1",),
        "an agent's name": ("spiffe://default/bot",),
        "a name that was taken away": (REMOVED,),
    }


def bad_forms(ours: Authority, theirs: Authority) -> dict[str, Pair]:
    """Certificates with the right name that must not count all the same."""
    middle = issue(ours.pair, [], ca=True, usage=authority_usage(), common_name="middle")
    leaf = ours.issue(BOT)
    return {
        "another authority": theirs.issue(BOT),
        "another authority of the same name": Authority.make("ours").issue(BOT),
        "it signs itself": issue(None, (BOT,)),
        "an authority that signs itself": issue(None, (BOT,), ca=True, usage=authority_usage()),
        "an authority below ours": ours.issue(BOT, ca=True, usage=authority_usage(), common_name="middle"),
        "an authority with a client's usage": ours.issue(BOT, ca=True),
        "signed by another client": issue(leaf, (BOT,)),
        "signed by an authority that is not sent": issue(middle, (BOT,)),
        "it may sign certificates": ours.issue(BOT, usage=_usage(digital=True, certificate_sign=True)),
        "it may sign lists": ours.issue(BOT, usage=_usage(digital=True, list_sign=True)),
        "not for signatures": ours.issue(BOT, usage=_usage(agreement=True)),
        "without a usage": ours.issue(BOT, without_usage=True),
        "for servers": ours.issue(BOT, extended=ExtendedKeyUsageOID.SERVER_AUTH),
        "for code": ours.issue(BOT, extended=ExtendedKeyUsageOID.CODE_SIGNING),
        "expired": ours.issue(BOT, begins=timedelta(days=-2), ends=timedelta(hours=-1)),
        "not valid yet": ours.issue(BOT, begins=timedelta(hours=1)),
    }


def _usage(
    *,
    digital: bool = False,
    certificate_sign: bool = False,
    list_sign: bool = False,
    agreement: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=agreement,
        key_cert_sign=certificate_sign,
        crl_sign=list_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)
