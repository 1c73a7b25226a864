"""Where operators log in, and who is let in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.management import documents
from gateway.management.client import Client
from gateway.registry import login_providers
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


class Logins:
    """A client secret is sent in the body of a request, and never comes back."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, new: NewLoginProvider, reason: str) -> LoginProviderRecord:
        body = {
            "name": new.name,
            "issuer": new.issuer,
            "client_id": new.client_id,
            "client_secret": new.secret,
            "scopes": list(new.scopes),
            "session_seconds": new.session_seconds,
            "insecure": new.insecure,
            "reason": reason,
        }
        return _provider(self._client.send("POST", "login-providers", body=body).body)

    def listed(self) -> list[LoginProviderRecord]:
        return documents.records(LoginProviderRecord, self._client.items("login-providers"))

    def show(self, provider: str) -> LoginProviderRecord:
        return _provider(self._client.get("login-providers", provider).body)

    def update(self, provider: str, update: LoginProviderUpdate, reason: str) -> LoginProviderRecord:
        body: dict[str, Any] = {"reason": reason}
        if update.client_id is not None:
            body["client_id"] = update.client_id
        if update.secret is not None or update.public:
            body["client_secret"] = update.secret
        if update.scopes is not None:
            body["scopes"] = list(update.scopes)
        if update.session_seconds is not None:
            body["session_seconds"] = update.session_seconds
        # What is given is meant whatever the provider is, as on the gateway's machine.
        return _provider(self._client.send("PATCH", "login-providers", provider, body=body, match="*").body)

    def remove(self, provider: str, reason: str) -> tuple[LoginProviderRecord, int]:
        body = self._client.send("DELETE", "login-providers", provider, reason=reason or None).body
        return _provider(body), body["tokens_ended"]

    def rules(self, provider: str | None) -> list[LoginRuleRecord]:
        named = [each.name for each in self.listed()] if provider is None else [provider]
        return [
            documents.record(LoginRuleRecord, each)
            for name in named
            for each in self._client.items("login-providers", name, "rules")
        ]

    def add_rule(self, new: NewLoginRule, reason: str) -> LoginRuleRecord:
        body = {"claims": new.claims, "role": new.role, "organization": new.organization, "reason": reason}
        reply = self._client.send("POST", "login-providers", new.provider, "rules", body=body)
        return documents.record(LoginRuleRecord, reply.body)

    def remove_rule(self, rule: str, reason: str) -> tuple[LoginRuleRecord, int]:
        for each in self.rules(None):
            if each.id == rule:
                path = ("login-providers", each.provider, "rules", rule)
                body = self._client.send("DELETE", *path, reason=reason or None).body
                return documents.record(LoginRuleRecord, body), body["tokens_ended"]
        raise login_providers.unknown_rule(rule)


def _provider(document: dict[str, Any]) -> LoginProviderRecord:
    return documents.record(LoginProviderRecord, document)
