"""`gateway keys`: the credentials of agents. Rotations are in `key_rotation.py`, public keys in `signing_keys.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from gateway.cli import files, options, output, signing_keys
from gateway.cli.asking import App, ChangingOf, Everywhere, Of
from gateway.cli.key_rotation import rotate
from gateway.cli.options import Expires, OnlyActions, OnlyModels, OnlyNetworks, OnlyUpstreams
from gateway.cli.signing_keys import key_body, last_use, shown_scope, with_text
from gateway.errors import GatewayError

app = App(no_args_is_help=True, help="Create, list, rotate and revoke agents' keys.")

_PIECE: Final = 1024 * 1024
_LONGEST: Final = 256  # of a key, in any encoding
_MOST: Final = 1000  # keys of one request
_RESULTS: Final = {"revoked": "revoked", "was revoked": "revoked before", "unknown": "not a key of this gateway"}

app.command()(rotate)


@app.command()
def leaked(
    ask: Everywhere,
    searched: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]…", help="Files to search; `-` or none for standard input.")
    ] = None,
) -> None:
    """Find keys in any text and revoke those that are real, whichever organization they belong to.

    A key is believed if all of it is there. Look-alikes with other check digits are passed over.
    """
    from gateway.identity import credentials

    pieces = (piece for name in searched or ["-"] for piece in _pieces(name))
    found = list(dict.fromkeys(text for piece in pieces for text in credentials.texts_in(piece)))
    fates = []
    if found:
        with ask.gateway() as gateway:
            for some in (found[first : first + _MOST] for first in range(0, len(found), _MOST)):
                fates += gateway.send("POST", "keys", "leaked", body={"keys": some})["items"]
    ask.table(
        fates,
        *(("KEY", "key_id"), ("RESULT", lambda each: _RESULTS[each["fate"]]), "HOLDER", "ORGANIZATION", "ID"),
        empty="no key of this form is in it",
    )
    for each in () if ask.as_json else fates:
        if each["fate"] == "revoked" and each["key_id"].startswith(credentials.PREFIXES["agent"]):
            org = options.of(each["organization"])
            output.note(f"next: `gateway keys create {each['holder']}{org}` if the agent needs another key")


def _pieces(name: str) -> Iterator[bytes]:
    """The bytes of a file in pieces that overlap, so that no key is cut."""
    try:
        if name == "-":
            yield from _overlapping(sys.stdin.buffer)
            return
        with Path(name).open("rb") as stream:
            yield from _overlapping(stream)
    except OSError as error:
        raise GatewayError("file_unusable", f"cannot read `{name}`: {files.why(error)}") from error


def _overlapping(stream: BinaryIO) -> Iterator[bytes]:
    end = b""
    while piece := stream.read(_PIECE):
        yield end + piece
        end = (end + piece)[-_LONGEST:]


@app.command()
def pattern(as_json: options.Json = False) -> None:
    """Print the regular expression of keys, for secret scanners. The last six characters of a key are a checksum."""
    from gateway.identity.credentials import PATTERN

    if as_json:
        output.print_json({"id": "agent-identity-gateway-key", "regex": PATTERN, "keywords": ["aig_sk_", "aig_op_"]})
    else:
        typer.echo(PATTERN)


@app.command()
def peppers(ask: Everywhere) -> None:
    """List the peppers, and how many keys that work are hashed under each."""
    found = ask.get("peppers")["items"]
    unused = {True: "can be removed", False: ""}
    ask.table(
        found,
        *(("PEPPER", "version"), "KEYS"),
        (
            "STATE",
            lambda each: "newest" if each["newest"] else "in use" if each["keys"] else unused[each["file"]],
        ),
        empty="no pepper",
    )
    for each in () if ask.as_json else found:
        if not each["file"]:
            missing = f"the file of pepper {each['version']} is missing"
            output.warn(missing, "its keys are refused: restore it from a backup")


@app.command("add-pepper")
def add_pepper(ask: Everywhere) -> None:
    """Make a new pepper. New keys are hashed under it, and others when they are used next."""
    made = ask.send("POST", "peppers")
    version = made["pepper"]
    ask.show(
        made,
        f"pepper {version} is the newest now",
        f"copy keys/pepper.{version} into your backup; `gateway keys peppers` says what is still under others",
    )


@app.command("remove-pepper")
def remove_pepper(
    ask: Everywhere, version: Annotated[int, typer.Argument(help="Its number, as in `gateway keys peppers`.")]
) -> None:
    """Delete a pepper that no key which works is hashed under any more."""
    ask.show(ask.send("DELETE", "peppers", str(version)), f"removed pepper {version}")


@app.command()
def create(
    ask: ChangingOf,
    agent: Annotated[str | None, typer.Argument(help="An agent's name or id.")] = None,
    named: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The same.")] = None,
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
    upstream: OnlyUpstreams = None,
    out: options.SecretOut = None,
) -> None:
    """Create a key. It is printed once, alone on standard output, and cannot be shown again.

    An agent may have two live keys, so that one can replace the other without a gap. With --action, --model,
    --network or --upstream the key is for a part of what its agent may do; policies are asked all the same.
    """
    if (agent is None) == (named is None):
        raise typer.BadParameter("name the agent, once" if agent else "say whose key: `gateway keys create AGENT`")
    body = key_body(agent or named or "", expires, action, model, network, upstream)
    with ask.gateway() as gateway, files.secret_file(out) as put:
        made = with_text(gateway.send("POST", "keys", body=body))
        put(made["key"])
        whose = f"{made['id']} for agent {made['agent']}"
        ask.secret(made.without("key", "status", "last_used"), "key", made["key"], out, whose, "the key")


app.command("add-public")(signing_keys.add_public)
app.command("generate")(signing_keys.generate)
app.command("prove")(signing_keys.prove)


@app.command("add-spiffe")
def add_spiffe(
    ask: ChangingOf,
    name: Annotated[
        str, typer.Argument(metavar="SPIFFE-ID", help="spiffe://TRUST-DOMAIN/PATH, as in the certificate.")
    ],
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="An agent's name or id.")],
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
    upstream: OnlyUpstreams = None,
) -> None:
    """Let clients whose certificate has this SPIFFE ID be an agent. They need no key.

    The gateway must have the settings tls_cert, tls_key and client_ca. See docs/how-to/identity/mtls.md.
    """
    body = key_body(agent, expires, action, model, network, upstream) | {"spiffe_id": name}
    made = ask.send("POST", "keys", "spiffe", body=body)
    ask.show(made.without("status", "last_used"), f"added {made['key_id']} ({made['id']}) to agent {made['agent']}")


@app.command("list")
def list_keys(ask: Of, agent: Annotated[str | None, typer.Argument(help="Only this agent's keys.")] = None) -> None:
    """List keys without their secrets, including dead ones. A last use is known to the hour."""
    now_ns = output.now_ns()
    ask.table(
        ask.items("keys", agent=agent),
        *(("KEY", "key_id"), "AGENT", "STATUS", "CREATED", "EXPIRES"),
        ("LAST USED", lambda each: last_use(each.get("last_used"), now_ns)),
        ("ONLY FOR", lambda each: shown_scope(each["scope"])),
        "ID",
        empty="no keys yet: type `gateway keys create AGENT`",
    )


@app.command()
def revoke(
    ask: ChangingOf,
    key: Annotated[str, typer.Argument(help="A key's id (key_…), its beginning, a public key's name, or a SPIFFE ID.")],
) -> None:
    """Revoke a key, for good. The next request with it is refused."""
    from gateway.identity.credentials import public_part

    with ask.gateway() as gateway:
        before = gateway.get("keys", public_part(key))
        revoked = gateway.send("POST", "keys", before["id"], "revoke")
    changed = before["revoked"] is None
    ask.show(
        {"key_id": public_part(key), "revoked": True, "changed": changed},
        f"revoked key {revoked['key_id']} ({revoked['id']}) of agent {revoked['agent']}"
        if changed
        else "the key is already revoked",
    )
