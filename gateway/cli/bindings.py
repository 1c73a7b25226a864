"""`gateway bind`, `gateway unbind` and `gateway bindings`: which bundles apply to whom."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError
from gateway.management.client import unless_forbidden

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument
    from gateway.registry.records import SubjectKind

app = App(no_args_is_help=True, help="Show which policy bundles apply to whom.")


class Effect(StrEnum):
    """What a bundle's answer counts as."""

    GRANT = "grant"
    GUARD = "guard"
    RECEIVE = "receive"


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
        typer.Option(
            "--effect",
            help="`grant`: may allow, all must; `guard`: can only deny and limit; `receive`: who may call it.",
        ),
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
    kind, name, about = parse_subject(subject, ask.organization)
    body = {
        "subject_kind": kind,
        "subject": name,
        "bundle": bundle,
        "effect": effect,
        "pinned": pin,
        "without_members": create,
        "shadow": shadow,
        "other_effect": yes,
    }
    with ask.gateway() as gateway:
        try:
            made = gateway.send("POST", "bindings", body=body, organization=about)
        except GatewayError as error:
            if error.code != "other_effect" or not sys.stdin.isatty():
                raise
            typer.confirm(f"{error.message}. Change it?", abort=True, err=True)
            made = gateway.send("POST", "bindings", body=body | {"other_effect": True}, organization=about)
        # With its agents, if the token may read these.
        whole = unless_forbidden(
            lambda: gateway.get("bindings", made["id"], organization=about, members=True), made | {"agents": []}
        )
    where = f" at commit {made['pinned']}" if made["pinned"] else ""
    how = f"is now a shadow {made['effect']} of" if shadow else "now applies to"
    counts = "" if shadow else f" as a {made['effect']}"
    ask.show(whole, f"bundle {bundle}{where} {how} {kind} {made['subject']}{counts}")


def unbind(
    ask: ChangingOf,
    subject: Subject,
    bundle: Bundle,
    shadow: Annotated[bool, typer.Option("--shadow", help="The one that is asked and does not count.")] = False,
) -> None:
    """End a binding, from the next request on."""
    kind, name, about = parse_subject(subject, ask.organization)
    body = {"subject_kind": kind, "subject": name, "bundle": bundle, "shadow": shadow}
    removed = ask.send("POST", "bindings", "unbind", body=body, organization=about)
    how = "is no longer a shadow of" if shadow else "no longer applies to"
    ask.show(removed | {"agents": []}, f"bundle {bundle} {how} {kind} {removed['subject']}")


@app.command("list")
def list_bindings(
    ask: Of, agent: Annotated[str | None, typer.Argument(help="Only those that apply to this agent.")] = None
) -> None:
    """List the bindings in force, each with the agents that it applies to."""
    ask.table(
        ask.items("bindings", agent=agent, members=True),
        *("SUBJECT", ("KIND", "subject_kind"), "BUNDLE", ("EFFECT", counts_as), "PINNED"),
        ("AGENTS", lambda each: output.names(each["agents"], "nobody")),
        "ID",
        empty="no bindings: type `gateway bind AGENT BUNDLE`",
    )


def counts_as(binding: AnswerDocument) -> str:
    """Its effect, as lists show it."""
    return f"shadow {binding['effect']}" if binding["shadow"] else str(binding["effect"])


def parse_subject(text: str, organization: str | None) -> tuple[SubjectKind, str, str | None]:
    """Kind, name and organization of a subject. Names hold no colon, so the forms cannot be confused."""
    kind, separator, name = text.partition(":")
    if not separator:
        return "agent", text, organization
    if kind == "agent" and name:
        return "agent", name, organization
    if kind == "team" and name:
        return "team", name, organization
    if kind == "org" and name:
        if organization not in (None, "default", name):
            raise GatewayError("invalid_subject", f"`{text}` and --organization {organization} contradict each other")
        return "organization", name, name
    raise GatewayError(
        "invalid_subject", f"`{text}` is not a subject", hint="write an agent's name, team:NAME or org:NAME"
    )
