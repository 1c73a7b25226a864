"""`gateway tokens`: the keys that sign the tokens of `/oauth/token`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, Changing, Everywhere
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.identity.token_keys import TokenKeyState

app = App(no_args_is_help=True, help="Show and replace the keys that sign the gateway's own tokens.")


@app.command()
def keys(ask: Everywhere) -> None:
    """List the keys that sign and verify tokens, newest first, with their ages."""
    with ask.gateway() as gateway:
        found = _keys(gateway.items("token-keys"))
    if ask.as_json:
        output.print_json(found)
        return
    now_ns = output.now_ns()
    output.print_table(
        ("KEY", "AGE", "MADE", "STATE", "KID"),
        [
            (
                str(each.number),
                output.age(max(0, now_ns - each.made_ns)),
                output.timestamp(each.made_ns),
                _state(each),
                each.kid,
            )
            for each in found
        ],
        empty="no key yet: `gateway up` makes one",
    )


def _keys(items: list[dict[str, Any]]) -> list[TokenKeyState]:
    from gateway.identity.token_keys import TokenKeyState

    return documents.records(TokenKeyState, items)


def _state(key: TokenKeyState) -> str:
    if key.signs:
        return "signs"
    if key.fault:
        return key.fault
    assert key.kept_until_ns is not None
    return f"verifies until {output.timestamp(key.kept_until_ns)}"


@app.command("rotate-key")
def rotate_key(
    ask: Changing,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="End the tokens of older keys now: somebody may know such a key.")
    ] = False,
) -> None:
    """Make a new key, which signs tokens from now on, in every worker and without a restart.

    Tokens of the old key are good until they expire; then a running gateway removes its file.
    """
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "token-keys", "rotate", body={"at_once": at_once, "reason": ask.reason}).body
    (new,), older = _keys([reply["key"]]), _keys(reply["older"])
    if ask.as_json:
        output.print_json({"key": new, "older": older, "at_once": reply["at_once"]})
        return
    typer.echo(f"key {new.number} signs tokens now")
    if at_once:
        output.note("tokens of older keys are refused from the next request on; agents ask for new ones")
    ends = [each.kept_until_ns for each in older if each.kept_until_ns is not None]
    if ends:
        until = output.timestamp(max(ends))
        output.note(f"tokens of the old key are good until they expire; a running gateway removes it after {until}")
    output.note(f"copy keys/token.{new.number} of the data directory into your backup")
