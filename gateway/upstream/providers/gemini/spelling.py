"""The members of Google's JSON, whose names have two spellings: `maxOutputTokens` and `max_output_tokens`.

Google's servers take either, and one object where a list of objects is meant. Both are read here as the servers read
them. Both spellings at once, and any other one, are refused: nobody could say which of two values counts.
Specification: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.upstream.providers import members
from gateway.upstream.strict_json import shown

_UPPER = re.compile(r"[A-Z]")
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_NOT_FOLDED = re.compile(r"[^a-z0-9]")

# By their letters: objects whose names are the client's own, and what only sounds like a model.
_THEIRS = frozenset(
    {"args", "response", "parameters", "parametersjsonschema", "responseschema", "responsejsonschema"}
    | {"labels", "headers", "partmetadata", "custommetadata"}
)
_HARMLESS = frozenset({"modelarmorconfig"})
# Under which members those stand that are judged. "" is the body itself.
_PLACES = {
    "model": frozenset({"", "generatecontentrequest", "requests"}),
    "cachedcontent": frozenset({"", "generatecontentrequest"}),
    "parts": frozenset({"contents", "content", "systeminstruction", "functionresponse"}),
    "filedata": frozenset({"parts"}),
    "fileuri": frozenset({"filedata"}),
    "filesearchstorenames": frozenset({"filesearch"}),
}


class Names:
    """The members that are read from one kind of object, by their names in camel case."""

    def __init__(self, *names: str) -> None:
        snake = {_UPPER.sub(lambda found: "_" + found[0].lower(), name): name for name in names}
        self._names = {**snake, **{name: name for name in names}}
        self._folded = {_fold(name): name for name in names}

    def read(self, value: object, what: str) -> dict[str, Any]:
        """The members of the object `value` that have these names, in camel case; a null counts as absent."""
        if not isinstance(value, dict):
            members.refuse(f"`{what}` must be an object")
        found: dict[str, Any] = {}
        for key, member in value.items():
            name = self._names.get(key)
            if name is None:
                members.check_names({key: None}, frozenset())
                if (meant := self._folded.get(_fold(key))) is not None:
                    members.refuse(f"the member {shown(key)} must be spelled `{meant}`")
            elif name in found:
                members.refuse(f"the member `{name}` appears in two spellings")
            else:
                found[name] = member
        return {name: member for name, member in found.items() if member is not None}

    def check_others(self, value: dict[str, Any], unseen: dict[str, str]) -> None:
        """Refuse members that have none of these names and do what no policy could see; `unseen` are some, and why."""
        others = {name: member for name, member in value.items() if name not in self._names}
        members.check_names(others, frozenset(unseen))
        for name, instead in unseen.items():
            if others.get(name) is not None:
                members.refuse(f"`{name}` is not supported: {instead}")
        members.check_unread(others, frozenset(), frozenset())

    def list(self, value: object, what: str) -> list[dict[str, Any]]:
        """The same for each object of a list; an absent list is empty."""
        return [self.read(each, what) for each in several(value, what)]


def check_unread(value: object, under: str = "") -> None:
    """Refuse members that a lenient reader could take for each other, and what is judged elsewhere, at any depth.

    The members that are read have their own checks; this is about all the rest. Objects of the client's own, such as
    the arguments of a function, are left alone. `under` has the letters of the member that `value` is.
    """
    if isinstance(value, list):
        for each in value:
            check_unread(each, under)
    elif isinstance(value, dict):
        members.check_names(value, frozenset())
        seen: dict[str, str] = {}
        for name, inner in value.items():
            letters = _fold(name)
            if letters in seen:
                members.refuse(f"the members {shown(seen[letters])} and {shown(name)} could be taken for each other")
            seen[letters] = name
            if inner is not None and not _stands_well(letters, under):
                members.refuse(f"{shown(name)} must not stand in `{under or 'the body'}`: policies could not see it")
            if letters not in _THEIRS:
                check_unread(inner, letters)


def _stands_well(letters: str, under: str) -> bool:
    """True if a member of these letters is judged where it stands, or is none that is judged."""
    if (places := _PLACES.get(letters)) is not None:
        return under in places
    return letters in _HARMLESS or not members.names_model(letters)


def several(value: object, what: str) -> list[Any]:
    """The items of a list; what stands alone is a list of one, and an absent list is empty."""
    if value is None:
        return []
    if isinstance(value, dict | str):
        return [value]
    if not isinstance(value, list):
        members.refuse(f"`{what}` must be a list")
    return value


def camel(key: str) -> str:
    """A member's name in camel case."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), key)


def spelled(item: dict[str, Any], name: str) -> str:
    """The spelling of `name` that `item` uses; camel case if it has no such member."""
    return next((key for key in item if camel(key) == name), name)


def put(item: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """`item` with another value of one member, or without it if `value` is None."""
    key = spelled(item, name)
    if value is None:
        return {each: member for each, member in item.items() if each != key}
    return {**item, key: value}


def _fold(name: str) -> str:
    return _NOT_FOLDED.sub("", name.lower())
