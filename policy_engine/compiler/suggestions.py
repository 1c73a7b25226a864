"""Hints at misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_ELSEWHERE: Final = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "nil": "null", "NULL": "null",
    "len": "count", "length": "count", "size": "count", "append": "array.concat", "format": "sprintf",
    "toLowerCase": "lower", "toUpperCase": "upper", "substr": "substring", "includes": "contains", "now": "time.now_ns",
    "match": "regex.match", "matches": "regex.match", "keys": "object.keys", "int": "to_number", "float": "to_number",
    "json.parse": "json.unmarshal", "json.stringify": "json.marshal",
}  # fmt: skip
"""Names of other languages."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint at the known name that is most similar; `otherwise` if none is."""
    names = [other for other in known if other != name]
    last = name.rpartition(".")[2]
    found = [_ELSEWHERE[name]] if name in _ELSEWHERE else [last] if last in names else []
    found = found or difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"did you mean `{found[0]}`?" if found else otherwise
