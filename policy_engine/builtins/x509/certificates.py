"""Certificates and signing requests as the JSON that Go makes of its structures, which is what policies see in OPA.

The certificate is parsed by the cryptography library; only what has to be raw (names, keys, extensions' values) is cut
out of the DER by hand. `Malformed` covers what the library refuses; nothing else is raised.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Final

from policy_engine.builtins.operands import charged
from policy_engine.builtins.table import Context
from policy_engine.builtins.x509 import der
from policy_engine.builtins.x509.extensions import NO_EXTENSIONS, alternative_names, b64, oid_numbers, read
from policy_engine.values import Value

if TYPE_CHECKING:
    from cryptography import x509


class Malformed(ValueError):
    """Octets that are no certificate, request or key."""


def certificates(ctx: Context, octets: bytes) -> list[x509.Certificate]:
    """Certificates in DER, one behind the other."""
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            # The library announces that it will refuse certificates with a serial number of zero. Until then a policy
            # may look at them, as in OPA, and standard error is no place to tell it.
            warnings.simplefilter("ignore")
            found = charged(ctx, der.each(octets), lambda node: _STEPS + len(node.raw) // _OCTETS_PER_STEP)
            return [x509.load_der_x509_certificate(node.raw) for node in found]
    except ValueError:
        raise Malformed("x509: malformed certificate") from None


_STEPS: Final = 8
"""Steps for loading a certificate."""

_OCTETS_PER_STEP: Final = 16
"""Octets of a certificate that are written as JSON in one step."""


def certificate_json(ctx: Context, certificate: x509.Certificate, *, with_uri_strings: bool = True) -> Value:
    ctx.charge(len(_encoded(certificate)) // _OCTETS_PER_STEP)
    try:
        return _certificate_json(certificate, with_uri_strings)
    except (ValueError, TypeError):  # the library parses extensions late
        raise Malformed("x509: malformed certificate") from None


def _certificate_json(certificate: x509.Certificate, with_uri_strings: bool) -> Value:
    tbs = der.nodes(certificate.tbs_certificate_bytes)[0]
    parts = der.nodes(tbs.content)
    # The version, if it is there, comes first with a tag of its own; then serial number, algorithm, issuer, validity.
    serial, _, issuer, _, subject, key_info, *optional = parts[1:] if parts[0].tag == 0xA0 else parts
    raw_extensions = [node for node in optional if node.tag == 0xA3]
    result: dict[str, Value] = {
        "Raw": b64(_encoded(certificate)),
        "RawTBSCertificate": b64(tbs.raw),
        "RawSubjectPublicKeyInfo": b64(key_info.raw),
        "RawSubject": b64(subject.raw),
        "RawIssuer": b64(issuer.raw),
        "Signature": b64(certificate.signature),
        "SignatureAlgorithm": _signature_algorithm(certificate),
        **public_key_json(certificate),
        "Version": certificate.version.value + 1,
        "SerialNumber": int.from_bytes(serial.content, "big", signed=True),
        "Issuer": _name(certificate.issuer),
        "Subject": _name(certificate.subject),
        "NotBefore": _time(certificate.not_valid_before_utc),
        "NotAfter": _time(certificate.not_valid_after_utc),
        "Extensions": _raw_extensions(raw_extensions[0].content) if raw_extensions else None,
        "ExtraExtensions": None,
    }
    fields, unhandled = extension_fields(certificate)
    result.update(fields)
    result["UnhandledCriticalExtensions"] = unhandled or None
    if not with_uri_strings:
        del result["URIStrings"]
    return result


def extension_fields(certificate: x509.Certificate) -> tuple[dict[str, Value], list[Value]]:
    """The fields of all extensions, and the critical extensions that are not understood. Raises `ValueError`."""
    fields = dict(NO_EXTENSIONS)
    unhandled: list[Value] = []
    for extension in certificate.extensions:
        said = read(extension)
        if said is not None:
            fields.update(said)
        elif extension.critical:
            unhandled.append(oid_numbers(extension.oid))
    return fields, unhandled


def _encoded(certificate: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


_SIGNATURE_ALGORITHMS: Final = {
    "1.2.840.113549.1.1.2": 1, "1.2.840.113549.1.1.4": 2, "1.2.840.113549.1.1.5": 3, "1.2.840.113549.1.1.11": 4,
    "1.2.840.113549.1.1.12": 5, "1.2.840.113549.1.1.13": 6, "1.2.840.10040.4.3": 7, "2.16.840.1.101.3.4.3.2": 8,
    "1.2.840.10045.4.1": 9, "1.2.840.10045.4.3.2": 10, "1.2.840.10045.4.3.3": 11, "1.2.840.10045.4.3.4": 12,
    "1.3.101.112": 16,
}  # fmt: skip
"""Go's numbers (x509.SignatureAlgorithm)."""


def _signature_algorithm(signed: x509.Certificate | x509.CertificateSigningRequest) -> int:
    oid = signed.signature_algorithm_oid.dotted_string
    if oid == "1.2.840.113549.1.1.10":  # RSASSA-PSS
        digest = signed.signature_hash_algorithm
        return {"sha256": 13, "sha384": 14, "sha512": 15}.get(digest.name if digest else "", 0)
    return _SIGNATURE_ALGORITHMS.get(oid, 0)


def public_key_json(holder: x509.Certificate | x509.CertificateSigningRequest) -> dict[str, Value]:
    """`PublicKeyAlgorithm` and `PublicKey`; 0 and null for a kind that Go does not know."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

    algorithm: int
    shown: Value
    try:
        key = holder.public_key()
    except UnsupportedAlgorithm:
        key = None
    if isinstance(key, rsa.RSAPublicKey):
        algorithm, shown = 1, {"N": key.public_numbers().n, "E": key.public_numbers().e}
    elif isinstance(key, dsa.DSAPublicKey):
        domain = key.public_numbers().parameter_numbers
        algorithm, shown = 2, {"P": domain.p, "Q": domain.q, "G": domain.g, "Y": key.public_numbers().y}
    elif isinstance(key, ec.EllipticCurvePublicKey):
        algorithm, shown = 3, {"Curve": {}, "X": key.public_numbers().x, "Y": key.public_numbers().y}
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm, shown = 4, b64(key.public_bytes_raw())
    else:
        algorithm, shown = 0, None
    return {"PublicKeyAlgorithm": algorithm, "PublicKey": shown}


_NAME_FIELDS: Final = {
    "2.5.4.6": "Country",
    "2.5.4.7": "Locality",
    "2.5.4.8": "Province",
    "2.5.4.9": "StreetAddress",
    "2.5.4.10": "Organization",
    "2.5.4.11": "OrganizationalUnit",
    "2.5.4.17": "PostalCode",
}


def _name(name: x509.Name) -> Value:
    """A distinguished name: the well-known attributes by name, and all of them in order."""
    result: dict[str, Value] = dict.fromkeys((*_NAME_FIELDS.values(), "ExtraNames"))
    result.update(SerialNumber="", CommonName="")
    names: list[Value] = []
    for attribute in name:
        oid = attribute.oid.dotted_string
        value = attribute.value if isinstance(attribute.value, str) else b64(attribute.value)
        names.append({"Type": oid_numbers(attribute.oid), "Value": value})
        if oid == "2.5.4.3":
            result["CommonName"] = value
        elif oid == "2.5.4.5":
            result["SerialNumber"] = value
        elif oid in _NAME_FIELDS:
            result[_NAME_FIELDS[oid]] = [*(result[_NAME_FIELDS[oid]] or []), value]
    return {**result, "Names": names or None}


def _raw_extensions(content: bytes) -> Value:
    """The extensions as they are: id, criticality, value."""
    shown: list[Value] = []
    for extension in der.nodes(der.nodes(content)[0].content):
        oid, *rest = der.nodes(extension.content)
        critical = rest[0].tag == der.BOOLEAN and rest[0].content != b"\0"
        shown.append({"Id": der.oid_numbers(oid.content), "Critical": critical, "Value": b64(rest[-1].content)})
    return shown


def request(octets: bytes) -> x509.CertificateSigningRequest:
    """A signing request in DER."""
    from cryptography import x509

    try:
        return x509.load_der_x509_csr(octets)
    except ValueError:
        raise Malformed("asn1: structure error") from None


def request_json(signing_request: x509.CertificateSigningRequest) -> Value:
    try:
        return _request_json(signing_request)
    except (ValueError, TypeError):
        raise Malformed("asn1: structure error") from None


def _request_json(signing_request: x509.CertificateSigningRequest) -> Value:
    tbs = der.nodes(signing_request.tbs_certrequest_bytes)[0]
    version, subject, key_info, *attributes = der.nodes(tbs.content)
    names: dict[str, Value] = dict.fromkeys(("DNSNames", "EmailAddresses", "IPAddresses", "URIs"))
    for extension in signing_request.extensions:
        if extension.oid.dotted_string == "2.5.29.17":
            names = alternative_names(extension)
            del names["URIStrings"]
    wanted = _requested_extensions(attributes[0].content) if attributes else None
    return {
        "Raw": b64(_encoded(signing_request)),
        "RawTBSCertificateRequest": b64(tbs.raw),
        "RawSubjectPublicKeyInfo": b64(key_info.raw),
        "RawSubject": b64(subject.raw),
        "Version": int.from_bytes(version.content, "big"),
        "Signature": b64(signing_request.signature),
        "SignatureAlgorithm": _signature_algorithm(signing_request),
        **public_key_json(signing_request),
        "Subject": _name(signing_request.subject),
        "Attributes": _attributes(attributes[0].content) if attributes else None,
        "Extensions": wanted,
        "ExtraExtensions": None,
        **names,
    }


_EXTENSION_REQUEST: Final = [1, 2, 840, 113549, 1, 9, 14]


def _requested_extensions(content: bytes) -> Value:
    for attribute in der.nodes(content):
        oid, values = der.nodes(attribute.content)
        if der.oid_numbers(oid.content) == _EXTENSION_REQUEST:
            return _raw_extensions(values.content) or None
    return None


def _attributes(content: bytes) -> Value:
    """The attributes that are lists of lists of id and value, as the request for extensions is; Go skips all others."""
    shown: list[Value] = []
    for attribute in der.nodes(content):
        oid, values = der.nodes(attribute.content)
        try:
            pairs = [[_pair(pair) for pair in der.nodes(value.content)] for value in der.nodes(values.content)]
        except (der.DERError, ValueError):
            continue
        shown.append({"Type": der.oid_numbers(oid.content), "Value": pairs})
    return shown or None


def _pair(node: der.DerNode) -> Value:
    if node.tag != der.SEQUENCE:
        raise der.DERError("asn1: structure error")
    oid, value, *_ = der.nodes(node.content)
    if oid.tag != der.OID:
        raise der.DERError("asn1: structure error")
    shown: Value = value.content != b"\0" if value.tag == der.BOOLEAN else b64(value.content)
    return {"Type": der.oid_numbers(oid.content), "Value": shown}
