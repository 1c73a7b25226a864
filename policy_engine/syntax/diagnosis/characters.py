"""Characters that begin no token: quotes of other languages, strings without an end, numbers that are none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from policy_engine.syntax.diagnosis.text import Mistake, Text
from policy_engine.syntax.lexer import Token

_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_WRONG_ESCAPE: Final = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4}).?')
_QUOTED: Final = re.compile(r"'(?:[^'\\\n]|\\.)*'|[‘’][^‘’\n]*[‘’]|[“”„][^“”\n]*[“”]|«[^»\n]*»")
_STRING_END: Final = re.compile(r'(?:\n[^"`\n]*){1,20}"(?=\s*(?:$|[)\]},;:|&+=!<>]))', re.MULTILINE)
"""A string of several lines ends with the first quote in them, before a bracket, an operator or the end of the line."""
_RULE: Final = re.compile(
    r"^(?:import|default|[A-Za-z_][\w.]*(?:\(.*?\)|\[.*?\])?\s+(?:if|contains|:?=))\s", re.MULTILINE
)
_NUMBER: Final = re.compile(r"[\w.]+")
_DATE: Final = re.compile(r"[\w.]+(?:[-:][\w.]+)*")
_DOTS: Final = re.compile(r"\.+\s*")

_CONTROL: Final = "control characters must be escaped in a string that has escapes, a tab is `\\t`"
_ESCAPES: Final = r"legal are \" \\ \/ \b \f \n \r \t and \uXXXX; a raw string (`…`, in backticks) has no escapes"
_SEVERAL_LINES: Final = 'add a `"`, or write a text over several lines in backticks, `…`'
_RANGE: Final = "a range is `numbers.range(1, 10)`"
_SIGNS: Final = {
    "!": "negation is the keyword `not`, inequality `!=`",
    "=!": "inequality is `!=`",
    "$": 'a template string begins with `$"`, and a variable is its bare name',
    "@": "a name has no prefix, and annotations are comments, `# METADATA`",
    "?": "write one rule for each case, or `else`; a missing key is undefined, not an error",
    "\\": "inside of brackets and behind an operator lines go on by themselves",
    "=~": "a match is `regex.match(pattern, text)`",
}


def mistake(text: Text, at: int, tokens: Sequence[Token]) -> Mistake:
    """The mistake at the character at `at`, which follows `tokens`."""
    source = text.source
    character = source[at : at + 1]
    raw = next((token for token in tokens if token.kind == "RAW" and _RULE.search(token.text)), None)
    if character == "`" or (raw and source.count("`") % 2):
        # A raw string that runs into a rule lacks its end: from there on every backtick has changed sides.
        at = text.offset(raw.loc) if raw else at
        return text.mistake(at, text.tail(at), "the raw string is never closed", '""', "add a backtick")
    template = _open_template(text, tokens)
    if template is not None and character in '\n"{)]}':
        end = text.tail(template)
        if character in "\n":
            close = _STRING_END.match(source, text.end_of_row(at))
            end = close.end() if close else end
            return text.mistake(template, end, "the template string is never closed", '""', _SEVERAL_LINES)
        return text.mistake(template, end, "the `{` in a template string is never closed", '""', "a plain `{` is `\\{`")
    if character == '"':
        return _string(text, at)
    if character == "\\" and template is not None and _WRONG_ESCAPE.match(source, at):
        return _escape(text, at)
    if template is not None and (character == "\\" or (character.isalpha() and character.isascii())):
        return text.mistake(template, text.tail(template), _CONTROL, '""')
    if character and character in "'‘’“”«»„":
        found = _QUOTED.match(source, at)
        written = '"' + re.sub(r'["\\]', "-", found[0][1:-1]) + '"' if found else " "
        message = f"strings are written in double quotes, found `{character}`"
        return Mistake(at, at + len(written), message, "", source[:at] + written + source[at + len(written) :])
    if character in "0123456789":
        return _number(text, at)
    return _dot(text, at) if character == "." else _sign(text, at)


def _open_template(text: Text, tokens: Sequence[Token]) -> int | None:
    """The beginning of the template string that is not closed yet."""
    open_: list[Token] = []
    for token in tokens:
        if token.kind == "TSTART":
            open_.append(token)
        elif token.kind == "TEND":
            open_.pop()
    return text.offset(open_[-1].loc) if open_ else None


def _string(text: Text, at: int) -> Mistake:
    end = _STRING.match(text.source, at).end()  # type: ignore[union-attr]
    stop = text.source[end : end + 1]
    if stop == "\\":
        return _escape(text, end)
    if stop == '"':
        return text.mistake(at, end + 1, _CONTROL, '""')
    close = _STRING_END.match(text.source, end)
    is_long = close is not None and not _RULE.search(text.source, end, close.end())
    tail = close.end() if close and is_long else text.tail(at)
    return text.mistake(at, tail, "the string is never closed", '""', _SEVERAL_LINES)


def _escape(text: Text, at: int) -> Mistake:
    end, source = text.end_of_row(at), text.source
    written = _WRONG_ESCAPE.match(source, at)[0]  # type: ignore[index]
    repaired = _WRONG_ESCAPE.sub(lambda found: "-" * len(found[0]), source[at:end])
    message = f"`{written}` is not an escape sequence"
    return Mistake(at, at + len(written), message, _ESCAPES, source[:at] + repaired + source[end:])


def _number(text: Text, at: int) -> Mistake:
    written = _DATE.match(text.source, at)[0]  # type: ignore[index]
    hint = f'a text is written in double quotes, "{written}", and a name begins with a letter'
    if ".." in written:
        hint = _RANGE
    elif written.endswith("."):
        hint = "a digit has to follow the point"
    elif written[:2].lower() in ("0x", "0o", "0b"):
        hint = "numbers are decimal"
    elif re.fullmatch(r"[\d_]+", written):
        hint = f"write {written.replace('_', '')}"
    what = "`..` is not an operator" if ".." in written else f"{written} is not a number"
    return text.mistake(at, at + len(written), f"{what}: {hint}", "1")


def _dot(text: Text, at: int) -> Mistake:
    found = _DOTS.match(text.source, at)
    assert found is not None
    end, dots = found.end(), found[0].rstrip()
    behind = _NUMBER.match(text.source, end)
    message = 'a name must follow `.`; other keys are written `x[key]` and `x["odd-key"]`'
    if text.source[text.source.rfind("\n", 0, at) + 1 :].startswith("import"):
        message, end = "an import names one document, `import data.name`", text.end_of_row(at)
    elif len(dots) > 1:
        message = f"`{dots}` is not an operator: {_RANGE}, a field is `x.name`"
    elif behind and behind[0][0].isdigit():
        message, end = f"a name must follow `.`; an element is `x[{behind[0].split('.')[0]}]`", behind.end()
    elif text.source.startswith('"', end):
        end = text.source.find('"', end + 1) + 1 or end
    return Mistake(at, at + len(dots), message, "", text.replaced(at, end))


def _sign(text: Text, at: int) -> Mistake:
    source, character = text.source, text.source[at]
    if source[max(at - 1, 0) : at + 1] in _SIGNS and source[at - 1 : at] == "=":
        written = source[at - 1 : at + 1]
        return text.mistake(at - 1, at + 1, f"unexpected `{written}`: {_SIGNS[written]}", "==")
    if unicodedata.category(character) == "Pd" or character == "\u2212":
        return text.mistake(at, at + 1, f"unexpected `{character}`: a minus is the ASCII character `-`", "-")
    if character.isalnum():
        end = _NUMBER.match(source, at).end()  # type: ignore[union-attr]
        message = f"unexpected `{character}`: names consist of ASCII letters, digits and `_`"
        return text.mistake(at, end, message, re.sub(r"\W", "_", source[at:end], flags=re.ASCII))
    if not character.isprintable() or character.isspace():
        name = unicodedata.name(character, "control character").lower()
        message = f"unexpected character U+{ord(character):04X} ({name}): remove it, or use an ordinary space"
        return text.mistake(at, at + 1, message)
    hint = _SIGNS.get(character, "")
    return text.mistake(at, at + 1, f"unexpected `{character}`{': ' if hint else ''}{hint}")
