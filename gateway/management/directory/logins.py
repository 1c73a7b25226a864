"""Where operators of a data directory's gateway log in, and who is let in."""

from __future__ import annotations

from gateway.data_directory import DataDirectory
from gateway.management.port.logins import LoginProviderUpdate, NewLoginProvider, NewLoginRule
from gateway.processes import local
from gateway.registry import login_providers
from gateway.registry.database import Registry
from gateway.registry.login_providers import LoginProviderRecord, LoginRuleRecord
from gateway.registry.vault import Vault


class DirectoryLogins:
    """`Logins` of `port/logins.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def add(self, new: NewLoginProvider, reason: str) -> LoginProviderRecord:
        return login_providers.add_provider(
            self._registry,
            Vault.load(self._data.keys),
            actor=local.actor(),
            name=new.name,
            issuer=new.issuer,
            client_id=new.client_id,
            secret=new.secret,
            scopes=new.scopes,
            session_seconds=new.session_seconds,
            insecure=new.insecure,
            reason=reason,
        )

    def listed(self) -> list[LoginProviderRecord]:
        return login_providers.providers(self._registry)

    def show(self, provider: str) -> LoginProviderRecord:
        return login_providers.provider(self._registry, provider)

    def update(self, provider: str, update: LoginProviderUpdate, reason: str) -> LoginProviderRecord:
        return login_providers.update_provider(
            self._registry,
            Vault.load(self._data.keys),
            actor=local.actor(),
            name=provider,
            client_id=update.client_id,
            secret=update.secret,
            public=update.public,
            scopes=update.scopes,
            session_seconds=update.session_seconds,
            reason=reason,
        )

    def remove(self, provider: str, reason: str) -> tuple[LoginProviderRecord, int]:
        return login_providers.remove_provider(self._registry, actor=local.actor(), name=provider, reason=reason)

    def rules(self, provider: str | None) -> list[LoginRuleRecord]:
        return login_providers.rules(self._registry, provider)

    def add_rule(self, new: NewLoginRule, reason: str) -> LoginRuleRecord:
        return login_providers.add_rule(
            self._registry,
            actor=local.actor(),
            provider=new.provider,
            claims=new.claims,
            role=new.role,
            organization=new.organization,
            reason=reason,
        )

    def remove_rule(self, rule: str, reason: str) -> tuple[LoginRuleRecord, int]:
        return login_providers.remove_rule(self._registry, actor=local.actor(), rule=rule, reason=reason)
