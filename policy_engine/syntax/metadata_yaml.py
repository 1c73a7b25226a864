"""The YAML of metadata annotations, as go-yaml's version 3 decodes it into fields that have types.

It is another YAML than that of `yaml.unmarshal` and of data files (`yaml.reader`, which follows version 2): `yes` and
`on` are strings, dates and times are written out in full, a key that occurs twice is an error, and a field of text
takes what was written, so that the title `1.50` keeps its last digit. `metadata` knows the meaning of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins.yaml import events, reader
from policy_engine.builtins.yaml.reader import YAMLError

if TYPE_CHECKING:
    import yaml

MAX_DEPTH: Final = 100
MAX_NODES: Final = 100_000
"""Values that one annotation may stand for, expanded aliases included."""

_MERGE: Final = "tag:yaml.org,2002:merge"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_VERSION_2_WORDS: Final = frozenset((
    "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF",
))  # fmt: skip
_TIME: Final = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d+))?(Z|[-+]\d\d:\d\d)?)?"
)


@dataclass(slots=True)
class YamlNode:
    """A node of the document, and its row there. `items` are those of a `seq`, or the keys and values of a `map`."""

    kind: str
    row: int
    event: yaml.ScalarEvent | None = None
    items: list[YamlNode] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.event.value) if self.event else ""

    @property
    def is_null(self) -> bool:
        return self.event is not None and _scalar(self.event) is None

    def pairs(self) -> Iterator[tuple[YamlNode, YamlNode]]:
        return zip(self.items[::2], self.items[1::2], strict=True)


class Document:
    """One annotation. Methods take a node (None or null: there is no such field) and the name it has in an error.

    A node of another type than a method wants adds to the `errors`, and reads as nothing.
    """

    def __init__(self, text: str) -> None:
        self.root = _compose(text)
        self.errors: list[tuple[int, str]] = []
        """Rows and messages."""
        self._nodes = 0

    def _is(self, kind: str, node: YamlNode | None, name: str) -> bool:
        if node is None or node.is_null:
            return False
        if node.kind != kind:
            names = {"map": "a mapping", "seq": "a list", "scalar": "a text"}
            found = f"`{node.text}`" if node.event else names[node.kind]
            self.errors.append((node.row, f"{name} must be {names[kind]}, found {found}"))
        return node.kind == kind

    def fields(self, node: YamlNode | None, name: str, depth: int = 0) -> dict[str, YamlNode]:
        """The members of a mapping by their keys as they are written."""
        own: dict[str, YamlNode] = {}
        merged: dict[str, YamlNode] = {}
        rows: dict[str, int] = {}
        for key, item in node.pairs() if node and self._is("map", node, name) else ():
            if key.text in rows:
                self.errors.append((key.row, f"key `{key.text}` occurs twice"))
            rows[key.text] = key.row
            if not _is_merge(key):
                own[key.text] = item
                continue
            for mapping in reversed(item.items if item.kind == "seq" else [item]):
                if mapping.kind != "map":
                    raise YAMLError("`<<` must be a mapping or a list of mappings", key.row)
                self._count(mapping, depth + 1)
                merged |= self.fields(mapping, name, depth + 1)
        return merged | own

    def items(self, node: YamlNode | None, name: str) -> list[YamlNode]:
        return node.items if node and self._is("seq", node, name) else []

    def text(self, node: YamlNode | None, name: str) -> str:
        if node is None or not self._is("scalar", node, name) or node.event is None:
            return ""
        value = reader.scalar(node.event)
        return value if node.event.tag and value.__class__ is str else node.text

    def flag(self, node: YamlNode | None, name: str) -> bool:
        value = _scalar(node.event) if node and node.event else None
        if value.__class__ is not bool and value not in ("y", "Y", "yes", "on", "n", "N", "no", "off", None):
            self.errors.append((node.row if node else 0, f"{name} must be true or false, found `{value}`"))
        if node and not node.event:
            self._is("scalar", node, name)
        return value in (True, "y", "Y", "yes", "on")

    def mapping(self, node: YamlNode | None, name: str) -> dict[str, Any]:
        """A mapping whose own keys are text whatever they look like; for those further in see `value`."""
        return {key: self.value(item) for key, item in self.fields(node, name).items()}

    def value(self, node: YamlNode, depth: int = 0) -> Any:
        """Any value as JSON. Its keys must be strings."""
        self._count(node, depth)
        if node.event:
            return reader.json_number(_scalar(node.event))
        if node.kind == "seq":
            return [self.value(item, depth + 1) for item in node.items]
        for key, _ in node.pairs():
            if not _is_merge(key) and not _is_string(key):
                raise YAMLError(f"key `{key.text}` is not a string", key.row)
        return {name: self.value(item, depth + 1) for name, item in self.fields(node, "", depth).items()}

    def _count(self, node: YamlNode, depth: int) -> None:
        """Aliases and merged mappings let a short text stand for a huge value."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise YAMLError("nesting too deep" if depth > MAX_DEPTH else "too many aliases", node.row)


def _compose(text: str) -> YamlNode | None:
    """The tree of the first document; an alias is the very node that its anchor names."""
    import yaml

    root: YamlNode | None = None
    open_nodes: list[YamlNode] = []
    anchors: dict[str, YamlNode] = {}
    for event in events.events(text):
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = anchors[str(event.anchor)] if isinstance(event, yaml.AliasEvent) else _node(event)
            if any(node is outer for outer in open_nodes):
                raise YAMLError(f"anchor `{event.anchor}` contains itself", node.row)
            if event.anchor:
                anchors[event.anchor] = node
            if open_nodes:
                open_nodes[-1].items.append(node)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append(node)
    return root


def _node(event: yaml.NodeEvent) -> YamlNode:
    import yaml

    row = event.start_mark.line + 1 if event.start_mark else 1
    if isinstance(event, yaml.ScalarEvent):
        return YamlNode("scalar", row, event)
    return YamlNode("map" if isinstance(event, yaml.MappingStartEvent) else "seq", row)


def _is_merge(key: YamlNode) -> bool:
    event = key.event
    return event is not None and event.value == "<<" and (event.implicit[0] or event.tag == _MERGE)


def _is_string(key: YamlNode) -> bool:
    return key.event is not None and _scalar(key.event).__class__ is str and not _time(key.event)


def _scalar(event: yaml.ScalarEvent) -> Any:
    """The value of a scalar; dates and times are text, written out."""
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
