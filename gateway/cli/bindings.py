"""`gateway bind`, `gateway unbind` and `gateway bindings`: which bundles apply to whom."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError
from gateway.management import documents, gateways
from gateway.management.permitted import unless_forbidden

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.management.client import Client
    from gateway.registry.records import BindingRecord, SubjectKind

app = App(no_args_is_help=True, help="Show which policy bundles apply to whom.")


class Effect(StrEnum):
    """What a bundle's answer counts as."""

    GRANT = "grant"
    GUARD = "guard"


Subject = Annotated[
    str,
    typer.Argument(help="An agent's name or id, `team:NAME`, or `org:NAME` for a whole organization."),
]
Bundle = Annotated[str, typer.Argument(help="A policy bundle's name.")]


def bind(
    ask: ChangingOf,
    subject: Subject,
    bundle: Bundle,
    effect: Annotated[
        Effect,
        typer.Option("--effect", help="`grant`: may allow, and all grants must; `guard`: can only deny and limit."),
    ] = Effect.GRANT,
    pin: Annotated[
        str | None, typer.Option("--pin", metavar="COMMIT", help="Stay at this commit instead of following the ref.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Also for a team or an organization that no agent is in yet.")
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Ask it and record what it would decide, but do not let that count.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Turn a grant into a guard, or back, without asking.")
    ] = False,
) -> None:
    """Apply a policy bundle to an agent, a team or an organization, from the next request on."""
    kind, name, organization = parse_subject(subject, ask.organization)
    body = {
        "subject_kind": kind,
        "subject": name,
        "bundle": bundle,
        "effect": effect.value,
        "pinned": pin,
        "without_members": create,
        "shadow": shadow,
        "reason": ask.reason,
    }
    with ask.gateway() as gateway:
        try:
            binding = _bound(gateway, organization, body | {"other_effect": yes})
        except GatewayError as error:
            if error.code != "other_effect" or not sys.stdin.isatty():
                raise _explained(error, ask.data) from error
            typer.confirm(f"{error.message}. Change it?", abort=True, err=True)
            binding = _bound(gateway, organization, body | {"other_effect": True})
        if ask.as_json:
            output.print_json(binding)
        else:
            where = f" at commit {binding.pinned}" if binding.pinned else ""
            how = f"is now a shadow {binding.effect} of" if shadow else "now applies to"
            counts = "" if shadow else f" as a {binding.effect}"
            typer.echo(f"bundle {bundle}{where} {how} {kind} {binding.subject}{counts}")


def unbind(
    ask: ChangingOf,
    subject: Subject,
    bundle: Bundle,
    shadow: Annotated[bool, typer.Option("--shadow", help="The one that is asked and does not count.")] = False,
) -> None:
    """End a binding, from the next request on."""
    kind, name, organization = parse_subject(subject, ask.organization)
    from gateway.registry.records import BindingRecord

    body = {"subject_kind": kind, "subject": name, "bundle": bundle, "shadow": shadow, "reason": ask.reason}
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "bindings", "unbind", body=body, organization=organization)
        binding = documents.record(BindingRecord, reply.body)
        if ask.as_json:
            output.print_json(binding)
        else:
            how = "is no longer a shadow of" if shadow else "no longer applies to"
            typer.echo(f"bundle {bundle} {how} {kind} {binding.subject}")


@app.command("list")
def list_bindings(
    ask: Of, agent: Annotated[str | None, typer.Argument(help="Only those that apply to this agent.")] = None
) -> None:
    """List the bindings in force, each with the agents that it applies to."""
    from gateway.registry.records import BindingRecord

    with ask.gateway() as gateway:
        found = gateway.items("bindings", organization=ask.organization, agent=agent, members=True)
    bindings = documents.records(BindingRecord, found)
    if ask.as_json:
        output.print_json(bindings)
        return
    output.print_table(
        ("SUBJECT", "KIND", "BUNDLE", "EFFECT", "PINNED", "AGENTS", "ID"),
        [
            (b.subject, b.subject_kind, b.bundle, b.counts_as, b.pinned or "", output.names(b.agents, "nobody"), b.id)
            for b in bindings
        ],
        empty="no bindings: type `gateway bind AGENT BUNDLE`",
    )


def _bound(gateway: Client, organization: str, body: dict[str, Any]) -> BindingRecord:
    """The binding that is made, with its agents if the token may read these."""
    from gateway.registry.records import BindingRecord

    reply = gateway.send("POST", "bindings", body=body, organization=organization)
    identifier = reply.body["id"]
    made = unless_forbidden(
        lambda: gateway.get("bindings", identifier, organization=organization, members=True).body, reply.body
    )
    return documents.record(BindingRecord, made)


def _explained(error: GatewayError, data: Path) -> GatewayError:
    """The error, with the missing step if the bundle is not in force and that step is known."""
    if error.code not in ("unknown_bundle", "bundle_not_in_force") or error.subject is None:
        return error
    if gateways.chosen() is not None:  # that stands in the gateway's settings and repository
        return error
    from gateway.policy.rollout.whereabouts import missing_step
    from gateway.processes import local
    from gateway.settings import load_settings

    with local.reading(data) as registry:
        step = missing_step(load_settings({"data": data}), registry, error.subject)
    message = f"bundle `{error.subject}` is not in force yet" if error.code == "unknown_bundle" else error.message
    return GatewayError(error.code, message, subject=error.subject, hint=step) if step else error


def parse_subject(text: str, organization: str) -> tuple[SubjectKind, str, str]:
    """Kind, name and organization of a subject. Names hold no colon, so the forms cannot be confused."""
    kind, separator, name = text.partition(":")
    if not separator:
        return "agent", text, organization
    if kind == "agent" and name:
        return "agent", name, organization
    if kind == "team" and name:
        return "team", name, organization
    if kind == "org" and name:
        if organization not in ("default", name):
            raise GatewayError("invalid_subject", f"`{text}` and --organization {organization} contradict each other")
        return "organization", name, name
    raise GatewayError(
        "invalid_subject", f"`{text}` is not a subject", hint="write an agent's name, team:NAME or org:NAME"
    )
