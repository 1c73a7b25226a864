"""PEM blocks (RFC 7468) as Go's `encoding/pem` finds them: text around them is skipped, and so are broken ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from policy_engine.builtins.encoding_base64 import Base64Error, decode

_BEGIN: Final = re.compile(r"^-----BEGIN ([^\n]*?)-----[ \t\r]*\n", re.MULTILINE)
_END: Final = re.compile(r"(?:\A|\n)-----END ([^\n]*?)-----[ \t\r]*(?:\n|\Z)")
_HEADER: Final = re.compile(r"[^\n:]*:[^\n]*\n")


class PemBlock(NamedTuple):
    label: str
    content: bytes
    end: int
    """The position behind the block."""


def blocks(text: str) -> Iterator[PemBlock]:
    """All sound blocks. Every part of the text is looked at once."""
    block = first_block(text)
    while block is not None:
        yield block
        block = first_block(text, block.end)


def first_block(text: str, at: int = 0) -> PemBlock | None:
    """The first sound block from a place on, where a line begins; None if there is none."""
    while (begin := _BEGIN.search(text, at)) is not None:
        # An empty block ends on the line that follows, so its line break belongs to both.
        end = _END.search(text, begin.end() - 1)
        if end is None:
            return None
        if end.group(1) == begin.group(1):
            content = _content(text[begin.end() : max(begin.end(), end.start() + 1)])
            if content is not None:
                return PemBlock(begin.group(1), content, end.end())
        at = end.end() - 1 if text[end.end() - 1] == "\n" else end.end()
    return None


def _content(body: str) -> bytes | None:
    """The decoded content behind the headers; None if it is not base64."""
    at = 0
    while header := _HEADER.match(body, at):
        at = header.end()
    try:
        return decode(body[at:].replace(" ", "").replace("\t", ""))
    except Base64Error:
        return None
