"""`gateway decide`: what the gateway would decide on a call, without a request and without an upstream."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.advice import advice
from gateway.cli.explain import print_advice
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.cli.reasons_text import print_answers, print_hint, verdict_line
from gateway.control.decisions import bundle_document, explained_document
from gateway.data_directory import DataDirectory
from gateway.errors import Denied, GatewayError
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.dataplane.dry_run import Judged
    from gateway.identity.principals import Principal
    from gateway.policy.reexecution import Answer


def decide(
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="Who would call: an agent's name or id.")],
    call: Annotated[
        Path | None,
        typer.Option("--input", "-i", metavar="FILE", help="The call as JSON: an input document or parts of one; `-`."),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            "--route",
            metavar="[METHOD ]PATH",
            help="Then the file is the body that a client would send there: /v1/chat/completions, `GET /v1/models`.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="With which of its keys: an id. Otherwise the newest one that works."
        ),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="From where, if its key is for certain networks.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print which rules made the answer, and why.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Record it in the audit log, marked as a dry run.")] = False,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Decide on a call of an agent as the gateway would: the bindings, policies and limits in force, but no upstream.

    It says what the call would reserve and what is left of each limit, and reserves nothing. Nothing is recorded unless
    --record is given. Exit codes: 0 allowed, 1 denied, 2 it could not be decided.
    """
    try:
        raw = _read(call, route)
        principal = _principal(data, organization, agent, key, sender)
        judged = _judged(DataDirectory(data), principal, raw, route, sender)
        answers = [] if isinstance(judged, Denied) else _answers(data, judged)
        recorded = None
        if record and isinstance(judged, Denied):
            output.note("not recorded: a refusal before any policy is only counted")
        elif record and not isinstance(judged, Denied):
            recorded = _record(data, principal, judged, sender)
    except GatewayError as error:
        # Exit code 1 is kept for a denial.
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(_document(judged, answers, recorded, explain), indent=2, ensure_ascii=False))
    else:
        _print(judged, answers, recorded, explain)
    raise typer.Exit(0 if not isinstance(judged, Denied) and judged.authorization.allow else 1)


def _read(call: Path | None, route: str | None) -> bytes:
    if call is None:
        if route is not None and route.upper().startswith("GET "):
            return b""
        raise GatewayError("bad_input", "there is no call", hint="give it with -i FILE, or -i - for standard input")
    try:
        return sys.stdin.buffer.read() if str(call) == "-" else call.read_bytes()
    except OSError as error:
        raise GatewayError("bad_input", f"cannot read `{call}`: {(error.strerror or '').lower()}") from error


def _principal(
    data: Path, organization: str, reference: str, key: str | None = None, sender: str | None = None
) -> Principal:
    """The agent as the data plane would know it, with its bindings, and a key if it has one.

    Networks of a key count only if it is said where the call would come from.
    """
    from gateway.identity.credentials import public_part
    from gateway.identity.key_scope import address
    from gateway.identity.principals import CredentialRow, principal_of
    from gateway.registry import adoptions, queries, tenants, usage_limits

    if sender is not None:
        address(sender)

    with local.reading(data) as registry:
        agent = queries.agent(registry, organization, reference)
        now_ns = output.now_ns()
        adopted = [each.as_key() for each in adoptions.adoptions(registry, organization) if each.agent_id == agent.id]
        keys = [
            each
            for each in [*adopted, *queries.keys(registry, organization, agent.id)]
            if (each.works(now_ns) if key is None else key == each.id or public_part(key) == each.key_id)
        ]
        bindings = queries.bindings(registry, organization, agent.id)
        subjects = {("agent", agent.id), ("team", agent.team), ("organization", agent.organization)}
        limits = [
            [
                *(each.id, each.subject_kind, each.limit, each.value, each.upstream, each.model),
                *(each.raised, each.raised_until_ns, each.by_gateway, each.mode),
            ]
            for each in usage_limits.limits(registry, organization)
            if (each.subject_kind, each.subject_id) in subjects
        ]
        zone = tenants.organization(registry, organization).zone
    if key is not None and not keys:
        hint = f"type `gateway keys list {agent.name}` to see its keys"
        raise GatewayError("unknown_key", f"agent `{agent.name}` has no key `{public_part(key)}`", hint=hint)
    if key is not None and not keys[0].works(now_ns):
        output.note(f"key {keys[0].key_id} is {keys[0].status(now_ns)}: a request with it would be refused")
    scope = keys[-1].scope if keys else None
    if scope and "networks" in scope and sender is None:
        output.note(f"key {keys[-1].key_id} is for certain networks only, which is not checked without --from ADDRESS")
        scope = {name: part for name, part in scope.items() if name != "networks"}
    if agent.status == "active" and not keys:
        output.note(f"agent {agent.name} has no key that works: type `gateway keys create {agent.name}`")
    row = CredentialRow(
        key_id=keys[-1].id if keys else "key_none",
        digest=b"",
        pepper=0,
        expires_ns=None,
        revoked_ns=None,
        agent_id=agent.id,
        organization=agent.organization,
        name=agent.name,
        version=agent.version,
        owner=agent.owner,
        team=agent.team,
        environment=agent.environment,
        status=agent.state(now_ns),
        capabilities=json.dumps(agent.capabilities),
        labels=json.dumps(agent.labels),
        bindings=json.dumps([[each.id, each.bundle, each.effect, each.pinned, each.shadow] for each in bindings]),
        limits=json.dumps(limits),
        scope=json.dumps(scope) if scope else None,
        zone=zone,
    )
    return principal_of(row, "", 0, keys[-1].method if keys else "api_key")


def _judged(
    data: DataDirectory, principal: Principal, raw: bytes, route: str | None, sender: str | None
) -> Judged | Denied:
    """The decision, or the refusal before any policy is asked."""
    from gateway.dataplane.dry_run import DryRun

    if principal.status != "active":
        reasons = [f"agent {principal.name} is {principal.status}"]
        return Denied("agent_suspended" if principal.status == "suspended" else "bad_credentials", reasons=reasons)
    if (refused := _refused_above(data, principal)) is not None:
        return refused
    from gateway.settings import load_settings
    from gateway.upstream import strict_json

    with closing(DryRun(load_settings({"data": data.path}))) as gateway:
        if route is not None:
            method, _, path = route.strip().rpartition(" ")
            try:
                return asyncio.run(gateway.judge_request(principal, method.upper() or "POST", path, raw, sender))
            except Denied as denied:
                return denied
        try:
            given = strict_json.parse(raw)
        except Denied as denied:
            raise GatewayError("bad_input", "; ".join(denied.reasons).replace("the body", "the call")) from denied
        if not isinstance(given, dict):
            raise GatewayError("bad_input", "the call is not a JSON object")
        return asyncio.run(gateway.judge_document(principal, given, sender))


def _refused_above(data: DataDirectory, principal: Principal) -> Denied | None:
    """The refusal by what decides over the agent: its team, its organization, or an emergency stop."""
    from gateway.identity.standing import TEXTS
    from gateway.registry import tenants

    with local.reading(data.path) as registry:
        above = tenants.standing(registry, principal.organization, principal.team)
    if above.revoked:
        return Denied("bad_credentials", above.revoked, reasons=[TEXTS[above.revoked]])
    return Denied("agent_suspended", above.suspended, reasons=[TEXTS[above.suspended]]) if above.suspended else None


def _answers(data: Path, judged: Judged) -> list[Answer]:
    """Each bundle's own answer, for the document that was judged."""
    from gateway.policy import reexecution

    found = judged.authorization
    members = reexecution.judges({"bundles_json": found.panel.summary})
    return list(
        reexecution.ask(DataDirectory(data).bundles, members, found.input, found.nondeterministic, seed=found.seed)
    )


def _record(data: Path, principal: Principal, judged: Judged, sender: str | None) -> str:
    """Record the decision; it is not open, because nothing follows. Returns its id."""
    from gateway.audit.intents import Decided
    from gateway.audit.writer import AuditWriter
    from gateway.identifiers import new_id
    from gateway.registry import queries

    found = judged.authorization
    resource, request = found.input["resource"], found.input["request"]
    with local.reading(data) as registry:
        deployment = queries.deployment(registry)
    intent = Decided(
        organization=principal.organization,
        event_id=new_id("dec_"),
        agent=principal.agent_id,
        key=None,
        allow=found.allow,
        reason=found.code,
        reasons=found.reasons,
        epoch=judged.epoch,
        fields={
            "dry_run": True,
            "by": local.actor(),
            "agent_name": principal.name,
            "agent_version": principal.version,
            "team": principal.team,
            "environment": principal.environment,
            "action": found.input["action"],
            **{name: resource[name] for name in ("upstream", "provider")},
            "model": judged.model,
            **{name: request[name] for name in ("method", "path", "stream")},
            **found.fields(),
            **_changes(judged),
            **_refused_limits(judged),
            **_scope(principal, sender),
        },
        private=found.kept_input,
    )
    writer = AuditWriter(DataDirectory(data), boot=new_id("boot"), deployment=deployment)
    try:
        writer.write_sync(intent)
    finally:
        writer.close()
    return intent.event_id


def _scope(principal: Principal, sender: str | None) -> dict[str, str]:
    """The members of an entry that say what the key is for."""
    if principal.scope is None:
        return {}
    fields = {"key_scope_json": principal.scope.text}
    return fields | ({"peer_address": sender} if principal.scope.networks and sender else {})


def _changes(judged: Judged) -> dict[str, str]:
    """The members of an entry that say what the gateway would change."""
    if not judged.edits:
        return {}
    fields = {"edits_json": json.dumps(judged.edits, separators=(",", ":"))}
    model = judged.authorization.input["resource"]["model"]
    return fields | ({"forwarded_model": model} if model != judged.model else {})


def _refused_limits(judged: Judged) -> dict[str, str]:
    """The member of an entry that says which limits have no room."""
    full = [each for each in judged.forecast.limits if not each["has_room"]] if judged.forecast else []
    if judged.authorization.code != "limit_exceeded" or not full:
        return {}
    told = [{name: each[name] for name in each if name not in ("left", "has_room")} for each in full]
    return {"limits_json": json.dumps(told, sort_keys=True, separators=(",", ":"))}


def _print(judged: Judged | Denied, answers: list[Answer], recorded: str | None, explain: bool) -> None:
    allow = not isinstance(judged, Denied) and judged.authorization.allow
    code = judged.code if isinstance(judged, Denied) else judged.authorization.code
    verdict = "allowed" if allow else f"denied {code}"
    typer.echo(typer.style(verdict, fg="green" if allow else "red", bold=True) + " (a dry run: nothing was sent)")
    if isinstance(judged, Denied):
        typer.echo(f"  {'reasons'.ljust(9)} {output.printable('; '.join(judged.reasons) or judged.message)}")
    else:
        found = judged.authorization
        resource = found.input["resource"]
        obliged = found.obligations.document()
        cap = obliged.pop("max_output_tokens", None)
        for name, text in (
            ("call", " ".join(filter(None, (found.input["action"], judged.model, "at", resource["upstream"])))),
            ("reasons", "; ".join(found.reasons)),
            ("detail", found.detail),
            ("cap", "" if cap is None else f"at most {cap:,} output tokens"),
            ("obliged", json.dumps(obliged, ensure_ascii=False) if obliged else ""),
            ("changes", ", ".join(judged.edits)),
            *_limits(judged),
            ("content", f"policies read {', '.join(found.panel.content)}" if found.panel.content else ""),
            ("recorded", recorded or ""),
        ):
            if text:
                typer.echo(f"  {name.ljust(9)} {output.printable(text)}")
    if not allow:
        print_advice(code, judged.detail if isinstance(judged, Denied) else "")
    if explain:
        print_answers([explained_document(each) for each in answers])
        return
    for answer in answers:
        bundle = bundle_document(answer)
        reasons = f" ({'; '.join(answer.verdict.reasons)})" if answer.verdict.reasons else ""
        typer.echo(f"  {'bundle'.ljust(9)} {output.printable(verdict_line(bundle) + reasons)}")
        print_hint(bundle, 6)
    if answers and not allow and not code.startswith("limit_"):
        output.note("add --explain to see which rules made the answer")


def _limits(judged: Judged) -> list[tuple[str, str]]:
    """What the call would reserve, and each limit that applies to it."""
    from gateway.usage.prices import dollars
    from gateway.usage.reservation import amount

    forecast = judged.forecast
    if forecast is None or not forecast.limits:
        return [] if forecast is None else [("limits", forecast.remark)]
    worst = amount("requests", 1)
    if forecast.tokens:
        worst += f", at most {amount('tokens', forecast.tokens)}, at most {dollars(forecast.spend_nanousd)}"
    if forecast.output_limit is not None:
        worst += f"; the output limit of {forecast.output_limit:,} is the gateway's"
    lines = [("reserves", worst), ("", forecast.remark)]
    for each in forecast.limits:
        name = each["limit"]
        whose = f"{each['subject']} ({each['calls']})" if "calls" in each else each["subject"]
        text = f"{whose} {name}: {amount(name, each['left'])} left of {amount(name, each['value'])}"
        text += f" until {each['resets_at']}" if each["resets_at"] else ""
        text += f", {amount(name, each['reserved'])} reserved" if each["reserved"] else ""
        lines.append(("limit", text if each["has_room"] else f"{text}: no room"))
    return lines


def _document(judged: Judged | Denied, answers: list[Answer], recorded: str | None, explain: bool) -> dict[str, Any]:
    if isinstance(judged, Denied):
        found = advice(judged.code, judged.detail)
        reasons = list(judged.reasons) or [judged.message]
        return {"allow": False, "reason": judged.code, "reasons": reasons, "advice": found and found._asdict()}
    made = judged.authorization
    known = None if made.allow else advice(made.code)
    return {
        "allow": made.allow,
        "reason": made.code,
        "reasons": list(made.reasons),
        "detail": made.detail or None,
        "obligations": made.obligations.document(),
        "edits": list(judged.edits),
        "limits": judged.forecast and dataclasses.asdict(judged.forecast),
        "advice": known and known._asdict(),
        "bundles": [explained_document(each) if explain else bundle_document(each) for each in answers],
        "input": made.input,
        "recorded": recorded,
    }
