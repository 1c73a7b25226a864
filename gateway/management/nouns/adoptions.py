"""Old keys of providers that a gateway lets pass, and the clients that still use them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.identity import key_scope, legacy_keys
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry.adoptions import AdoptionRecord, Started
from gateway.runtime import legacy_clients
from gateway.runtime.legacy_clients import Client as LegacyClient


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdoption:
    """Old keys that are to pass until a time. `owner` is of the agent that the first one registers."""

    upstream: str
    keys: Sequence[str] = field(repr=False)
    expires_ns: int
    owner: str = ""
    replace_revoked: bool = False


class Adoptions:
    def __init__(self, client: Client) -> None:
        self._client = client

    def start(self, organization: str, new: NewAdoption, reason: str) -> Started:
        """One key after the other. If it breaks off, the same command again does the rest: a start can be repeated."""
        keys = list(dict.fromkeys(new.keys))
        for each in keys:
            legacy_keys.check(each)
        records: list[AdoptionRecord] = []
        registered = granted = False
        for each in keys:
            body = {
                "upstream": new.upstream,
                "key": each,
                "expires": documents.time_text(new.expires_ns),
                "owner": new.owner,
                "reason": reason,
                **({"replace_revoked": True} if new.replace_revoked else {}),
            }
            started = self._client.send("POST", "adoptions", body=body, organization=organization).body
            records.append(documents.record(AdoptionRecord, started))
            registered, granted = registered or started["registered"], started["granted"]
        return Started(records, registered, granted)

    def listed(self, organization: str) -> list[AdoptionRecord]:
        return documents.records(AdoptionRecord, self._client.items("adoptions", organization=organization))

    def clients(self, organization: str, address: str | None) -> Sequence[LegacyClient]:
        named = None if address is None else key_scope.address(address)
        found = self._client.items("adoptions", "clients", organization=organization, moved="true", address=named)
        return sorted((_client(organization, each) for each in found), key=legacy_clients.place_in_lists)

    def stop(self, organization: str, upstream: str | None, reason: str) -> list[AdoptionRecord]:
        body = {"upstream": upstream, "reason": reason}
        reply = self._client.send("POST", "adoptions", "stop", body=body, organization=organization)
        return documents.records(AdoptionRecord, reply.body["stopped"])


def _client(organization: str, document: dict[str, Any]) -> LegacyClient:
    """The way back from `legacy_clients.document`."""
    moved = document["moved"]
    return LegacyClient(
        organization=organization,
        product=document["client"] or "",
        peer=document["from"] or "",
        calls=document["calls"],
        first_ns=documents.nanoseconds(document["first_seen"]),
        last_ns=documents.nanoseconds(document["last_seen"]),
        models=json.dumps(document["models"]),
        moved_ns=None if moved is None else documents.nanoseconds(moved),
        agent=document["agent"],
        returned=int(document["several_programs"]),
    )
