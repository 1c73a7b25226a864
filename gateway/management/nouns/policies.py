"""The policies that are in force at a gateway."""

from __future__ import annotations

from gateway.management import documents
from gateway.management.client import Client
from gateway.policy.rollout.state import InForce, PolicyAttempt, PolicyState
from gateway.registry.records import BundleRecord


class Policies:
    def __init__(self, client: Client) -> None:
        self._client = client

    def state(self, limit: int) -> PolicyState:
        body = self._client.get("policies", limit=str(limit)).body
        found = body["in_force"]
        if found is not None:
            found |= {"bundles": documents.records(BundleRecord, found["bundles"])}
        return PolicyState(
            in_force=None if found is None else documents.record(InForce, found),
            attempts=documents.records(PolicyAttempt, body["attempts"]),
        )
