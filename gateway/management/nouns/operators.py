"""Operators, and their tokens. What names a token is sent without its secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError
from gateway.identity.credentials import public_part
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry.records import NewToken, OperatorRecord, OperatorTokenRecord, OperatorVersionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperatorToken:
    """Whose a new token is, how long it works, and what it is for; None: for ever, and for everything."""

    operator: str
    lifetime_ns: int | None = None
    scopes: Sequence[str] | None = None


class Operators:
    """Without an organization: the whole gateway, or the operator's own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, organization: str | None, name: str, role: str, reason: str) -> OperatorRecord:
        body = {"name": name, "role": role, "reason": reason}
        return _record(self._client.send("POST", "operators", body=body, organization=organization).body)

    def listed(self, organization: str | None) -> list[OperatorRecord]:
        everywhere = "true" if organization is None else None
        found = self._client.items("operators", organization=organization, everywhere=everywhere)
        return sorted(documents.records(OperatorRecord, found), key=lambda each: (each.name, each.id))

    def show(self, organization: str | None, operator: str) -> OperatorRecord:
        return _record(self._client.get("operators", operator, organization=organization).body)

    def versions(self, organization: str | None, operator: str) -> list[OperatorVersionRecord]:
        found = self._client.items("operators", operator, "versions", organization=organization)
        return documents.records(OperatorVersionRecord, found)

    def update(self, organization: str | None, operator: str, role: str, reason: str) -> OperatorRecord | None:
        before = self.show(organization, operator)
        body = {"role": role, "reason": reason}
        # The role is meant whatever the operator is, as on the gateway's machine.
        reply = self._client.send("PATCH", "operators", before.id, body=body, match="*", organization=organization)
        after = _record(reply.body)
        return None if after.version == before.version else after

    def revoke(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        before = self.show(organization, operator)
        body = {"reason": reason}
        reply = self._client.send("POST", "operators", before.id, "revoke", body=body, organization=organization)
        after = _record(reply.body)
        return None if after.version == before.version else after

    def readmit(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        before = self.show(organization, operator)
        body = {"reason": reason}
        reply = self._client.send("POST", "operators", before.id, "readmit", body=body, organization=organization)
        after = _record(reply.body)
        return None if after.subject == before.subject else after

    def tokens(self, organization: str | None, operator: str) -> list[OperatorTokenRecord]:
        found = self._client.items("operators", operator, "tokens", organization=organization)
        return documents.records(OperatorTokenRecord, found)

    def create_token(self, organization: str | None, new: NewOperatorToken, reason: str) -> NewToken:
        scopes = None if new.scopes is None else list(new.scopes)
        body = {"expires_in": documents.seconds(new.lifetime_ns), "scopes": scopes, "reason": reason}
        reply = self._client.send("POST", "operators", new.operator, "tokens", body=body, organization=organization)
        made = documents.record(OperatorTokenRecord, reply.body)
        if reply.body["token"] is None:  # the first answer was lost, and secrets are not kept for the second
            message = f"token {made.id} was created, but its text was lost on the way"
            hint = f"type `gateway operators token revoke {made.id}` and create another"
            raise GatewayError("answer_lost", message, hint=hint)
        return NewToken(record=made, text=reply.body["token"])

    def revoke_token(self, organization: str | None, token: str, reason: str) -> OperatorTokenRecord | None:
        before = self._client.get("operator-tokens", public_part(token), organization=organization).body
        body = {"reason": reason}
        reply = self._client.send(
            "POST", "operator-tokens", before["id"], "revoke", body=body, organization=organization
        )
        return None if before["revoked"] is not None else documents.record(OperatorTokenRecord, reply.body)


def _record(document: dict[str, object]) -> OperatorRecord:
    return documents.record(OperatorRecord, document)
