"""Verification of a chain of certificates (RFC 5280 section 6), as Go's `crypto/x509` does it.

The first certificate is trusted, the last is to be verified, those between may help. Time is the query's clock. Not
checked, as in Go: revocation. Not checked, unlike in Go: certificate policies, which OPA cannot ask for either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins.operands import NUMBERS, charged, int64, shown
from policy_engine.builtins.table import Context
from policy_engine.builtins.x509.certificates import Malformed, extension_fields
from policy_engine.builtins.x509.names import host_matches, names_within
from policy_engine.values import Set, Value, sorted_items

if TYPE_CHECKING:
    from cryptography import x509

MAX_SIGNATURES: Final = 100
"""Go gives up a search for a chain after so many signatures."""

_STEPS_PER_SIGNATURE: Final = 200
_STEPS_PER_CERTIFICATE: Final = 100

_ANY_USAGE: Final = 0
_SERVER_AUTHENTICATION: Final = 1

_USAGES: Final = {
    "KeyUsageAny": 0,
    "KeyUsageServerAuth": 1,
    "KeyUsageClientAuth": 2,
    "KeyUsageCodeSigning": 3,
    "KeyUsageEmailProtection": 4,
    "KeyUsageIPSECEndSystem": 5,
    "KeyUsageIPSECTunnel": 6,
    "KeyUsageIPSECUser": 7,
    "KeyUsageTimeStamping": 8,
    "KeyUsageOCSPSigning": 9,
    "KeyUsageMicrosoftServerGatedCrypto": 10,
    "KeyUsageNetscapeServerGatedCrypto": 11,
    "KeyUsageMicrosoftCommercialCodeSigning": 12,
    "KeyUsageMicrosoftKernelCodeSigning": 13,
}


class OptionError(ValueError):
    """An option that is none, or of a wrong type."""


@dataclass(slots=True)
class ChainOptions:
    """The demands that a policy can make of a chain."""

    host: str = ""
    time_ns: int | None = None
    usages: tuple[int, ...] = ()

    @classmethod
    def read(cls, ctx: Context, options: dict[Any, Value]) -> ChainOptions:
        self = cls()
        for name, value in charged(ctx, sorted_items(options, ctx.charge)):
            if name == "DNSName":
                if value.__class__ is not str:
                    raise OptionError("'DNSName' should be a string")
                self.host = value.strip('"')
            elif name == "CurrentTime":
                self.time_ns = _integer(value, name, "a valid int64 number")
            elif name == "MaxConstraintComparisons":
                # Only bounds Go's work; the work here is bounded by the sizes of the certificates.
                _integer(value, name, "a valid number")
            elif name == "KeyUsages":
                self.usages = _usages(ctx, value)
            elif name.__class__ is str:
                raise OptionError("invalid key option")
        return self


def _integer(value: Value, name: str, what: str) -> int:
    if value.__class__ not in NUMBERS:
        raise OptionError(f"'{name}' should be a number")
    integer = int64(value)
    if integer is None:
        raise OptionError(f"'{name}' should be {what}")
    return integer


def _usages(ctx: Context, value: Value) -> tuple[int, ...]:
    if not isinstance(value, (list, Set)):
        raise OptionError("'KeyUsages' should be an Array or Set")
    items: list[Value] = value if isinstance(value, list) else value.sorted(ctx.charge)
    names = [item.strip('"') for item in charged(ctx, items) if item.__class__ is str]
    wrong = [name for name in names if name not in _USAGES]
    if wrong:
        raise OptionError(f"'KeyUsages' has the unknown entry {shown(wrong[0])}")
    return tuple(_USAGES[name] for name in names)


def verified_chain(
    ctx: Context, certificates: list[x509.Certificate], options: ChainOptions
) -> list[x509.Certificate] | None:
    """The first chain that holds, from the leaf to the root, None if there is none."""
    if len(certificates) < 2:
        return None
    time_ns = ctx.now_ns() if options.time_ns is None else options.time_ns
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)
    root, *middle, leaf = [_Certificate(one) for one in charged(ctx, certificates, lambda _: _STEPS_PER_CERTIFICATE)]
    search = _Search(ctx, [root], middle, now)
    if not search.valid(leaf, []) or (options.host and not host_matches(leaf.fields, options.host)):
        return None
    usages = options.usages or (_SERVER_AUTHENTICATION,)
    chains = iter([[leaf]]) if leaf.certificate == root.certificate else search.chains([leaf])
    try:
        for chain in chains:
            if _ANY_USAGE in usages or _usable(chain, usages):
                return [link.certificate for link in chain]
    except _TooManySignatures:
        pass
    return None


class _TooManySignatures(Exception):
    pass


class _Certificate:
    """A certificate and what its extensions say."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        try:
            self.fields, self.unhandled = extension_fields(certificate)
            self.subject, self.issuer = certificate.subject.public_bytes(), certificate.issuer.public_bytes()
        except (ValueError, TypeError):
            raise Malformed("x509: malformed certificate") from None

    def may_issue(self) -> bool:
        fields = self.fields
        old = self.certificate.version.value + 1 != 3  # certificates before version 3 have no extensions
        allowed = fields["IsCA"] if fields["BasicConstraintsValid"] else old
        return bool(allowed and (not fields["KeyUsage"] or fields["KeyUsage"] & _CERTIFICATE_SIGNING))

    def signed(self, other: _Certificate) -> bool:
        """True if this certificate's key has signed the other. Signatures with broken hashes do not count."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

        try:
            digest = other.certificate.signature_hash_algorithm
            if digest is not None and digest.name in ("md5", "sha1"):
                return False
            other.certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True

    def same_entity(self, other: _Certificate) -> bool:
        """The same subject and key; a chain never needs it twice."""
        return self.subject == other.subject and self.certificate.public_key() == other.certificate.public_key()


_CERTIFICATE_SIGNING: Final = 32


class _Search:
    """Looks for chains, depth first, trusted certificates before others."""

    def __init__(self, ctx: Context, roots: list[_Certificate], middle: list[_Certificate], now: datetime) -> None:
        self.ctx = ctx
        self.roots = roots
        self.middle = middle
        self.now = now
        self.signatures = 0

    def chains(self, chain: list[_Certificate]) -> Iterator[list[_Certificate]]:
        """Every chain that begins like this. Each link costs a signature, so the depth is limited with them."""
        for root in self.roots:
            if self._issues(root, chain) and self.valid(root, chain):
                yield [*chain, root]
        for issuer in self.middle:
            if self._issues(issuer, chain) and issuer.fields["IsCA"] and self.valid(issuer, chain):
                yield from self.chains([*chain, issuer])

    def _issues(self, issuer: _Certificate, chain: list[_Certificate]) -> bool:
        self.ctx.charge(1)
        if issuer.subject != chain[-1].issuer or any(issuer.same_entity(link) for link in chain):
            return False
        self.ctx.charge(_STEPS_PER_SIGNATURE)
        self.signatures += 1
        if self.signatures > MAX_SIGNATURES:
            raise _TooManySignatures
        return issuer.may_issue() and issuer.signed(chain[-1])

    def valid(self, certificate: _Certificate, below: list[_Certificate]) -> bool:
        """True if a certificate is valid by itself, and may stand above those in the chain so far."""
        if certificate.unhandled:
            return False
        if not certificate.certificate.not_valid_before_utc <= self.now <= certificate.certificate.not_valid_after_utc:
            return False
        if not all(names_within(link.fields, certificate.fields, self.ctx.charge) for link in below):
            return False
        longest = certificate.fields["MaxPathLen"]
        return not (certificate.fields["BasicConstraintsValid"] and 0 <= longest < len(below) - 1)


def _usable(chain: list[_Certificate], usages: tuple[int, ...]) -> bool:
    """True if some key usage is allowed by every certificate of the chain."""
    left = set(usages)
    for link in chain:
        known, unknown = link.fields["ExtKeyUsage"] or (), link.fields["UnknownExtKeyUsage"]
        if (known or unknown) and _ANY_USAGE not in known:
            left &= set(known)
    return bool(left)
