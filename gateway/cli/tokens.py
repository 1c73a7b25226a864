"""`gateway tokens`: the keys that sign the tokens of `/oauth/token`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.asking import App, Changing, Everywhere

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Show and replace the keys that sign the gateway's own tokens.")


@app.command()
def keys(ask: Everywhere) -> None:
    """List the keys that sign and verify tokens, newest first, with their ages."""
    now_ns = output.now_ns()
    ask.table(
        ask.items("token-keys"),
        ("KEY", "number"),
        ("AGE", lambda each: output.age(max(0, now_ns - output.parse_time(each["made"])))),
        *("MADE", ("STATE", _state), "KID"),
        empty="no key yet: `gateway up` makes one",
    )


def _state(key: AnswerDocument) -> str:
    return "signs" if key["signs"] else key["fault"] or f"verifies until {key['kept_until']}"


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
    made = ask.send("POST", "token-keys", "rotate", body={"at_once": at_once})
    number = made["key"]["number"]
    notes = ["tokens of older keys are refused from the next request on; agents ask for new ones"] if at_once else []
    ends = [each["kept_until"] for each in made["older"] if each["kept_until"] is not None]
    if ends:
        until = f"a running gateway removes it after {max(ends)}"
        notes.append(f"tokens of the old key are good until they expire; {until}")
    notes.append(f"copy keys/token.{number} of the data directory into your backup")
    ask.show(made, f"key {number} signs tokens now", *notes)
