"""`gateway permissions` and `gateway agents permissions`: who could make a call, now or then, and what made it so."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import output
from gateway.cli.agent_show import Agent, At
from gateway.cli.asking import GivenOptions, Of
from gateway.cli.audit_list import listed
from gateway.errors import GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

_PAGE: Final = 100
"""Agents whose policies one request asks."""

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
    _answer(ask, None, at, _calls(model, action, tool, upstream), everyone=everyone)


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
    _answer(ask, agent, at, _calls(model or _models(ask, agent), action, tool, upstream), everyone=True)


def _calls(
    models: list[str], actions: list[str] | None, tools: list[str] | None, upstream: str | None
) -> list[dict[str, str | None]]:
    """The calls that are asked about: all combinations. Without an action a chat is meant."""
    return [
        {"model": model, "action": action or None, "tool": tool or None, "upstream": upstream}
        for action, model, tool in product(actions or [""], models, tools or [""])
    ]


def _models(ask: GivenOptions, agent: str) -> list[str]:
    """The models that an agent asked for last and, of a gateway on this machine, those that policies in force name."""
    found: dict[str, None] = {}
    with ask.gateway() as gateway:
        listing = listed(gateway, {"agent": agent, "kind": "decided"}, _LOOKED_AT)
        for each in reversed(listing.entries):
            if name := str(each["entry"].get("model") or ""):
                found[name] = None
    if gateways.chosen() is None:
        found |= dict.fromkeys(_named_by_policies(ask.data))
    if not found:
        hint = "name one with --model"
        raise GatewayError("no_models", f"`{agent}` has called no model, and no policy names one", hint=hint)
    return list(found)[:_MOST_MODELS]


def _named_by_policies(data: Path) -> list[str]:
    from gateway.policy import bundle, input_schema
    from gateway.settings import load_settings

    bundles = load_settings({"data": data}).data.bundles
    with gateways.client(data, output.warn) as gateway:
        active = gateway.get("policies", limit=1)["in_force"]
    refs = [] if active is None else active["bundles"]
    return [name for each in refs for name in input_schema.models_named(bundle.read(bundles / each["digest"]))]


def _answer(
    ask: GivenOptions, agent: str | None, at: str | None, asked: list[dict[str, str | None]], *, everyone: bool
) -> None:
    """The control API answers for one call at a time: for every agent, by agent and then by call."""
    when = None if at is None else documents.time_text(output.parse_past(at))
    found: list[AnswerDocument] = []
    calls: list[AnswerDocument] = []
    first: AnswerDocument | None = None
    with ask.gateway() as gateway:
        for number, call in enumerate(asked):
            for page in _pages(gateway, agent, call | {"at": when}):
                first = first or page
                if page["activation"] != first["activation"]:
                    message = "other policies came into force while the question was answered"
                    raise GatewayError("changed_meanwhile", message, hint="ask again")
                found += [each | {"call": number} for each in page["items"]]
            calls.append(page["call"])
    assert first is not None  # there is one call at least
    found.sort(key=lambda each: (each["agent"], each["agent_id"], each["call"]))
    if ask.as_json:
        shown = {"calls": calls, "not_considered": first["not_considered"], "permissions": found}
        output.print_json({"at": first["at"], "activation": first["activation"], **shown})
        return
    typer.echo(f"asked about {'; '.join(_named(each) for each in calls)}")
    ask.table(
        [each for each in found if everyone or each["allowed"]],
        *("AGENT", "TEAM", ("CALL", lambda each: _named(calls[each["call"]])), ("VERDICT", "code")),
        ("BY", lambda each: "; ".join(map(_by, each["bindings"]))),
        ("REASONS", lambda each: output.printable("; ".join(each["reasons"]))),
        empty="nobody could",
    )
    could = len({each["agent_id"] for each in found if each["allowed"]})
    if agent is None:
        whom = len({each["agent_id"] for each in found})
        more = "" if everyone or could == whom else "; --all lists the others, and why"
        output.note(f"{could} of {whom} {'agent' if whom == 1 else 'agents'} could{more}")
    output.note(_BEYOND)


def _pages(gateway: ManagementClient, agent: str | None, query: dict[str, Any]) -> Iterator[AnswerDocument]:
    if agent is None:
        yield from gateway.pages("permissions", size=_PAGE, **query)
    else:
        yield gateway.get("agents", agent, "permissions", **query)


def _named(call: AnswerDocument) -> str:
    tools = "".join(f" with {each['type']}:{each['name']}" for each in call["tools"])
    return f"{call['action']} {call['model']} at {call['upstream']}{tools}"


def _by(judged: AnswerDocument) -> str:
    of = judged["subject"]
    whose = {"agent": "its own", "team": f"team {of}", "organization": f"org {of}"}[judged["subject_kind"]]
    return f"{judged['effect']} {judged['bundle']}@{judged['commit'][:12]} of {whose}: {judged['code']}"
