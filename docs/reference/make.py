"""Write the references that are made of the program: `python docs/reference/make.py` at the root of a clone.

Each page is made of what the program itself uses: the commands' options, the fields of `Settings`, the list of reasons,
the operations of the control API, the engine's builtins, the schemas. In `providers.md` only the tables of routes are
written. A test compares the pages with what this script makes.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCHEMAS = HERE.parents[1] / "schemas"


def _page(title: str, text: str, *parts: str) -> str:
    notice = "Written by `python docs/reference/make.py`; do not edit."
    return "\n\n".join([f"# {title}", text, notice, *parts]) + "\n"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _sentences(text: str) -> str:
    """A help text without its line breaks, but with its paragraphs. Angle brackets would be taken for HTML."""
    return "\n\n".join(" ".join(each.split()) for each in re.split(r"\n\s*\n", text.strip().replace("<", "&lt;")))


# Commands

_COMMON = {
    "--data DIR": "The gateway's data directory, `.gateway` by default, or the variable `AIG_DATA`.",
    "--organization, --org NAME": "The organization concerned, `default` by default.",
    "--json": "Print JSON.",
}


def commands() -> str:
    from typer.main import get_command

    from gateway.cli import build as gateway
    from policy_engine.cli.app import build as policy

    parts = [
        part
        for name, program in (("gateway", gateway), ("policy", policy))
        for part in (f"## `{name}`", *_command(name, get_command(program())))
    ]
    return _page(
        "Commands",
        "Every command with its arguments and options, as `--help` shows them. `--help` itself works everywhere. Three "
        "options that many commands have are only named below:",
        _table(("option", "meaning"), ((f"`{option}`", meaning) for option, meaning in _COMMON.items())),
        *parts,
    )


def _command(name: str, command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if " " in name:
        yield f"### `{name}`"
    yield _sentences(command.help or "")
    rows = [row for each in command.params if not each.hidden and (row := _parameter(command, each))]
    if own := [row for row in rows if row[0] not in _COMMON]:
        yield _table(("argument or option", "meaning"), [(f"`{option}`", meaning) for option, meaning in own])
    if common := [f"`{option}`" for option, _ in rows if option in _COMMON]:
        yield f"{'Also' if own else 'Options:'} {', '.join(common)}."
    for word, each in (inner or {}).items():
        if not each.hidden:
            yield from _command(f"{name} {word}", each)


def _parameter(command: Any, parameter: Any) -> tuple[str, str] | None:
    import typer

    if parameter.name == "help":
        return None
    found = parameter.get_help_record(typer.Context(command))
    return found and (found[0], found[1])


# Settings


def settings() -> str:
    from gateway.settings import PREFIX, SCHEMA

    return _page(
        "Settings",
        "A setting is fixed while the gateway runs. A flag of `gateway up` beats the environment, which beats "
        f"`gateway.toml` in the data directory, which beats the default. In the environment `port` is `{PREFIX}PORT`. "
        "In the file a table is a prefix: `[policies]` with `ref` sets `policies_ref`. An unknown name is an error. On "
        "SIGHUP the file is read again ([new settings without a failed request]"
        "(../explanation/resilience.md#new-settings-without-a-failed-request)).",
        _table(("setting", "meaning", "default", "range"), map(_setting, SCHEMA.values())),
    )


def _setting(item: Any) -> tuple[str, str, str, str]:
    facts = item.metadata
    unit, low = facts.get("unit"), facts.get("low")
    if choices := facts.get("choices"):
        allowed = ", ".join(f"`{each}`" for each in choices)
    else:
        allowed = "" if low is None else f"{_number(low)} to {_number(facts['high'])}" + (f" {unit}" if unit else "")
    default = ".gateway" if item.name == "data" else item.default
    shown = "" if default in (None, "", ()) else f"`{json.dumps(default)}`"
    return f"`{item.name}`", facts["help"], shown, allowed


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


# Reason codes


def reason_codes() -> str:
    from gateway.cli.advice import CHECKS
    from gateway.errors import REASONS

    rows = [(f"`{each.code}`", each.status, "yes" if each.retry else "no", each.message) for each in REASONS.values()]
    steps = [(f"`{code}`", advice.check, advice.step) for code, advice in CHECKS.items()]
    return _page(
        "Reason codes",
        "A refused request has exactly one of these codes, in the error of its provider's shape. The list is closed.",
        "## For clients",
        "The third column is `x-should-retry`, on which OpenAI's and Anthropic's SDKs act. `limit_exceeded` says "
        "`true` only if the limit has room again within a minute. After `outcome_unrecorded` the provider has "
        "carried the request out, so a repetition would carry it out twice.",
        _table(("code", "status", "retry", "means"), rows),
        "## For operators",
        "`gateway explain ID` says the same for one refusal, with more detail for `bad_credentials`. For the verdicts "
        "of policies (`policy_…`) it shows the rules instead.",
        _table(("code", "which check refused", "next step"), steps),
    )


# The control API


def operations() -> str:
    from gateway.control import openapi
    from gateway.control import operations as table

    document = openapi.document(table.every(), "")
    parts = []
    for tag in document["tags"]:
        rows = [
            (f"`{method.upper()} {path}`", f"{each['summary']}.{_body(each)}")
            for path, methods in document["paths"].items()
            for method, each in methods.items()
            if tag["name"] in each["tags"]
        ]
        parts += [f"## {tag['name'].replace('-', ' ').capitalize()}", _table(("operation", "does"), rows)]
    return _page(
        "Operations of the control API",
        "Paths are below `/api/v1`. A running gateway serves the same list with all schemas: "
        "`GET /api/v1/openapi.json`. [The control API](control-api.md) describes tokens, conditions and errors. "
        "Members of a body in brackets may be left out.",
        *parts,
    )


# Tools


def tools() -> str:
    from gateway.control import operations as table
    from gateway.control.mcp import tools

    parts = []
    found = tools.made_of(table.every()).values()
    for writes, title in ((False, "Tools that read"), (True, "Tools that change things")):
        rows = [
            (f"`{each.name}`", f"`{each.operation.where}`", _sentence(each.definition["description"]))
            for each in found
            if each.operation.writes is writes
        ]
        parts += [f"## {title}", _table(("tool", "operation", "does"), rows)]
    return _page(
        "Tools for assistants",
        "Operations of [the control API](api-operations.md) as `/mcp` of the control listener serves them. Which ones "
        "an operator has follows from its role and its token; those that change things need a token for `mcp:write` as "
        "well. [Asking the gateway from your editor](../how-to/operate/assistants.md) says how to set it up.",
        *parts,
    )


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _body(operation: dict[str, Any]) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    schema = body["content"]["application/json"]["schema"]
    needed = schema.get("required", [])
    names = [f"`{name}`" if name in needed else f"[`{name}`]" for name in schema.get("properties", {})]
    return f" Body: {', '.join(names)}." if names else ""


# Builtins


def builtins() -> str:
    from policy_engine.cli.app import run

    printed = io.StringIO()
    with redirect_stdout(printed):
        run(["capabilities"])
    document = json.loads(printed.getvalue())
    families: dict[str, list[tuple[str, str, str]]] = {}
    for each in document["builtins"]:
        name = each["name"]
        family = name.split(".")[0] if "." in name else "without a prefix"
        call = f"{name}({', '.join(map(_type, each['decl'].get('args', [])))})"
        marks = ", ".join(mark for mark in ("nondeterministic", "deprecated", "relation") if each.get(mark))
        infix = f"`{each['infix']}` between operands" if each.get("infix") else ""
        result = _type(each["decl"]["result"]) if "result" in each["decl"] else ""
        families.setdefault(family, []).append((f"`{call}`", f"`{result}`" if result else "", infix or marks))
    parts = [
        part for family, rows in families.items() for part in (f"## {family}", _table(("call", "gives", "note"), rows))
    ]
    return _page(
        "Builtins",
        "OPA's builtin functions, all of which the engine has: "
        "[their meaning](https://www.openpolicyagent.org/docs/policy-reference/builtins) is OPA's. In the gateway "
        "`http.send` and `net.lookup_ip_addr` are errors. `policy capabilities` prints this list as JSON.",
        *parts,
    )


def _type(declared: dict[str, Any]) -> str:
    kind = declared["type"]
    if kind == "any" and declared.get("of"):
        return " or ".join(map(_type, declared["of"]))
    if kind in ("array", "set") and (inner := declared.get("dynamic") or declared.get("of")):
        return f"{kind}[{_type(inner)}]"
    if kind == "array" and declared.get("static"):
        return f"[{', '.join(map(_type, declared['static']))}]"
    return str(kind)


# Documents, by their schemas


def input_document() -> str:
    return _document(
        "input",
        "The input of a policy",
        "A policy sees these members of a request as `input`. They are explained in "
        "[Policies](policies.md#what-a-policy-sees).",
    )


def decision_document() -> str:
    return _document(
        "decision",
        "The decision of a policy",
        "The package of a bundle's entrypoint may have these rules and no others, unless their names begin with `_`. "
        "[Policies](policies.md#what-a-policy-answers) explains them.",
    )


def log_entries() -> str:
    schema = _schema("audit-entry")
    kinds = schema["properties"]["kind"]["enum"]
    parts = ["## Every entry", _members(schema, schema)]
    for kind in kinds:
        found = schema["$defs"][kind]
        needed = ", ".join(f"`{name}`" for name in found.get("required", []))
        parts += [f"## `{kind}`", f"{found['description']} Always has {needed}.", _members(found, schema)]
    return _page(
        "Log entries",
        "Each kind of entry of the audit log with its members. [The audit log](../how-to/audit/audit-log.md#entries) "
        "explains how they are stored, signed and verified.",
        *parts,
    )


def _document(name: str, title: str, text: str) -> str:
    schema = _schema(name)
    link = f"The schema is [{name}.schema.json](../../schemas/{name}.schema.json)."
    return _page(title, f"{text} {link}", _members(schema, schema))


def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return found


def _members(schema: dict[str, Any], root: dict[str, Any]) -> str:
    return _table(("member", "type", "meaning"), _rows(schema, root, ""))


def _rows(schema: dict[str, Any], root: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, declared in schema.get("properties", {}).items():
        member = _resolved(declared, root)
        items = _resolved(member.get("items") or {}, root)
        path = f"{prefix}{name}" + ("[]" if items.get("properties") else "")
        yield f"`{path}`", _kind(member, root), _meaning(member)
        for inner in (member, items, *(_resolved(each, root) for each in member.get("oneOf", ()))):
            yield from _rows(inner, root, f"{path}.")


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _kind(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if alternatives := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_kind(_resolved(each, root), root) for each in alternatives))
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _meaning(schema: dict[str, Any]) -> str:
    marks = [text for mark, text in (("x-content", "Content."), ("x-unsupported", "Denied today.")) if schema.get(mark)]
    return " ".join([schema.get("description", ""), *marks]).strip()


# Routes of providers, in a page that people write


def providers() -> str:
    from gateway.upstream.providers.presets import PROVIDERS
    from gateway.upstream.wrong_route import HEADINGS

    text = (HERE / "providers.md").read_text("utf-8")
    for name in HEADINGS:
        routes = [(f"`{each.method} {each.path}`", f"`{each.action}`") for each in PROVIDERS[name].routes]
        begin, end = f"<!-- routes of {name}, written by make.py -->\n", "<!-- end of routes -->\n"
        before, found, rest = text.partition(begin)
        assert found, f"providers.md has no place for the routes of {name}"
        text = f"{before}{begin}{_table(('path', 'action'), routes)}\n{end}{rest.split(end, 1)[1]}"
    return text


# The texts of agents in the schema of fleet files; people write the rest of it


def fleet_schema() -> str:
    from gateway.registry.agents.fields import TEXTS
    from gateway.registry.names import MAX_TEXT

    def line(text: Any) -> str:
        rule = '"$ref": "#/$defs/text"' if text.limit == MAX_TEXT else f'"type": "string", "maxLength": {text.limit}'
        return f'        "{text.name}": {{ "description": {json.dumps(text.help)}, {rule} }},\n'

    begin, end = '        "environment": ', '        "parent": '
    before, found, rest = (SCHEMAS / "fleet.schema.json").read_text("utf-8").partition(begin)
    environment, _, rest = rest.partition("\n")
    assert found, "the schema has no place for the texts of agents"
    return f"{before}{begin}{environment}\n{''.join(map(line, TEXTS))}{rest[rest.index(end) :]}"


PAGES: dict[str, Callable[[], str]] = {
    "builtins.md": builtins,
    "commands.md": commands,
    "decision.md": decision_document,
    "input.md": input_document,
    "log-entries.md": log_entries,
    "api-operations.md": operations,
    "assistant-tools.md": tools,
    "providers.md": providers,
    "reason-codes.md": reason_codes,
    "settings.md": settings,
    "../../schemas/fleet.schema.json": fleet_schema,
}


def main(names: list[str]) -> None:
    for name in names or PAGES:
        (HERE / name).write_text(PAGES[name](), "utf-8")
        print(HERE / name)


if __name__ == "__main__":
    main(sys.argv[1:])
