"""Outside issuers of a gateway elsewhere."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gateway.identity import jose
from gateway.management.port.issuers import NewIssuer
from gateway.management.remote import documents
from gateway.management.remote.client import Client
from gateway.registry import issuers
from gateway.registry.issuers import IssuerRecord, RuleRecord


class RemoteIssuers:
    """`Issuers` of `port/issuers.py`."""

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
            jose.key_set(new.jwks)  # which refuses what is none
            body["jwks"] = json.loads(new.jwks)
        if new.persons is not None:
            body["persons"] = dataclasses.asdict(new.persons)
        reply = self._client.send("POST", "issuers", body=body, organization=organization)
        return _issuer(reply.body, [])

    def listed(self, organization: str) -> list[IssuerRecord]:
        found = self._client.items("issuers", organization=organization)
        return [_issuer(each, self._rules(organization, each["name"]) if each["rules"] else []) for each in found]

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


def _issuer(document: dict[str, Any], rules: list[RuleRecord]) -> IssuerRecord:
    return documents.record(IssuerRecord, document | {"rules": rules})
