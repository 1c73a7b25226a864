"""Types of Rego values, as builtins declare them. The JSON form is the one of OPA's capabilities file.

A type is immutable and hashable. `ANY` without members is every value. There is no type for "undefined".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias


@dataclass(frozen=True, slots=True)
class ScalarType:
    """null, boolean, number or string."""

    name: str


@dataclass(frozen=True, slots=True)
class Compound:
    """A type that has others in it. `memo` is what has been worked out about it, and no part of what it is."""

    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ArrayType(Compound):
    """`static` types come first, by position; `dynamic` is the type of the rest (None: nothing may follow)."""

    static: tuple[Type, ...] = ()
    dynamic: Type | None = None


@dataclass(frozen=True, slots=True)
class ObjectType(Compound):
    """`static` properties by key, and the types of all other keys and values (None: there are no others)."""

    static: tuple[tuple[Any, Type], ...] = ()
    dynamic: tuple[Type, Type] | None = None


@dataclass(frozen=True, slots=True)
class SetType:
    of: Type


@dataclass(frozen=True, slots=True)
class Any_(Compound):
    """A union; without members, anything."""

    of: tuple[Type, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionType:
    """`result` is None for a function that is only called for its effect (`print`). `variadic` repeats the last."""

    args: tuple[Type, ...]
    result: Type | None
    variadic: Type | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A type with a name and a description, as declared for arguments and results: documentation only."""

    name: str
    type: Type
    description: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of something that the type checker knows nothing about, yet. No declaration has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Recursive:
    """A type that has itself somewhere below it: just this object stands for it there. No declaration has it.

    `types` maps the name to the type, once that is complete. Another schema's type may have the same name.
    """

    name: str
    types: Mapping[str, Type] = field(repr=False)


Type: TypeAlias = ScalarType | ArrayType | ObjectType | SetType | Any_ | FunctionType | Named | Unknown | Recursive

NULL: Final = ScalarType("null")
BOOLEAN: Final = ScalarType("boolean")
NUMBER: Final = ScalarType("number")
STRING: Final = ScalarType("string")
ANY: Final = Any_()
UNKNOWN: Final = Unknown()


def array(of: Type) -> ArrayType:
    """An array of any length."""
    return ArrayType((), of)


def set_(of: Type) -> SetType:
    return SetType(of)


def object_(key: Type = ANY, value: Type = ANY) -> ObjectType:
    """An object with any keys of a type."""
    return ObjectType((), (key, value))


def union(*members: Type) -> Any_:
    return Any_(members)


def unnamed(type_: Type) -> Type:
    """The type without its name and description."""
    return unnamed(type_.type) if isinstance(type_, Named) else type_


def unfolded(type_: Type) -> Type:
    """The type, where a recursive one is named, that it stands for."""
    while isinstance(type_, Recursive):
        type_ = type_.types[type_.name]
    return type_


def to_json(type_: Type) -> Mapping[str, Any]:
    """The type as OPA's capabilities file writes it."""
    match type_:
        case ScalarType(name):
            return {"type": name}
        case Named(name, inner, description):
            described = {"description": description} if description else {}
            return {**to_json(inner), "name": name, **described}
        case ArrayType(static, dynamic):
            result: dict[str, Any] = {"type": "array"}
            if dynamic is not None:
                result["dynamic"] = to_json(dynamic)
            if static:
                result["static"] = [to_json(item) for item in static]
            return result
        case SetType(of):
            return {"type": "set", "of": to_json(of)}
        case Any_(of):
            return {"type": "any", "of": [to_json(item) for item in of]} if of else {"type": "any"}
        case ObjectType(properties, rest):
            result = {"type": "object"}
            if rest is not None:
                result["dynamic"] = {"key": to_json(rest[0]), "value": to_json(rest[1])}
            if properties:
                result["static"] = [{"key": key, "value": to_json(value)} for key, value in properties]
            return result
        case Unknown() | Recursive():
            raise ValueError("a declaration has no such types")
        case FunctionType(args, returned, variadic):
            result = {"type": "function"}
            if args:
                result["args"] = [to_json(item) for item in args]
            if returned is not None:
                result["result"] = to_json(returned)
            if variadic is not None:
                result["variadic"] = to_json(variadic)
            return result
