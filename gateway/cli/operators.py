"""`gateway operators`: who may use the control API, and their tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gateway.cli import files, options, output
from gateway.cli.asking import App, GivenOptions

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Add, show, change and revoke operators, who use the control API.")
token_app = App(no_args_is_help=True, help="Create, list and revoke operators' tokens.")
app.add_typer(token_app, name="token")


class Role(StrEnum):
    """What an operator may do."""

    OWNER = "owner"
    ADMIN = "admin"
    AUDITOR = "auditor"
    VIEWER = "viewer"


Operator = Annotated[str, typer.Argument(help="An operator's name or id.")]
NewRole = Annotated[
    Role, typer.Option("--role", help="owner: everything; admin: all but operators; auditor, viewer: only reading.")
]
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization", "--org", metavar="NAME", help="One of this organization only; otherwise of the whole gateway."
    ),
]
Asks: TypeAlias = Annotated[GivenOptions, Organization, "data", "as_json"]
Changes: TypeAlias = Annotated[GivenOptions, "reason", Organization, "data", "as_json"]


@app.command()
def add(ask: Changes, name: Annotated[str, typer.Argument(help="The new operator's name.")], role: NewRole) -> None:
    """Add an operator, who can do nothing without a token.

    The first one is added on the gateway's machine: there is no password.
    """
    made = ask.send("POST", "operators", body={"name": name, "role": role})
    of = made["organization"]
    ask.show(
        made,
        f"added {made['role']} {made['name']} ({made['id']}) of {where(of)}",
        f"next: `gateway operators token create {made['name']}{f' --org {of}' if of else ''} --expires 30d`",
    )


@app.command("list")
def list_operators(ask: Asks) -> None:
    """List all operators, or those of one organization, also revoked ones."""
    found = ask.items("operators", everywhere=None if ask.organization else True)
    ask.table(
        sorted(found, key=lambda each: (each["name"], each["id"])),
        *("NAME", "ROLE", ("OF", lambda each: where(each["organization"])), "STATUS", "CREATED", "ID"),
        empty="no operators yet: type `gateway operators add NAME --role owner`",
    )


@app.command()
def show(ask: Asks, operator: Operator) -> None:
    """Show an operator with its tokens and its history."""
    with ask.gateway() as gateway:
        shown = gateway.get("operators", operator)
        tokens = gateway.items("operators", shown["id"], "tokens")
        versions = gateway.items("operators", shown["id"], "versions")
    ask.fields(
        shown | {"tokens": tokens, "versions": versions},
        ("name", shown["name"]),
        ("id", shown["id"]),
        ("of", where(shown["organization"])),
        ("role", shown["role"]),
        ("status", shown["status"]),
        *([("logs in", f"{shown['subject']} at {shown['issuer']}")] if shown["issuer"] else []),
        ("version", f"{shown['version']} since {shown['since']}"),
        *(("token", _token_line(each)) for each in tokens),
    )


def _token_line(token: AnswerDocument) -> str:
    scopes = " ".join(token["scopes"] or [])
    return f"{token['token_id']}…  {token['status']}  ({token['id']}) {scopes}".rstrip()


@app.command()
def update(
    ask: Changes,
    operator: Operator,
    role: Annotated[Role, typer.Option("--role", help="What the operator may do from now on.")],
) -> None:
    """Give an operator another role, from the next request on. Its tokens stay."""
    with ask.gateway() as gateway:
        updated = gateway.change("operators", operator, body={"role": role})
    ask.show(
        {"operator": updated or operator, "changed": updated is not None},
        f"operator {operator} has the role {role.value} already"
        if updated is None
        else f"operator {updated['name']} ({updated['id']}) is now {updated['role']}",
    )


@app.command()
def revoke(ask: Changes, operator: Operator) -> None:
    """Revoke an operator and all its tokens, for good. The next request with one of them is refused."""
    with ask.gateway() as gateway:
        revoked = gateway.change("operators", operator, verb="revoke")
    ask.show(
        {"operator": operator, "revoked": True, "changed": revoked is not None},
        f"operator {operator} is already revoked"
        if revoked is None
        else f"revoked operator {revoked['name']} ({revoked['id']}) and all its tokens",
    )


@token_app.command("create")
def create_token(
    ask: Changes,
    operator: Operator,
    expires: options.Expires = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only for this: read, agents:write; may be repeated."),
    ] = None,
    out: options.SecretOut = None,
) -> None:
    """Create a token. It is printed once, alone on standard output, and cannot be shown again.

    With --server it must not outlive the token with which you ask.
    """
    body = {"expires_in": output.seconds(expires), "scopes": scope or None}
    with ask.gateway() as gateway, files.secret_file(out) as put:
        made = gateway.send("POST", "operators", operator, "tokens", body=body)
        if (text := made["token"]) is None:
            hint = f"type `gateway operators token revoke {made['id']}` and create another"
            raise files.answer_lost(f"token {made['id']} was created", hint)
        put(text)
    until = "" if made["expires"] is None else f" until {made['expires']}"
    whose = f"{made['id']} for operator {made['operator']}{until}"
    ask.secret(made.without("token", "status"), "token", text, out, whose, "it")


@token_app.command("list")
def list_tokens(ask: Asks, operator: Operator) -> None:
    """List an operator's tokens without their secrets, also dead ones."""
    ask.table(
        ask.items("operators", operator, "tokens"),
        *(("TOKEN", "token_id"), "STATUS", "CREATED", "EXPIRES"),
        ("ONLY FOR", lambda each: " ".join(each["scopes"] or [])),
        "ID",
        empty=f"no tokens yet: type `gateway operators token create {operator}`",
    )


@token_app.command("revoke")
def revoke_token(
    ask: Changes, token: Annotated[str, typer.Argument(help="A token's id (otk_…), or the beginning of its text.")]
) -> None:
    """Revoke a token, for good. The next request with it is refused."""
    from gateway.identity.credentials import public_part

    with ask.gateway() as gateway:
        before = gateway.get("operator-tokens", public_part(token))
        revoked = gateway.send("POST", "operator-tokens", before["id"], "revoke")
    changed = before["revoked"] is None
    ask.show(
        {"token_id": public_part(token), "revoked": True, "changed": changed},
        f"revoked token {revoked['token_id']} ({revoked['id']}) of operator {revoked['operator']}"
        if changed
        else "the token is already revoked",
    )


def where(organization: str | None) -> str:
    """Where an operator of this organization, or of all (None), may do something."""
    return "the whole gateway" if organization is None else f"organization {organization}"
