"""A fleet file that came as JSON: checked like one that was read here, with the lines that its sender gives.

Nothing that the sender says of it is believed: lines only stand in messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.registry.fleet.document import Document, FleetError, Mistake, violations

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest request: some 60,000 agents."""
MAX_VALUES: Final = 1_500_000

_SETTINGS: Final = "settings"


def document(value: Mapping[str, Any], lines: Mapping[str, Sequence[int]] | None) -> Document:
    """The document. `lines` has those of each section's items, and of `settings` its own.

    Raises `FleetError` with every mistake, at its line, or without `lines` at its place in the body; and
    `invalid_lines` if they are not those of the document.
    """
    found = [*violations(dict(value)), *_floats(value, [])]
    if found:
        mistakes = [Mistake(_line(lines, path), message, _pointer(lines, path)) for path, message in found]
        raise FleetError("", mistakes)
    sizes = {
        name: len(each) if isinstance(each, list) else 1 for name, each in value.items() if name in _sections(value)
    }
    if lines is None:
        return _numbered(dict(value), sizes)
    if sizes != {name: len(each) for name, each in lines.items()}:
        raise GatewayError(
            "invalid_lines", "`lines` is not of this document", hint="send one line for each item of each section"
        )
    items = {name: list(each) for name, each in lines.items() if name != _SETTINGS}
    return Document("", dict(value), items, {name: each[0] for name, each in lines.items() if name == _SETTINGS})


def lines_of(read: Document) -> dict[str, list[int]]:
    """The `lines` of a document that was read here."""
    settings = {_SETTINGS: [read.line(_SETTINGS)]} if _SETTINGS in read.value else {}
    return {**read.lines, **settings}


def placed(read: Document, error: FleetError) -> FleetError:
    """The error with places in the body instead of numbers, where the sender gave no lines."""
    if not read.pointers:
        return error
    mistakes = [Mistake(each.line, each.message, read.pointers.get(each.line, "/document")) for each in error.mistakes]
    return FleetError("", mistakes, error.hint)


def _sections(value: Mapping[str, Any]) -> list[str]:
    return [name for name, each in value.items() if isinstance(each, list) or name == _SETTINGS]


def _numbered(value: dict[str, Any], sizes: Mapping[str, int]) -> Document:
    """Without lines, items have numbers of their own, each of which stands for a place in the body."""
    numbers = count(1)
    pointers: dict[int, str] = {}
    lines: dict[str, list[int]] = {}
    members: dict[str, int] = {}
    for name, size in sizes.items():
        if name == _SETTINGS:
            members[name] = next(numbers)
            pointers[members[name]] = f"/document/{name}"
            continue
        lines[name] = [next(numbers) for _ in range(size)]
        pointers |= {number: f"/document/{name}/{index}" for index, number in enumerate(lines[name])}
    return Document("", value, lines, members, pointers)


def _floats(value: Any, path: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    """A file has none, and to JSON Schema 5.0 is a whole number."""
    if isinstance(value, float):
        yield path, f"{'.'.join(map(str, path))}: must be a whole number"
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _floats(each, [*path, name])
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _floats(each, [*path, index])


def _line(lines: Mapping[str, Sequence[int]] | None, path: Sequence[str | int]) -> int:
    if lines is None or not path:
        return 0
    of = lines.get(str(path[0]), ())
    index = path[1] if len(path) > 1 and isinstance(path[1], int) else 0
    return of[index] if index < len(of) else 0


def _pointer(lines: Mapping[str, Sequence[int]] | None, path: Sequence[str | int]) -> str:
    return "" if lines is not None else "".join(f"/{part}" for part in ["document", *path])[:200]
