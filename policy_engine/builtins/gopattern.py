r"""Differences between Go's `regexp` and RE2: names of classes (`\p{Letter}`), and patterns that only RE2 accepts.

Go looks names up in a form of its own: the first letter large, the others small, no `_`, `-` and spaces. Scripts whose
names Unicode writes otherwise (`Old_Italic`) are therefore not found, by any name; OPA refuses them.
"""

from __future__ import annotations

import functools
import re
from array import array
from typing import Final


def in_re2s_words(pattern: str) -> str:
    """The pattern in RE2's spelling."""
    if "\\p" not in pattern and "\\P" not in pattern:
        return pattern

    def token(found: re.Match[str], *, inside: bool = False) -> str:
        if found["name"] is None:
            whole = not inside and found["brackets"]
            return _TOKEN.sub(functools.partial(token, inside=True), found[0]) if whole else found[0]
        name, negative = found["name"].strip("{}"), found[0][1] == "P"
        if found["name"].startswith("{^"):
            name, negative = name[1:], not negative
        return _class(_canonical(name), negative=negative, inside=inside)

    return _TOKEN_OR_BRACKETS.sub(token, pattern)


_TOKEN: Final = re.compile(r"\\[pP](?P<name>\{[^}]*\}|[^{])|\\.", re.DOTALL)
_TOKEN_OR_BRACKETS: Final = re.compile(
    rf"\\Q.*?(?:\\E|\Z)|{_TOKEN.pattern}|(?P<brackets>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*)", re.DOTALL
)


def _canonical(name: str) -> str:
    letters = re.sub("[-_ ]", "", name)
    return letters if not letters.isascii() else letters[:1].upper() + letters[1:].lower()


def _class(name: str, *, negative: bool, inside: bool) -> str:
    """A class by Go's name for it, as RE2 writes it on its own or inside of brackets."""
    name = _ALIASES.get(name, name)
    if name == "Assigned":
        name, negative = "Cn", not negative
    elif name == "Ascii":
        text = "[:^ascii:]" if negative else "[:ascii:]"
        return text if inside else f"[{text}]"
    if name not in ("C", "Cn", "LC"):
        return f"\\{'P' if negative else 'p'}{{{name}}}"
    # Unassigned code points belong to no class of RE2, but to Go's class C.
    text = _PARTS[name, negative]
    if negative == (name == "LC"):
        text += _unassigned()
    return text if inside else f"[{text}]"


_PARTS: Final = {
    ("C", False): r"\pC",
    ("C", True): r"\pL\pM\pN\pP\pS\pZ",
    ("Cn", False): "",
    ("Cn", True): r"\pL\pM\pN\pP\pS\pZ\pC",
    ("LC", False): r"\p{Lu}\p{Ll}\p{Lt}",
    ("LC", True): r"\p{Lm}\p{Lo}\pM\pN\pP\pS\pZ\pC",
}

_ALIASES: Final = {
    "Other": "C", "Control": "Cc", "Cntrl": "Cc", "Format": "Cf", "Unassigned": "Cn", "Privateuse": "Co",
    "Surrogate": "Cs", "Letter": "L", "Lc": "LC", "Casedletter": "LC", "Lowercaseletter": "Ll",
    "Modifierletter": "Lm", "Otherletter": "Lo", "Titlecaseletter": "Lt", "Uppercaseletter": "Lu",
    "Mark": "M", "Combiningmark": "M", "Spacingmark": "Mc", "Enclosingmark": "Me", "Nonspacingmark": "Mn",
    "Number": "N", "Decimalnumber": "Nd", "Digit": "Nd", "Letternumber": "Nl", "Othernumber": "No",
    "Punctuation": "P", "Punct": "P", "Connectorpunctuation": "Pc", "Dashpunctuation": "Pd", "Closepunctuation": "Pe",
    "Finalpunctuation": "Pf", "Initialpunctuation": "Pi", "Otherpunctuation": "Po", "Openpunctuation": "Ps",
    "Symbol": "S", "Currencysymbol": "Sc", "Modifiersymbol": "Sk", "Mathsymbol": "Sm", "Othersymbol": "So",
    "Separator": "Z", "Lineseparator": "Zl", "Paragraphseparator": "Zp", "Spaceseparator": "Zs",
}  # fmt: skip


@functools.cache
def _unassigned() -> str:
    """The ranges of the code points that RE2 has in no class."""
    import re2

    everything = array("I", range(0xD800)) + array("I", range(0xE000, 0x110000))
    text = everything.tobytes().decode("utf-32").encode()
    found = (match[0].decode() for match in re2.finditer(rb"[^\pL\pM\pN\pP\pS\pZ\pC]+", text))
    return "".join(f"\\x{{{ord(part[0]):x}}}-\\x{{{ord(part[-1]):x}}}" for part in found)


def refused(pattern: str) -> str:
    r"""Go's error for a pattern that only RE2 accepts (`\C`, odd names of groups, very large counts); "" for others."""
    if not _SUSPECT.search(pattern):
        return ""
    for found in _REFUSED.finditer(pattern):
        if found["escape"] == "C":
            return "invalid escape sequence: `\\C`"
        if found["group"] and not found["group"].isascii():
            return f"invalid named capture: `{found[0]}`"
        if found["low"] and max(len(found["low"]), len(found["high"] or "")) > _DIGITS:
            return f"invalid repeat count: `{found[0]}`"
    return ""


_SUSPECT: Final = re.compile(r"\\C|[0-9]{9}|[^\x00-\x7f]")
_DIGITS: Final = 8
"""The most digits of a repeat count: RE2 reads a longer one as ordinary text."""

_REFUSED: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\[pPx]\{|\\(?P<escape>.)|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*\]|\(\?P?<(?P<group>[^>]*)>"
    r"|\{(?P<low>0|[1-9][0-9]*)(?P<range>,(?P<high>0|[1-9][0-9]*)?)?\}",
    re.DOTALL,
)
