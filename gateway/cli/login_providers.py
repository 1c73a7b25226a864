"""`gateway operators login-provider|login-rule`: where operators log in, and who is let in (login.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import claims, output
from gateway.cli.asking import App, Changing, Everywhere
from gateway.cli.operators import Operator, Organization, Role, found, where
from gateway.cli.operators import app as operators
from gateway.cli.options import DATA, Data, Json, Reason
from gateway.errors import GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import Client, Reply
    from gateway.registry.operators.login_providers import LoginProviderRecord, LoginRuleRecord

providers = App(no_args_is_help=True, help="Let operators log in with an OpenID Connect provider.")
rules = App(no_args_is_help=True, help="Say whom a login provider lets in, and what they may do.")

operators.add_typer(providers, name="login-provider")
operators.add_typer(rules, name="login-rule")

_NOUN: Final = "login-providers"

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
        "client_secret": None if secret_file is None else _secret(secret_file),
        "scopes": scope or [],
        "session_seconds": output.parse_duration(session) // 10**9,
        "insecure": insecure,
        "reason": ask.reason,
    }
    with ask.gateway() as gateway:
        made = _provider(gateway.send("POST", _NOUN, body=body))
    if ask.as_json:
        output.print_json(made)
        return
    typer.echo(f"operators can log in with {made.name}, for {_hours(made.session_seconds)} at a time")
    output.note("register the redirect address http://127.0.0.1/callback there, for a native application")
    output.note(f"say who is let in: `gateway operators login-rule add {made.name} --claim … --role …`")


@providers.command("list")
def list_providers(ask: Everywhere) -> None:
    """List the login providers."""
    from gateway.registry.operators.login_providers import LoginProviderRecord

    with ask.gateway() as gateway:
        found = documents.records(LoginProviderRecord, gateway.items(_NOUN))
    if ask.as_json:
        output.print_json(found)
        return
    output.print_table(
        ("NAME", "ISSUER", "CLIENT", "KIND", "SESSION", "RULES"),
        [
            (each.name, each.issuer, each.client_id, _kind(each), _hours(each.session_seconds), str(each.rules))
            for each in found
        ],
        empty="no login providers yet: type `gateway operators login-provider add NAME --issuer URL --client-id ID`",
    )


@providers.command("show")
def show(ask: Everywhere, name: Name) -> None:
    """Show a login provider and its rules."""
    with ask.gateway() as gateway:
        found = _provider(gateway.get(_NOUN, name))
        let_in = _rules(gateway, found.name)
    if ask.as_json:
        output.print_json(output.plain(found) | {"rules": [output.plain(each) for each in let_in]})
        return
    output.print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("issuer", found.issuer),
            ("client", f"{found.client_id} ({_kind(found)})"),
            ("asked for", " ".join(found.scopes)),
            ("session", _hours(found.session_seconds)),
            *(("rule", f"{each.id}: {_meaning(each)}") for each in let_in),
        ]
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
    wanted: dict[str, Any] = {
        "client_id": client_id,
        "client_secret": None if secret_file is None else _secret(secret_file),
        "scopes": scope,
        "session_seconds": None if session is None else output.parse_duration(session) // 10**9,
    }
    body = {member: value for member, value in wanted.items() if value is not None} | {"reason": ask.reason}
    if no_secret:
        body |= {"client_secret": None}
    with ask.gateway() as gateway:
        # What is given is meant whatever the provider is.
        changed = _provider(gateway.send("PATCH", _NOUN, name, body=body, match="*"))
    ask.show(changed, f"changed login provider {changed.name} ({_kind(changed)}, {_hours(changed.session_seconds)})")


@providers.command("remove")
def remove(ask: Changing, name: Name) -> None:
    """Let nobody log in there any more. Its rules go, and the logins that it gave end at once."""
    with ask.gateway() as gateway:
        reply = gateway.send("DELETE", _NOUN, name, reason=ask.reason or None)
    removed, ended = _provider(reply), reply.body["tokens_ended"]
    ask.show(
        output.plain(removed) | {"tokens_ended": ended},
        f"removed login provider {removed.name} with its rules ({removed.rules}); logins ended: {ended}",
    )


@rules.command("add")
def add_rule(
    provider: Annotated[str, typer.Argument(help="The login provider.")],
    role: Annotated[
        Role,
        typer.Option("--role", help="owner: everything; admin: all but operators; auditor, viewer: only reading."),
    ],
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME=VALUE", help="What a person must have: groups=staff; may be repeated."),
    ] = None,
    organization: Organization = None,
    reason: Reason = "",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Let people in who have these claims, all of them, as operators with this role."""
    asked = claims.read(claim or [], "groups=platform")
    body = {"claims": asked, "role": role.value, "organization": organization, "reason": reason}
    with gateways.client(data, output.warn) as gateway:
        made = _rule(gateway.send("POST", _NOUN, provider, "rules", body=body).body)
    if as_json:
        output.print_json(made)
    else:
        typer.echo(f"rule {made.id}: {_meaning(made)}")


@rules.command("list")
def list_rules(
    ask: Everywhere, provider: Annotated[str | None, typer.Argument(help="Only this provider's.")] = None
) -> None:
    """List the rules."""
    with ask.gateway() as gateway:
        found = _rules(gateway, provider)
    if ask.as_json:
        output.print_json(found)
        return
    output.print_table(
        ("RULE", "PROVIDER", "CLAIMS", "ROLE", "OF"),
        [(each.id, each.provider, claims.shown(each.claims), each.role, where(each.organization)) for each in found],
        empty="no rules yet: type `gateway operators login-rule add PROVIDER --claim NAME=VALUE --role ROLE`",
    )


@rules.command("remove")
def remove_rule(ask: Changing, rule: Annotated[str, typer.Argument(help="The rule's id (lgr_…).")]) -> None:
    """End a rule. The logins that it has let in end at once."""
    from gateway.registry.operators.login_providers import unknown_rule

    with ask.gateway() as gateway:
        provider = next((each.provider for each in _rules(gateway, None) if each.id == rule), None)
        if provider is None:
            raise unknown_rule(rule)
        reply = gateway.send("DELETE", _NOUN, provider, "rules", rule, reason=ask.reason or None)
    removed, ended = _rule(reply.body), reply.body["tokens_ended"]
    ask.show(
        output.plain(removed) | {"tokens_ended": ended},
        f"removed rule {removed.id}, which said: {_meaning(removed)}; logins ended: {ended}",
    )


@operators.command("readmit")
def readmit(
    operator: Operator,
    reason: Reason = "",
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Let the person of a revoked operator log in again. The next login makes a new operator, if a rule lets it in."""
    with gateways.client(data, output.warn) as gateway:
        before = found(gateway, organization, operator)
        path = ("operators", before.id, "readmit")
        reply = gateway.send("POST", *path, body={"reason": reason}, organization=organization)
    barred = None if reply.body["subject"] == before.subject else before
    if as_json:
        output.print_json({"operator": operator, "changed": barred is not None})
    elif barred is not None:
        typer.echo(f"the person of operator {barred.name} ({barred.id}) may log in again")
    else:
        typer.echo(f"no login is barred by operator {operator}")


def _provider(reply: Reply) -> LoginProviderRecord:
    from gateway.registry.operators.login_providers import LoginProviderRecord

    return documents.record(LoginProviderRecord, reply.body)


def _rules(gateway: Client, provider: str | None) -> list[LoginRuleRecord]:
    """The rules of one provider, or of all."""
    named = [each["name"] for each in gateway.items(_NOUN)] if provider is None else [provider]
    return [_rule(each) for name in named for each in gateway.items(_NOUN, name, "rules")]


def _rule(document: dict[str, Any]) -> LoginRuleRecord:
    from gateway.registry.operators.login_providers import LoginRuleRecord

    return documents.record(LoginRuleRecord, document)


def _secret(path: Path) -> str:
    """The client secret in a file; its error does not quote it."""
    try:
        with path.open("rb") as stream:
            return stream.read(2048).decode("utf-8", "replace").strip()
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise GatewayError("file_unusable", f"cannot read `{path}`: {why}", subject=str(path)) from error


def _kind(provider: LoginProviderRecord) -> str:
    return "with a secret" if provider.has_secret else "public"


def _meaning(rule: LoginRuleRecord) -> str:
    return f"whoever has {claims.shown(rule.claims)} at {rule.provider} is {rule.role} of {where(rule.organization)}"


def _hours(seconds: int) -> str:
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
