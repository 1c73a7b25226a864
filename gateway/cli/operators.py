"""`gateway operators`: who may use the control API, and their tokens."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Reason
from gateway.cli.secret_out import secret_file
from gateway.management import gateways

app = typer.Typer(no_args_is_help=True, help="Add, show, change and revoke operators, who use the control API.")
token_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke operators' tokens.")
app.add_typer(token_app, name="token")


class Role(StrEnum):
    """What an operator may do."""

    OWNER = "owner"
    ADMIN = "admin"
    AUDITOR = "auditor"
    VIEWER = "viewer"


Operator = Annotated[str, typer.Argument(help="An operator's name or id.")]
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization", "--org", metavar="NAME", help="One of this organization only; otherwise of the whole gateway."
    ),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The new operator's name.")],
    role: Annotated[
        Role,
        typer.Option("--role", help="owner: everything; admin: all but operators; auditor, viewer: only reading."),
    ],
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Add an operator, who can do nothing without a token.

    The first one is added on the gateway's machine: there is no password.
    """
    with gateways.opened(data, output.warn) as gateway:
        made = gateway.operators.add(organization, name, role.value, reason)
    if as_json:
        output.print_json(made)
    else:
        typer.echo(f"added {made.role} {made.name} ({made.id}) of {where(made.organization)}")
        flag = f" --org {made.organization}" if made.organization else ""
        output.note(f"next: `gateway operators token create {made.name}{flag} --expires 30d`")


@app.command("list")
def list_operators(organization: Organization = None, data: Data = DATA, as_json: Json = False) -> None:
    """List all operators, or those of one organization, also revoked ones."""
    with gateways.opened(data, output.warn) as gateway:
        found = gateway.operators.listed(organization)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("NAME", "ROLE", "OF", "STATUS", "CREATED", "ID"),
        [(o.name, o.role, where(o.organization), o.status, output.timestamp(o.created_ns), o.id) for o in found],
        empty="no operators yet: type `gateway operators add NAME --role owner`",
    )


@app.command()
def show(operator: Operator, organization: Organization = None, data: Data = DATA, as_json: Json = False) -> None:
    """Show an operator with its tokens and its history."""
    with gateways.opened(data, output.warn) as gateway:
        found = gateway.operators.show(organization, operator)
        tokens = gateway.operators.tokens(organization, found.id)
        versions = gateway.operators.versions(organization, found.id)
    now_ns = output.now_ns()
    if as_json:
        shown = [output.plain(each) | {"status": each.status(now_ns)} for each in tokens]
        output.print_json(output.plain(found) | {"tokens": shown, "versions": versions})
        return
    output.print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("of", where(found.organization)),
            ("role", found.role),
            ("status", found.status),
            *([("logs in", f"{found.subject} at {found.issuer}")] if found.issuer else []),
            ("version", f"{found.version} since {output.timestamp(found.since_ns)}"),
            *(
                (
                    "token",
                    f"{each.token_id}…  {each.status(now_ns)}  ({each.id}) {' '.join(each.scopes or [])}".rstrip(),
                )
                for each in tokens
            ),
        ]
    )


@app.command()
def update(
    operator: Operator,
    role: Annotated[Role, typer.Option("--role", help="What the operator may do from now on.")],
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Give an operator another role, from the next request on. Its tokens stay."""
    with gateways.opened(data, output.warn) as gateway:
        updated = gateway.operators.update(organization, operator, role.value, reason)
    if as_json:
        output.print_json({"operator": output.plain(updated) if updated else operator, "changed": updated is not None})
    elif updated is None:
        typer.echo(f"operator {operator} has the role {role.value} already")
    else:
        typer.echo(f"operator {updated.name} ({updated.id}) is now {updated.role}")


@app.command()
def revoke(
    operator: Operator,
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Revoke an operator and all its tokens, for good. The next request with one of them is refused."""
    with gateways.opened(data, output.warn) as gateway:
        revoked = gateway.operators.revoke(organization, operator, reason)
    if as_json:
        output.print_json({"operator": operator, "revoked": True, "changed": revoked is not None})
    elif revoked is None:
        typer.echo(f"operator {operator} is already revoked")
    else:
        typer.echo(f"revoked operator {revoked.name} ({revoked.id}) and all its tokens")


@token_app.command("create")
def create_token(
    operator: Operator,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Let it expire after 90s, 15m, 12h or 30d.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only for this: read, agents:write; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file instead of printing it.")
    ] = None,
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Create a token. It is printed once, alone on standard output, and cannot be shown again.

    With --server it must not outlive the token with which you ask.
    """
    from gateway.management.nouns.operators import NewOperatorToken

    lifetime_ns = None if expires is None else output.parse_duration(expires)
    new = NewOperatorToken(operator=operator, lifetime_ns=lifetime_ns, scopes=scope or None)
    with gateways.opened(data, output.warn) as gateway, secret_file(out) as put:
        made = gateway.operators.create_token(organization, new, reason)
        put(made.text)
    if as_json:
        shown = {"token": made.text} if out is None else {"file": str(out)}
        output.print_json(output.plain(made.record) | shown)
        return
    until = "" if made.record.expires_ns is None else f" until {output.timestamp(made.record.expires_ns)}"
    if out is not None:
        output.note(f"{made.record.id} for operator {made.record.operator}{until} is in {out}: this is the only copy")
    else:
        typer.echo(made.text)
        output.note(f"{made.record.id} for operator {made.record.operator}{until}; this is the only time it is shown")


@token_app.command("list")
def list_tokens(
    operator: Operator, organization: Organization = None, data: Data = DATA, as_json: Json = False
) -> None:
    """List an operator's tokens without their secrets, also dead ones."""
    with gateways.opened(data, output.warn) as gateway:
        found = gateway.operators.tokens(organization, operator)
    now_ns = output.now_ns()
    if as_json:
        output.print_json([output.plain(each) | {"status": each.status(now_ns)} for each in found])
        return
    output.print_table(
        ("TOKEN", "STATUS", "CREATED", "EXPIRES", "ONLY FOR", "ID"),
        [
            (
                each.token_id,
                each.status(now_ns),
                output.timestamp(each.created_ns),
                "" if each.expires_ns is None else output.timestamp(each.expires_ns),
                " ".join(each.scopes or []),
                each.id,
            )
            for each in found
        ],
        empty=f"no tokens yet: type `gateway operators token create {operator}`",
    )


@token_app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="A token's id (otk_…), or the beginning of its text.")],
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Revoke a token, for good. The next request with it is refused."""
    from gateway.identity.credentials import public_part

    with gateways.opened(data, output.warn) as gateway:
        revoked = gateway.operators.revoke_token(organization, token, reason)
    if as_json:
        output.print_json({"token_id": public_part(token), "revoked": True, "changed": revoked is not None})
    elif revoked is None:
        typer.echo("the token is already revoked")
    else:
        typer.echo(f"revoked token {revoked.token_id} ({revoked.id}) of operator {revoked.operator}")


def where(organization: str | None) -> str:
    """Where an operator of this organization, or of all (None), may do something."""
    return "the whole gateway" if organization is None else f"organization {organization}"
