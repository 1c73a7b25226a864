"""`gateway upstreams`: the providers that requests go to, and their keys."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import App, ChangingOf, GivenOptions, Of
from gateway.cli.options import of
from gateway.errors import GatewayError, did_you_mean
from gateway.settings import NO_CHECK

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

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
    trust: Annotated[
        str | None,
        typer.Option(
            "--trust",
            metavar="RULE",
            help="Of an MCP server, the tools that may be called: `approve` for approved ones, `first_use` also for "
            "those of its first list (the usual), `trust` for all.",
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth",
            metavar="KIND",
            help="Instead of a key, a token of the gateway for each call: `token` names the agent, `on_behalf_of` the "
            "person it acts for, and `peer` tells the gateway of another agent who calls.",
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
    from gateway.mcp.pins import PROVIDER as MCP
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
        "secret": _secret(key_env, key_file, no_key or auth not in (None, "key")),
        "headers": _headers(headers or []),
        "trust": trust,
        "default": default,
        "insecure": insecure,
        "openapi": None if document is None else needed(document),
    }
    if auth is not None:  # an older gateway knows keys only
        body["auth"] = auth
    with ask.gateway() as gateway:
        made = put(gateway, "upstreams", name, body) if replace else None
        if made is None:
            made = gateway.send("POST", "upstreams", body=body | {"name": name})
    path = CLIENTS_ADD.get(made["provider"], "/v1") + "/…"
    served = f"/{name}{path}" + (f" and {path}" if made["default"] else "")
    is_server = made["provider"] == MCP
    if is_server:
        served = f"/{name}/mcp: type `gateway tools list {name}` for its tools"
    if made["auth"] == "peer":
        served = f"/{name}/a2a"
    if document is not None:
        served = f"/{name}/…: type `gateway upstreams show {name}` for its operations"
    ask.show(made, output.copyable(f"upstream {name} at {made['base_url']}, served under {served}"))
    if not no_check:
        (_look if is_server else _try)(ask, name)


def _try(ask: GivenOptions, name: str) -> None:
    """Warn if an upstream that was just added does not work: nobody would know before an agent's first call."""
    again = f"`gateway upstreams check {name}{of(ask.organization)}`"
    try:
        with ask.gateway() as gateway, output.working("checking"):
            (found,) = _checks(gateway, [name])
    except GatewayError as error:
        output.warn(f"{name} is added, but could not be tried: {error.message}", again)
        return
    if found["problem"]:
        output.warn(f"{name} is added, but does not work: {found['problem']}", f"{found['hint']}; then {again}")


def _look(ask: GivenOptions, name: str) -> None:
    """Ask an MCP server for its tools, and warn if that fails: the gateway tries again by itself."""
    try:
        with output.working("asking for its tools"):
            found = ask.send("POST", "tools", "look", body={"upstream": name})
    except GatewayError as error:
        output.warn(f"{name} is added, but {error.message}", f"{error.hint}; then `gateway tools look {name}`")
        return
    if not ask.as_json:
        waiting = sum(each["tool"]["state"] != "pinned" for each in found["changes"])
        wait = f"; {waiting} wait: `gateway tools list {name} --waiting`" if waiting else ""
        output.note(
            f"it speaks MCP {found['protocol'].replace(', ', ' and ')} and offers {found['offered']} tools{wait}"
        )


@app.command("list")
def list_upstreams(ask: Of) -> None:
    """List the upstreams, without their keys."""
    ask.table(
        ask.items("upstreams"),
        *("NAME", "PROVIDER", "BASE URL", "DEFAULT"),
        ("KEY", _credential),
        "ID",
        empty=_NONE_YET,
    )


def _credential(upstream: AnswerDocument) -> str:
    """The credential of its calls; an older gateway elsewhere knows keys only."""
    if (auth := upstream.get("auth", "key")) != "key":
        return str(auth)
    return "sealed" if upstream["has_secret"] else "none"


@app.command()
def show(ask: Of, name: Annotated[str, typer.Argument(help="The upstream.")]) -> None:
    """Show the requests that an upstream takes, and under which action a policy sees each."""
    operations = ask.items("upstreams", name, "operations")
    if ask.as_json:
        for each in operations:
            typer.echo(json.dumps(each))
        return
    ask.table(operations, "ACTION", "METHOD", "PATH", "PARAMS", empty="no operations")


@app.command()
def check(
    ask: ChangingOf, name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this upstream.")] = None
) -> None:
    """Try upstreams: whether they are reached, and accept the stored key when they are asked for their models.

    The request costs nothing, and is no agent's. The audit log says who had it made. Of a JSON API (`--openapi`) only
    the connection is tried. The exit code is 1 if something is wrong with one of them.
    """
    with ask.gateway() as gateway, output.working("checking"):
        found = _checks(gateway, [name] if name else [each["name"] for each in gateway.items("upstreams")])
    ask.table(
        found,
        "NAME",
        ("RESULT", lambda each: "ok" if each["ok"] else "failed"),
        ("REACHED", lambda each: "yes" if each["reached"] else "no"),
        "TLS",
        ("KEY", lambda each: "" if each["key"] == "unknown" else each["key"]),
        *("MODELS", "TRIED"),
        ("TIME", lambda each: f"{each['milliseconds']} ms"),
        empty=_NONE_YET,
    )
    for each in found:
        if each["problem"] and not ask.as_json:
            output.complain(f"{each['name']}: {each['problem']}", each["hint"])
    if not all(each["ok"] for each in found):
        raise typer.Exit(1)


def _checks(gateway: ManagementClient, upstreams: Sequence[str]) -> list[AnswerDocument]:
    """Try them with their stored keys, from where the gateway is; here all at the same time."""
    from gateway.upstream.check import LONGEST_SECONDS

    if gateway.transport.is_here:
        found: list[AnswerDocument] = gateway.send("POST", "upstreams", "check", body={"upstreams": list(upstreams)})[
            "items"
        ]
        return found
    return [gateway.send("POST", "upstreams", each, "check", seconds=LONGEST_SECONDS) for each in upstreams]


def put(gateway: ManagementClient, noun: str, name: str, body: Mapping[str, Any]) -> AnswerDocument | None:
    """A thing that is there already gets the body instead, whatever it is; None if there is none of this name."""
    try:
        return gateway.send("PUT", noun, name, body=body, match="*")
    except GatewayError as error:
        if error.code != f"unknown_{noun.removesuffix('s')}":
            raise
        return None


@app.command()
def remove(ask: ChangingOf, name: Annotated[str, typer.Argument(help="The upstream's name.")]) -> None:
    """Remove an upstream and delete its sealed key."""
    removed = ask.send("DELETE", "upstreams", name)
    ask.show(removed, f"removed upstream {removed['name']}")


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
        raise GatewayError("invalid_key", "give one of --key-env VARIABLE, --key-file FILE, --auth KIND and --no-key")
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
    found = files.read(path, _MAX_SECRET + 2, code="invalid_key", hint="check the path")
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
    raw = files.read(path, openapi.MAX_BYTES + 1, code="invalid_openapi", hint="check the path")
    found = openapi.load(raw)
    openapi.api_of(found)
    return found
