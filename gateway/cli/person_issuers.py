"""`gateway issuers add-persons`: who may say which person an agent acts for (docs/persons.md)."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.errors import GatewayError
from gateway.processes import local


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
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    issuer: Annotated[str, typer.Option("--issuer", metavar="URL", help="The `iss` of its tokens, exactly.")],
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
    jwks_url: Annotated[
        str | None,
        typer.Option("--jwks-url", metavar="URL", help="Where its public keys are; by default it is asked for that."),
    ] = None,
    jwks_file: Annotated[
        Path | None,
        typer.Option("--jwks-file", metavar="FILE", help="Its public keys, for an issuer that cannot be reached."),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to this machine.")] = False,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Trust an issuer to say who a person is. No agent may act for its persons before there is a rule."""
    from gateway.registry import issuers

    if jwks_url is not None and jwks_file is not None:
        raise GatewayError("invalid_issuer", "--jwks-url and --jwks-file exclude each other", hint="say one of them")
    tokens = issuers.PersonTokens(
        kind=str(kind),
        max_age=output.parse_duration(max_age) // 10**9,
        claims=claim or [],
        algorithms=[str(each) for each in algorithm or Algorithm],
    )
    with local.changing(data) as registry:
        made = issuers.add_issuer(
            registry,
            actor=local.actor(),
            organization=organization,
            name=name,
            issuer=issuer,
            audience=audience,
            jwks_url=jwks_url or "",
            jwks="" if jwks_file is None else key_file(jwks_file),
            insecure=insecure,
            persons=tokens,
        )
        if as_json:
            output.print_json(made)
        else:
            seen = ", ".join(made.claims) or "none but the subject"
            typer.echo(f"issuer {made.name} is trusted to say who a person is; claims that policies see: {seen}")
            output.note(f"say which agents may act for them: `gateway issuers rule add {made.name} --agent …`")


def key_file(path: Path) -> str:
    """The public keys in a file, as text."""
    from gateway.registry.issuers import MAX_JWKS

    try:
        with path.open("rb") as stream:
            found = stream.read(MAX_JWKS + 1)
        if len(found) > MAX_JWKS:
            raise GatewayError("invalid_jwks", f"`{path}` has more than {MAX_JWKS} bytes", subject=str(path))
        return found.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("invalid_jwks", f"cannot read `{path}`: {reason}", subject=str(path)) from error
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_jwks", f"`{path}` is not text", subject=str(path)) from error
