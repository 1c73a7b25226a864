"""`gateway agents show|history`: one agent with all that belongs to it, now or then, and its versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import key_texts, output
from gateway.cli.asking import Of
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.management.client import Client, Document
    from gateway.registry.history.as_of import AgentAt, BindingAt
    from gateway.registry.records import AgentRecord, AgentVersionRecord, LimitRecord

Agent = Annotated[str, typer.Argument(help="An agent's name or id.")]
At = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="As of this time: 2026-11-25T14:00:00Z, or 2h ago.")
]

_UNCOMPARED = ("version", "since_ns", "suspends_ns", "actor", "reason", "id", "organization")


def show(ask: Of, agent: Agent, at: At = None) -> None:
    """Show an agent with its keys, bindings and limits, now or at an earlier time; a name is that of then."""
    at_ns = None if at is None else output.parse_past(at)
    when = documents.time_text(at_ns)
    with ask.gateway() as gateway:
        body = gateway.get("agents", agent, "overview", organization=ask.organization, at=when).body
        versions = _versions(gateway, ask.organization, body["agent"]["id"])
    found, uses = _overview(body), key_texts.uses_of(body["keys"])
    now_ns = output.now_ns() if at_ns is None else at_ns
    if ask.as_json:
        activation = body["activation"] and {name: body["activation"][name] for name in ("id", "commit")}
        output.print_json(_document(found, uses, now_ns) | {"versions": versions, "activation": activation})
        return
    parent = f"{body['parent_name']} ({found.agent.parent})" if found.agent.parent is not None else ""
    output.print_fields([(name, output.printable(text)) for name, text in _fields(found, parent, uses, now_ns)])


def history(ask: Of, agent: Agent) -> None:
    """List the versions of an agent: what changed, when, by whom and why."""
    with ask.gateway() as gateway:
        versions = _versions(gateway, ask.organization, agent)
    if ask.as_json:
        output.print_json(versions)
        return
    output.print_table(
        ("VERSION", "SINCE", "ACTOR", "CHANGED", "REASON"),
        [
            (
                str(each.version),
                output.timestamp(each.since_ns),
                each.actor,
                output.printable("registered" if before is None else "; ".join(_changes(before, each))),
                output.printable(each.reason),
            )
            for before, each in zip([None, *versions[:-1]], versions, strict=True)
        ],
        empty="no versions",
    )


def _versions(gateway: Client, organization: str, agent: str) -> list[AgentVersionRecord]:
    from gateway.registry.records import AgentVersionRecord

    found = gateway.items("agents", agent, "versions", organization=organization)
    return documents.records(AgentVersionRecord, found)


def _overview(body: Document) -> AgentAt:
    """An agent with all that belonged to it at a time."""
    from gateway.identity.standing import Standing
    from gateway.registry.history.as_of import AgentAt, BindingAt
    from gateway.registry.records import AgentVersionRecord, BindingRecord, BundleRecord, KeyRecord, LimitRecord

    bindings = [
        BindingAt(
            binding=documents.record(BindingRecord, each["binding"]),
            revision=None if each["revision"] is None else documents.record(BundleRecord, each["revision"]),
        )
        for each in body["bindings"]
    ]
    return AgentAt(
        agent=documents.record(AgentVersionRecord, body["agent"]),
        team_owner=body["team_owner"],
        standing=documents.record(Standing, body["standing"]),
        keys=documents.records(KeyRecord, body["keys"]),
        bindings=bindings,
        limits=documents.records(LimitRecord, body["limits"]),
    )


def _changes(before: AgentVersionRecord, after: AgentVersionRecord) -> Iterator[str]:
    """What is different in a version, in words."""
    old, new = output.plain(before), output.plain(after)
    for name, value in new.items():
        if f"{name}_ns" not in _UNCOMPARED and name not in _UNCOMPARED and value != old[name]:
            yield f"{name.replace('_', ' ')}: {_value(old[name])} → {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value in (None, "") else str(value)


def _document(found: AgentAt, uses: Mapping[str, int], now_ns: int) -> dict[str, Any]:
    def bound(each: BindingAt) -> dict[str, Any]:
        binding: dict[str, Any] = output.plain(each.binding)
        binding.pop("agents")  # it is about one of them
        revision = each.revision
        return binding | {"commit": revision and revision.commit, "digest": revision and revision.digest}

    return {
        **output.plain(found.agent),
        "expired": found.agent.expired(now_ns),
        "team_owner": found.team_owner,
        "team_status": found.standing.team,
        "organization_status": found.standing.organization,
        "stopped": found.standing.stopped,
        "keys": [key_texts.document(each, uses, now_ns) for each in found.keys],
        "bindings": [bound(each) for each in found.bindings],
        "limits": [output.plain(each) | {"in_force": _in_force(each, now_ns)} for each in found.limits],
    }


def _in_force(limit: LimitRecord, now_ns: int) -> int:
    raised = limit.raised is not None and limit.raised_until_ns is not None and now_ns < limit.raised_until_ns
    return limit.raised if raised and limit.raised is not None else limit.value


def _fields(found: AgentAt, parent: str, uses: Mapping[str, int], now_ns: int) -> Iterator[tuple[str, str]]:
    from gateway.identity import standing
    from gateway.registry.agents.fields import TEXTS

    agent, above = found.agent, found.standing
    yield "name", agent.name
    yield "id", agent.id
    yield "organization", agent.organization
    yield "status", agent.state(now_ns)
    if refused := above.revoked or above.suspended:
        yield "refused", standing.TEXTS[refused]
    elif agent.status == "suspended" and agent.unconfirmed(now_ns):
        yield "refused", standing.TEXTS["review_overdue"]
    why = f" ({agent.reason})" if agent.reason else ""
    yield "version", f"{agent.version} since {output.timestamp(agent.since_ns)} by {agent.actor}{why}"
    owner = f" (owner {found.team_owner})" if found.team_owner else ""
    yield "team", agent.team + owner
    yield "environment", agent.environment
    yield "owner", agent.owner
    yield "capabilities", ", ".join(agent.capabilities)
    yield "labels", ", ".join(f"{name}={value}" for name, value in agent.labels.items())
    for name, text in (
        *((each.shown or each.name, getattr(agent, each.name)) for each in TEXTS),
        ("parent", parent),
        ("suspends", _suspends(agent, now_ns)),
        ("expires", "" if agent.expires_ns is None else output.timestamp(agent.expires_ns)),
        ("content", _kept(agent.content) if agent.content else ""),
    ):
        if text:
            yield name, text
    for key in found.keys:
        yield "key", key_texts.line(key, uses, now_ns)
    for bound in found.bindings:
        yield "binding", _binding(bound)
    for limit in found.limits:
        yield "limit", _limit(limit, now_ns)


def _suspends(agent: AgentRecord, now_ns: int) -> str:
    if agent.suspends_ns is None:
        return ""
    when = output.timestamp(agent.suspends_ns)
    if agent.unconfirmed(now_ns):
        return f"{when}, because nobody had reviewed it"
    return f"{when}, unless it is reviewed before"


def _binding(bound: BindingAt) -> str:
    binding, revision = bound.binding, bound.revision
    commit = binding.pinned or (revision.commit[:12] if revision else "")
    judged = f"{binding.bundle}@{commit}" if commit else f"{binding.bundle} (not in force)"
    whose = "" if binding.subject_kind == "agent" else f" {binding.subject}"
    since = f"since {output.timestamp(binding.created_ns)}" + (f" by {binding.actor}" if binding.actor else "")
    why = f" ({binding.reason})" if binding.reason else ""
    return f"{binding.counts_as} {judged}  by {binding.subject_kind}{whose}, {since}{why}"


def _limit(limit: LimitRecord, now_ns: int) -> str:
    value = _in_force(limit, now_ns)
    raised = f" (raised from {limit.value})" if value != limit.value else ""
    whose = "" if limit.subject_kind == "agent" else f" {limit.subject}"
    part = "".join(
        f", only {what} {text}" for what, text in (("upstream", limit.upstream), ("model", limit.model)) if text
    )
    by_others = ", set by the organization" if limit.by_gateway is False else ""
    mode = ", by estimates" if limit.mode == "estimate" else ""
    return f"{limit.limit} {value}{raised}{mode}  by {limit.subject_kind}{whose}{part}{by_others}"


def _kept(content: dict[str, Any]) -> str:
    redact = content["redact"]
    redacted = f", redacted: {' '.join(redact)}" if redact else ""
    return f"kept for {content['days']} {'day' if content['days'] == 1 else 'days'}{redacted}"
