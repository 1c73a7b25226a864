"""Outside issuers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from gateway.identity import jose
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry import issuers
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


class Issuers:
    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, organization: str, new: NewIssuer) -> IssuerRecord:
        body: dict[str, Any] = {
            "name": new.name,
            "issuer": new.issuer,
            "audience": new.audience,
            "jwks_url": new.jwks_url,
            "insecure": new.insecure,
        }
        if new.jwks:
            body["jwks"] = _key_set(new.jwks)
        if new.persons is not None:
            body["persons"] = dataclasses.asdict(new.persons)
        reply = self._client.send("POST", "issuers", body=body, organization=organization)
        return _issuer(reply.body, [])

    def listed(self, organization: str) -> list[IssuerRecord]:
        found = self._client.items("issuers", organization=organization)
        return [_issuer(each, self._rules(organization, each["name"]) if each["rules"] else []) for each in found]

    def update(self, organization: str, issuer: str, update: IssuerUpdate, reason: str) -> IssuerRecord:
        given = {name: value for name, value in dataclasses.asdict(update).items() if value is not None}
        body: dict[str, Any] = given | {"jwks": _key_set(update.jwks), "reason": reason}
        reply = self._client.send("PATCH", "issuers", issuer, body=body, organization=organization)
        return _issuer(reply.body, self._rules(organization, issuer))

    def remove(self, organization: str, issuer: str) -> IssuerRecord:
        rules = self._rules(organization, issuer)
        reply = self._client.send("DELETE", "issuers", issuer, organization=organization)
        return _issuer(reply.body, rules)

    def add_rule(self, organization: str, issuer: str, claims: dict[str, str], agent: str) -> RuleRecord:
        body = {"claims": claims, "agent": agent}
        reply = self._client.send("POST", "issuers", issuer, "rules", body=body, organization=organization)
        return documents.record(RuleRecord, reply.body)

    def remove_rule(self, organization: str, rule: str) -> RuleRecord:
        for issuer in self.listed(organization):
            if any(each.id == rule for each in issuer.rules):
                path = ("issuers", issuer.name, "rules", rule)
                return documents.record(RuleRecord, self._client.send("DELETE", *path, organization=organization).body)
        raise issuers.unknown_rule(rule)

    def _rules(self, organization: str, issuer: str) -> list[RuleRecord]:
        return documents.records(RuleRecord, self._client.items("issuers", issuer, "rules", organization=organization))


def _key_set(text: str) -> Any:
    """Keys as JSON; None without any."""
    if not text:
        return None
    jose.key_set(text)  # which refuses what is none
    return json.loads(text)


def _issuer(document: dict[str, Any], rules: list[RuleRecord]) -> IssuerRecord:
    return documents.record(IssuerRecord, document | {"rules": rules})
