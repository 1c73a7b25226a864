"""JSON values as YAML text, laid out as go-yaml lays it out."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from policy_engine.builtins.yaml import reader
from policy_engine.values import Charge

if TYPE_CHECKING:
    import yaml


def write(value: Any, charge: Charge) -> str:
    import yaml

    dumper: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = str(yaml.emit(_events(value, charge), Dumper=dumper, allow_unicode=True, width=80))
    # Younger emitters than go-yaml's indent the quote after a line break (of those that need no block), and end the
    # document where a text block's end could be taken for more of it.
    if not text.isascii():
        text = _INDENTED_QUOTE.sub(r"\1'", text)
    return text.removesuffix("...\n") if text.endswith("\n...\n") else text


_INDENTED_QUOTE: Final = re.compile("([\x85\u2028\u2029]) +'(?!')")


_STEPS: Final = 8
"""Steps for a node, besides those for its text."""


def _events(value: Any, charge: Charge) -> Iterator[yaml.Event]:
    import yaml

    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    # Keys and values in turn: an iterator for each collection that is open, innermost last, and how it ends.
    open_: list[tuple[Iterator[Any], yaml.Event]] = [(iter([value]), yaml.DocumentEndEvent(explicit=False))]
    while open_:
        items, end = open_[-1]
        for item in items:
            charge(_STEPS + (len(item) // 2 if item.__class__ is str else 0))
            if item.__class__ is dict:
                yield yaml.MappingStartEvent(None, None, True, flow_style=False)
                open_.append((_members(item, charge), yaml.MappingEndEvent()))
                break
            if item.__class__ is list:
                yield yaml.SequenceStartEvent(None, None, True, flow_style=False)
                open_.append((iter(item), yaml.SequenceEndEvent()))
                break
            yield _scalar(item)
        else:
            open_.pop()
            yield end
    yield yaml.StreamEndEvent()


def _members(mapping: dict[str, Any], charge: Charge) -> Iterator[Any]:
    def order(a: str, b: str) -> int:
        charge(1 + min(len(a), len(b)) // 8)
        return _compare(a, b)

    for key in sorted(mapping, key=functools.cmp_to_key(order)):
        yield key
        yield mapping[key]


def _scalar(value: Any) -> yaml.Event:
    import yaml

    text, style = _scalar_text(value), None
    if value.__class__ is str:
        if "\n" in text:
            style = "|"
        elif reader.resolve(text).__class__ is not str or reader.is_timestamp(text) or _SEXAGESIMAL.fullmatch(text):
            # Plain, it would be read as something else.
            style = '"'
    return yaml.ScalarEvent(None, None, (True, True), text, style=style)


_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
"""Numbers to the base 60, which other readers of YAML 1.1 see in `1:30`."""


def _scalar_text(value: Any) -> str:
    if value is None or value.__class__ is bool:
        return "null" if value is None else "true" if value else "false"
    return reader.float_text(value) if value.__class__ is float else str(value)


def _compare(a: str, b: str) -> int:
    """go-yaml's order of keys: numbers inside text by value, and letters behind everything else."""
    digits = False
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x == y:
            digits = _is_digit(x)
            continue
        letters = (_is_letter(x), _is_letter(y))
        if letters == (True, True):
            return -1 if x < y else 1
        if any(letters):
            # A letter comes first only behind a number: `a1b` before `a10`.
            return -1 if letters[0] == digits else 1
        return _compare_numbers(a, b, i)
    return (len(a) > len(b)) - (len(a) < len(b))


def _compare_numbers(a: str, b: str, at: int) -> int:
    """The order of two texts that are equal up to a place where neither has a letter."""
    lead = 0
    if "0" in (a[at], b[at]):
        # Zeros count behind other digits of the same number only: `a100` and `a10`, but not `a01` and `a1`.
        before = at - 1
        while before >= 0 and _is_digit(a[before]):
            if a[before] != "0":
                lead = 1
                break
            before -= 1
    (x, x_end), (y, y_end) = _number(a, at, lead), _number(b, at, lead)
    if x != y:
        return -1 if x < y else 1
    if x_end != y_end:
        return -1 if x_end < y_end else 1
    return -1 if a[at] < b[at] else 1


def _number(text: str, at: int, lead: int) -> tuple[int, int]:
    value = lead
    while at < len(text) and _is_digit(text[at]):
        # 64 bits, as in Go: what a longer number is worth there, it is worth here.
        value = (value * 10 + ord(text[at]) - ord("0") + (1 << 63)) % (1 << 64) - (1 << 63)
        at += 1
    return value, at


def _is_digit(char: str) -> bool:
    return unicodedata.category(char) == "Nd"


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] == "L"
