"""What commands ask about the logins of operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.registry.login_providers import LoginProviderRecord, LoginRuleRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginProvider:
    """A provider where operators log in. With a secret the gateway is a confidential client there."""

    name: str
    issuer: str
    client_id: str
    secret: str | None = field(default=None, repr=False)
    scopes: Sequence[str] = ()
    session_seconds: int
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProviderUpdate:
    """What to change of a login provider; None leaves a member as it is. `public` forgets the secret."""

    client_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    public: bool = False
    scopes: Sequence[str] | None = None
    session_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLoginRule:
    """Whom a provider lets in: operators with this role, of an organization or of the whole gateway (None)."""

    provider: str
    claims: dict[str, str]
    role: str
    organization: str | None = None


class Logins(Protocol):
    """Where operators log in, and who is let in. A provider is named by its name or id, a rule by its id."""

    def add(self, new: NewLoginProvider, reason: str) -> LoginProviderRecord: ...

    def listed(self) -> list[LoginProviderRecord]:
        """By name."""

    def show(self, provider: str) -> LoginProviderRecord: ...

    def update(self, provider: str, update: LoginProviderUpdate, reason: str) -> LoginProviderRecord: ...

    def remove(self, provider: str, reason: str) -> tuple[LoginProviderRecord, int]:
        """And how many tokens of its logins ended with it."""

    def rules(self, provider: str | None) -> list[LoginRuleRecord]:
        """Of a provider, or of all, by their providers."""

    def add_rule(self, new: NewLoginRule, reason: str) -> LoginRuleRecord: ...

    def remove_rule(self, rule: str, reason: str) -> tuple[LoginRuleRecord, int]:
        """And how many tokens of logins ended with it."""
