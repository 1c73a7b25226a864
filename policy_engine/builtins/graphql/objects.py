"""Syntax trees of GraphQL that a policy hands back: objects checked and completed to what `parser` makes.

Unknown fields are dropped and missing ones get their zero value, as OPA's JSON decoder does. It takes every selection
for a field, so fragments are lost there; here they stay what they are. Names have to be names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from policy_engine.builtins.graphql.parser import MAX_DEPTH, Document, GraphQLError, Tree
from policy_engine.values import Value, type_name

_TEXT, _NAME, _FLAG, _NUMBER = "text", "name", "flag", "number"
"""Kinds of scalars; a name may be empty."""

_ABOUT: Final = {
    "BeforeDescriptionComment": "Comments",
    "Description": _TEXT,
    "AfterDescriptionComment": "Comments",
    "Directives": ["Directive"],
}
_SPREAD: Final = {"Comment": "Comments", "Name": _NAME, "Directives": ["Directive"]}
_SELECTIONS: Final = {"Comment": "Comments", "Directives": ["Directive"], "SelectionSet": ["Selection"]}

_SHAPES: Final[dict[str, dict[str, Any]]] = {
    "QueryDocument": {"Operations": ["Operation"], "Fragments": ["FragmentDefinition"]},
    "Operation": {"Operation": _NAME, "Name": _NAME, "VariableDefinitions": ["VariableDefinition"], **_SELECTIONS},
    "FragmentDefinition": {
        "Name": _NAME,
        "VariableDefinition": ["VariableDefinition"],
        "TypeCondition": _NAME,
        **_SELECTIONS,
    },
    "VariableDefinition": {
        "Comment": "Comments",
        "Variable": _NAME,
        "Type": "Type",
        "DefaultValue": "Value",
        "Directives": ["Directive"],
        "Used": _FLAG,
    },
    "Field": {"Alias": _NAME, "Name": _NAME, "Arguments": ["Argument"], **_SELECTIONS},
    "InlineFragment": {"TypeCondition": _NAME, **_SELECTIONS},
    "FragmentSpread": _SPREAD,
    "Argument": {"Comment": "Comments", "Name": _NAME, "Value": "Value"},
    "Value": {
        "Comment": "Comments",
        "Raw": _TEXT,
        "Children": ["Argument"],
        "Kind": _NUMBER,
        "ExpectedTypeHasDefault": _FLAG,
    },
    "Directive": {"Name": _NAME, "Arguments": ["Argument"], "Location": _NAME},
    "Type": {"NamedType": _NAME, "Elem": "Type", "NonNull": _FLAG},
    "Comments": {"List": ["Comment"]},
    "Comment": {"Value": _TEXT},
    "SchemaDocument": {
        "Comment": "Comments",
        "Schema": ["SchemaDefinition"],
        "SchemaExtension": ["SchemaDefinition"],
        "Directives": ["DirectiveDefinition"],
        "Definitions": ["Definition"],
        "Extensions": ["Definition"],
    },
    "SchemaDefinition": {**_ABOUT, "OperationTypes": ["RootOperation"], "EndOfDefinitionComment": "Comments"},
    "RootOperation": {"Comment": "Comments", "Operation": _NAME, "Type": _NAME},
    "Definition": {
        "Kind": _NAME,
        "Name": _NAME,
        "BuiltIn": _FLAG,
        "Interfaces": [_NAME],
        "Fields": ["FieldDefinition"],
        "Types": [_NAME],
        "EnumValues": ["EnumValue"],
        "EndOfDefinitionComment": "Comments",
        **_ABOUT,
    },
    "FieldDefinition": {
        "Name": _NAME,
        "Arguments": ["ArgumentDefinition"],
        "Type": "Type",
        "DefaultValue": "Value",
        **_ABOUT,
    },
    "ArgumentDefinition": {"Name": _NAME, "Type": "Type", "DefaultValue": "Value", **_ABOUT},
    "EnumValue": {"Name": _NAME, **_ABOUT},
    "DirectiveDefinition": {
        "Name": _NAME,
        "Arguments": ["ArgumentDefinition"],
        "Locations": [_NAME],
        "IsRepeatable": _FLAG,
        **{name: shape for name, shape in _ABOUT.items() if name != "Directives"},
    },
}

_ZEROS: Final[dict[str, Value]] = {_TEXT: "", _NAME: "", _FLAG: False, _NUMBER: 0}
_CLASSES: Final = {_TEXT: str, _NAME: str, _FLAG: bool, _NUMBER: int}
_STEPS: Final = 8
"""Steps for reading an object."""

_IS_NAME: Final = re.compile("(?:[_A-Za-z][_0-9A-Za-z]*)?")


def read_query(value: Value, charge: Callable[[int], None]) -> Document:
    """Raises `GraphQLError`."""
    return _Reader(charge, value).document("QueryDocument", value)


def read_schema(value: Value, charge: Callable[[int], None]) -> Document:
    """Raises `GraphQLError`."""
    return _Reader(charge, None).document("SchemaDocument", value)


class _Reader:
    def __init__(self, charge: Callable[[int], None], query: Value) -> None:
        self.charge = charge
        fragments = query.get("Fragments") if query.__class__ is dict else None
        listed = fragments if fragments.__class__ is list else []
        names = [one.get("Name") for one in listed if one.__class__ is dict]
        self.fragments = {name for name in names if name.__class__ is str}

    def document(self, shape: str, value: Value) -> Document:
        return Document(self.read(shape, value, shape, MAX_DEPTH * 3), {})

    def read(self, shape: Any, value: Value, where: str, depth: int) -> Any:
        """What belongs at a place, None for nothing. `depth` is how many more objects may be in each other."""
        if value is None:
            return _ZEROS.get(shape) if shape.__class__ is str else None
        if shape.__class__ is list:
            if value.__class__ is not list:
                _mismatch(value, where)
            items = [self.read(shape[0], item, where, depth) for item in value]
            return [item for item in items if item is not None and item != {}]
        if shape in _CLASSES:
            if value.__class__ is not _CLASSES[shape]:
                _mismatch(value, where)
            if shape == _NAME and not _IS_NAME.fullmatch(str(value)):
                raise GraphQLError(f"{where} is not a name")
            return value
        if value.__class__ is not dict:
            _mismatch(value, where)
        if depth == 0:
            raise GraphQLError("nested too deeply")
        self.charge(_STEPS)
        return self.node(self.selection(value) if shape == "Selection" else shape, value, depth - 1)

    def node(self, shape: str, value: dict[Any, Value], depth: int) -> Tree:
        fields = {
            name: self.read(kind, value.get(name), f"{shape}.{name}", depth) for name, kind in _SHAPES[shape].items()
        }
        return {name: part for name, part in fields.items() if part is not None and part != [] and part != {}}

    def selection(self, value: dict[Any, Value]) -> str:
        """Which sort of selection it is. Fields that were parsed always have an alias."""
        if "TypeCondition" in value:
            return "InlineFragment"
        if "Alias" not in value and value.keys() <= _SPREAD.keys() and value.get("Name") in self.fragments:
            return "FragmentSpread"
        return "Field"


def _mismatch(value: Value, where: str) -> NoReturn:
    raise GraphQLError(f"json: cannot unmarshal {type_name(value)} into {where}")
