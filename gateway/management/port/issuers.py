"""What commands ask about outside issuers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.registry.issuers import IssuerRecord, IssuerUpdate, PersonTokens, RuleRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIssuer:
    """An issuer to trust. Its keys are at `jwks_url`, in `jwks`, or it is asked where they are."""

    name: str
    issuer: str
    audience: str
    jwks_url: str = ""
    jwks: str = ""
    insecure: bool = False
    persons: PersonTokens | None = None


class Issuers(Protocol):
    """Outside issuers of an organization, each named by its name, and their rules."""

    def add(self, organization: str, new: NewIssuer) -> IssuerRecord: ...

    def listed(self, organization: str) -> list[IssuerRecord]:
        """With their rules, by name."""

    def update(self, organization: str, issuer: str, update: IssuerUpdate, reason: str) -> IssuerRecord: ...

    def remove(self, organization: str, issuer: str) -> IssuerRecord: ...

    def add_rule(self, organization: str, issuer: str, claims: dict[str, str], agent: str) -> RuleRecord: ...

    def remove_rule(self, organization: str, rule: str) -> RuleRecord: ...
