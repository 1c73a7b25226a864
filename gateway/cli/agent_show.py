"""`gateway agents show`: one agent with all that belongs to it, now or then."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import key_texts, output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.processes import local
from gateway.settings import DataDirectory

Agent = Annotated[str, typer.Argument(help="An agent's name or id.")]


def show(
    agent: Agent,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="As of this time, such as 2026-11-25T14:00:00Z.")
    ] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Show an agent with its keys and the bindings that apply to it, now or at an earlier time."""
    from gateway.dataplane import key_uses
    from gateway.identity.standing import TEXTS
    from gateway.registry import queries, tenants

    at_ns = None if at is None else output.parse_time(at)
    with local.reading(data) as registry:
        found = queries.agent(registry, organization, agent, at_ns)
        keys = queries.keys(registry, organization, found.id, at_ns)
        bindings = queries.bindings(registry, organization, found.id, at_ns)
        versions = queries.agent_versions(registry, organization, found.id)
        above = tenants.standing(registry, organization, found.team)
        parent = ""
        if found.parent is not None:
            parent = f"{queries.agent(registry, organization, found.parent).name} ({found.parent})"
    now_ns = output.now_ns() if at_ns is None else at_ns
    # When a key was used last is known of now only.
    uses = key_uses.read(DataDirectory(data).runtime_db) if at_ns is None else key_uses.Uses()
    if as_json:
        shown_keys = [key_texts.document(each, uses, now_ns) for each in keys]
        output.print_json(
            output.plain(found) | {"keys": shown_keys, "bindings": bindings, "versions": versions},
        )
        return
    output.print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("organization", found.organization),
            ("status", found.state(now_ns)),
            # As it is now: what its team and organization were at an earlier time is not looked up.
            *_if_any("refused", TEXTS.get(above.revoked or above.suspended, "") if at_ns is None else ""),
            ("version", f"{found.version} since {output.timestamp(found.since_ns)}"),
            *_if_any("description", found.description),
            *_if_any("purpose", found.purpose),
            ("team", found.team),
            ("environment", found.environment),
            ("owner", found.owner),
            ("capabilities", ", ".join(found.capabilities)),
            ("labels", ", ".join(f"{name}={value}" for name, value in found.labels.items())),
            *_if_any("models", found.model_family),
            *_if_any("parent", parent),
            *_if_any("expires", "" if found.expires_ns is None else output.timestamp(found.expires_ns)),
            *((("content", _kept(found.content)),) if found.content else ()),
            *(("key", key_texts.line(each, uses, now_ns)) for each in keys),
            *(
                (
                    "binding",
                    f"{b.counts_as} {b.bundle}{'@' + b.pinned if b.pinned else ''}  by {b.subject_kind}",
                )
                for b in bindings
            ),
        ]
    )


def _if_any(name: str, text: str) -> list[tuple[str, str]]:
    return [(name, text)] if text else []


def _kept(content: dict[str, Any]) -> str:
    redact = content["redact"]
    redacted = f", redacted: {' '.join(redact)}" if redact else ""
    return f"kept for {content['days']} {'day' if content['days'] == 1 else 'days'}{redacted}"
