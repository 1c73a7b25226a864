"""A fleet file as text: YAML or JSON, checked against `schemas/fleet.schema.json`, or a CSV table of agents.

Scalars are read by the core schema of YAML 1.2: `no` and `12:30` are strings. A key that is written twice, an alias
and a tag are errors: two readers could understand them in different ways. Every error is found in one go and has its
line.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from gateway.errors import GatewayError, did_you_mean
from gateway.registry.fleet import conformance

MAX_BYTES = 64 * 1024 * 1024
_MAX_ERRORS = 50  # listed at once

Path = Sequence[str | int]

# The C parser is eight times as fast, and missing where PyYAML was built without libyaml.
_BASE: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Loader(_BASE):  # type: ignore[misc]  # which class it is, is known when it runs
    """Nodes without tags, but those that the text itself has: to find out the others takes a fifth of the time."""

    def resolve(self, kind: object, value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TYPES = {"string": "a text", "integer": "a whole number", "boolean": "true or false", "object": "a mapping"}
_TYPES |= {"array": "a list", "null": "null"}

# Columns of a table whose cells hold several values, separated by semicolons or spaces.
_LISTS = ("capabilities",)
_MAPPINGS = ("labels",)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error of a file, at a line from 1; 0 if no line can be named.

    `pointer` is the place in what came as JSON without lines.
    """

    line: int
    message: str
    pointer: str = ""


class FleetError(GatewayError):
    """A fleet file that cannot be used; `mistakes` are all that were found, by line, and the message has the first."""

    def __init__(self, source: str, mistakes: Sequence[Mistake], hint: str = "") -> None:
        self.source = source
        self.mistakes = sorted(mistakes, key=lambda each: each.line)
        super().__init__("invalid_fleet", self.texts()[0], subject=source, hint=hint)

    def texts(self) -> list[str]:
        return [f"{self.source}:{each.line}: {each.message}" for each in self.mistakes]


@dataclass(frozen=True, slots=True)
class Document:
    """A checked file. `items` yields a section's members with their lines."""

    source: str
    value: dict[str, Any]
    lines: dict[str, list[int]]  # of each section's items
    members: dict[str, int] = field(default_factory=dict)  # the lines of the sections themselves
    pointers: dict[int, str] = field(default_factory=dict)  # of JSON without lines: what the numbers stand for

    def line(self, section: str) -> int:
        return self.members.get(section, 0)

    def place(self, line: int) -> str:
        """A line as a message names it."""
        return self.pointers.get(line) or f"line {line}"

    def items(self, section: str) -> Iterator[tuple[dict[str, Any], int]]:
        return zip(self.value.get(section, ()), self.lines.get(section, ()), strict=True)


def read(text: bytes, source: str) -> Document:
    """Parse and check a file; raises `FleetError`. `source` is its name in errors, and tells a table by `.csv`."""
    if len(text) > MAX_BYTES:
        raise FleetError(source, [Mistake(0, f"the file is larger than {MAX_BYTES >> 20} MiB")])
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise FleetError(source, [Mistake(line, "this is not UTF-8")]) from None
    if source.lower().endswith(".csv"):
        return _read_table(decoded, source)
    return _read_yaml(decoded, source)


# --- YAML -------------------------------------------------------------------------------------------------------------


def _read_yaml(text: str, source: str) -> Document:
    try:
        tokens = yaml.compose(text, Loader=_Loader)
    except (yaml.MarkedYAMLError, yaml.reader.ReaderError, RecursionError) as error:
        raise FleetError(source, [_syntax(error)]) from None
    reader = _Reader(text)
    value = {} if tokens is None else reader.value(tokens)
    if reader.mistakes:
        raise FleetError(source, reader.mistakes[:_MAX_ERRORS])
    if tokens is None:
        raise FleetError(source, [Mistake(1, "the file is empty")], "`gateway export` prints one to begin with")
    mistakes = [Mistake(_line(tokens, path), message) for path, message in violations(value)]
    if mistakes:
        raise FleetError(source, mistakes)
    lines = {
        key.value: [each.start_mark.line + 1 for each in section.value]
        for key, section in tokens.value
        if isinstance(section, yaml.SequenceNode)
    }
    members = {key.value: key.start_mark.line + 1 for key, _ in tokens.value}
    return Document(source, value, lines, members)


def _syntax(error: Exception) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is nested too deeply"
    return Mistake(mark.line + 1 if mark else 0, f"this is not YAML: {problem}")


class _Reader:
    """From nodes to values. Mistakes are collected, so that one look shows them all."""

    def __init__(self, text: str) -> None:
        self.mistakes: list[Mistake] = []
        # Without an anchor there is no alias, and nothing to remember of the many nodes.
        self._anchors = "&" in text
        self._seen: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        if not self._is_plain(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style else _scalar(node.value)  # the style of a plain scalar is "" or None
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each) for each in node.value]
        found: dict[str, Any] = {}
        for key, member in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._mistake(key, "the name of a member must be a text")
            elif not self._is_plain(key):
                pass
            elif key.value in found:
                self._mistake(key, f"`{key.value}` is given twice")
            else:
                found[key.value] = self.value(member)
        return found

    def _is_plain(self, node: yaml.Node) -> bool:
        """True if it has no tag, and is not there a second time by an alias (whose own line is not known)."""
        if node.tag:
            self._mistake(node, "tags are not supported: write the value without one")
            return False
        if not self._anchors:
            return True
        if id(node) in self._seen:
            self._mistake(node, "aliases are not supported: write the value out")
            return False
        self._seen.add(id(node))
        return True

    def _mistake(self, node: yaml.Node, message: str) -> None:
        self.mistakes.append(Mistake(node.start_mark.line + 1, message))


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if text[0] in "-+0123456789" and _INTEGER.fullmatch(text) and len(text) < 20 else text


def _line(node: yaml.Node, path: Path) -> int:
    """The line of a value, or of the member that holds it."""
    line = node.start_mark.line
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, member) for key, member in node.value if key.value == step]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
    return int(line) + 1


# --- the schema -------------------------------------------------------------------------------------------------------


@functools.cache
def schema() -> dict[str, Any]:
    text = resources.files("gateway").joinpath("schemas/fleet.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def whole_schema() -> dict[str, Any]:
    """The schema without references."""
    found: dict[str, Any] = _inlined(schema(), schema()["$defs"])
    return found


@functools.cache
def _quick() -> conformance.Fits:
    return conformance.compiled(whole_schema())


def violations(value: Any) -> list[tuple[list[str | int], str]]:
    """The places where a value breaks the schema, and how, each with the path of the member to look at."""
    if _quick()(value):
        return []
    import jsonschema

    found = []
    for error in jsonschema.Draft202012Validator(whole_schema()).iter_errors(value):
        found += list(_explained(error))
        if len(found) >= _MAX_ERRORS:
            break
    return found


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its references replaced by what they mean: each takes ten times as long as what it checks."""
    if isinstance(part, list):
        return [_inlined(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _inlined(each, definitions) for name, each in part.items() if name not in ("$ref", "$defs")}
    if isinstance(reference := part.get("$ref"), str):
        found |= _inlined(definitions[reference.removeprefix("#/$defs/")], definitions)
    return found


def _explained(error: Any) -> Iterator[tuple[list[str | int], str]]:
    path = list(error.absolute_path)
    where = _shown(path)
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            for name in error.instance:
                if name not in known:
                    hint = did_you_mean(name, known, f"known are {', '.join(known)}")
                    yield [*path, name], f"{where}unknown member `{name}`: {hint}"
        case "required":
            # One error for each member, which only its text names.
            missing = next(each for each in error.validator_value if error.message.startswith(repr(each)))
            yield path, f"{where}`{missing}` is missing"
        case "type":
            wanted = error.validator_value
            kinds = [wanted] if isinstance(wanted, str) else wanted
            text = " or ".join(_TYPES[each] for each in kinds)
            quoted = ": put it in quotes" if "string" in kinds and isinstance(error.instance, bool | int) else ""
            yield path, f"{where}must be {text}, not {_kind(error.instance)}{quoted}"
        case "enum" | "const":
            allowed = [error.validator_value] if error.validator == "const" else error.validator_value
            found = _kind(error.instance) if "key" in path else _short(error.instance)
            yield path, f"{where}must be {' or '.join(_short(each) for each in allowed)}, not {found}"
        case "oneOf" if "x-exactly-one" in error.schema:
            names = " or ".join(f"`{each}`" for each in error.schema["x-exactly-one"])
            yield path, f"{where}give exactly one of {names}"
        case _:
            yield path, f"{where}{error.message[:200]}"


def _shown(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return f"{text}: " if text else ""


def _kind(value: Any) -> str:
    """The kind of a value. A text is not repeated: it may be a key that stands in the wrong place."""
    if isinstance(value, str | list | dict):
        return {str: "a text", list: "a list", dict: "a mapping"}[type(value)]
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


# --- a table of agents ------------------------------------------------------------------------------------------------


def _read_table(text: str, source: str) -> Document:
    """Agents, one a row; the first row names the columns. An empty cell says nothing about its member."""
    known = schema()["$defs"]["agent"]["properties"]
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    agents, lines, mistakes = [], [], []
    try:
        header = [each.strip() for each in next(rows, [])]
        if len(header) == 1 and ";" in header[0]:
            raise FleetError(source, [Mistake(1, "the columns are divided by semicolons: divide them by commas")])
        for name in header:
            if name not in known:
                hint = did_you_mean(name, known, f"known are {', '.join(known)}")
                mistakes.append(Mistake(1, f"unknown column `{name}`: {hint}"))
            elif header.count(name) > 1:
                mistakes.append(Mistake(1, f"column `{name}` is there twice"))
        if "name" not in header:
            mistakes.append(Mistake(1, "the first row must name the columns, and one must be `name`"))
        if mistakes:
            raise FleetError(source, mistakes)
        for row in rows:
            line = rows.line_num
            if not any(each.strip() for each in row):
                continue
            if len(row) != len(header):
                mistakes.append(Mistake(line, f"this row has {len(row)} cells, and there are {len(header)} columns"))
                continue
            try:
                cells = zip(header, row, strict=True)
                agents.append({name: _cell(name, cell.strip()) for name, cell in cells if cell.strip()})
                lines.append(line)
            except ValueError as error:
                mistakes.append(Mistake(line, str(error)))
    except csv.Error as error:
        mistakes.append(Mistake(rows.line_num, f"this is not CSV: {error}"))
    value = {"v": 1, "agents": agents}
    for path, message in violations(value):
        line = lines[path[1]] if len(path) > 1 and isinstance(path[1], int) else 1
        mistakes.append(Mistake(line, re.sub(r"^agents\[\d+\](\.|: )?", "", message)))
    if mistakes:
        raise FleetError(source, mistakes)
    return Document(source, value, {"agents": lines})


def _cell(name: str, text: str) -> Any:
    if name in _LISTS:
        return [each for each in re.split(r"[;\s]+", text) if each]
    if name not in _MAPPINGS:
        return text
    found: dict[str, str] = {}
    for each in text.split(";"):
        label, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"`{each.strip()}` is not a label: write `name=value;name=value`")
        found[label.strip()] = value.strip()
    return found
