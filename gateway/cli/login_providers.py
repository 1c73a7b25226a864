"""`gateway operators login-provider|login-rule`: where operators log in, and who is let in (login.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import files, output
from gateway.cli.asking import App, Changing, Everywhere
from gateway.cli.issuers import read_claims, shown_claims
from gateway.cli.operators import Changes, NewRole, Operator, where
from gateway.cli.operators import app as operators
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

providers = App(no_args_is_help=True, help="Let operators log in with an OpenID Connect provider.")
rules = App(no_args_is_help=True, help="Say whom a login provider lets in, and what they may do.")

operators.add_typer(providers, name="login-provider")
operators.add_typer(rules, name="login-rule")

_NOUN: Final = "login-providers"
_MAX_SECRET: Final = 2048

Name = Annotated[str, typer.Argument(help="The provider.")]
Secret = Annotated[
    Path | None,
    typer.Option("--client-secret-file", metavar="FILE", help="The secret of a confidential client; kept sealed."),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", metavar="SCOPE", help="Ask for this beside openid and email: groups; may be repeated."),
]


@providers.command("add")
def add(
    ask: Changing,
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    issuer: Annotated[str, typer.Option("--issuer", metavar="URL", help="Its issuer identifier, exactly.")],
    client_id: Annotated[str, typer.Option("--client-id", metavar="ID", help="What it calls the gateway.")],
    secret_file: Secret = None,
    scope: Scopes = None,
    session: Annotated[
        str, typer.Option("--session", metavar="DURATION", help="How long a login is good: 5m to 24h.")
    ] = "8h",
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to this machine.")] = False,
) -> None:
    """Add a provider. Nobody is let in before there is a rule."""
    body = {
        "name": name,
        "issuer": issuer,
        "client_id": client_id,
        "client_secret": None if secret_file is None else files.text(secret_file, _MAX_SECRET),
        "scopes": scope or [],
        "session_seconds": output.seconds(session),
        "insecure": insecure,
    }
    made = ask.send("POST", _NOUN, body=body)
    ask.show(
        made,
        f"operators can log in with {name}, for {_hours(made)} at a time",
        "register the redirect address http://127.0.0.1/callback there, for a native application",
        f"say who is let in: `gateway operators login-rule add {name} --claim … --role …`",
    )


@providers.command("list")
def list_providers(ask: Everywhere) -> None:
    """List the login providers."""
    ask.table(
        ask.items(_NOUN),
        *("NAME", "ISSUER", ("CLIENT", "client_id"), ("KIND", _kind), ("SESSION", _hours), "RULES"),
        empty="no login providers yet: type `gateway operators login-provider add NAME --issuer URL --client-id ID`",
    )


@providers.command("show")
def show(ask: Everywhere, name: Name) -> None:
    """Show a login provider and its rules."""
    with ask.gateway() as gateway:
        found = gateway.get(_NOUN, name)
        let_in = _rules(gateway, name)
    ask.fields(
        found | {"rules": let_in},
        ("name", found["name"]),
        ("id", found["id"]),
        ("issuer", found["issuer"]),
        ("client", f"{found['client_id']} ({_kind(found)})"),
        ("asked for", " ".join(found["scopes"])),
        ("session", _hours(found)),
        *(("rule", f"{each['id']}: {_meaning(each)}") for each in let_in),
    )


@providers.command("update")
def update(
    ask: Changing,
    name: Name,
    client_id: Annotated[
        str | None, typer.Option("--client-id", metavar="ID", help="What it calls the gateway.")
    ] = None,
    secret_file: Secret = None,
    no_secret: Annotated[bool, typer.Option("--no-client-secret", help="Forget the secret: a public client.")] = False,
    scope: Scopes = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="DURATION", help="How long a login is good: 5m to 24h.")
    ] = None,
) -> None:
    """Change a login provider, for logins from now on. Logins before go on as they are."""
    if secret_file is not None and no_secret:
        raise GatewayError("invalid_secret", "--client-secret-file and --no-client-secret exclude each other")
    wanted = {
        "client_id": client_id,
        "client_secret": None if secret_file is None else files.text(secret_file, _MAX_SECRET),
        "scopes": scope,
        "session_seconds": output.seconds(session),
    }
    body = {member: value for member, value in wanted.items() if value is not None}
    # What is given is meant whatever the provider is.
    changed = ask.send("PATCH", _NOUN, name, body=body | ({"client_secret": None} if no_secret else {}), match="*")
    ask.show(changed, f"changed login provider {changed['name']} ({_kind(changed)}, {_hours(changed)})")


@providers.command("remove")
def remove(ask: Changing, name: Name) -> None:
    """Let nobody log in there any more. Its rules go, and the logins that it gave end at once."""
    removed = ask.send("DELETE", _NOUN, name)
    line = f"removed login provider {removed['name']} with its rules ({removed['rules']}); logins ended: "
    ask.show(removed, f"{line}{removed['tokens_ended']}")


@rules.command("add")
def add_rule(
    ask: Changes,
    provider: Annotated[str, typer.Argument(help="The login provider.")],
    role: NewRole,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME=VALUE", help="What a person must have: groups=staff; may be repeated."),
    ] = None,
) -> None:
    """Let people in who have these claims, all of them, as operators with this role."""
    asked = read_claims(claim or [], "groups=platform")
    body = {"claims": asked, "role": role, "organization": ask.organization}
    made = ask.send("POST", _NOUN, provider, "rules", body=body, organization=None)
    ask.show(made, f"rule {made['id']}: {_meaning(made)}")


@rules.command("list")
def list_rules(
    ask: Everywhere, provider: Annotated[str | None, typer.Argument(help="Only this provider's.")] = None
) -> None:
    """List the rules."""
    with ask.gateway() as gateway:
        found = _rules(gateway, provider)
    ask.table(
        found,
        *(("RULE", "id"), "PROVIDER", ("CLAIMS", lambda each: shown_claims(each["claims"])), "ROLE"),
        ("OF", lambda each: where(each["organization"])),
        empty="no rules yet: type `gateway operators login-rule add PROVIDER --claim NAME=VALUE --role ROLE`",
    )


@rules.command("remove")
def remove_rule(ask: Changing, rule: Annotated[str, typer.Argument(help="The rule's id (lgr_…).")]) -> None:
    """End a rule. The logins that it has let in end at once."""
    with ask.gateway() as gateway:
        provider = next((each["provider"] for each in _rules(gateway, None) if each["id"] == rule), None)
        if provider is None:
            from gateway.registry.operators.login_providers import unknown_rule

            raise unknown_rule(rule)
        removed = gateway.send("DELETE", _NOUN, provider, "rules", rule)
    line = f"removed rule {removed['id']}, which said: {_meaning(removed)}; logins ended: {removed['tokens_ended']}"
    ask.show(removed, line)


@operators.command("readmit")
def readmit(ask: Changes, operator: Operator) -> None:
    """Let the person of a revoked operator log in again. The next login makes a new operator, if a rule lets it in."""
    with ask.gateway() as gateway:
        before = gateway.get("operators", operator)
        after = gateway.send("POST", "operators", before["id"], "readmit")
    barred = after["subject"] != before["subject"]
    ask.show(
        {"operator": operator, "changed": barred},
        f"the person of operator {before['name']} ({before['id']}) may log in again"
        if barred
        else f"no login is barred by operator {operator}",
    )


def _rules(gateway: ManagementClient, provider: str | None) -> list[AnswerDocument]:
    """The rules of one provider, or of all."""
    named = [each["name"] for each in gateway.items(_NOUN)] if provider is None else [provider]
    return [each for name in named for each in gateway.items(_NOUN, name, "rules")]


def _kind(provider: AnswerDocument) -> str:
    return "with a secret" if provider["has_secret"] else "public"


def _meaning(rule: AnswerDocument) -> str:
    who = f"whoever has {shown_claims(rule['claims'])} at {rule['provider']}"
    return f"{who} is {rule['role']} of {where(rule['organization'])}"


def _hours(provider: AnswerDocument) -> str:
    seconds = provider["session_seconds"]
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
