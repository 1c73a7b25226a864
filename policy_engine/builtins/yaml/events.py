"""The events of a YAML document, as PyYAML's parser reports them (libyaml's, where the installed package has it).

`reader` makes values of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml


class YAMLError(ValueError):
    """Text that is not YAML, or not of the kind that JSON can hold: what is wrong, and in which row, 0 if unknown."""

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(f"row {row}: {message}" if row else message)
        self.message = message
        self.row = row


def events(text: str) -> Iterator[yaml.Event]:
    """The events of the first document."""
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    anchors: set[str] = set()
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
                raise YAMLError(f"unknown anchor '{event.anchor}'", _row(event.start_mark))
            if isinstance(event, yaml.NodeEvent) and event.anchor:
                anchors.add(event.anchor)
            yield event
            if isinstance(event, yaml.DocumentEndEvent):
                return
    except yaml.reader.ReaderError as error:
        raise YAMLError(str(error.reason)) from None
    except yaml.MarkedYAMLError as error:
        # A bracket or quote without its end is reported at its beginning.
        begins = "flow" in str(error.context) or "quoted" in str(error.context)
        place = error.context_mark if begins and error.context_mark else error.problem_mark
        raise YAMLError(str(error.problem), _row(place)) from None


def _row(mark: Any) -> int:
    """The row of a mark, which is of another class for each of PyYAML's parsers."""
    return int(mark.line) + 1 if mark else 0
