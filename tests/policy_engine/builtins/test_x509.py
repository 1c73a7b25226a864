"""crypto.x509.* and crypto.parse_private_keys against the real OPA, with certificates made on the spot.

The texts of Go's ASN.1 reader are not reproduced: where OPA's message names it, only the error code has to agree.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import (
    AttributeOID,
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
    ObjectIdentifier,
)

from policy_engine.values import Set, Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import opa_outcome, outcome, verdict
from tests.policy_engine.rsa_keys import RSA, SMALL_RSA

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Extension = tuple[x509.ExtensionType, bool]

P256: Final = ec.generate_private_key(ec.SECP256R1())
P384: Final = ec.generate_private_key(ec.SECP384R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
KEYS: Final[tuple[Private, ...]] = (RSA, SMALL_RSA, P256, ED, P384)
CHAIN_KEYS: Final = [ec.generate_private_key(ec.SECP256R1()) for _ in range(5)]
LEAF_KEY: Final = ec.generate_private_key(ec.SECP256R1())

PARSE: Final = "crypto.x509.parse_certificates"
VERIFY: Final = "crypto.x509.parse_and_verify_certificates"
VERIFY_WITH: Final = "crypto.x509.parse_and_verify_certificates_with_options"
REQUEST: Final = "crypto.x509.parse_certificate_request"
KEYPAIR: Final = "crypto.x509.parse_keypair"
RSA_KEY: Final = "crypto.x509.parse_rsa_private_key"
PRIVATE_KEYS: Final = "crypto.parse_private_keys"

dns, mail, uri = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def network(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text))


def name(**attributes: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in attributes.items()])


def common(text: str) -> x509.Name:
    return name(COMMON_NAME=text)


FULL_NAME: Final = name(
    COUNTRY_NAME="US",
    ORGANIZATION_NAME="Ö & <Co>",
    ORGANIZATIONAL_UNIT_NAME="unit",
    COMMON_NAME="test",
    LOCALITY_NAME="town",
    STATE_OR_PROVINCE_NAME="state",
    STREET_ADDRESS="street",
    POSTAL_CODE="12",
    SERIAL_NUMBER="9",
    EMAIL_ADDRESS="a@b.example",
)


def certificate(
    key: Private,
    subject: x509.Name,
    extensions: Sequence[Extension] = (),
    issuer: tuple[Private, x509.Name] | None = None,
    serial: int = 5,
    start: int = 2020,
    end: int = 2040,
) -> x509.Certificate:
    signer, signer_name = issuer or (key, subject)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(signer_name).serial_number(serial)
    builder = builder.public_key(key.public_key()).not_valid_before(datetime.datetime(start, 1, 2, 3, 4, 5))
    builder = builder.not_valid_after(datetime.datetime(end, 1, 1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, _digest(signer))


def _digest(key: Private) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def pem(*parts: Any) -> str:
    return "".join(part.public_bytes(Encoding.PEM).decode() for part in parts)


def der(part: Any) -> str:
    return base64.b64encode(part.public_bytes(Encoding.DER)).decode()


def private_pem(key: Private, kind: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode()


def private_der(key: Private) -> str:
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def key_usage(*names: str) -> Extension:
    every = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    flags = {flag: flag in names for flag in f"{every} crl_sign encipher_only decipher_only".split()}
    return x509.KeyUsage(**flags), True


def authority(limit: int | None = None) -> Extension:
    return x509.BasicConstraints(True, limit), True


def constraints(permitted: Any = None, excluded: Any = None) -> Extension:
    return x509.NameConstraints(permitted, excluded), True


def names(*alternatives: x509.GeneralName) -> Extension:
    return x509.SubjectAlternativeName(alternatives), False


def purposes(*oids: ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage(oids), False


SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
CODE, ANY = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
UNKNOWN: Final[Extension] = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
FULL: Final[tuple[Extension, ...]] = (
    authority(3),
    key_usage("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign"),
    purposes(SERVER, CLIENT, ObjectIdentifier("1.2.3.4")),
    names(
        dns("a.example"),
        mail("x@y.example"),
        address("10.0.0.1"),
        address("::1"),
        uri("spiffe://domain/workload"),
        uri("https://u:p@h:1/p?q#f"),
    ),
    (x509.SubjectKeyIdentifier(b"\x01\x02"), False),
    (x509.AuthorityKeyIdentifier(b"\x03", None, None), False),
    (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri("http://ocsp.example")),
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri("http://ca.example")),
            ]
        ),
        False,
    ),
    (x509.CRLDistributionPoints([x509.DistributionPoint([uri("http://crl.example")], None, None, None)]), False),
    constraints(
        [dns(".ok.example"), network("10.0.0.0/8"), mail("ok.example"), uri(".u.example")], [dns("bad.example")]
    ),
    (
        x509.CertificatePolicies(
            [
                x509.PolicyInformation(ObjectIdentifier("1.2.3"), None),
                x509.PolicyInformation(ObjectIdentifier("2.5.29.32.0"), None),
            ]
        ),
        False,
    ),
    (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.9"), b"\x05\x00"), False),
)


def _certificates() -> Iterator[x509.Certificate]:
    yield certificate(RSA, FULL_NAME, FULL)
    yield certificate(ED, common("d"))
    yield certificate(P384, common("3"), [authority()])
    yield certificate(P256, common("e"), [(x509.BasicConstraints(False, None), True)])
    yield certificate(P256, common("e"), [authority(0)])
    yield certificate(P256, x509.Name([]), [UNKNOWN], serial=2**80)
    policies = (x509.PolicyConstraints(0, 3), True), (x509.InhibitAnyPolicy(0), True)
    yield certificate(
        P256, common("x"), [*policies, purposes(ANY), key_usage("content_commitment", "key_agreement", "encipher_only")]
    )
    odd = ("urn:a:b", "http://h/%41%2f?x", "http:/p", "https://h?", "spiffe://a/b%2Fc#x", "mailto:a@b")
    yield certificate(
        P256,
        common("x"),
        [names(*map(uri, odd)), (x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(FULL_NAME)], 5), False)],
    )


def _requests(key: Private) -> Iterator[x509.CertificateSigningRequest]:
    builder = x509.CertificateSigningRequestBuilder().subject_name(FULL_NAME)
    alternatives, _ = names(dns("a.b"), address("10.0.0.1"), mail("x@y.example"), uri("https://u:p@h:1/p?q#f"))
    usage, _ = key_usage("digital_signature", "key_cert_sign")
    for made in (
        builder,
        builder.add_extension(alternatives, False),
        builder.add_extension(authority(1)[0], True).add_extension(usage, False),
        builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"pw"),
    ):
        yield made.sign(key, _digest(key))


def _documents() -> Iterator[tuple[str, list[Value]]]:
    """Documents that are parsed without being verified, in PEM and DER, alone and several together."""
    made = list(_certificates())
    yield PARSE, [pem(*made)]
    for one in made:
        yield PARSE, [pem(one)]
        yield PARSE, [der(one)]
    for key in KEYS:
        kinds = [PrivateFormat.PKCS8] if key is ED else [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]
        for kind in kinds:
            text = private_pem(key, kind)
            for builtin in (PRIVATE_KEYS, RSA_KEY):
                for form in (text, base64.b64encode(text.encode()).decode(), text + private_pem(ED), text + "x"):
                    yield builtin, [form]
        own = certificate(key, common("k"))
        for other in (key, P256, ED):
            yield KEYPAIR, [pem(own, made[0]), private_pem(other)]
            yield KEYPAIR, [der(own), private_der(other)]
        for request in _requests(key):
            yield REQUEST, [pem(request)]
            yield REQUEST, [der(request)]


def _rubbish() -> Iterator[tuple[str, list[Value]]]:
    valid = pem(certificate(P256, common("e")))
    block = "-----BEGIN {0}-----\nAA==\n-----END {0}-----\n"
    texts: list[Value] = ["x", "", "eHh4", "-----BEGIN", block.format("XX"), block.format("CERTIFICATE"), 1]
    for text in [*texts, valid + "x", "x" + valid, block.format("PRIVATE KEY"), block.format("ENCRYPTED PRIVATE KEY")]:
        for builtin in (PARSE, VERIFY, REQUEST, PRIVATE_KEYS, RSA_KEY):
            yield builtin, [text]
        yield KEYPAIR, [text, text]
        yield KEYPAIR, [valid, text]
        yield VERIFY_WITH, [text, {}]


def chain(
    *intermediates: Sequence[Extension],
    root: Sequence[Extension] = (authority(),),
    leaf: Sequence[Extension] = (),
    dates: dict[str, dict[str, int]] | None = None,
) -> list[x509.Certificate]:
    """Root, intermediates (one plain authority unless given) and leaf; `dates` moves root, middle or leaf in time."""
    moved = dates or {}
    made = [certificate(CHAIN_KEYS[0], common("root"), root, **moved.get("root", {}))]
    issuer: tuple[Private, x509.Name] = (CHAIN_KEYS[0], common("root"))
    for position, extensions in enumerate(intermediates):
        key, subject = CHAIN_KEYS[position + 1], common(f"middle {position}")
        made.append(certificate(key, subject, extensions, issuer, **moved.get("middle", {})))
        issuer = key, subject
    made.append(certificate(LEAF_KEY, common("leaf"), leaf, issuer, **moved.get("leaf", {})))
    return made


CA: Final = (authority(),)


def _chains() -> Iterator[list[x509.Certificate]]:
    yield chain()
    yield chain(())
    yield from (chain(CA, root=root) for root in ((), ((x509.BasicConstraints(False, None), True),)))
    yield from (chain(CA, root=(authority(limit),)) for limit in (0, 1))
    yield from (chain((authority(limit),), CA) for limit in (0, 1))
    yield chain(CA, CA, CA)
    yield from (chain((authority(), key_usage(usage))) for usage in ("crl_sign", "key_cert_sign"))
    yield chain(CA, root=(authority(), key_usage("crl_sign")))
    for oids in ((SERVER,), (CLIENT,), (ANY,), (CODE, CLIENT), (ObjectIdentifier("1.2.3"),)):
        yield chain(CA, leaf=(purposes(*oids),))
    yield from (chain((authority(), purposes(oid)), leaf=(purposes(SERVER, CLIENT),)) for oid in (CLIENT, SERVER))
    yield chain(CA, root=(authority(), purposes(CLIENT)), leaf=(purposes(SERVER),))
    yield from (chain(CA, dates={place: {"end": 2021}}) for place in ("root", "middle", "leaf"))
    yield chain(CA, dates={"leaf": {"start": 2039}})
    yield chain(CA, leaf=(UNKNOWN,))
    yield chain((authority(), UNKNOWN))
    yield chain(CA, root=(authority(), constraints([dns("ok.example")])), leaf=(names(dns("bad.example")),))
    yield chain((authority(), constraints([dns("ok.example")])))


def _constrained_chains() -> Iterator[list[x509.Certificate]]:
    """Every sort of name constraint against every sort of name."""
    subjects = [dns(text) for text in ("a.ok.example", "ok.example", "bad.example", "*.ok.example", "*.example")]
    subjects += [address(text) for text in ("10.1.1.1", "11.1.1.1", "::1")]
    subjects += [mail(text) for text in ("x@ok.example", "x@a.ok.example", "y@bad.example")]
    subjects += [uri(f"https://{host}/") for host in ("a.ok.example", "bad.example:8", "10.0.0.1")]
    subjects += [uri("urn:x")]
    permitted = [dns("ok.example"), dns(".ok.example"), dns(""), dns("OK.example"), network("10.0.0.0/8")]
    permitted += [mail("ok.example"), mail(".ok.example"), mail("x@ok.example"), uri("ok.example"), uri(".ok.example")]
    excluded = [dns("bad.example"), dns("a.ok.example"), dns("foo.ok.example"), network("10.0.0.0/8")]
    excluded += [mail("bad.example"), uri("bad.example")]
    for constraint in [constraints([one]) for one in permitted] + [constraints(None, [one]) for one in excluded]:
        for subject in subjects:
            yield chain((authority(), constraint), leaf=(names(subject),))


def _orders() -> Iterator[list[x509.Certificate]]:
    """The first certificate is the root and the last the leaf, whatever lies between; so order matters."""
    root, middle, leaf = chain(CA)
    yield from ([root], [root, leaf], [middle, leaf], [leaf, middle, root], [root, root], [leaf, leaf])
    yield from ([root, leaf, middle], [root, middle], [root, middle, middle, leaf], [middle, root, leaf])
    yield [certificate(P256, common("root"), CA), middle, leaf]
    again = [
        certificate(CHAIN_KEYS[1], common("middle 0"), CA, (CHAIN_KEYS[0], common("root")), serial=100 + number)
        for number in range(30)
    ]
    yield [root, *again, leaf]


def _with_options() -> Iterator[list[Value]]:
    subjects = names(dns("a.example"), dns("*.w.example"), address("10.0.0.1"), address("::1"), dns("UP.example"))
    named = pem(*chain(CA, leaf=(subjects,)))
    for host in (
        *("a.example", "A.EXAMPLE", "b.example", "x.w.example", "w.example", "x.y.w.example", "10.0.0.1", "10.0.0.2"),
        *("[::1]", "::1", "a.example.", "", "*.w.example", "up.example", "a..example", '"a.example"', "-"),
    ):
        yield [named, {"DNSName": host}]
    second = 10**9
    options: list[Value] = [{}, {"DNSName": 1}, {"x": 1}, {1: 2}, 1]
    options += [{"CurrentTime": when} for when in (15 * 10**8 * second, 19 * 10**8 * second, 25 * 10**8 * second)]
    options += [{"CurrentTime": when} for when in ("x", 1.5)]
    options += [{"MaxConstraintComparisons": number} for number in (5, "x", 1.5)]
    options += [{"KeyUsages": usages} for usages in (["KeyUsageAny"], ["KeyUsageClientAuth"], ["x", "KeyUsageAny"])]
    options += [{"KeyUsages": usages} for usages in (1, [1], [], Set(["KeyUsageCodeSigning"]))]
    bundles = [pem(*chain(CA)), *(pem(*chain(CA, leaf=(purposes(*oids),))) for oids in ((CLIENT,), (CODE, CLIENT)))]
    for option in options:
        for bundle in (*bundles, "x"):
            yield [bundle, option]


def check(oracle: Oracle, cases: Iterator[tuple[str, list[Value]]]) -> None:
    differ = []
    for builtin, args in cases:
        got, expected = verdict(builtin, *args), opa_outcome(oracle.call(builtin, *args))
        if "asn1" in expected:
            got, expected = got.partition(":")[0], expected.partition(":")[0]
        if got != expected:
            differ.append((builtin, args, got, expected))
    assert differ == []


def test_documents_are_read_as_opa_reads_them(oracle: Oracle) -> None:
    check(oracle, _documents())


def test_rubbish_is_refused_with_opas_words(oracle: Oracle) -> None:
    check(oracle, _rubbish())


def test_chains_are_verified_as_opa_verifies_them(oracle: Oracle) -> None:
    check(oracle, ((VERIFY, [pem(*made)]) for made in (*_chains(), *_orders())))


def test_name_constraints_bind_as_in_opa(oracle: Oracle) -> None:
    check(oracle, ((VERIFY, [pem(*made)]) for made in _constrained_chains()))


def test_verification_options_are_those_of_opa(oracle: Oracle) -> None:
    check(oracle, ((VERIFY_WITH, args) for args in _with_options()))


@pytest.mark.parametrize("place", ["root", "middle", "leaf"])
def test_a_certificate_whose_signature_was_touched_is_not_trusted(place: str) -> None:
    made = chain(CA)
    position = {"root": 0, "middle": 1, "leaf": 2}[place]
    octets = bytearray(made[position].public_bytes(Encoding.DER))
    octets[-1] ^= 1
    made[position] = x509.load_der_x509_certificate(bytes(octets))
    trusted = outcome(VERIFY, pem(*made)).startswith("[[true")
    assert trusted == (place == "root"), "a root is trusted because it was named, not because it signed itself"
