"""The policies that are in force at a gateway."""

from __future__ import annotations

from gateway.management import documents
from gateway.management.client import Client
from gateway.policy.rollout.state import OK, InForce, PolicyAttempt, PolicyState
from gateway.registry.records import BundleRecord


class Policies:
    def __init__(self, client: Client) -> None:
        self._client = client

    def state(self, limit: int) -> PolicyState:
        body = self._client.get("policies", limit=str(limit)).body
        found = body["in_force"]
        if found is not None:
            found |= {"bundles": documents.records(BundleRecord, found["bundles"])}
        attempts = documents.records(PolicyAttempt, body["attempts"])
        # A gateway of a former version says nothing of its branch.
        refused = body["refused"] if "refused" in body else (body["attempts"] or [None])[0]
        if refused is not None and refused["outcome"] == OK:
            refused = None
        return PolicyState(
            in_force=None if found is None else documents.record(InForce, found),
            attempts=attempts,
            refused=None if refused is None else documents.record(PolicyAttempt, refused),
        )
