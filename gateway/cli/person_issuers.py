"""`gateway issuers add-persons`: who may say which person an agent acts for (persons.md)."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import Of
from gateway.cli.options import InsecureIssuer, IssuerUrl, JwksFile, JwksUrl
from gateway.errors import GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.registry.issuers import IssuerRecord, RuleRecord


class Kind(enum.StrEnum):
    """The tokens that an issuer makes for persons."""

    ID = "id_token"
    ACCESS = "access_token"


class Algorithm(enum.StrEnum):
    """The signatures that are accepted."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    RS256 = "RS256"


def add(
    ask: Of,
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    issuer: IssuerUrl,
    audience: Annotated[
        str,
        typer.Option(
            "--audience", help="The `aud` that its tokens must have; of an id_token the application's client id."
        ),
    ],
    kind: Annotated[Kind, typer.Option("--token", help="Which of its tokens agents exchange.")] = Kind.ID,
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
    insecure: InsecureIssuer = False,
) -> None:
    """Trust an issuer to say who a person is. No agent may act for its persons before there is a rule."""
    tokens = {
        "kind": str(kind),
        "max_age": output.parse_duration(max_age) // 10**9,
        "claims": claim or [],
        "algorithms": [str(each) for each in algorithm or Algorithm],
    }
    body = {"name": name, "issuer": issuer, "audience": audience, "insecure": insecure, "persons": tokens}
    made = trust(ask.data, ask.organization, body | keys(jwks_url, jwks_file))
    if ask.as_json:
        output.print_json(made)
    else:
        seen = ", ".join(made.claims) or "none but the subject"
        typer.echo(f"issuer {made.name} is trusted to say who a person is; claims that policies see: {seen}")
        output.note(f"say which agents may act for them: `gateway issuers rule add {made.name} --agent …`")


def trust(data: Path, organization: str, body: dict[str, Any]) -> IssuerRecord:
    """Add an issuer of any purpose."""
    given = {name: value for name, value in body.items() if value is not None}
    with gateways.client(data, output.warn) as gateway:
        return issuer_of(gateway.send("POST", "issuers", body=given, organization=organization).body, [])


def issuer_of(document: dict[str, Any], rules: list[RuleRecord]) -> IssuerRecord:
    """An issuer, of whose rules its document has the number only."""
    from gateway.registry.issuers import IssuerRecord

    return documents.record(IssuerRecord, document | {"rules": rules})


def keys(jwks_url: str | None, path: Path | None) -> dict[str, Any]:
    """Where an issuer's public keys are, as bodies have it. A URL beside a file is refused."""
    if path is None:
        return {"jwks_url": jwks_url, "jwks": None}
    from gateway.identity import jose
    from gateway.registry.issuers import MAX_JWKS

    if jwks_url is not None:
        raise GatewayError("invalid_issuer", "--jwks-url and --jwks-file exclude each other", hint="say one of them")
    try:
        with path.open("rb") as stream:
            found = stream.read(MAX_JWKS + 1)
        if len(found) > MAX_JWKS:
            raise GatewayError("invalid_jwks", f"`{path}` has more than {MAX_JWKS} bytes", subject=str(path))
        text = found.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("invalid_jwks", f"cannot read `{path}`: {reason}", subject=str(path)) from error
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_jwks", f"`{path}` is not text", subject=str(path)) from error
    jose.key_set(text)  # says what is wrong with a text that is no JSON, too
    return {"jwks_url": None, "jwks": json.loads(text)}
