"""Names in certificates: whether one is a host's (RFC 6125 as Go reads it), and whether names keep to the constraints
that an issuer is under (RFC 5280 section 4.2.1.10). Names are the fields that `extensions` reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from policy_engine.builtins import uri
from policy_engine.values import Charge, Value

Fields: TypeAlias = dict[str, Value]


def host_matches(fields: Fields, host: str) -> bool:
    """True if a certificate is for a host: it has the address, or a DNS name that matches the name."""
    from ipaddress import ip_address

    literal = host[1:-1] if len(host) >= 3 and host.startswith("[") and host.endswith("]") else host
    try:
        address = str(ip_address(literal))
    except ValueError:
        return any(_dns_matches(pattern, host) for pattern in fields["DNSNames"] or ())
    return address in (fields["IPAddresses"] or ())


def _dns_matches(pattern: str, host: str) -> bool:
    """Equal label by label, in any case; the first label of the pattern may be `*`."""
    wanted = host.lower().removesuffix(".").split(".")
    given = pattern.lower().split(".")
    if not all(wanted) or not all(given) or len(wanted) != len(given):
        return pattern.lower() == host.lower() and bool(host)
    return given[1:] == wanted[1:] and given[0] in ("*", wanted[0])


def names_within(names: Fields, constraints: Fields, charge: Charge) -> bool:
    """True if the names of a certificate are all permitted, and none is excluded.

    Under constraints of any kind, a name that could not be compared with some (a URI without a host) is not within.
    """
    limits = [(constraints[f"Permitted{kind}"], constraints[f"Excluded{kind}"]) for _, kind, _ in _KINDS]
    if not any(permitted or excluded for permitted, excluded in limits):
        return True
    try:
        return all(
            _within(name, permitted, excluded, match, charge)
            for (of, _, match), (permitted, excluded) in zip(_KINDS, limits, strict=True)
            for name in names[of] or ()
        )
    except ValueError:
        return False


def _within(name: str, permitted: Any, excluded: Any, match: Callable[[str, Any], bool], charge: Charge) -> bool:
    charge(_STEPS * (len(permitted or ()) + len(excluded or ())))
    if match in (_mailbox_within, _uri_within):
        match(name, "")  # raises if it is not one to compare
    if any(match(name, constraint) or _wildcard_meets(name, constraint) for constraint in excluded or ()):
        return False
    return not permitted or any(match(name, constraint) for constraint in permitted)


_STEPS: Final = 4
"""Steps for comparing a name with a constraint."""


def _in_domain(name: str, constraint: str) -> bool:
    """A domain holds itself and everything below; one that begins with a dot only what is below."""
    if not constraint:
        return True
    below_only = constraint.startswith(".")
    labels = name.lower().removesuffix(".").split(".")
    domain = constraint.lower().removeprefix(".").split(".")
    if len(labels) < len(domain) or (below_only and len(labels) == len(domain)):
        return False
    return labels[len(labels) - len(domain) :] == domain


def _wildcard_meets(name: str, constraint: object) -> bool:
    """A wildcard stands for names that are excluded if the constraint is right below its domain."""
    if not isinstance(constraint, str) or not name.startswith("*."):
        return False
    return constraint.lower().removeprefix(".").partition(".")[2] == name[2:].lower()


def _mailbox_within(name: str, constraint: str) -> bool:
    local, at, domain = name.rpartition("@")
    if not at or not local or not domain:
        raise ValueError("no mailbox")
    wanted_local, wanted_at, wanted_domain = constraint.rpartition("@")
    if wanted_at:
        return local == wanted_local and domain.lower() == wanted_domain.lower()
    return _in_domain(domain, constraint)


def _uri_within(name: str, constraint: str) -> bool:
    from ipaddress import ip_address

    host = uri.split(name).hostname
    if not host:
        raise ValueError("no host")
    try:
        ip_address(host)
    except ValueError:
        return _in_domain(host, constraint)
    raise ValueError("an address cannot be compared with domains")


def _address_within(name: str, constraint: Any) -> bool:
    from binascii import a2b_base64
    from ipaddress import ip_address

    address, network, mask = (
        ip_address(name).packed,
        ip_address(constraint["IP"]).packed,
        a2b_base64(constraint["Mask"]),
    )
    if len(address) != len(network):
        return False
    return all(a & m == n & m for a, n, m in zip(address, network, mask, strict=True))


_KINDS: Final[tuple[tuple[str, str, Callable[[Any, Any], bool]], ...]] = (
    ("DNSNames", "DNSDomains", _in_domain),
    ("EmailAddresses", "EmailAddresses", _mailbox_within),
    ("URIStrings", "URIDomains", _uri_within),
    ("IPAddresses", "IPRanges", _address_within),
)
