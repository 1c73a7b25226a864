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
    """Text that is not YAML, or not of the kind that JSON can hold; the message is go-yaml's.

    `row` is where the mistake is, as well as that can be told, 0 if it cannot; the line in the message is go-yaml's.
    """

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row


def events(text: str) -> Iterator[yaml.Event]:
    """The events of the first document. What cannot be read is named by the line where that shows."""
    import yaml

    colon, given, left = "", 0, _READ_AGAIN
    while True:
        try:
            for number, event in enumerate(_events(text)):
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
                raise _described(error) from None
            # go-yaml takes the colon of `[a:]` for text; behind another character libyaml does so too.
            colon = colon or next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in text)
            at = error.problem_mark.index
            text = f"{text[:at]}{colon}{text[at + 1 :]}"


_READ_AGAIN: Final = 1 << 20
"""How many characters are read again, in all, because of colons."""


def _described(error: yaml.MarkedYAMLError) -> YAMLError:
    import yaml

    line = error.problem_mark.line if error.problem_mark else 0
    # What lacks its end in brackets or quotes is wrong where it begins.
    begins = error.context_mark and ("flow" in str(error.context) or "quoted" in str(error.context))
    row = error.context_mark.line + 1 if begins and error.context_mark else line + 1
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    return YAMLError(f"yaml: {_at(line)}{error.problem}", row)


def _at(line: int) -> str:
    return f"line {line}: " if line else ""


def _events(text: str) -> Iterator[yaml.Event]:
    """What libyaml reads in the first document, less what go-yaml refuses."""
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    anchors: set[str] = set()
    open_ = [""]  # how each collection will end, nothing outside of brackets
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.ScalarEvent):
            if event.style == '"' and "/" in event.value:
                _check_escapes(text, event)
            if open_[-1] and not event.style and "?" in event.value[1:]:
                _refuse_question_mark(text, event, open_[-1])
        elif isinstance(event, yaml.CollectionStartEvent):
            start = event.start_mark if event.flow_style else None
            end = _CLOSING.get(text[start.index]) if start else ""
            open_.append(open_[-1] if end is None else end)
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


def _refuse_question_mark(text: str, event: yaml.ScalarEvent, closing: str) -> NoReturn:
    """To go-yaml a `?` inside of brackets always begins a key."""
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    at = text.index("?", start.index + 1, end.index)
    line = start.line + len(_BREAK.findall(text, start.index, at))
    raise YAMLError(f"yaml: {_at(line)}did not find expected ',' or '{closing}'", line + 1)


def _check_escapes(text: str, event: yaml.ScalarEvent) -> None:
    """Refuse `\\/`, which libyaml has taken from JSON since go-yaml was made of it."""
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    found = _ESCAPED_SLASH.match(text, start.index, end.index)
    if found is not None:
        line = start.line + len(_BREAK.findall(text, start.index, found.end()))
        raise YAMLError(f"yaml: {_at(line and line + 1)}found unknown escape character", line + 1)


_ESCAPED_SLASH: Final = re.compile(r'[^"]*"(?:[^\\]|\\[^/])*?\\/', re.DOTALL)
_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
