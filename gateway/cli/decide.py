"""`gateway decide`: what the gateway would decide on a call, without a request and without an upstream.

The answer is the operation's (`gateway/control/api/dry_runs.py`). This shows it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.advice import advice
from gateway.cli.asking import Of
from gateway.cli.explain import print_advice
from gateway.cli.reasons_text import print_answers, print_hint, verdict_line
from gateway.errors import Denied, GatewayError


def decide(
    ask: Of,
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="Who would call: an agent's name or id.")],
    call: Annotated[
        Path | None,
        typer.Option("--input", "-i", metavar="FILE", help="The call as JSON: an input document or parts of one; `-`."),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            "--route",
            metavar="[METHOD ]PATH",
            help="Then the file is the body that a client would send there: /v1/chat/completions, `GET /v1/models`.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="With which of its keys: an id. Otherwise the newest one that works."
        ),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="From where, if its key is for certain networks.")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="NAME", help="At which upstream the tool of --tool is.")
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="NAME", help="Instead of a file: a call of this tool of an MCP server."),
    ] = None,
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON", help="The arguments of the tool, an object.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print which rules made the answer, and why.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Record it in the audit log, marked as a dry run.")] = False,
) -> None:
    """Decide on a call of an agent as the gateway would: the bindings, policies and limits in force, but no upstream.

    It says what the call would reserve and what is left of each limit, and reserves nothing. Nothing is recorded unless
    --record is given. Exit codes: 0 allowed, 1 denied, 2 it could not be decided.
    """
    from gateway.identity.credentials import public_part

    shown = None if key is None else public_part(key)
    body: dict[str, Any] = {
        "agent": agent,
        "route": route,
        "key": shown,
        "sender": sender,
        "explain": explain,
        "record": record,
    }
    try:
        if tool is not None:
            body["call"] = _tool_call(upstream, tool, arguments, given=call is not None or route is not None)
        elif upstream is not None or arguments is not None:
            raise GatewayError("bad_input", "--upstream and --arguments belong to --tool", hint="say --tool NAME")
        else:
            body |= _call(_read(call, route), route)
        with ask.gateway() as gateway:
            found = gateway.send("POST", "decide", body=body, organization=ask.organization)
    except GatewayError as error:
        # Exit code 1 is kept for a denial.
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    for note in found.pop("notes"):
        output.note(note)
    known = None if found["allow"] else advice(found["reason"], found["detail"] or "")
    if ask.as_json:
        document = found | {"advice": known and known._asdict()}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(found, explain)
    raise typer.Exit(0 if found["allow"] else 1)


def _read(call: Path | None, route: str | None) -> bytes:
    if call is None:
        if route is not None and route.upper().startswith("GET "):
            return b""
        raise GatewayError("bad_input", "there is no call", hint="give it with -i FILE, or -i - for standard input")
    return files.read(call, code="bad_input")


def _tool_call(upstream: str | None, tool: str, arguments: str | None, *, given: bool) -> dict[str, Any]:
    """The call of a tool of an MCP server."""
    from gateway.upstream import strict_json

    if given:
        raise GatewayError("bad_input", "the call is given twice", hint="leave out --tool, or the file and --route")
    if upstream is None:
        hint = "say --upstream NAME; `gateway upstreams list` shows them"
        raise GatewayError("bad_input", "a tool is one of an MCP server", hint=hint)
    try:
        parsed = {} if arguments is None else strict_json.parse(arguments.encode("utf-8", "replace"))
    except Denied as denied:
        raise GatewayError("bad_input", "; ".join(denied.reasons).replace("the body", "--arguments")) from denied
    if not isinstance(parsed, dict):
        raise GatewayError("bad_input", "--arguments must be a JSON object")
    named = {"name": tool, "arguments": parsed}
    return {"action": "mcp.tools.call", "resource": {"upstream": upstream, "tool": named}}


def _call(raw: bytes, route: str | None) -> dict[str, Any]:
    """The members of the question that hold the call."""
    from gateway.upstream import strict_json

    if route is not None:
        return {"body": base64.b64encode(raw).decode()}
    try:
        given = strict_json.parse(raw)
    except Denied as denied:
        raise GatewayError("bad_input", "; ".join(denied.reasons).replace("the body", "the call")) from denied
    if not isinstance(given, dict):
        raise GatewayError("bad_input", "the call is not a JSON object")
    return {"call": given}


def _print(found: dict[str, Any], explain: bool) -> None:
    allow, code = found["allow"], found["reason"]
    verdict = "allowed" if allow else f"denied {code}"
    typer.echo(typer.style(verdict, fg="green" if allow else "red", bold=True) + " (a dry run: nothing was sent)")
    reasons = ("reasons", "; ".join(found["reasons"]))
    bundles = found.get("bundles", [])
    for name, text in _members(found, reasons) if "input" in found else [reasons]:
        if text:
            typer.echo(f"  {name.ljust(9)} {output.printable(text)}")
    if not allow:
        print_advice(code, "" if bundles else found["detail"] or "")
    if explain:
        print_answers(bundles)
        return
    for bundle in bundles:
        why = f" ({'; '.join(bundle['reasons'])})" if bundle["reasons"] else ""
        typer.echo(f"  {'bundle'.ljust(9)} {output.printable(verdict_line(bundle) + why)}")
        print_hint(bundle, 6)
    if bundles and not allow and not code.startswith("limit_"):
        output.note("add --explain to see which rules made the answer")


def _members(found: dict[str, Any], reasons: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The lines about a decision that policies made."""
    judged, obliged = found["input"], dict(found["obligations"])
    cap = obliged.pop("max_output_tokens", None)
    named = found["model"] or judged["resource"].get("tool", {}).get("name")
    yield "call", " ".join(filter(None, (judged["action"], named, "at", judged["resource"]["upstream"])))
    yield reasons
    yield "detail", found["detail"] or ""
    yield "cap", "" if cap is None else f"at most {cap:,} output tokens"
    yield "obliged", json.dumps(obliged, ensure_ascii=False) if obliged else ""
    yield "changes", ", ".join(found["edits"])
    if found["limits"] is not None:
        yield from _limits(found["limits"])
    yield "content", f"policies read {', '.join(found['content'])}" if found["content"] else ""
    yield "recorded", found["recorded"] or ""


def _limits(forecast: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines about limits: the call's reservation, and each limit that applies to it."""
    from gateway.usage.prices import dollars
    from gateway.usage.reservation import amount

    if not forecast["limits"]:
        yield "limits", forecast["remark"]
        return
    worst = amount("requests", 1)
    if forecast["tokens"]:
        worst += f", at most {amount('tokens', forecast['tokens'])}, at most {dollars(forecast['spend_nanousd'])}"
    if forecast["output_limit"] is not None:
        worst += f"; the output limit of {forecast['output_limit']:,} is the gateway's"
    yield "reserves", worst
    yield "", forecast["remark"]
    for each in forecast["limits"]:
        name = each["limit"]
        whose = f"{each['subject']} ({each['calls']})" if "calls" in each else each["subject"]
        text = f"{whose} {name}: {amount(name, each['left'])} left of {amount(name, each['value'])}"
        text += f" until {each['resets_at']}" if each["resets_at"] else ""
        text += f", {amount(name, each['reserved'])} reserved" if each["reserved"] else ""
        yield "limit", text if each["has_room"] else f"{text}: no room"
