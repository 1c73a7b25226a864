"""`gateway issuers`: who may say which program an agent is, so that the program needs no key.

Issuers that say who a person is are added by `person_issuers.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import claims, output, person_issuers
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.options import InsecureIssuer, IssuerUrl, JwksFile, JwksUrl
from gateway.errors import GatewayError
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.issuers import IssuerRecord, RuleRecord

app = App(no_args_is_help=True, help="Trust issuers of tokens, such as GitHub Actions or a Kubernetes cluster.")
rules = App(no_args_is_help=True, help="Say which of an issuer's tokens are which agent.")
app.add_typer(rules, name="rule")
app.command("add-persons")(person_issuers.add)


@app.command()
def add(
    ask: Of,
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    issuer: IssuerUrl,
    audience: Annotated[
        str, typer.Option("--audience", help="The `aud` that its tokens must have: a name for this gateway.")
    ],
    jwks_url: JwksUrl = None,
    jwks_file: JwksFile = None,
    insecure: InsecureIssuer = False,
) -> None:
    """Trust an issuer. Its tokens open nothing before there is a rule."""
    body = {"name": name, "issuer": issuer, "audience": audience, "insecure": insecure}
    made = person_issuers.trust(ask.data, ask.organization, body | person_issuers.keys(jwks_url, jwks_file))
    if ask.as_json:
        output.print_json(made)
    else:
        typer.echo(f"issuer {made.name} is trusted for tokens of {made.issuer} to {made.audience}")
        output.note(f"say which are which agent: `gateway issuers rule add {made.name} --claim … --agent …`")


@app.command("list")
def list_issuers(ask: Of) -> None:
    """List the issuers that are trusted."""
    with ask.gateway() as gateway:
        found = _listed(gateway, ask.organization)
    if ask.as_json:
        output.print_json(found)
        return
    output.print_table(
        ("NAME", "OF", "ISSUER", "AUDIENCE", "KEYS", "RULES"),
        [(each.name, each.purpose, each.issuer, each.audience, each.keys, str(len(each.rules))) for each in found],
        empty="no issuers yet: type `gateway issuers add NAME --issuer URL --audience TEXT`",
    )


@app.command()
def update(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="The issuer.")],
    jwks_url: Annotated[
        str | None, typer.Option("--jwks-url", metavar="URL", help="Its public keys are there from now on.")
    ] = None,
    jwks_file: Annotated[
        Path | None, typer.Option("--jwks-file", metavar="FILE", help="These are its public keys from now on.")
    ] = None,
    discover: Annotated[
        bool, typer.Option("--discover", help="It is asked where its public keys are from now on.")
    ] = False,
    insecure: InsecureIssuer = False,
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="AGE", help="Of persons: how old a token may be: 10m, 8h.")
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME", help="Of persons: a claim that policies see; all of them are given."),
    ] = None,
    no_claims: Annotated[bool, typer.Option("--no-claims", help="Of persons: policies see no claims.")] = False,
    algorithm: Annotated[
        list[person_issuers.Algorithm] | None,
        typer.Option("--algorithm", help="Of persons: a signature that is accepted; all of them are given."),
    ] = None,
) -> None:
    """Change an issuer's keys, or what its tokens of persons must be. Its rules and the tokens from them stay."""
    if discover and (jwks_file is not None or jwks_url is not None):
        raise GatewayError("invalid_issuer", "--discover excludes --jwks-url and --jwks-file", hint="say one of them")
    if claim and no_claims:
        raise GatewayError("invalid_issuer", "--claim and --no-claims exclude each other", hint="say one of them")
    wanted = person_issuers.keys("" if discover else jwks_url, jwks_file) | {
        "max_age": None if max_age is None else output.parse_duration(max_age) // 10**9,
        "claims": [] if no_claims else claim,
        "algorithms": None if algorithm is None else [str(each) for each in algorithm],
    }
    if all(each is None for each in wanted.values()):
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway issuers update --help`")
    body = wanted | {"insecure": insecure, "reason": ask.reason}
    with ask.gateway() as gateway:
        reply = gateway.send("PATCH", "issuers", name, body=body, organization=ask.organization)
        changed = person_issuers.issuer_of(reply.body, _rules(gateway, ask.organization, name))
    ask.show(changed, f"changed issuer {changed.name} ({_described(changed)})")


@app.command()
def remove(ask: Of, name: Annotated[str, typer.Argument(help="The issuer.")]) -> None:
    """Trust an issuer no longer. The tokens that came from its rules end at their next use."""
    with ask.gateway() as gateway:
        before = _rules(gateway, ask.organization, name)
        reply = gateway.send("DELETE", "issuers", name, organization=ask.organization)
    removed = person_issuers.issuer_of(reply.body, before)
    ask.show(removed, f"removed issuer {removed.name}, and with it its rules ({len(removed.rules)})")


@rules.command("add")
def add_rule(
    ask: Of,
    issuer: Annotated[str, typer.Argument(help="The issuer.")],
    agent: Annotated[
        str, typer.Option("--agent", help="The agent that such a token is, or that acts for the person: name or id.")
    ],
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="NAME=VALUE", help="A claim that a token must have, exactly; may be repeated."),
    ] = None,
) -> None:
    """Let tokens with these claims be an agent, or let an agent act for the persons that they name."""
    from gateway.registry.issuers import RuleRecord

    body = {"claims": claims.read(claim or [], "repository=acme/app"), "agent": agent}
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "issuers", issuer, "rules", body=body, organization=ask.organization)
    made = documents.record(RuleRecord, reply.body)
    ask.show(made, f"rule {made.id}: {_meaning(made)}")


@rules.command("list")
def list_rules(ask: Of, issuer: Annotated[str | None, typer.Argument(help="Only this issuer's.")] = None) -> None:
    """List the rules."""
    with ask.gateway() as gateway:
        if issuer is not None:
            listed = _rules(gateway, ask.organization, issuer)
        else:
            listed = [rule for each in _listed(gateway, ask.organization) for rule in each.rules]
    if ask.as_json:
        output.print_json(listed)
        return
    output.print_table(
        ("RULE", "ISSUER", "AGENT", "CLAIMS"),
        [
            (
                each.id,
                each.issuer,
                each.agent if each.agent_status == "active" else f"{each.agent} ({each.agent_status})",
                claims.shown(each.claims),
            )
            for each in listed
        ],
        empty="no rules yet: type `gateway issuers rule add ISSUER --claim NAME=VALUE --agent AGENT`",
    )


@rules.command("remove")
def remove_rule(ask: Of, rule: Annotated[str, typer.Argument(help="The rule's id (rul_…).")]) -> None:
    """End a rule. The tokens that came from it end at their next use."""
    from gateway.registry import issuers

    with ask.gateway() as gateway:
        found = _listed(gateway, ask.organization)
        holder = next((each.name for each in found if any(mine.id == rule for mine in each.rules)), None)
        if holder is None:
            raise issuers.unknown_rule(rule)
        reply = gateway.send("DELETE", "issuers", holder, "rules", rule, organization=ask.organization)
    removed = documents.record(issuers.RuleRecord, reply.body)
    ask.show(removed, f"removed rule {removed.id}, which said: {_meaning(removed)}")


def _listed(gateway: Client, organization: str) -> list[IssuerRecord]:
    found = gateway.items("issuers", organization=organization)
    return [
        person_issuers.issuer_of(each, _rules(gateway, organization, each["name"]) if each["rules"] else [])
        for each in found
    ]


def _rules(gateway: Client, organization: str, issuer: str) -> list[RuleRecord]:
    from gateway.registry.issuers import RuleRecord

    return documents.records(RuleRecord, gateway.items("issuers", issuer, "rules", organization=organization))


def _described(issuer: IssuerRecord) -> str:
    keys = f"keys: {issuer.keys}"
    if issuer.max_age is None:
        return keys
    seen = ", ".join(issuer.claims) or "none but the subject"
    return f"{keys}; up to {issuer.max_age} s old; {', '.join(issuer.algorithms)}; claims that policies see: {seen}"


def _meaning(rule: RuleRecord) -> str:
    if rule.purpose == "persons":
        who = f"whose token of {rule.issuer} has {claims.shown(rule.claims)}" if rule.claims else f"of {rule.issuer}"
        return f"agent {rule.agent} may act for persons {who}"
    return f"a token of {rule.issuer} with {claims.shown(rule.claims)} is agent {rule.agent}"
