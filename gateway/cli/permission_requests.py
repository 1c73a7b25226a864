"""Requests about who could make a call: the control API answers for one call at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from gateway.control.permission_records import AskedCall, AskedTool, Judged, Permission
from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.client import Client

_PAGE: Final = 100
"""Agents whose policies one request asks."""

if TYPE_CHECKING:
    from gateway.control.permission_records import AskedCall, Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The activation that was in force at a time."""

    id: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Calls that are asked about: all combinations of these. Without an action a chat is meant."""

    models: Sequence[str]
    actions: Sequence[str] | None = None
    tools: Sequence[str] | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionsAt:
    """The answer: for every agent and every call, by agent and then by call; `call` of each counts in `calls`."""

    at_ns: int
    activation: InForce | None
    calls: list[AskedCall]
    permissions: list[Permission]
    not_considered: Sequence[str]


def asked(
    gateway: Client, organization: str, agent: str | None, question: Question, at_ns: int | None
) -> PermissionsAt:
    calls: list[AskedCall] = []
    found: list[Permission] = []
    first: dict[str, Any] | None = None
    actions: Sequence[str | None] = question.actions or [None]
    for number, (action, model, tool) in enumerate(product(actions, question.models, question.tools or [""])):
        asked = {"model": model, "action": action, "tool": tool or None, "upstream": question.upstream}
        page: dict[str, Any] = {}
        for page in _pages(gateway, agent, asked | {"organization": organization, "at": documents.time_text(at_ns)}):
            first = first or page
            if page["activation"] != first["activation"]:
                message = "other policies came into force while the question was answered"
                raise GatewayError("changed_meanwhile", message, hint="ask again")
            found += [_permission(each, number) for each in page["items"]]
        calls.append(_call(page["call"]))
    assert first is not None  # there is one call at least
    return PermissionsAt(
        at_ns=documents.nanoseconds(first["at"]),
        activation=None if first["activation"] is None else documents.record(InForce, first["activation"]),
        calls=calls,
        permissions=sorted(found, key=lambda each: (each.agent, each.agent_id, each.call)),
        not_considered=first["not_considered"],
    )


def _pages(gateway: Client, agent: str | None, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if agent is None:
        yield from gateway.pages("permissions", size=_PAGE, **query)
    else:
        yield gateway.get("agents", agent, "permissions", **query).body


def _permission(document: dict[str, Any], call: int) -> Permission:
    judged = documents.records(Judged, document["bindings"])
    return documents.record(Permission, document | {"call": call, "bindings": judged})


def _call(document: dict[str, Any]) -> AskedCall:
    return documents.record(AskedCall, document | {"tools": documents.records(AskedTool, document["tools"])})
