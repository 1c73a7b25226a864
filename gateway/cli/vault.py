"""`gateway vault`: the key that the secrets of upstreams and the keys of kept content are sealed under."""

from __future__ import annotations

import typer

from gateway.cli import output
from gateway.cli.asking import App, Everywhere

_SECONDS = 600.0  # of everything that is sealed

app = App(no_args_is_help=True, help="Show and replace the key that secrets are sealed under.")


@app.command()
def status(ask: Everywhere) -> None:
    """Show which key is in force, and what is sealed under which."""
    found = ask.get("vault")
    where, key = found["where"], found["key"]
    ask.fields(
        found,
        ("key", f"{key}, in {where[key]}"),
        *(("older key", f"{each}, in {where[each]}") for each in found["older"]),
        *((name.replace("_", " "), _counts(counts, key)) for name, counts in found["sealed"].items()),
    )
    if found["left"] and not ask.as_json:
        output.note("next: `gateway vault rotate` puts everything under the key in force")


@app.command()
def rotate(ask: Everywhere) -> None:
    """Make a new key and put everything sealed under it, while the gateway runs.

    If that is interrupted, the same command goes on where it was. With `kek_env` or `kek_command` no key is made: give
    the new one there, before the one of today.
    """
    done = ask.send("PUT", "vault", body={}, seconds=_SECONDS)
    if ask.as_json:
        output.print_json(done)
        return
    source, sealed = done["source"], done["sealed"]
    if done["continued"]:
        output.note("a rotation was interrupted: it was gone on with, and no further key was made")
    for each in done["unreadable"]:
        output.warn(f"the secret of `{each}` cannot be opened by any key that is there", "it was left as it is")
    wrapped = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sealed.items())
    typer.echo(f"key {done['key']} is in force; wrapped anew: {wrapped}")
    if source and not sum(sealed.values()):
        output.note(f"for another key, let {source} give it before this one, and type this again")
    output.note(
        "an older key can go when `gateway vault status` shows nothing under it; backups may need it"
        if source
        else "copy keys/kek into your backup; a backup of the registry from before needs the key of then"
    )


def _counts(found: dict[str, int], key: str) -> str:
    texts = [f"{count} under {'this key' if each == key else each or 'none'}" for each, count in sorted(found.items())]
    return ", ".join(texts) or "none"
