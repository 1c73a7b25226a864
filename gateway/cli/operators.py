"""`gateway operators`: who may use the control API, and their tokens."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Reason
from gateway.cli.secret_out import secret_file
from gateway.errors import GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import Client, Reply
    from gateway.registry.records import OperatorRecord, OperatorTokenRecord

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
    body = {"name": name, "role": role.value, "reason": reason}
    with gateways.client(data, output.warn) as gateway:
        made = _operator(gateway.send("POST", "operators", body=body, organization=organization))
    if as_json:
        output.print_json(made)
    else:
        typer.echo(f"added {made.role} {made.name} ({made.id}) of {where(made.organization)}")
        flag = f" --org {made.organization}" if made.organization else ""
        output.note(f"next: `gateway operators token create {made.name}{flag} --expires 30d`")


@app.command("list")
def list_operators(organization: Organization = None, data: Data = DATA, as_json: Json = False) -> None:
    """List all operators, or those of one organization, also revoked ones."""
    from gateway.registry.records import OperatorRecord

    with gateways.client(data, output.warn) as gateway:
        items = gateway.items("operators", organization=organization, everywhere=None if organization else True)
    listed = sorted(documents.records(OperatorRecord, items), key=lambda each: (each.name, each.id))
    if as_json:
        output.print_json(listed)
        return
    output.print_table(
        ("NAME", "ROLE", "OF", "STATUS", "CREATED", "ID"),
        [(o.name, o.role, where(o.organization), o.status, output.timestamp(o.created_ns), o.id) for o in listed],
        empty="no operators yet: type `gateway operators add NAME --role owner`",
    )


@app.command()
def show(operator: Operator, organization: Organization = None, data: Data = DATA, as_json: Json = False) -> None:
    """Show an operator with its tokens and its history."""
    from gateway.registry.records import OperatorVersionRecord

    with gateways.client(data, output.warn) as gateway:
        shown = found(gateway, organization, operator)
        tokens = _tokens(gateway, organization, shown.id)
        items = gateway.items("operators", shown.id, "versions", organization=organization)
        versions = documents.records(OperatorVersionRecord, items)
    now_ns = output.now_ns()
    if as_json:
        listed = [output.plain(each) | {"status": each.status(now_ns)} for each in tokens]
        output.print_json(output.plain(shown) | {"tokens": listed, "versions": versions})
        return
    output.print_fields(
        [
            ("name", shown.name),
            ("id", shown.id),
            ("of", where(shown.organization)),
            ("role", shown.role),
            ("status", shown.status),
            *([("logs in", f"{shown.subject} at {shown.issuer}")] if shown.issuer else []),
            ("version", f"{shown.version} since {output.timestamp(shown.since_ns)}"),
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
    body = {"role": role.value, "reason": reason}
    with gateways.client(data, output.warn) as gateway:
        before = found(gateway, organization, operator)
        # The role is meant whatever the operator is.
        after = _operator(
            gateway.send("PATCH", "operators", before.id, body=body, match="*", organization=organization)
        )
    updated = None if after.version == before.version else after
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
    with gateways.client(data, output.warn) as gateway:
        before = found(gateway, organization, operator)
        path = ("operators", before.id, "revoke")
        after = _operator(gateway.send("POST", *path, body={"reason": reason}, organization=organization))
    revoked = None if after.version == before.version else after
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
    seconds = None if expires is None else output.parse_duration(expires) // 10**9
    body = {"expires_in": seconds, "scopes": scope or None, "reason": reason}
    with gateways.client(data, output.warn) as gateway, secret_file(out) as put:
        reply = gateway.send("POST", "operators", operator, "tokens", body=body, organization=organization)
        made, text = _token(reply.body), reply.body["token"]
        if text is None:  # the first answer was lost, and secrets are not kept for the second
            message = f"token {made.id} was created, but its text was lost on the way"
            hint = f"type `gateway operators token revoke {made.id}` and create another"
            raise GatewayError("answer_lost", message, hint=hint)
        put(text)
    if as_json:
        output.print_json(output.plain(made) | ({"token": text} if out is None else {"file": str(out)}))
        return
    until = "" if made.expires_ns is None else f" until {output.timestamp(made.expires_ns)}"
    if out is not None:
        output.note(f"{made.id} for operator {made.operator}{until} is in {out}: this is the only copy")
    else:
        typer.echo(text)
        output.note(f"{made.id} for operator {made.operator}{until}; this is the only time it is shown")


@token_app.command("list")
def list_tokens(
    operator: Operator, organization: Organization = None, data: Data = DATA, as_json: Json = False
) -> None:
    """List an operator's tokens without their secrets, also dead ones."""
    with gateways.client(data, output.warn) as gateway:
        listed = _tokens(gateway, organization, operator)
    now_ns = output.now_ns()
    if as_json:
        output.print_json([output.plain(each) | {"status": each.status(now_ns)} for each in listed])
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
            for each in listed
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

    with gateways.client(data, output.warn) as gateway:
        before = gateway.get("operator-tokens", public_part(token), organization=organization).body
        path = ("operator-tokens", before["id"], "revoke")
        reply = gateway.send("POST", *path, body={"reason": reason}, organization=organization)
    revoked = None if before["revoked"] is not None else _token(reply.body)
    if as_json:
        output.print_json({"token_id": public_part(token), "revoked": True, "changed": revoked is not None})
    elif revoked is None:
        typer.echo("the token is already revoked")
    else:
        typer.echo(f"revoked token {revoked.token_id} ({revoked.id}) of operator {revoked.operator}")


def found(gateway: Client, organization: str | None, operator: str) -> OperatorRecord:
    return _operator(gateway.get("operators", operator, organization=organization))


def _operator(reply: Reply) -> OperatorRecord:
    from gateway.registry.records import OperatorRecord

    return documents.record(OperatorRecord, reply.body)


def _tokens(gateway: Client, organization: str | None, operator: str) -> list[OperatorTokenRecord]:
    return [_token(each) for each in gateway.items("operators", operator, "tokens", organization=organization)]


def _token(document: dict[str, Any]) -> OperatorTokenRecord:
    from gateway.registry.records import OperatorTokenRecord

    return documents.record(OperatorTokenRecord, document)


def where(organization: str | None) -> str:
    """Where an operator of this organization, or of all (None), may do something."""
    return "the whole gateway" if organization is None else f"organization {organization}"
