"""`gateway permissions` and `gateway agents permissions`: who could make a call, now or then, and what made it so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output, policy_state
from gateway.cli.agent_show import Agent, At
from gateway.cli.asking import Of
from gateway.errors import GatewayError
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.cli.permission_requests import PermissionsAt
    from gateway.control.permission_records import AskedCall, Judged

Model = Annotated[list[str], typer.Option("--model", metavar="MODEL", help="As clients write it; may be repeated.")]
Action = Annotated[
    list[str] | None,
    typer.Option("--action", metavar="ACTION", help="Such as embeddings; by default a chat. May be repeated."),
]
Tool = Annotated[
    list[str] | None,
    typer.Option("--tool", metavar="NAME", help="A call with this function, or TYPE:NAME; may be repeated."),
]
Upstream = Annotated[
    str | None, typer.Option("--upstream", metavar="NAME", help="Where the call goes; by default the default upstream.")
]

_BEYOND = "limits, usage and networks are not part of the answer; upstreams are those of now"


OwnModel = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        show_default=False,
        help="As clients write it; may be repeated. By default those that it called last and that policies name.",
    ),
]
_LOOKED_AT = 1000
_MOST_MODELS = 20


def permissions(
    ask: Of,
    model: Model,
    action: Action = None,
    tool: Tool = None,
    upstream: Upstream = None,
    at: At = None,
    everyone: Annotated[bool, typer.Option("--all", help="List also who could not, and why.")] = False,
) -> None:
    """Say which agents could make a call, now or at an earlier time, by asking the policies that were in force.

    The calls are all combinations of the models, actions and tools, with nothing else in them.
    """
    _answer(
        ask.data, ask.organization, None, at, (model, action, tool, upstream), as_json=ask.as_json, everyone=everyone
    )


def of_agent(
    ask: Of,
    agent: Agent,
    model: OwnModel = None,
    action: Action = None,
    tool: Tool = None,
    upstream: Upstream = None,
    at: At = None,
) -> None:
    """Say which of these calls an agent could make, now or at an earlier time, and what made it so."""
    models = model or _models(ask.data, ask.organization, agent)
    _answer(ask.data, ask.organization, agent, at, (models, action, tool, upstream), as_json=ask.as_json, everyone=True)


def _models(data: Path, organization: str, agent: str) -> list[str]:
    """The models that an agent asked for last and, of a gateway on this machine, those that policies in force name."""
    from gateway.audit.search import Filters
    from gateway.cli import log_requests

    found: dict[str, None] = {}
    with gateways.client(data, output.warn) as gateway:
        listing = log_requests.listed(
            gateway, Filters(organization=organization, agent=agent, kind="decided"), _LOOKED_AT
        )
        for each in reversed(listing.entries):
            if name := str(each.found.entry.get("model") or ""):
                found[name] = None
    if gateways.chosen() is None:
        found |= dict.fromkeys(_named_by_policies(data))
    if not found:
        hint = "name one with --model"
        raise GatewayError("no_models", f"`{agent}` has called no model, and no policy names one", hint=hint)
    return list(found)[:_MOST_MODELS]


def _named_by_policies(data: Path) -> list[str]:
    from gateway.policy import bundle, input_schema
    from gateway.settings import load_settings

    bundles = load_settings({"data": data}).data.bundles
    active = policy_state.state(data, 1).in_force
    refs = [] if active is None else active.bundles
    return [name for each in refs for name in input_schema.models_named(bundle.read(bundles / each.digest))]


def _answer(
    data: Path,
    organization: str,
    agent: str | None,
    at: str | None,
    asked: tuple[list[str], list[str] | None, list[str] | None, str | None],
    *,
    as_json: bool,
    everyone: bool,
) -> None:
    from gateway.cli import permission_requests
    from gateway.cli.permission_requests import Question

    models, actions, tools, upstream = asked
    question = Question(models=models, actions=actions, tools=tools, upstream=upstream)
    at_ns = None if at is None else output.parse_past(at)
    with gateways.client(data, output.warn) as gateway:
        found = permission_requests.asked(gateway, organization, agent, question, at_ns)
    if as_json:
        typer.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        _print(found, agent, everyone=everyone)


def _named(call: AskedCall) -> str:
    tools = "".join(f" with {each.type}:{each.name}" for each in call.tools)
    return f"{call.action} {call.model} at {call.upstream}{tools}"


def _print(answer: PermissionsAt, agent: str | None, *, everyone: bool) -> None:
    found, calls = answer.permissions, answer.calls
    typer.echo(f"asked about {'; '.join(_named(each) for each in calls)}")
    shown = [each for each in found if everyone or each.allowed]
    output.print_table(
        ("AGENT", "TEAM", "CALL", "VERDICT", "BY", "REASONS"),
        [
            (
                each.agent,
                each.team,
                _named(calls[each.call]),
                each.code,
                "; ".join(map(_by, each.bindings)),
                output.printable("; ".join(each.reasons)),
            )
            for each in shown
        ],
        empty="nobody could",
    )
    could = len({each.agent_id for each in found if each.allowed})
    if agent is None:
        whom = len({each.agent_id for each in found})
        more = "" if everyone or could == whom else "; --all lists the others, and why"
        output.note(f"{could} of {whom} {'agent' if whom == 1 else 'agents'} could{more}")
    output.note(_BEYOND)


def _by(judged: Judged) -> str:
    whose = {"agent": "its own", "team": f"team {judged.subject}", "organization": f"org {judged.subject}"}
    return f"{judged.effect} {judged.bundle}@{judged.commit[:12]} of {whose[judged.subject_kind]}: {judged.code}"


def _document(found: PermissionsAt) -> dict[str, Any]:
    return {
        "at": output.timestamp(found.at_ns),
        "activation": None if found.activation is None else dataclasses.asdict(found.activation),
        "calls": [dataclasses.asdict(each) for each in found.calls],
        "not_considered": list(found.not_considered),
        "permissions": [dataclasses.asdict(each) for each in found.permissions],
    }
