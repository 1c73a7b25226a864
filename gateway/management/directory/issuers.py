"""Outside issuers of a data directory."""

from __future__ import annotations

from gateway.management.directory.change import change
from gateway.management.port.issuers import NewIssuer
from gateway.processes import local
from gateway.registry import issuers
from gateway.registry.database import Registry
from gateway.registry.issuers import IssuerRecord, IssuerUpdate, RuleRecord


class DirectoryIssuers:
    """`Issuers` of `port/issuers.py`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def add(self, organization: str, new: NewIssuer) -> IssuerRecord:
        return issuers.add_issuer(
            self._registry,
            actor=local.actor(),
            organization=organization,
            name=new.name,
            issuer=new.issuer,
            audience=new.audience,
            jwks_url=new.jwks_url,
            jwks=new.jwks,
            insecure=new.insecure,
            persons=new.persons,
        )

    def listed(self, organization: str) -> list[IssuerRecord]:
        return issuers.issuers(self._registry, organization)

    def update(self, organization: str, issuer: str, update: IssuerUpdate, reason: str) -> IssuerRecord:
        by = change(organization, reason)
        return issuers.update_issuer(self._registry, name=issuer, update=update, **by)

    def remove(self, organization: str, issuer: str) -> IssuerRecord:
        return issuers.remove_issuer(self._registry, actor=local.actor(), organization=organization, name=issuer)

    def add_rule(self, organization: str, issuer: str, claims: dict[str, str], agent: str) -> RuleRecord:
        return issuers.add_rule(
            self._registry, actor=local.actor(), organization=organization, issuer=issuer, claims=claims, agent=agent
        )

    def remove_rule(self, organization: str, rule: str) -> RuleRecord:
        return issuers.remove_rule(self._registry, actor=local.actor(), organization=organization, rule=rule)
