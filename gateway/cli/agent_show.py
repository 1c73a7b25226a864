"""`gateway agents show|history`: one agent with all that belongs to it, now or then, and its versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import Of
from gateway.cli.bindings import counts_as
from gateway.cli.limits import in_force, known
from gateway.cli.signing_keys import last_use, shown_scope
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.identity.standing import Standing
    from gateway.management.client import AnswerDocument
    from gateway.registry.records import AgentVersionRecord

Agent = Annotated[str, typer.Argument(help="An agent's name or id.")]
At = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="As of this time: 2026-11-25T14:00:00Z, or 2h ago.")
]

_UNCOMPARED = ("version", "since", "suspends", "actor", "reason", "id", "organization")


def show(ask: Of, agent: Agent, at: At = None) -> None:
    """Show an agent with its keys, bindings and limits, now or at an earlier time; a name is that of then."""
    at_ns = None if at is None else output.parse_past(at)
    now_ns = output.now_ns() if at_ns is None else at_ns
    with ask.gateway() as gateway:
        found = gateway.get("agents", agent, "overview", at=documents.time_text(at_ns))
        versions = gateway.items("agents", found["agent"]["id"], "versions")
    found |= {
        "keys": [_as_of(each, now_ns) for each in found["keys"]],
        "limits": [known(each) for each in found["limits"]],
    }
    if ask.as_json:
        activation = found["activation"] and {name: found["activation"][name] for name in ("id", "commit")}
        output.print_json(_document(found, now_ns) | {"versions": versions, "activation": activation})
        return
    output.print_fields([(name, output.printable(text)) for name, text in _fields(found, now_ns)])


def history(ask: Of, agent: Agent) -> None:
    """List the versions of an agent: what changed, when, by whom and why."""
    versions = ask.items("agents", agent, "versions")
    before = dict(zip([each["version"] for each in versions], [None, *versions[:-1]], strict=True))
    ask.table(
        versions,
        *("VERSION", "SINCE", "ACTOR"),
        ("CHANGED", lambda each: output.printable(_changes(before[each["version"]], each))),
        ("REASON", lambda each: output.printable(each["reason"])),
        empty="no versions",
    )


def record(agent: AnswerDocument) -> AgentVersionRecord:
    """An agent with what follows from its times."""
    from gateway.registry.records import AgentVersionRecord

    return documents.record(AgentVersionRecord, {"actor": "", "reason": "", **agent})


def standing(document: AnswerDocument) -> Standing:
    """The states above the agents of a team."""
    from gateway.identity.standing import Standing

    return documents.record(Standing, document)


def _as_of(key: AnswerDocument, now_ns: int) -> AnswerDocument:
    """A key with its status at a time."""
    from gateway.registry.records import KeyRecord

    return key | {"status": documents.record(KeyRecord, key).status(now_ns)}


def _changes(before: AnswerDocument | None, after: AnswerDocument) -> str:
    """The differences of a version from the one before, in words."""
    if before is None:
        return "registered"
    return "; ".join(
        f"{name.replace('_', ' ')}: {_value(before[name])} → {_value(value)}"
        for name, value in after.items()
        if name not in _UNCOMPARED and value != before[name]
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value in (None, "") else str(value)


def _document(found: AnswerDocument, now_ns: int) -> AnswerDocument:
    above = found["standing"]
    judging = [each["revision"] or {"commit": None, "digest": None} for each in found["bindings"]]
    agent: AnswerDocument = found["agent"]
    return agent | {
        "expired": record(found["agent"]).expired(now_ns),
        "team_owner": found["team_owner"],
        "team_status": above["team"],
        "organization_status": above["organization"],
        "stopped": above["stopped"],
        "keys": found["keys"],
        "bindings": [
            each["binding"] | {"commit": revision["commit"], "digest": revision["digest"]}
            for each, revision in zip(found["bindings"], judging, strict=True)
        ],
        "limits": [each | {"in_force": in_force(each, now_ns)} for each in found["limits"]],
    }


def _fields(found: AnswerDocument, now_ns: int) -> Iterator[tuple[str, str]]:
    from gateway.identity.standing import TEXTS as STATES
    from gateway.registry.agents.fields import TEXTS

    agent, above = record(found["agent"]), standing(found["standing"])
    for name in ("name", "id", "organization"):
        yield name, found["agent"][name]
    yield "status", agent.state(now_ns)
    unconfirmed = agent.unconfirmed(now_ns)
    if refused := above.revoked or above.suspended:
        yield "refused", STATES[refused]
    elif agent.status == "suspended" and unconfirmed:
        yield "refused", STATES["review_overdue"]
    why = f" ({agent.reason})" if agent.reason else ""
    yield "version", f"{agent.version} since {output.timestamp(agent.since_ns)} by {agent.actor}{why}"
    yield "team", agent.team + (f" (owner {found['team_owner']})" if found["team_owner"] else "")
    yield "environment", agent.environment
    yield "owner", agent.owner
    yield "capabilities", ", ".join(agent.capabilities)
    yield "labels", ", ".join(f"{name}={value}" for name, value in agent.labels.items())
    until = "because nobody had reviewed it" if unconfirmed else "unless it is reviewed before"
    for name, text in (
        *((each.shown or each.name, getattr(agent, each.name)) for each in TEXTS),
        ("parent", "" if agent.parent is None else f"{found['parent_name']} ({agent.parent})"),
        ("suspends", "" if agent.suspends_ns is None else f"{output.timestamp(agent.suspends_ns)}, {until}"),
        ("expires", "" if agent.expires_ns is None else output.timestamp(agent.expires_ns)),
        ("content", _kept(agent.content) if agent.content else ""),
    ):
        if text:
            yield name, text
    for key in found["keys"]:
        yield "key", _key(key, now_ns)
    for bound in found["bindings"]:
        yield "binding", _binding(bound["binding"], bound["revision"])
    for limit in found["limits"]:
        yield "limit", _limit(limit, now_ns)


def _key(key: AnswerDocument, now_ns: int) -> str:
    used = last_use(key.get("last_used"), now_ns)
    more = filter(None, (used and f"used {used}", shown_scope(key["scope"])))
    name = f"{key['key_id']}…" if key["method"] == "api_key" else key["key_id"]
    return "  ".join((name, key["status"], f"({key['id']})", *more))


def _binding(binding: AnswerDocument, revision: AnswerDocument | None) -> str:
    commit = binding["pinned"] or (revision["commit"][:12] if revision else "")
    judged = f"{binding['bundle']}@{commit}" if commit else f"{binding['bundle']} (not in force)"
    whose = "" if binding["subject_kind"] == "agent" else f" {binding['subject']}"
    since = f"since {binding['created']}" + (f" by {binding['actor']}" if binding["actor"] else "")
    why = f" ({binding['reason']})" if binding["reason"] else ""
    return f"{counts_as(binding)} {judged}  by {binding['subject_kind']}{whose}, {since}{why}"


def _limit(limit: AnswerDocument, now_ns: int) -> str:
    value = in_force(limit, now_ns)
    raised = f" (raised from {limit['value']})" if value != limit["value"] else ""
    whose = "" if limit["subject_kind"] == "agent" else f" {limit['subject']}"
    part = "".join(f", only {what} {limit[what]}" for what in ("upstream", "model") if limit[what])
    by_others = ", set by the organization" if limit["by_gateway"] is False else ""
    mode = ", by estimates" if limit["mode"] == "estimate" else ""
    return f"{limit['limit']} {value}{raised}{mode}  by {limit['subject_kind']}{whose}{part}{by_others}"


def _kept(content: dict[str, Any]) -> str:
    redact = content["redact"]
    redacted = f", redacted: {' '.join(redact)}" if redact else ""
    return f"kept for {content['days']} {'day' if content['days'] == 1 else 'days'}{redacted}"
