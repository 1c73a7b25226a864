"""`gateway issuers`: who may say which program an agent is, so that it needs no key, or which person it acts for."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

app = App(no_args_is_help=True, help="Trust issuers of tokens, such as GitHub Actions or a Kubernetes cluster.")
rules = App(no_args_is_help=True, help="Say which of an issuer's tokens are which agent.")
app.add_typer(rules, name="rule")

Name = Annotated[str, typer.Argument(help="What it is called here.")]
Issuer = Annotated[str, typer.Argument(help="The issuer.")]
IssuerUrl = Annotated[str, typer.Option("--issuer", metavar="URL", help="The `iss` of its tokens, exactly.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to the gateway's machine.")]
JwksUrl = Annotated[
    str | None,
    typer.Option("--jwks-url", metavar="URL", help="Where its public keys are; by default it is asked for that."),
]
JwksFile = Annotated[
    Path | None,
    typer.Option("--jwks-file", metavar="FILE", help="Its public keys, for an issuer that cannot be reached."),
]


class TokenKind(enum.StrEnum):
    """The tokens that an issuer makes for persons."""

    ID = "id_token"
    ACCESS = "access_token"
    ASSERTION = "id_jag"


class Algorithm(enum.StrEnum):
    """The signatures that are accepted."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    RS256 = "RS256"


@app.command("add-persons")
def add_persons(
    ask: Of,
    name: Name,
    issuer: IssuerUrl,
    audience: Annotated[
        str,
        typer.Option(
            "--audience", help="The `aud` that its tokens must have; of an id_token the application's client id."
        ),
    ],
    kind: Annotated[TokenKind, typer.Option("--token", help="Which of its tokens agents exchange.")] = TokenKind.ID,
    max_age: Annotated[
        str, typer.Option("--max-age", metavar="AGE", help="How long after it was issued one is taken: 10m, 8h.")
    ] = "1h",
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME", help="A claim that policies see, such as groups; may be repeated."),
    ] = None,
    algorithm: Annotated[
        list[Algorithm] | None,
        typer.Option("--algorithm", help="A signature that is accepted; may be repeated. By default all of these."),
    ] = None,
    jwks_url: JwksUrl = None,
    jwks_file: JwksFile = None,
    insecure: Insecure = False,
) -> None:
    """Trust an issuer to say who a person is. No agent may act for its persons before there is a rule."""
    tokens = {
        "kind": kind,
        "max_age": output.parse_duration(max_age) // 10**9,
        "claims": claim or [],
        "algorithms": list(algorithm or Algorithm),
    }
    body = {"name": name, "issuer": issuer, "audience": audience, "insecure": insecure, "persons": tokens}
    made = ask.send("POST", "issuers", body=body | _keys(jwks_url, jwks_file))
    ask.show(
        made | {"rules": []},
        f"issuer {name} is trusted to say who a person is; claims that policies see: {_seen(made)}",
        f"say which agents may act for them: `gateway issuers rule add {name} --agent …`",
    )


@app.command()
def add(
    ask: Of,
    name: Name,
    issuer: IssuerUrl,
    audience: Annotated[
        str, typer.Option("--audience", help="The `aud` that its tokens must have: a name for this gateway.")
    ],
    jwks_url: JwksUrl = None,
    jwks_file: JwksFile = None,
    insecure: Insecure = False,
) -> None:
    """Trust an issuer. Its tokens open nothing before there is a rule."""
    body = {"name": name, "issuer": issuer, "audience": audience, "insecure": insecure}
    made = ask.send("POST", "issuers", body=body | _keys(jwks_url, jwks_file))
    ask.show(
        made | {"rules": []},
        f"issuer {name} is trusted for tokens of {made['issuer']} to {made['audience']}",
        f"say which are which agent: `gateway issuers rule add {name} --claim … --agent …`",
    )


@app.command("list")
def list_issuers(ask: Of) -> None:
    """List the issuers that are trusted."""
    with ask.gateway() as gateway:
        found = _listed(gateway)
    ask.table(
        found,
        *("NAME", ("OF", "purpose"), "ISSUER", "AUDIENCE", "KEYS"),
        ("RULES", lambda each: len(each["rules"])),
        empty="no issuers yet: type `gateway issuers add NAME --issuer URL --audience TEXT`",
    )


@app.command()
def update(
    ask: ChangingOf,
    name: Issuer,
    jwks_url: Annotated[
        str | None, typer.Option("--jwks-url", metavar="URL", help="Its public keys are there from now on.")
    ] = None,
    jwks_file: Annotated[
        Path | None, typer.Option("--jwks-file", metavar="FILE", help="These are its public keys from now on.")
    ] = None,
    discover: Annotated[
        bool, typer.Option("--discover", help="It is asked where its public keys are from now on.")
    ] = False,
    insecure: Insecure = False,
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="AGE", help="Of persons: how old a token may be: 10m, 8h.")
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME", help="Of persons: a claim that policies see; all of them are given."),
    ] = None,
    no_claims: Annotated[bool, typer.Option("--no-claims", help="Of persons: policies see no claims.")] = False,
    algorithm: Annotated[
        list[Algorithm] | None,
        typer.Option("--algorithm", help="Of persons: a signature that is accepted; all of them are given."),
    ] = None,
) -> None:
    """Change an issuer's keys, or what its tokens of persons must be. Its rules and the tokens from them stay."""
    if discover and (jwks_file is not None or jwks_url is not None):
        raise GatewayError("invalid_issuer", "--discover excludes --jwks-url and --jwks-file", hint="say one of them")
    if claim and no_claims:
        raise GatewayError("invalid_issuer", "--claim and --no-claims exclude each other", hint="say one of them")
    wanted = {
        "max_age": None if max_age is None else output.parse_duration(max_age) // 10**9,
        "claims": [] if no_claims else claim,
        "algorithms": algorithm,
    }
    body = output.given(wanted, "issuers", also=_keys("" if discover else jwks_url, jwks_file))
    with ask.gateway() as gateway:
        changed = gateway.send("PATCH", "issuers", name, body=body | {"insecure": insecure})
        changed |= {"rules": _rules(gateway, name)}
    keys = f"keys: {changed['keys']}"
    if changed["max_age"] is not None:
        algorithms = ", ".join(changed["algorithms"])
        keys += f"; up to {changed['max_age']} s old; {algorithms}; claims that policies see: {_seen(changed)}"
    ask.show(changed, f"changed issuer {name} ({keys})")


@app.command()
def remove(ask: Of, name: Issuer) -> None:
    """Trust an issuer no longer. The tokens that came from its rules end at their next use."""
    with ask.gateway() as gateway:
        before = _rules(gateway, name)
        removed = gateway.send("DELETE", "issuers", name) | {"rules": before}
    ask.show(removed, f"removed issuer {removed['name']}, and with it its rules ({len(before)})")


@rules.command("add")
def add_rule(
    ask: Of,
    issuer: Issuer,
    agent: Annotated[
        str, typer.Option("--agent", help="The agent that such a token is, or that acts for the person: name or id.")
    ],
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME=VALUE", help="A claim that a token must have, exactly; may be repeated."),
    ] = None,
) -> None:
    """Let tokens with these claims be an agent, or let an agent act for the persons that they name."""
    body = {"claims": read_claims(claim or [], "repository=acme/app"), "agent": agent}
    made = ask.send("POST", "issuers", issuer, "rules", body=body)
    ask.show(made, f"rule {made['id']}: {_meaning(made)}")


@rules.command("list")
def list_rules(ask: Of, issuer: Annotated[str | None, typer.Argument(help="Only this issuer's.")] = None) -> None:
    """List the rules."""
    with ask.gateway() as gateway:
        if issuer is None:
            found = [rule for each in _listed(gateway) for rule in each["rules"]]
        else:
            found = _rules(gateway, issuer)
    ask.table(
        found,
        *(("RULE", "id"), "ISSUER"),
        ("AGENT", _agent),
        ("CLAIMS", lambda each: shown_claims(each["claims"])),
        empty="no rules yet: type `gateway issuers rule add ISSUER --claim NAME=VALUE --agent AGENT`",
    )


def _agent(rule: AnswerDocument) -> str:
    status = "" if rule["agent_status"] == "active" else f" ({rule['agent_status']})"
    return f"{rule['agent']}{status}"


@rules.command("remove")
def remove_rule(ask: Of, rule: Annotated[str, typer.Argument(help="The rule's id (rul_…).")]) -> None:
    """End a rule. The tokens that came from it end at their next use."""
    with ask.gateway() as gateway:
        found = [each for issuer in _listed(gateway) for each in issuer["rules"] if each["id"] == rule]
        if not found:
            from gateway.registry import issuers

            raise issuers.unknown_rule(rule)
        removed = gateway.send("DELETE", "issuers", found[0]["issuer"], "rules", rule)
    ask.show(removed, f"removed rule {removed['id']}, which said: {_meaning(removed)}")


def _listed(gateway: ManagementClient) -> list[AnswerDocument]:
    """The issuers with their rules, of which their own documents have the number only."""
    return [
        each | {"rules": _rules(gateway, each["name"]) if each["rules"] else []} for each in gateway.items("issuers")
    ]


def _rules(gateway: ManagementClient, issuer: str) -> list[AnswerDocument]:
    return gateway.items("issuers", issuer, "rules")


def _seen(issuer: AnswerDocument) -> str:
    return ", ".join(issuer["claims"]) or "none but the subject"


def _meaning(rule: AnswerDocument) -> str:
    claims = shown_claims(rule["claims"])
    if rule["purpose"] == "persons":
        who = f"whose token of {rule['issuer']} has {claims}" if claims else f"of {rule['issuer']}"
        return f"agent {rule['agent']} may act for persons {who}"
    return f"a token of {rule['issuer']} with {claims} is agent {rule['agent']}"


def _keys(jwks_url: str | None, path: Path | None) -> dict[str, Any]:
    """The place of an issuer's public keys, as bodies have it. A URL beside a file is refused."""
    if path is None:
        return {} if jwks_url is None else {"jwks_url": jwks_url}
    from gateway.identity import jose
    from gateway.registry.issuers import MAX_JWKS

    if jwks_url is not None:
        raise GatewayError("invalid_issuer", "--jwks-url and --jwks-file exclude each other", hint="say one of them")
    found = files.read(path, MAX_JWKS + 1, code="invalid_jwks")
    if len(found) > MAX_JWKS:
        raise GatewayError("invalid_jwks", f"`{path}` has more than {MAX_JWKS} bytes", subject=str(path))
    try:
        text = found.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_jwks", f"`{path}` is not text", subject=str(path)) from error
    jose.key_set(text)  # says what is wrong with a text that is no JSON, too
    return {"jwks": json.loads(text)}


# ---- claims of rules, of login providers as well


def read_claims(given: Sequence[str], example: str) -> dict[str, str]:
    """The claims by their names. Raises `invalid_claim`, with the `example` as a hint, or for one that comes twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            hint = f"write it as --claim {example}"
            raise GatewayError("invalid_claim", f"`{text[:80]}` is not a claim and its value", hint=hint)
        if name in found:
            what = f"claim `{name[:80]}` is named twice, and a token has it once"
            raise GatewayError("invalid_claim", what, hint="make two rules, of which one is enough")
        found[name] = value
    return found


def shown_claims(claims: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in claims.items())
