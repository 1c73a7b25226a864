"""`gateway upstreams`: the providers that requests go to, and their keys."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.options import of
from gateway.errors import GatewayError, did_you_mean
from gateway.management import documents, gateways
from gateway.settings import NO_CHECK

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.records import UpstreamRecord
    from gateway.upstream.check import UpstreamCheck

app = App(no_args_is_help=True, help="Add, list, check and remove the providers that requests go to.")

_NONE_YET = "no upstreams yet: type `gateway upstreams add openai --key-env OPENAI_API_KEY`"
_MAX_SECRET = 4096
# As variables are named by convention. Keys have lower case letters, dashes, or many digits.
_VARIABLE = re.compile(r"(?=.{1,40}$)(?!(.*\d){4})[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", re.ASCII)


@app.command()
def add(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="Its name: the first part of its path, `/NAME/v1/…`.")],
    key_env: Annotated[
        str | None,
        typer.Option("--key-env", metavar="VARIABLE", help="The environment variable that holds the provider's key."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="FILE", help="The file that holds the provider's key.")
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="This upstream needs no key.")] = False,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="Whose API it speaks; by default the one named like it, or openai-compatible."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url", metavar="URL", help="Where its API begins, as its SDK has it: mostly with the version."
        ),
    ] = None,
    openapi: Annotated[
        Path | None,
        typer.Option("--openapi", metavar="FILE", help="Any JSON API, as this OpenAPI 3 document describes it."),
    ] = None,
    headers: Annotated[
        list[str] | None,
        typer.Option(
            "--header", metavar="NAME:VALUE", help="Send this with every call, such as OpenAI-Project: proj_…"
        ),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Serve it under `/v1/…` as well.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change the key or the URL of an existing one.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to another machine.")] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", envvar=NO_CHECK, help="Do not try it; needed where it is not reached yet.")
    ] = False,
) -> None:
    """Add an upstream. Its key is read here from the environment or a file, sealed at rest and never printed.

    It is tried as by `gateway upstreams check`. A failure is a warning: the upstream is there all the same.
    """
    from gateway.registry.names import CLIENTS_ADD, PROVIDERS, check_provider
    from gateway.upstream.providers.http.openapi import needed

    document = None if openapi is None else openapi_document(openapi, provider)
    speaks = provider or ("http" if openapi else name if name in PROVIDERS else "openai-compatible")
    if speaks == "http" and document is None:
        raise GatewayError("invalid_openapi", "a JSON API needs its OpenAPI document", hint="add --openapi FILE")
    check_provider(speaks)
    # A provider's own URL is for an upstream that is said to be of it, or has its name: a key must not go where nobody
    # meant it to.
    url = base_url or PROVIDERS.get(provider or name, "")
    if not url:
        known = [each for each, its_url in PROVIDERS.items() if its_url]
        meant = did_you_mean(name, known)
        hint = f"add --base-url URL, or {meant}" if meant else "add --base-url URL"
        raise GatewayError("invalid_base", f"upstream `{name}` needs a URL", hint=hint)
    body = {
        "provider": speaks,
        "base_url": url,
        "secret": _secret(key_env, key_file, no_key),
        "headers": _headers(headers or []),
        "default": default,
        "insecure": insecure,
        "openapi": None if document is None else needed(document),
        "reason": ask.reason,
    }
    with ask.gateway() as gateway:
        made = put(gateway, "upstreams", name, body, ask.organization) if replace else None
        if made is None:
            made = gateway.send("POST", "upstreams", body=body | {"name": name}, organization=ask.organization).body
        upstream = _upstream(made)
        if ask.as_json:
            _print_json(upstream)
        else:
            path = CLIENTS_ADD.get(upstream.provider, "/v1") + "/…"
            if document is not None:
                served = f"/{upstream.name}/…: type `gateway upstreams show {upstream.name}` for its operations"
            else:
                served = f"/{upstream.name}{path}" + (f" and {path}" if upstream.default else "")
            typer.echo(output.copyable(f"upstream {upstream.name} at {upstream.base_url}, served under {served}"))
    if not no_check:
        _try(ask.data, ask.organization, upstream.name, ask.reason)


def _try(data: Path, organization: str, name: str, reason: str) -> None:
    """Warn if an upstream that was just added does not work: nobody would know before an agent's first call."""
    at = of(organization)
    try:
        with gateways.client(data, output.warn) as gateway, output.working("checking"):
            (found,) = _checks(gateway, organization, [name], reason)
    except GatewayError as error:
        output.warn(
            f"{name} is added, but could not be tried: {error.message}", f"`gateway upstreams check {name}{at}`"
        )
        return
    if found.problem:
        again = f"then `gateway upstreams check {name}{at}`"
        output.warn(f"{name} is added, but does not work: {found.problem}", f"{found.hint}; {again}")


@app.command("list")
def list_upstreams(ask: Of) -> None:
    """List the upstreams, without their keys."""
    with ask.gateway() as gateway:
        upstreams = [_upstream(each) for each in gateway.items("upstreams", organization=ask.organization)]
    if ask.as_json:
        _print_json(upstreams)
        return
    output.print_table(
        ("NAME", "PROVIDER", "BASE URL", "DEFAULT", "KEY", "ID"),
        [
            (u.name, u.provider, u.base_url, "yes" if u.default else "", "sealed" if u.has_secret else "none", u.id)
            for u in upstreams
        ],
        empty=_NONE_YET,
    )


@app.command()
def show(ask: Of, name: Annotated[str, typer.Argument(help="The upstream.")]) -> None:
    """Show the requests that an upstream takes, and under which action a policy sees each."""
    from gateway.upstream.operations import UpstreamOperation

    with ask.gateway() as gateway:
        found = gateway.items("upstreams", name, "operations", organization=ask.organization)
    operations = documents.records(UpstreamOperation, found)
    if ask.as_json:
        for each in operations:
            typer.echo(json.dumps(dataclasses.asdict(each)))
        return
    output.print_table(
        ("ACTION", "METHOD", "PATH", "PARAMS"),
        [(each.action, each.method, each.path, ", ".join(each.params)) for each in operations],
        empty="no operations",
    )


@app.command()
def check(
    ask: ChangingOf, name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this upstream.")] = None
) -> None:
    """Try upstreams: whether they are reached, and accept the stored key when they are asked for their models.

    The request costs nothing, and is no agent's. The audit log says who had it made. Of a JSON API (`--openapi`) only
    the connection is tried. The exit code is 1 if something is wrong with one of them.
    """
    with ask.gateway() as gateway, output.working("checking"):
        names = [name] if name else [each["name"] for each in gateway.items("upstreams", organization=ask.organization)]
        found = _checks(gateway, ask.organization, names, ask.reason)
    if ask.as_json:
        typer.echo(json.dumps([dataclasses.asdict(each) for each in found], indent=2, ensure_ascii=False))
    else:
        output.print_table(
            ("NAME", "RESULT", "REACHED", "TLS", "KEY", "MODELS", "TRIED", "TIME"),
            map(_checked_row, found),
            empty=_NONE_YET,
        )
        for each in found:
            if each.problem:
                output.complain(f"{each.name}: {each.problem}", each.hint)
    if not all(each.ok for each in found):
        raise typer.Exit(1)


def _checks(gateway: Client, organization: str, upstreams: Sequence[str], reason: str) -> list[UpstreamCheck]:
    """Try them with their stored keys, from where the gateway is; here all at the same time."""
    from gateway.upstream.check import LONGEST_SECONDS, UpstreamCheck

    if gateway.transport.is_here:
        body = {"upstreams": list(upstreams), "reason": reason}
        found = gateway.send("POST", "upstreams", "check", body=body, organization=organization).body["items"]
    else:
        found = [
            gateway.send(
                "POST",
                *("upstreams", each, "check"),
                body={"reason": reason},
                seconds=LONGEST_SECONDS,
                organization=organization,
            ).body
            for each in upstreams
        ]
    return documents.records(UpstreamCheck, found)


def put(gateway: Client, noun: str, name: str, body: Mapping[str, Any], organization: str) -> dict[str, Any] | None:
    """A thing that is there already gets the body instead, whatever it is; None if there is none of this name."""
    try:
        found: dict[str, Any] = gateway.send("PUT", noun, name, body=body, match="*", organization=organization).body
    except GatewayError as error:
        if error.code != f"unknown_{noun.removesuffix('s')}":
            raise
        return None
    return found


def _upstream(document: Mapping[str, Any]) -> UpstreamRecord:
    from gateway.registry.records import UpstreamRecord

    return documents.record(UpstreamRecord, document)


def _checked_row(found: UpstreamCheck) -> tuple[str, ...]:
    result, reached = "ok" if found.ok else "failed", "yes" if found.reached else "no"
    key, models = "" if found.key == "unknown" else found.key, "" if found.models is None else str(found.models)
    return found.name, result, reached, found.tls, key, models, found.tried, f"{found.milliseconds} ms"


@app.command()
def remove(ask: ChangingOf, name: Annotated[str, typer.Argument(help="The upstream's name.")]) -> None:
    """Remove an upstream and delete its sealed key."""
    with ask.gateway() as gateway:
        removed = _upstream(
            gateway.send("DELETE", "upstreams", name, organization=ask.organization, reason=ask.reason).body
        )
        if ask.as_json:
            _print_json(removed)
        else:
            typer.echo(f"removed upstream {removed.name}")


def _print_json(found: UpstreamRecord | list[UpstreamRecord]) -> None:
    """Without the operations of JSON APIs, which `show` lists."""
    listed = [
        {name: value for name, value in output.plain(each).items() if name != "specification"}
        for each in (found if isinstance(found, list) else [found])
    ]
    typer.echo(json.dumps(listed if isinstance(found, list) else listed[0], indent=2, ensure_ascii=False))


def _headers(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon:
            raise GatewayError("invalid_header", f"`{each}` is not a header", hint="write it as `NAME: VALUE`")
        found[name.strip()] = value.strip()
    return found


def _secret(variable: str | None, file: Path | None, no_key: bool) -> str | None:
    if [variable is not None, file is not None, no_key].count(True) != 1:
        raise GatewayError("invalid_key", "give one of --key-env VARIABLE, --key-file FILE and --no-key")
    if file is not None:
        return key_from(file)
    return None if variable is None else read_secret(variable)


def read_secret(variable: str) -> str:
    """The provider's key that an environment variable holds."""
    if not _VARIABLE.fullmatch(variable):
        # Perhaps it is the key itself, which must not be shown on a screen or end in somebody's log.
        raise GatewayError(
            "unknown_variable",
            "--key-env takes the name of an environment variable, which holds the key; what was given is no such name",
            hint="type `export OPENAI_API_KEY=…` first, then add `--key-env OPENAI_API_KEY`",
        )
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise GatewayError(
            "unknown_variable",
            f"environment variable `{variable}` is not set" + (" to anything" if variable in os.environ else ""),
            subject=variable,
            hint=f"type `export {variable}=…` first",
        )
    return _checked(secret, f"variable `{variable}`")


def key_from(path: Path) -> str:
    """The provider's key that a file holds."""
    try:
        with path.open("rb") as stream:
            found = stream.read(_MAX_SECRET + 2)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise GatewayError("invalid_key", f"{path} cannot be read: {why}", hint="check the path") from None
    return _checked(found.decode("latin-1").strip(), f"file `{path}`")


def _checked(secret: str, where: str) -> str:
    # It becomes the value of a header. The text itself is not shown.
    from gateway.registry.names import check_secret

    try:
        check_secret(secret)
    except GatewayError as error:
        raise GatewayError(error.code, f"{where}: {error.message}", hint=error.hint) from None
    if not (secret.isascii() and secret.isprintable()) or " " in secret or not 0 < len(secret) <= _MAX_SECRET:
        raise GatewayError("invalid_key", f"what {where} holds is not a key")
    return secret


def openapi_document(path: Path, provider: str | None) -> dict[str, Any]:
    """An OpenAPI document that can be used."""
    from gateway.upstream.providers.http import openapi

    if provider not in (None, "http"):
        raise GatewayError(
            "invalid_provider", f"--openapi and --provider {provider} exclude each other", hint="leave --provider out"
        )
    found = openapi.load(_read(path))
    openapi.api_of(found)
    return found


def _read(path: Path) -> bytes:
    from gateway.upstream.providers.http import openapi

    try:
        with path.open("rb") as stream:
            return stream.read(openapi.MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise GatewayError("invalid_openapi", f"{path} cannot be read: {reason}", hint="check the path") from None
