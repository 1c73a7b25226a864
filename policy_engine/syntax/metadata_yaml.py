"""The YAML of metadata annotations, as go-yaml's version 3 decodes it into fields that have types.

It is another YAML than that of `yaml.unmarshal` and of data files (`builtins.yaml.reader` follows version 2): `yes` and
`on` are strings, dates and times are written out in full, a key that occurs twice is an error, and a field of text
takes what was written, so that the title `1.50` keeps its last digit. What the fields mean is the business of
`metadata`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins.yaml import events, reader
from policy_engine.builtins.yaml.reader import YAMLError
from policy_engine.values import quote

if TYPE_CHECKING:
    import yaml

MAX_DEPTH: Final = 100
MAX_NODES: Final = 100_000
"""Values that one annotation may stand for, expanded aliases included."""

_SHOWN: Final = 10
"""A longer scalar is cut in an error."""
_MERGE: Final = "tag:yaml.org,2002:merge"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_VERSION_2_WORDS: Final = {
    "y",
    "Y",
    "yes",
    "Yes",
    "YES",
    "on",
    "On",
    "ON",
    "n",
    "N",
    "no",
    "No",
    "NO",
    "off",
    "Off",
    "OFF",
}
_TIME: Final = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d+))?(Z|[-+]\d\d:\d\d)?)?"
)


@dataclass(slots=True)
class Node:
    """A node of the document. `items` are those of a `seq`, or the keys and values of a `map` in turn."""

    kind: str
    line: int
    event: yaml.ScalarEvent | None = None
    items: list[Node] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.event.value) if self.event else ""

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        return zip(self.items[::2], self.items[1::2], strict=True)


class Document:
    """One annotation. Every method takes a node (None: there is no such field).

    What is not of the type that a method wants reads as nothing, and is for `check` to report: go-yaml goes on, too.
    """

    def __init__(self, text: str) -> None:
        self.root = _compose(text)
        self._nodes = 0
        self._misfits: list[tuple[int, str]] = []

    def check(self) -> None:
        """Raises `YAMLError` with all that has turned out not to be of its type."""
        if self._misfits:
            texts = [text for _, text in sorted(self._misfits, key=itemgetter(0))]
            raise YAMLError("\n  ".join(["yaml: unmarshal errors:", *texts]))

    def fields(self, node: Node | None, into: str) -> dict[str, Node]:
        """The members of a mapping by their keys as they are written. Null is an empty one."""
        if node is None or self._is_null(node):
            return {}
        if node.kind != "map":
            self._misfit(node, into)
            return {}
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, item in node.pairs():
            if key.text in lines:
                where = f"line {key.line}: mapping key {quote(key.text)} already defined at line {lines[key.text]}"
                self._misfits.append((key.line, where))
            lines.setdefault(key.text, key.line)
            if _is_merge(key):
                for mapping in reversed(item.items if item.kind == "seq" else [item]):
                    if mapping.kind != "map":
                        raise YAMLError("yaml: map merge requires map or sequence of maps as the value")
                    merged |= self.fields(mapping, into)
            else:
                own[key.text] = item
        return {} if len(lines) < len(node.items) // 2 else merged | own

    def text(self, node: Node | None) -> str:
        if node is None or self._is_null(node):
            return ""
        if not node.event:
            self._misfit(node, "string")
            return ""
        value = reader.scalar(node.event)
        return value if node.event.tag and value.__class__ is str else node.text

    def flag(self, node: Node | None) -> bool:
        if node is None or self._is_null(node):
            return False
        value = _scalar(node.event) if node.event else None
        if value in ("y", "Y", "yes", "on"):
            return True
        if value in ("n", "N", "no", "off"):
            return False
        if value.__class__ is not bool:
            self._misfit(node, "bool")
        return value is True

    def texts(self, node: Node | None) -> list[str]:
        return [self.text(item) for item in self._sequence(node, "[]string") if not self._is_null(item)]

    def values(self, node: Node | None) -> list[Any]:
        return [self.value(item) for item in self._sequence(node, "[]interface {}")]

    def mappings(self, node: Node | None) -> list[dict[str, Any]]:
        return [self.mapping(item) for item in self._sequence(node, "[]map[string]interface {}")]

    def mapping(self, node: Node | None) -> dict[str, Any]:
        """A mapping whose own keys are text whatever they look like; for those further in see `value`."""
        return {name: self.value(item) for name, item in self.fields(node, "map[string]interface {}").items()}

    def value(self, node: Node, depth: int = 0) -> Any:
        """Any value as JSON. Its keys must be strings."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise YAMLError(
                "yaml: exceeded max depth" if depth > MAX_DEPTH else "yaml: document contains excessive aliasing"
            )
        if node.event:
            return reader.json_number(_scalar(node.event))
        if node.kind == "seq":
            return [self.value(item, depth + 1) for item in node.items]
        for key, _ in node.pairs():
            if not _is_merge(key) and not _is_string(key):
                raise YAMLError("invalid map key type(s): ")
        return {name: self.value(item, depth + 1) for name, item in self.fields(node, "").items()}

    def _sequence(self, node: Node | None, into: str) -> list[Node]:
        if node is None or self._is_null(node):
            return []
        if node.kind != "seq":
            self._misfit(node, into)
            return []
        return node.items

    def _misfit(self, node: Node, into: str) -> None:
        shown = f"!!{node.kind}"
        if node.event:
            text = node.text if len(node.text) <= _SHOWN else f"{node.text[: _SHOWN - 3]}..."
            shown = f"!!{_tag(node.event)} `{text}`"
        self._misfits.append((node.line, f"line {node.line}: cannot unmarshal {shown} into {into}"))

    @staticmethod
    def _is_null(node: Node) -> bool:
        return node.event is not None and _scalar(node.event) is None


def _compose(text: str) -> Node | None:
    """The tree of the first document; an alias is the very node that its anchor names."""
    import yaml

    root: Node | None = None
    open_nodes: list[Node] = []
    anchors: dict[str, Node] = {}
    for event in events.events(text, by_context=True):
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = anchors[str(event.anchor)] if isinstance(event, yaml.AliasEvent) else _node(event)
            if any(node is outer for outer in open_nodes):
                raise YAMLError(f"yaml: anchor '{event.anchor}' value contains itself")
            if event.anchor:
                anchors[event.anchor] = node
            if open_nodes:
                open_nodes[-1].items.append(node)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append(node)
    return root


def _node(event: yaml.NodeEvent) -> Node:
    import yaml

    line = event.start_mark.line + 1 if event.start_mark else 1
    if isinstance(event, yaml.ScalarEvent):
        return Node("scalar", line, event)
    return Node("map" if isinstance(event, yaml.MappingStartEvent) else "seq", line)


def _is_merge(key: Node) -> bool:
    event = key.event
    return event is not None and event.value == "<<" and (event.implicit[0] or event.tag == _MERGE)


def _is_string(key: Node) -> bool:
    return key.event is not None and _scalar(key.event).__class__ is str and not _time(key.event)


def _scalar(event: yaml.ScalarEvent) -> Any:
    """What a scalar stands for; dates and times are text, written out."""
    if not event.tag and event.implicit[0] and event.value in _VERSION_2_WORDS:
        return event.value
    return _time(event) or reader.scalar(event)


def _time(event: yaml.ScalarEvent) -> str:
    """A date or time as Go writes it in JSON; "" if the scalar is none."""
    plain = not event.tag and event.implicit[0]
    found = _TIME.fullmatch(event.value) if plain or event.tag == _TIMESTAMP else None
    if not found or not reader.is_timestamp(event.value):
        return ""
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    date = f"{year}-{int(month):02}-{int(day):02}"
    time = f"{int(hour or 0):02}:{int(minute or 0):02}:{int(second or 0):02}"
    digits = (fraction or "")[:9].rstrip("0")
    zone = "Z" if zone in (None, "+00:00", "-00:00") else zone
    return f"{date}T{time}{'.' if digits else ''}{digits}{zone}"


def _tag(event: yaml.ScalarEvent) -> str:
    if _time(event):
        return "timestamp"
    return {bool: "bool", int: "int", float: "float"}.get(_scalar(event).__class__, "str")
