"""`gateway tools`: the tools of MCP servers, and which of them agents may call."""

from __future__ import annotations

import difflib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError, did_you_mean

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

app = App(no_args_is_help=True, help="See the tools of MCP servers, and approve those that are new or have changed.")

_NONE_YET = "no tools: type `gateway upstreams add NAME --provider mcp --base-url URL` to add an MCP server"
_SHOWN = 12  # characters of a digest in a table

Server = Annotated[str, typer.Argument(metavar="SERVER", help="The upstream that is an MCP server.")]
Named = Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")]


@app.command("list")
def list_tools(
    ask: Of,
    server: Annotated[str | None, typer.Argument(metavar="[SERVER]", help="Only those of this server.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that nobody has approved.")] = False,
) -> None:
    """List tools: a `pinned` one is as it was approved; agents cannot call `new` and `changed` ones.

    ALSO AT names other servers that have a tool of the same name: a model may take one for the other.
    """
    ask.table(
        ask.items("tools", upstream=server, waiting=waiting),
        ("SERVER", "upstream"),
        *("NAME", ("STATE", lambda each: "gone" if each["gone"] else each["state"])),
        ("DIGEST", lambda each: each["digest"][:_SHOWN]),
        ("APPROVED BY", "approved_by"),
        ("ALSO AT", "also_at"),
        empty="no tool waits for an approval" if waiting else _NONE_YET,
    )


@app.command()
def show(ask: Of, server: Server, tool: Named) -> None:
    """Show what a server says of a tool, and how that differs from what was approved."""
    with ask.gateway() as gateway:
        found = gateway.get("tools", _find(gateway, server, [tool])[0]["id"])
    if ask.as_json:
        output.print_json(found)
        return
    state = "gone" if found["gone"] else found["state"]
    ask.fields(found, ("tool", found["name"]), ("server", server), ("state", state), "digest")
    for line in _differences(found):
        typer.echo(line)
    if found["state"] != "pinned":
        output.note(f"next: `gateway tools approve {server} {tool} --expect {found['digest']}`, if it may be called")


@app.command()
def look(ask: ChangingOf, server: Server) -> None:
    """Ask a server for its tools now. The gateway does so by itself every few minutes."""
    with output.working("asking"):
        found = ask.send("POST", "tools", "look", body={"upstream": server})
    count = len(found["changes"])
    spoken = found["protocol"].replace(", ", " and ")
    line = f"{server} speaks {spoken} and offers {_tools(found['offered'])}; {_tools(count)} changed"
    ask.show(found, line, *(f"{each['what']}: {each['tool']['name']}" for each in found["changes"]))
    if found["left_out"] and not ask.as_json:
        output.warn(f"{_tools(len(found['left_out']))} cannot be called: {', '.join(found['left_out'])}", "")


@app.command()
def approve(
    ask: ChangingOf,
    server: Server,
    tools: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="The tools' names.")] = None,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="DIGEST", help="Refuse if the tool has another digest by now.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All tools of the server that wait.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Approve tools as their server describes them now; one that has changed meanwhile ends the command."""
    names = tools or []
    if everything == bool(names) or (expect is not None and len(names) != 1):
        hint = "name tools or say --all; --expect goes with one tool"
        raise GatewayError("invalid_tool", "it must be said which tools are meant", hint=hint)
    with ask.gateway() as gateway:
        found = [each for each in _find(gateway, server, names) if names or each["state"] != "pinned"]
        if not found:
            ask.show([], f"no tool of {server} waits for an approval")
            return
        if everything and not yes and sys.stdin.isatty():
            for each in found:
                for line in _differences(gateway.get("tools", each["id"])):
                    typer.echo(line)
            typer.confirm(f"approve {_tools(len(found))} of {server}?", abort=True)
        done: list[Any] = []
        for each in found:
            done.append(gateway.send("POST", "tools", each["id"], "approve", body={"digest": expect or each["digest"]}))
            if not ask.as_json:
                typer.echo(f"approved {each['name']} of {server}")
    if ask.as_json:
        output.print_json(done)


def _find(gateway: ManagementClient, server: str, names: list[str]) -> list[AnswerDocument]:
    """These tools of a server, or all."""
    known = {each["name"]: each for each in gateway.items("tools", upstream=server)}
    for each in names:
        if each not in known:
            hint = did_you_mean(each, known, f"type `gateway tools list {server}` to see its tools")
            raise GatewayError("unknown_tool", f"unknown tool `{each}` of `{server}`", subject=each, hint=hint)
    return [known[each] for each in names] if names else list(known.values())


def _differences(tool: AnswerDocument) -> list[str]:
    """The definition, line by line, with what has changed since it was approved."""
    now = _lines(tool["definition"])
    if tool["approved"] in (None, tool["definition"]):
        return now
    return list(difflib.unified_diff(_lines(tool["approved"]), now, "approved", "now", lineterm="", n=100))


def _lines(document: Any) -> list[str]:
    # Escaped: what a server says must not steer a terminal.
    return json.dumps(document, indent=2, sort_keys=True).splitlines()


def _tools(count: int) -> str:
    return "1 tool" if count == 1 else f"{count} tools"
