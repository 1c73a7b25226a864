"""The fields that Go reads out of each extension of a certificate (RFC 5280 section 4.2)."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins import uri
from policy_engine.builtins.octets import from_bytes
from policy_engine.values import Value

if TYPE_CHECKING:
    from cryptography import x509

_NULLS: Final = (
    *("AuthorityKeyId", "CRLDistributionPoints", "DNSNames", "EmailAddresses", "IPAddresses", "URIs", "URIStrings"),
    *("ExcludedDNSDomains", "ExcludedEmailAddresses", "ExcludedIPRanges", "ExcludedURIDomains", "ExtKeyUsage"),
    *("PermittedDNSDomains", "PermittedEmailAddresses", "PermittedIPRanges", "PermittedURIDomains"),
    *("IssuingCertificateURL", "OCSPServer", "Policies", "PolicyIdentifiers", "PolicyMappings", "SubjectKeyId"),
    "UnknownExtKeyUsage",
)
_ZEROES: Final = ("InhibitAnyPolicy", "InhibitPolicyMapping", "RequireExplicitPolicy", "MaxPathLen", "KeyUsage")
_FALSES: Final = (
    *("InhibitAnyPolicyZero", "InhibitPolicyMappingZero", "RequireExplicitPolicyZero", "MaxPathLenZero"),
    *("BasicConstraintsValid", "IsCA", "PermittedDNSDomainsCritical"),
)
NO_EXTENSIONS: Final[dict[str, Value]] = {
    **dict.fromkeys(_NULLS),
    **dict.fromkeys(_ZEROES, 0),
    **dict.fromkeys(_FALSES, False),
}
"""The fields of a certificate without extensions."""


def b64(octets: bytes) -> str:
    return binascii.b2a_base64(octets, newline=False).decode()


def oid_numbers(oid: x509.ObjectIdentifier) -> list[int]:
    return [int(number) for number in oid.dotted_string.split(".")]


def read(extension: x509.Extension[Any]) -> dict[str, Value] | None:
    """The fields that an extension sets; None if Go does not know it."""
    reader = _READERS.get(extension.oid.dotted_string)
    return None if reader is None else reader(extension)


def _basic_constraints(extension: x509.Extension[x509.BasicConstraints]) -> dict[str, Value]:
    length = extension.value.path_length
    return {
        "BasicConstraintsValid": True,
        "IsCA": extension.value.ca,
        "MaxPathLen": -1 if length is None else length,
        "MaxPathLenZero": length == 0,
    }


def _key_usage(extension: x509.Extension[x509.KeyUsage]) -> dict[str, Value]:
    usage = extension.value
    bits = [
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        usage.key_agreement,
        usage.key_cert_sign,
        usage.crl_sign,
        usage.key_agreement and usage.encipher_only,
        usage.key_agreement and usage.decipher_only,
    ]
    return {"KeyUsage": sum(1 << place for place, bit in enumerate(bits) if bit)}


_EXTENDED_KEY_USAGES: Final = {
    "2.5.29.37.0": 0, "1.3.6.1.5.5.7.3.1": 1, "1.3.6.1.5.5.7.3.2": 2, "1.3.6.1.5.5.7.3.3": 3,
    "1.3.6.1.5.5.7.3.4": 4, "1.3.6.1.5.5.7.3.5": 5, "1.3.6.1.5.5.7.3.6": 6, "1.3.6.1.5.5.7.3.7": 7,
    "1.3.6.1.5.5.7.3.8": 8, "1.3.6.1.5.5.7.3.9": 9, "1.3.6.1.4.1.311.10.3.3": 10, "2.16.840.1.113730.4.1": 11,
    "1.3.6.1.4.1.311.2.1.22": 12, "1.3.6.1.4.1.311.61.1.1": 13,
}  # fmt: skip
"""Go's numbers (x509.ExtKeyUsage); 0 is any usage."""


def _extended_key_usage(extension: x509.Extension[x509.ExtendedKeyUsage]) -> dict[str, Value]:
    known = [_EXTENDED_KEY_USAGES[o.dotted_string] for o in extension.value if o.dotted_string in _EXTENDED_KEY_USAGES]
    unknown = [oid_numbers(oid) for oid in extension.value if oid.dotted_string not in _EXTENDED_KEY_USAGES]
    return {"ExtKeyUsage": known or None, "UnknownExtKeyUsage": unknown or None}


def alternative_names(extension: x509.Extension[x509.SubjectAlternativeName]) -> dict[str, Value]:
    """The names by kind. Raises `ValueError` for a URI that is none."""
    from cryptography import x509

    uris = [name.value for name in extension.value if isinstance(name, x509.UniformResourceIdentifier)]
    return {
        "DNSNames": _values(extension.value, x509.DNSName),
        "EmailAddresses": _values(extension.value, x509.RFC822Name),
        "IPAddresses": [str(name.value) for name in extension.value if isinstance(name, x509.IPAddress)] or None,
        "URIs": [_url(text) for text in uris] or None,
        "URIStrings": uris or None,
    }


def _values(names: Iterable[x509.GeneralName], kind: type) -> Value:
    return [name.value for name in names if isinstance(name, kind)] or None


def _url(text: str) -> Value:
    """A URL as Go holds it (net/url.URL)."""
    parts = uri.split(text)
    raw = {
        "Scheme": parts.scheme,
        "Opaque": parts.opaque,
        "Host": parts.host,
        "Path": parts.path,
        "RawPath": parts.raw_path,
        "RawQuery": parts.query,
        "Fragment": parts.fragment,
        "RawFragment": "",
    }
    shown: dict[str, Value] = {name: from_bytes(part.encode("latin-1")) for name, part in raw.items()}
    has_authority = text.partition(":")[2].startswith("//")
    return {
        **shown,
        "User": None if parts.user is None else {},
        "ForceQuery": not parts.query and "?" in text.partition("#")[0],
        "OmitHost": bool(parts.scheme) and parts.path.startswith("/") and not has_authority,
    }


def _subject_key(extension: x509.Extension[x509.SubjectKeyIdentifier]) -> dict[str, Value]:
    return {"SubjectKeyId": b64(extension.value.digest)}


def _authority_key(extension: x509.Extension[x509.AuthorityKeyIdentifier]) -> dict[str, Value]:
    identifier = extension.value.key_identifier
    return {"AuthorityKeyId": None if identifier is None else b64(identifier)}


def _authority_information(extension: x509.Extension[x509.AuthorityInformationAccess]) -> dict[str, Value]:
    from cryptography import x509

    def locations(method: str) -> Value:
        return [
            description.access_location.value
            for description in extension.value
            if description.access_method.dotted_string == method
            and isinstance(description.access_location, x509.UniformResourceIdentifier)
        ] or None

    return {"OCSPServer": locations("1.3.6.1.5.5.7.48.1"), "IssuingCertificateURL": locations("1.3.6.1.5.5.7.48.2")}


def _revocation_lists(extension: x509.Extension[x509.CRLDistributionPoints]) -> dict[str, Value]:
    from cryptography import x509

    points = [
        name.value
        for point in extension.value
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    return {"CRLDistributionPoints": points or None}


def _name_constraints(extension: x509.Extension[x509.NameConstraints]) -> dict[str, Value]:
    from ipaddress import IPv4Network, IPv6Network

    from cryptography import x509

    result: dict[str, Value] = {"PermittedDNSDomainsCritical": extension.critical}
    sides = {"Permitted": extension.value.permitted_subtrees or (), "Excluded": extension.value.excluded_subtrees or ()}
    for side, names in sides.items():
        result[f"{side}DNSDomains"] = _values(names, x509.DNSName)
        result[f"{side}EmailAddresses"] = _values(names, x509.RFC822Name)
        result[f"{side}URIDomains"] = _values(names, x509.UniformResourceIdentifier)
        ranges = [name.value for name in names if isinstance(name, x509.IPAddress)]
        result[f"{side}IPRanges"] = [
            {"IP": str(one.network_address), "Mask": b64(one.netmask.packed)}
            for one in ranges
            if isinstance(one, (IPv4Network, IPv6Network))
        ] or None
    return result


def _policies(extension: x509.Extension[x509.CertificatePolicies]) -> dict[str, Value]:
    identifiers = [information.policy_identifier for information in extension.value]
    return {
        "Policies": [identifier.dotted_string for identifier in identifiers] or None,
        "PolicyIdentifiers": [oid_numbers(identifier) for identifier in identifiers] or None,
    }


def _policy_constraints(extension: x509.Extension[x509.PolicyConstraints]) -> dict[str, Value]:
    explicit, mapping = extension.value.require_explicit_policy, extension.value.inhibit_policy_mapping
    return {
        "RequireExplicitPolicy": explicit or 0,
        "RequireExplicitPolicyZero": explicit == 0,
        "InhibitPolicyMapping": mapping or 0,
        "InhibitPolicyMappingZero": mapping == 0,
    }


def _inhibit_any_policy(extension: x509.Extension[x509.InhibitAnyPolicy]) -> dict[str, Value]:
    return {"InhibitAnyPolicy": extension.value.skip_certs, "InhibitAnyPolicyZero": extension.value.skip_certs == 0}


_READERS: Final[dict[str, Callable[[Any], dict[str, Value]]]] = {
    "2.5.29.14": _subject_key,
    "2.5.29.15": _key_usage,
    "2.5.29.17": alternative_names,
    "2.5.29.19": _basic_constraints,
    "2.5.29.30": _name_constraints,
    "2.5.29.31": _revocation_lists,
    "2.5.29.32": _policies,
    "2.5.29.35": _authority_key,
    "2.5.29.36": _policy_constraints,
    "2.5.29.37": _extended_key_usage,
    "2.5.29.54": _inhibit_any_policy,
    "1.3.6.1.5.5.7.1.1": _authority_information,
}
