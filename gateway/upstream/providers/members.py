"""Reading the members of a request's objects so that no lenient reader finds something else in them.

Servers differ in what they take for a name they know: some ignore case, some trim spaces, some drop characters that
cannot be seen, some take `maxTokens` for `max_tokens`. So a name that a policy relies on has its one documented
spelling, every other name in the same object consists of plain characters and has other letters, and everything else is
refused. Objects whose names belong to the client (a tool's parameters, metadata) are not read here.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NoReturn

from gateway.errors import Denied
from gateway.identity.credentials import PREFIXES
from gateway.upstream.strict_json import shown

_NAME = re.compile(r"[A-Za-z0-9_.:$-]+")
_NO_SIGNS = str.maketrans("", "", "_.:$-")
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


def refuse(reason: str) -> NoReturn:
    """End the request: a client can mend it by what `reason` says."""
    raise Denied("bad_request", reasons=[reason])


def check_names(item: dict[str, Any], names: frozenset[str]) -> None:
    """Refuse names of `item` that a lenient reader could take for one of `names`."""
    for key in item:
        if key in names:
            continue
        if not _NAME.fullmatch(key):
            refuse(f"the member name {shown(key)} may hold only letters, digits and the characters `_.:$-`")
        if (documented := _by_letters(names).get(_letters(key))) is not None:
            refuse(f"the member {shown(key)} must be spelled `{documented}`")


def check_nested(value: object, names: frozenset[str], theirs: frozenset[str] = frozenset()) -> None:
    """`check_names` for every object in `value`, but for what stands under `theirs`: those objects are the client's."""
    if isinstance(value, dict):
        check_names(value, names)
        for name, inner in value.items():
            if name not in theirs:
                check_nested(inner, names, theirs)
    elif isinstance(value, list):
        for inner in value:
            check_nested(inner, names, theirs)


@functools.cache
def _by_letters(names: frozenset[str]) -> dict[str, str]:
    return {_letters(name): name for name in names}


def _letters(name: str) -> str:
    return name.lower().translate(_NO_SIGNS)


def one_object(value: object, what: str, names: frozenset[str]) -> dict[str, Any]:
    """`value` as an object with its `names` spelled as documented."""
    if not isinstance(value, dict):
        refuse(f"`{what}` must be an object")
    check_names(value, names)
    return value


def objects(value: object, what: str, names: frozenset[str]) -> list[dict[str, Any]]:
    """`value` as a list of such objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        refuse(f"`{what}` must be a list")
    for item in value:
        if not isinstance(item, dict):
            refuse(f"`{what}` must hold objects")
        check_names(item, names)
    return value


def boolean(value: object, what: str) -> bool:
    """`value` as a boolean; an absent one is false."""
    if value is not None and value.__class__ is not bool:
        refuse(f"`{what}` must be true or false")
    return bool(value)


def whole_number(value: object, what: str, highest: int) -> int:
    """`value` as an integer from 1 to `highest`."""
    if value.__class__ is not int or not 1 <= value <= highest:
        refuse(f"`{what}` must be a whole number from 1 to {highest}")
    return value


def text(value: object, what: str) -> str:
    """`value` as a string that is not empty."""
    if not isinstance(value, str) or not value:
        refuse(f"{what} must be a string")
    return value


def word(value: object, what: str) -> str:
    """`value` as a string of plain characters, such as the type of a tool."""
    found = text(value, what)
    if not _WORD.fullmatch(found):
        refuse(f"{what} must be at most 128 letters, digits and the characters `_.:/-`")
    return found


def model(value: object, what: str = "`model`") -> str:
    """`value` as the name of a model. The exact text is judged and forwarded, so it must look like what it is."""
    found = text(value, what)
    if len(found) > 256 or not found.isascii() or not found.isprintable() or " " in found:
        refuse(f"{what} must be at most 256 printable ASCII characters without spaces")
    # The name is recorded and shown in many places, where no secret may be.
    if any(prefix in found for prefix in PREFIXES.values()):
        refuse(f"{what} holds a key of this gateway")
    return found
