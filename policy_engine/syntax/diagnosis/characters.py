"""Characters that begin no token: quotes of other languages, strings without an end, numbers that are none."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from policy_engine.syntax.diagnosis.text import Mistake, Text

_PROPER: Final = re.compile(r'"(?:[^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_WRONG_ESCAPE: Final = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4}).?')
_QUOTED: Final = re.compile(r"'(?:[^'\\\n]|\\.)*'|[‘’][^‘’\n]*[‘’]|[“”„][^“”\n]*[“”]|«[^»\n]*»")
_NUMBER: Final = re.compile(r"[\w.]+")
_WORD: Final = re.compile(r"\w+")
_DOTS: Final = re.compile(r"\.+\s*")
_STRING_END: Final = re.compile(r'(?:\n[^"`\n]*){1,20}"(?=\s*(?:$|[)\]},;:|&+=!<>]))', re.MULTILINE)
"""A string of several lines ends with the first quote in them, before a bracket, an operator or the end of the line."""
_RULE: Final = re.compile(
    r"^(?:import|default|[A-Za-z_][\w.]*(?:\(.*?\)|\[.*?\])?\s+(?:if|contains|:?=))\s", re.MULTILINE
)
_LEGAL: Final = r"legal are \" \\ \/ \b \f \n \r \t and \uXXXX; a raw string (`…`, in backticks) has no escapes"
_QUOTES: Final = 'strings are written in double quotes `"`, not in {}'
_SEVERAL_LINES: Final = "a text over several lines is a raw string, in backticks: `…`"

_SIGNS: Final = {
    "!": ("negation is the keyword `not`", "write `not x`; inequality is `!=`"),
    "$": ('a template string begins with `$"` or `$``', "a variable is its bare name"),
    "@": ("a name has no prefix", "annotations are comments: `# METADATA`"),
    "?": ("there is no `x ? y : z` and no `x?.y`", "write one rule for each case, or `else`; a missing key is undefined"),
    "\\": ("a line needs no mark to continue", "inside of brackets and behind an operator lines go on by themselves"),
    "^": ("there is no such operator", "bitwise operators are functions: `bits.xor(x, y)`"),
    "~": ("there is no such operator", "bitwise operators are functions: `bits.negate(x)`"),
}  # fmt: skip


def mistake(text: Text, at: int, template: int | None) -> Mistake:
    """What is wrong with the character at `at`; `template` is where a template string begins that is still open."""
    source = text.source
    character = source[at : at + 1]
    if template is not None and character in '\n"{)]}':
        end = text.tail(template)
        if character in "\n":
            message, hint = "the template string is never closed", _SEVERAL_LINES
            if close := _STRING_END.match(source, text.end_of_row(at)):
                end = close.end()
        else:
            message, hint = (
                "the `{` of an expression in a template string is never closed",
                "add a `}`; a plain `{` is `\\{`",
            )
        return Mistake(template, end, message, hint, text.replaced(template, end, '""'))
    if character == "\\" and template is not None:
        return _escape(text, at, at)
    if character == '"':
        return _string(text, at)
    if character == "`":
        return _raw_string(text, at)
    if quoted := _QUOTED.match(source, at):
        written = '"' + re.sub(r'["\\]', "-", quoted[0][1:-1]) + '"'
        return Mistake(at, quoted.end(), _QUOTES.format(character), "", source[:at] + written + source[quoted.end() :])
    if character in "'‘’“”«»„":
        return Mistake(at, at + 1, _QUOTES.format(character), "", text.replaced(at, at + 1))
    if character.isdigit() and character.isascii():
        return _number(text, at)
    if character == ".":
        return _dot(text, at)
    return _sign(text, at)


def _string(text: Text, at: int) -> Mistake:
    found = _PROPER.match(text.source, at)
    assert found is not None
    end = found.end()
    stop = text.source[end : end + 1]
    if stop == "\\":
        return _escape(text, end, at)
    if stop == '"':
        message = "control characters must be escaped in a string that has escapes"
        return Mistake(at, end + 1, message, "a tab is `\\t`", text.replaced(at, end + 1, '""'))
    close = _STRING_END.match(text.source, end)
    if close is not None and not _RULE.search(text.source, end, close.end()):
        message = "the string is never closed in its line"
        return Mistake(at, end, message, _SEVERAL_LINES, text.replaced(at, close.end(), '""'))
    tail = text.tail(at)
    return Mistake(at, end, "the string is never closed", f'add a `"`; {_SEVERAL_LINES}', text.replaced(at, tail, '""'))


def _escape(text: Text, at: int, start: int) -> Mistake:
    found = _WRONG_ESCAPE.match(text.source, at)
    assert found is not None
    end = text.end_of_row(at)
    repaired = text.source[:at] + _WRONG_ESCAPE.sub(lambda match: "-" * len(match[0]), text.source[at:end])
    return Mistake(at, found.end(), f"`{found[0]}` is not an escape sequence", _LEGAL, repaired + text.source[end:])


def _raw_string(text: Text, at: int) -> Mistake:
    """The one without an end is the first that runs into another rule: from there on every backtick has changed sides."""
    for start in [match.start() for match in re.finditer("`", text.source)][::2]:
        end = text.source.find("`", start + 1)
        if end < 0 or _RULE.search(text.source, start, end):
            at = start
            break
    tail = text.tail(at)
    return Mistake(
        at, text.end_of_row(at), "the raw string is never closed", "add a backtick", text.replaced(at, tail, '""')
    )


def _number(text: Text, at: int) -> Mistake:
    found = _NUMBER.match(text.source, at)
    assert found is not None
    written, end = found[0], found.end()
    message, hint = f"{written} is not a number", "text is written in double quotes"
    if ".." in written:
        message, hint = "`..` is not an operator", "a range is `numbers.range(1, 10)`"
    elif re.fullmatch(r"[\d_.]+", written) and "_" in written:
        hint = f"write {written.replace('_', '')}"
    elif written.endswith("."):
        hint = "a digit has to follow the point"
    elif re.fullmatch(r"0[xXoObB][0-9a-fA-F]+", written):
        hint = "numbers are decimal"
    elif re.fullmatch(r"\d+[A-Za-z_]\w*", written):
        hint = f'text is written in double quotes: "{written}"; a name cannot begin with a digit'
    return Mistake(at, end, message, hint, text.replaced(at, end, "1"))


def _dot(text: Text, at: int) -> Mistake:
    found = _DOTS.match(text.source, at)
    assert found is not None
    end, dots = found.end(), found[0].rstrip()
    behind = text.source[end : end + 1]
    if len(dots) > 1:
        message, hint = f"`{dots}` is not an operator", "a range is `numbers.range(1, 10)`, a field is `x.name`"
    elif behind.isdigit():
        number = _NUMBER.match(text.source, end)
        message, hint = "a name must follow `.`", f"an element is `x[{number[0].split('.')[0] if number else 0}]`"
        end = number.end() if number else end
    else:
        message, hint = "a name must follow `.`", 'a computed key is `x[key]`, one with odd characters `x["odd-key"]`'
    row = text.source[text.source.rfind("\n", 0, at) + 1 : at]
    if row.startswith("import"):
        message, hint = (
            "an import names one document: `import data.name`",
            "its members are used with its name: `name.member`",
        )
        end = text.end_of_row(at)
    elif len(dots) == 1 and behind == '"':
        end = text.source.find('"', end + 1) + 1 or end
    return Mistake(at, at + len(dots), message, hint, text.replaced(at, end))


def _sign(text: Text, at: int) -> Mistake:
    source = text.source
    character = source[at]
    start, filler = at, ""
    message, hint = _SIGNS.get(character, ("", ""))
    if character in "!~" and source[at - 1 : at] == "=":
        start, filler = at - 1, "!=" if character == "!" else "=="
        message, hint = (
            ("inequality is `!=`", "")
            if character == "!"
            else ("there is no such operator", "a match is `regex.match(pattern, text)`")
        )
    elif unicodedata.category(character) == "Pd":
        filler, message = "-", "a minus is the ASCII character `-`"
    elif character.isalnum():
        end = _NUMBER.match(source, at).end()  # type: ignore[union-attr]
        word = source[at:end].encode("ascii", "replace").decode().replace("?", "_")
        message = f"unexpected `{character}`: names consist of ASCII letters, digits and `_`"
        return Mistake(at, at + 1, message, "other texts are strings", source[:at] + word + source[end:])
    elif not character.isprintable() or character.isspace():
        name = unicodedata.name(character, "control character").lower()
        return Mistake(
            at,
            at + 1,
            f"unexpected character U+{ord(character):04X} ({name})",
            "remove it, or use an ordinary space",
            text.replaced(at, at + 1),
        )
    message = f"unexpected `{source[start : at + 1]}`{': ' if message else ''}{message}"
    return Mistake(start, at + 1, message, hint, text.replaced(start, at + 1, filler))
