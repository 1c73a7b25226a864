"""The events of a YAML document, as go-yaml's parser would give them. What they mean is in `reader`.

PyYAML's parser reads (libyaml, of which go-yaml is a port, where the installed package has it). Where a younger libyaml
differs from go-yaml, what it does is undone here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import yaml


class YAMLError(ValueError):
    """Text that is not YAML, or not of the kind that JSON can hold; the message is go-yaml's."""


def events(text: str, *, by_context: bool = False) -> Iterator[yaml.Event]:
    """The events of the first document. What cannot be read is named by the line where that shows, or, as version 3 of
    go-yaml has it, `by_context`: by the line where the collection or the scalar begins that it is in.
    """
    import yaml

    colon, given, left = "", 0, _READ_AGAIN
    while True:
        try:
            for number, event in enumerate(_events(text, by_context=by_context)):
                if number >= given:
                    given += 1
                    if colon and isinstance(event, yaml.ScalarEvent):
                        event.value = event.value.replace(colon, ":")
                    yield event
            return
        except yaml.reader.ReaderError as error:
            raise YAMLError(f"yaml: {error.reason}") from None
        except yaml.MarkedYAMLError as error:
            left -= len(text)
            if error.problem != "found unexpected ':'" or not error.problem_mark or left < 0:
                raise YAMLError(_described(error, by_context=by_context)) from None
            # go-yaml takes the colon of `[a:]` for text; behind another character libyaml does so too.
            colon = colon or next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in text)
            at = error.problem_mark.index
            text = f"{text[:at]}{colon}{text[at + 1 :]}"


_READ_AGAIN: Final = 1 << 20
"""How many characters are read again, in all, because of colons."""


def _described(error: yaml.MarkedYAMLError, *, by_context: bool) -> str:
    import yaml

    marks = (error.context_mark if by_context else None, error.problem_mark)
    line = next((mark.line for mark in marks if mark and mark.line), 0)
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    return f"yaml: {_at(line)}{error.problem}"


def _at(line: int) -> str:
    return f"line {line}: " if line else ""


def _events(text: str, *, by_context: bool) -> Iterator[yaml.Event]:
    """What libyaml reads in the first document, less what go-yaml refuses."""
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    anchors: set[str] = set()
    open_: list[tuple[str, int]] = [("", 0)]  # how each collection will end, nothing outside of brackets; and its line
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.ScalarEvent):
            if event.style == '"' and "/" in event.value:
                _check_escapes(text, event)
            if open_[-1][0] and not event.style and "?" in event.value[1:]:
                _refuse_question_mark(text, event, open_[-1], by_context=by_context)
        elif isinstance(event, yaml.CollectionStartEvent):
            start = event.start_mark if event.flow_style else None
            end = _CLOSING.get(text[start.index]) if start else ""
            open_.append(open_[-1] if end is None else (end, start.line if start else 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            open_.pop()
        elif isinstance(event, yaml.DocumentStartEvent) and event.version == (1, 2):
            line = event.start_mark.line if event.start_mark else 0
            raise YAMLError(f"yaml: {_at(line)}found incompatible YAML document")
        if isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
            raise YAMLError(f"yaml: unknown anchor '{event.anchor}' referenced")
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            anchors.add(event.anchor)
        yield event
        if isinstance(event, yaml.DocumentEndEvent):
            return


_CLOSING: Final = {"[": "]", "{": "}"}


def _refuse_question_mark(text: str, event: yaml.ScalarEvent, within: tuple[str, int], *, by_context: bool) -> NoReturn:
    """To go-yaml a `?` inside of brackets always begins a key."""
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    at = text.index("?", start.index + 1, end.index)
    line = start.line + len(_BREAK.findall(text, start.index, at))
    closing, context = within
    raise YAMLError(f"yaml: {_at((by_context and context) or line)}did not find expected ',' or '{closing}'")


def _check_escapes(text: str, event: yaml.ScalarEvent) -> None:
    """Refuse `\\/`, which libyaml has taken from JSON since go-yaml was made of it."""
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    found = _ESCAPED_SLASH.match(text, start.index, end.index)
    if found is not None:
        line = start.line + len(_BREAK.findall(text, start.index, found.end()))
        raise YAMLError(f"yaml: {_at(line and line + 1)}found unknown escape character")


_ESCAPED_SLASH: Final = re.compile(r'[^"]*"(?:[^\\]|\\[^/])*?\\/', re.DOTALL)
_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
