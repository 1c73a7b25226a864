"""YAML as OPA reads it, which is go-yaml's version 2: YAML 1.1 with changes, turned into JSON.

`y` and `on` are true, `0o17` and `017` are 15, `1:30` and `2020-01-01` are strings; numbers are 64-bit integers or
floats, so that `1.50` comes out as 1.5; keys become strings. Tags of collections are ignored, those of scalars hold.
Only the first document of a text is read. PyYAML's own loaders resolve nearly all of this in another way, so only its
parser is used (see `events`); the tree is built here.

Nothing recurses. Expansion of aliases is limited as in go-yaml: a short text cannot become a huge value. Nesting is
limited to what the parser takes, which is 1,000 levels for libyaml and 10,000 in OPA.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins.encoding_base64 import Base64Error, decode
from policy_engine.builtins.layouts.parser import LayoutError, parse
from policy_engine.builtins.octets import SURROGATES, from_bytes, printable
from policy_engine.builtins.yaml.events import YAMLError, events
from policy_engine.values import Charge, Value, parse_number, type_name

if TYPE_CHECKING:
    import yaml

__all__ = ["YAMLError", "float_text", "is_timestamp", "json_number", "load", "read", "resolve", "scalar"]

MAX_DEPTH: Final = 10_000


def read(text: str, charge: Charge | None = None) -> Value:
    """The first document as a JSON value, null if there is none. Raises `YAMLError`.

    `charge` is told of each event of the document while it is read.
    """
    return _build(text, json_number, charge)


def load(text: str, charge: Charge | None = None) -> Any:
    """As `read`, but numbers that go-yaml takes for floats are `float`, infinite ones and NaN included."""
    return _build(text, _as_it_is, charge)


def _build(text: str, convert: Callable[[Any], Any], charge: Charge | None) -> Any:
    if SURROGATES.search(text):
        raise YAMLError("not UTF-8")
    builder = _Builder(convert)
    # All events first: an error of the syntax is reported before one of the meaning, wherever it is.
    for event in list(_charged(events(text), charge)):
        builder.take(event)
    return builder.root


def _charged(found: Iterator[yaml.Event], charge: Charge | None) -> Iterator[yaml.Event]:
    for event in found:
        if charge is not None:
            charge(_STEPS_PER_EVENT)
        yield event


_STEPS_PER_EVENT: Final = 32


def _as_it_is(value: Any) -> Any:
    return value


def json_number(value: Any) -> Any:
    """A float as the number that Go writes for it in JSON; everything else as it is."""
    if value.__class__ is not float:
        return value
    if not math.isfinite(value):
        raise YAMLError(f"{float_text(value)} is no number in JSON")
    digits = float.__repr__(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        return parse_number(digits.replace("e-0", "e-"))
    return parse_number(format(Decimal(digits), "f").removesuffix(".0"))


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen. `began` is how many nodes were counted before it."""

    value: Any
    anchor: str | None
    began: int
    key: Any = None
    has_key: bool = False
    merge: bool = False


class _Builder:
    """Builds one document out of events. `nodes` counts all, expanded aliases included; `aliased` those in aliases."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert
        self.root: Any = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int] | None] = {}
        self.nodes = 0
        self.aliased = 0

    def take(self, event: yaml.Event) -> None:
        import yaml

        if isinstance(event, yaml.ScalarEvent):
            self.nodes += 1
            value = _merge_key(event) if self._expects_key() else None
            self._add(scalar(event) if value is None else value, event.anchor, self.nodes - 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor))
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self.stack) >= MAX_DEPTH:
                raise YAMLError(f"nested more than {MAX_DEPTH:,} levels deep")
            if event.anchor:
                self.anchors[event.anchor] = None
            empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self.stack.append(_Open(empty, event.anchor, self.nodes))
            self.nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self.stack.pop()
            self._add(closed.value, closed.anchor, closed.began)

    def _expects_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].value.__class__ is dict and not self.stack[-1].has_key

    def _alias(self, name: str) -> None:
        found = self.anchors[name]
        if found is None:
            raise YAMLError(f"anchor '{name}' contains itself")
        value, size = found
        began = self.nodes
        self.nodes += 1 + size
        self.aliased += size
        if self.aliased > 100 and self.nodes > 1000 and self.aliased / self.nodes > _allowed_share(self.nodes):
            raise YAMLError("too many aliases")
        self._add(value, None, began)

    def _add(self, value: Any, anchor: str | None, began: int) -> None:
        """Put a complete node where it belongs."""
        if anchor:
            self.anchors[anchor] = (value, self.nodes - began)
        if not self.stack:
            self.root = self.convert(value)
            return
        into = self.stack[-1]
        if into.value.__class__ is list:
            into.value.append(self.convert(value))
        elif not into.has_key:
            into.key, into.has_key, into.merge = value, True, value is _MERGE
            if not into.merge:
                into.key = _key_text(value)
        else:
            into.has_key = False
            if into.merge:
                into.value.update(_merged(value))
            else:
                into.value[into.key] = self.convert(value)


def _allowed_share(nodes: int) -> float:
    """The part of all nodes that may come from aliases: 99 % up to 400,000 nodes, falling to 10 % at 4,000,000."""
    return min(0.99, max(0.1, 0.99 - 0.89 * (nodes - 400_000) / 3_600_000))


_MERGE: Final = object()
"""The key `<<`."""


def _merge_key(event: yaml.ScalarEvent) -> object | None:
    plain = event.implicit[0] or event.tag == "tag:yaml.org,2002:merge"
    return _MERGE if event.value == "<<" and plain else None


def _merged(value: Any) -> dict[Any, Any]:
    """The entries that a merge key adds: those of a mapping, or of several, of which earlier ones take precedence."""
    mappings = value if value.__class__ is list else [value]
    merged: dict[Any, Any] = {}
    for mapping in reversed(mappings):
        if mapping.__class__ is not dict:
            raise YAMLError("`<<` must be a mapping or a list of mappings")
        merged.update(mapping)
    return merged


_TAG: Final = "tag:yaml.org,2002:"
_RESOLVED_TAGS: Final = {_TAG + name for name in ("str", "bool", "int", "float", "null", "timestamp")}
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER: Final = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_FRACTION: Final = re.compile(r"\.[0-9]+(?:[eE][-+]?[0-9]+)?")


def scalar(event: yaml.ScalarEvent) -> Any:
    tag, text = event.tag or "", str(event.value)
    if not tag and not event.implicit[0]:
        return text
    if tag == _TAG + "binary":
        try:
            return printable(from_bytes(decode(text)))
        except Base64Error:
            raise YAMLError("!!binary is not base64") from None
    if tag and tag not in _RESOLVED_TAGS:
        return text
    wanted = tag.removeprefix(_TAG)
    if wanted == "str":
        return text
    value = resolve(text)
    found = _type(value)
    if wanted == "timestamp" and is_timestamp(text):
        return text
    if wanted == "float" and found == "int" and value < 1 << 63:
        return float(value)
    if wanted not in ("", found):
        raise YAMLError(f"`{text}` is no !!{wanted}")
    return value


def resolve(text: str) -> Any:
    """The value of a plain scalar: None, a boolean, an int, a float or just text (dates are text)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return float(text) if _FRACTION.fullmatch(text) and math.isfinite(float(text)) else text
    if text[0] not in "+-0123456789":
        return text
    digits = text.replace("_", "")
    if found := _INTEGER.fullmatch(digits):
        sign, hexadecimal, binary, octal, decimal = found.groups()
        # Longer texts cannot be in range, and Python refuses to read very long ones.
        if len(digits) < 70:
            base = 16 if hexadecimal else 2 if binary else 8 if octal else 10
            value = int(hexadecimal or binary or octal or decimal, base) * (-1 if sign == "-" else 1)
            if -(1 << 63) <= value < 1 << (63 if sign else 64):
                return value
    if _FLOAT.fullmatch(digits) and math.isfinite(float(digits)):
        return float(digits)
    return text


_TIMESTAMP: Final = re.compile(r"[0-9]{4}-.*", re.DOTALL)
_TIMESTAMP_LAYOUTS: Final = (
    "2006-1-2T15:4:5.999999999Z07:00",
    "2006-1-2t15:4:5.999999999Z07:00",
    "2006-1-2 15:4:5.999999999",
    "2006-1-2",
)


def is_timestamp(text: str) -> bool:
    """True if YAML takes the text for a date or time. JSON has none, so it stays text."""
    if not _TIMESTAMP.fullmatch(text):
        return False
    for layout in _TIMESTAMP_LAYOUTS:
        try:
            parse(layout, text)
        except LayoutError:
            continue
        return True
    return False


def _type(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "str"}[value.__class__]


def _key_text(key: Any) -> str:
    """A mapping's key as the string it is in JSON."""
    cls = key.__class__
    if cls is str:
        return key  # type: ignore[no-any-return]
    if cls is bool:
        return "true" if key else "false"
    if cls is int and key < 1 << 63:
        return str(key)
    if cls is float:
        return float_text(key)
    raise YAMLError(f"a map key must be a string, a boolean or a number of 64 bits, found {type_name(key)}")


def float_text(value: float) -> str:
    """A float as go-yaml writes it."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return _general(Decimal(float.__repr__(value)))


def _general(value: Decimal) -> str:
    """Go's `%g`: an exponent only below 1e-4 and from 1e+06 on."""
    plain = value.normalize()
    if not plain or -4 <= plain.adjusted() < 6:
        return format(plain, "f")
    mantissa, _, exponent = f"{plain:e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]:>02}"
