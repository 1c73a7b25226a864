"""`gateway keys leaked` and `pattern`: find keys where they must not be, and end them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import typer

from gateway.cli import options, output
from gateway.cli.asking import Everywhere
from gateway.cli.options import Json
from gateway.errors import GatewayError
from gateway.management import documents

_PIECE = 1024 * 1024
_LONGEST = 256  # of a key, in any encoding
_MOST = 1000  # keys of one request


def pattern(as_json: Json = False) -> None:
    """Print the regular expression of keys, for secret scanners. The last six characters of a key are a checksum."""
    from gateway.identity.credentials import PATTERN

    if as_json:
        output.print_json({"id": "agent-identity-gateway-key", "regex": PATTERN, "keywords": ["aig_sk_", "aig_op_"]})
    else:
        typer.echo(PATTERN)


def leaked(
    ask: Everywhere,
    files: list[str] = typer.Argument(None, metavar="[FILE]…", help="Files to search; `-` or none for standard input."),  # noqa: B008  # typer's way for a list
) -> None:
    """Find keys in any text and revoke those that are real, whichever organization they belong to.

    A key is believed if all of it is there. Look-alikes with other check digits are passed over.
    """
    from gateway.identity import credentials
    from gateway.registry.keys.leaked import Leaked

    pieces = (piece for name in files or ["-"] for piece in _pieces(name))
    found = list(dict.fromkeys(text for piece in pieces for text in credentials.texts_in(piece)))
    fates: list[Leaked] = []
    if found:
        with ask.gateway() as gateway:
            for some in (found[first : first + _MOST] for first in range(0, len(found), _MOST)):
                fates += documents.records(
                    Leaked, gateway.send("POST", "keys", "leaked", body={"keys": some}).body["items"]
                )
    if ask.as_json:
        typer.echo(json.dumps(output.plain(fates), indent=2))
        return
    output.print_table(
        ("KEY", "RESULT", "HOLDER", "ORGANIZATION", "ID"),
        [(each.key_id, _RESULTS[each.fate], each.holder, each.organization, each.id) for each in fates],
        empty="no key of this form is in it",
    )
    for each in fates:
        if each.fate == "revoked" and each.key_id.startswith(credentials.PREFIXES["agent"]):
            org = options.of(each.organization)
            output.note(f"next: `gateway keys create {each.holder}{org}` if the agent needs another key")


_RESULTS = {"revoked": "revoked", "was revoked": "revoked before", "unknown": "not a key of this gateway"}


def _pieces(name: str) -> Iterator[bytes]:
    """The bytes of a file in pieces that overlap, so that no key is cut."""
    try:
        if name == "-":
            yield from _overlapping(sys.stdin.buffer)
            return
        with Path(name).open("rb") as stream:
            yield from _overlapping(stream)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise GatewayError("file_unusable", f"cannot read `{name}`: {why}") from error


def _overlapping(stream: BinaryIO) -> Iterator[bytes]:
    end = b""
    while piece := stream.read(_PIECE):
        yield end + piece
        end = (end + piece)[-_LONGEST:]
