"""Secret keys of agents of a gateway elsewhere. What names a key is sent without its secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.dataplane.key_uses import Uses
from gateway.errors import GatewayError
from gateway.identity.credentials import public_part
from gateway.management.remote import documents
from gateway.management.remote.client import Client, Reply
from gateway.registry.records import KeyRecord, NewKey

if TYPE_CHECKING:
    from gateway.identity.key_scope import KeyScope
    from gateway.registry.key_rotation import Rotated, Terms


class RemoteKeys:
    """`Keys` of `port.py`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self, organization: str, agent: str, lifetime_ns: int | None, scope: KeyScope | None, reason: str
    ) -> NewKey:
        body: dict[str, Any] = {"agent": agent, "expires_in": documents.seconds(lifetime_ns), "reason": reason}
        if scope is not None:
            body["scope"] = scope.document()
        return _new(self._client.send("POST", "keys", body=body, organization=organization))

    def listed(self, organization: str, agent: str | None) -> tuple[list[KeyRecord], Uses]:
        found = self._client.items("keys", organization=organization, agent=agent)
        uses = Uses()
        for each in found:
            if (used := each.get("last_used")) is not None:
                uses[each["id"]] = documents.nanoseconds(used)
        return documents.records(KeyRecord, found), uses

    def rotate(
        self,
        organization: str,
        key: str | None,
        agent: str | None,
        terms: Terms,
        deliver: Callable[[Sequence[Rotated]], None],
    ) -> Rotated:
        from gateway.registry.key_rotation import Rotated

        body = {
            "overlap": documents.seconds(terms.overlap_ns),
            "expires_in": documents.seconds(terms.lifetime_ns),
            "reason": terms.reason,
        }
        path = ("keys", public_part(key), "rotate") if key is not None else ("agents", agent or "", "keys", "rotate")
        reply = self._client.send("POST", *path, body=body, organization=organization)
        rotated = Rotated(_new(reply), documents.record(KeyRecord, reply.body["replaces"]))
        deliver([rotated])
        return rotated

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None:
        before = self._client.get("keys", public_part(key), organization=organization).body
        reply = self._client.send(
            "POST", "keys", before["id"], "revoke", body={"reason": reason}, organization=organization
        )
        return None if before["revoked"] is not None else documents.record(KeyRecord, reply.body)


def _new(reply: Reply) -> NewKey:
    made = documents.record(KeyRecord, reply.body)
    if reply.body["key"] is None:  # the first answer was lost, and secrets are not kept for the second
        message = f"key {made.id} was created, but its text was lost on the way"
        raise GatewayError("answer_lost", message, hint=f"type `gateway keys revoke {made.id}` and create another")
    return NewKey(record=made, text=reply.body["key"])
