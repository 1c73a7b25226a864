"""Redaction of content before it is kept: patterns of RE2, which run in linear time whatever the text is.

Every string of a document is redacted, names of members and numbers too, because a card number may be written as one. A
pattern sees one string at a time. The judged and the forwarded request are never redacted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

from gateway.errors import GatewayError

REDACTED: Final = "[redacted]"
MOST: Final = 20
_LONGEST: Final = 500


def check(patterns: Sequence[str]) -> list[str]:
    """The patterns as they are stored: each once. Raises `invalid_pattern`."""
    kept = list(dict.fromkeys(patterns))
    if len(kept) > MOST:
        raise GatewayError("invalid_pattern", f"an agent has at most {MOST} redaction patterns")
    for each in kept:
        if not 0 < len(each) <= _LONGEST:
            raise _invalid(each, f"it must have 1 to {_LONGEST} characters")
        if _compiled(each).search(b"") is not None:
            raise _invalid(each, "it matches the empty text, so it would match everywhere")
    return kept


class Redactor:
    """Redacts texts and documents, and counts what it has replaced."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_compiled(each) for each in patterns]
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def text(self, text: str) -> str:
        """A text without what the patterns match."""
        data = before = text.encode("utf-8", "surrogatepass")
        for each in self._patterns:
            data = each.sub(self._replace, data)
        return text if data is before else data.decode("utf-8", "replace")

    def document(self, value: Any) -> Any:
        """A JSON document without what the patterns match."""
        kind = value.__class__
        if kind is str:
            return self.text(value)
        if kind is list:
            return [self.document(each) for each in value]
        if kind is dict:
            return {self.text(name): self.document(each) for name, each in value.items()}
        if kind is int or kind is float:
            shown = str(value)
            found = self.text(shown)
            return value if found == shown else found
        return value

    def _replace(self, found: Any) -> bytes:
        if not found.group():  # such as a word boundary: there is nothing to hide
            return b""
        self.count += 1
        return REDACTED.encode()


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import re2  # late: only agents with patterns need it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0]
        raise _invalid(pattern, reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason) from error
    except UnicodeEncodeError as error:
        raise _invalid(pattern, "it holds half of a surrogate pair") from error


def _invalid(pattern: str, why: str) -> GatewayError:
    hint = "write it as RE2 has it, such as '[0-9]{16}': https://github.com/google/re2/wiki/Syntax"
    return GatewayError("invalid_pattern", f"redaction pattern `{pattern[:80]}`: {why}", subject=pattern, hint=hint)
