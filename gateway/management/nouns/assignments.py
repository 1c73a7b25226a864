"""Bindings and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.management import documents
from gateway.management.client import Client
from gateway.management.permitted import unless_forbidden
from gateway.registry.records import BindingRecord, Effect, LimitRecord, SubjectKind

if TYPE_CHECKING:
    from gateway.registry.limit_states import LimitState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """A bundle, and whom it judges."""

    kind: SubjectKind
    subject: str
    bundle: str
    effect: Effect
    pinned: str | None
    without_members: bool
    shadow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitName:
    """Which limit of whom."""

    kind: SubjectKind
    subject: str
    name: str
    upstream: str = ""
    model: str = ""


class Bindings:
    def __init__(self, client: Client) -> None:
        self._client = client

    def bind(self, organization: str, new: NewBinding, *, other_effect: bool, reason: str) -> BindingRecord:
        body = {
            "subject_kind": new.kind,
            "subject": new.subject,
            "bundle": new.bundle,
            "effect": new.effect,
            "pinned": new.pinned,
            "without_members": new.without_members,
            "other_effect": other_effect,
            "shadow": new.shadow,
            "reason": reason,
        }
        reply = self._client.send("POST", "bindings", body=body, organization=organization)
        identifier = reply.body["id"]
        made = unless_forbidden(
            lambda: self._client.get("bindings", identifier, organization=organization, members="true").body, reply.body
        )
        return documents.record(BindingRecord, made)

    def unbind(
        self, organization: str, kind: SubjectKind, subject: str, bundle: str, *, shadow: bool, reason: str
    ) -> BindingRecord:
        body = {"subject_kind": kind, "subject": subject, "bundle": bundle, "shadow": shadow, "reason": reason}
        reply = self._client.send("POST", "bindings", "unbind", body=body, organization=organization)
        return documents.record(BindingRecord, reply.body)

    def listed(self, organization: str, agent: str | None) -> list[BindingRecord]:
        found = self._client.items("bindings", organization=organization, agent=agent, members="true")
        return documents.records(BindingRecord, found)


class Limits:
    def __init__(self, client: Client) -> None:
        self._client = client

    def set(
        self,
        organization: str,
        limit: LimitName,
        value: int,
        *,
        mode: str | None,
        without_members: bool,
        reason: str,
    ) -> LimitRecord:
        body = _named(limit) | {"value": value, "without_members": without_members, "reason": reason}
        if mode is not None:  # an older gateway has no modes
            body["mode"] = mode
        return documents.record(
            LimitRecord, self._client.send("POST", "limits", body=body, organization=organization).body
        )

    def raise_(self, organization: str, limit: LimitName, value: int, for_ns: int, reason: str) -> LimitRecord:
        body = _named(limit) | {"value": value, "for_seconds": documents.seconds(for_ns), "reason": reason}
        reply = self._client.send("POST", "limits", "raise", body=body, organization=organization)
        return documents.record(LimitRecord, reply.body)

    def remove(self, organization: str, limit: LimitName, reason: str) -> LimitRecord:
        body = _named(limit) | {"reason": reason}
        reply = self._client.send("POST", "limits", "remove", body=body, organization=organization)
        return documents.record(LimitRecord, reply.body)

    def listed(self, organization: str) -> list[LimitRecord]:
        return documents.records(LimitRecord, self._client.items("limits", organization=organization))

    def states(self, organization: str, kind: SubjectKind, subject: str) -> list[LimitState]:
        from gateway.registry.limit_states import LimitState

        found = self._client.items("limits", "states", organization=organization, subject_kind=kind, subject=subject)
        return documents.records(LimitState, found)


def _named(limit: LimitName) -> dict[str, Any]:
    return {
        "subject_kind": limit.kind,
        "subject": limit.subject,
        "limit": limit.name,
        "upstream": limit.upstream,
        "model": limit.model,
    }
