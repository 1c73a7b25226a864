"""Value objects of requests: frozen for the type checker, cheap at run time.

They are made for every request, or for the first one of each agent. A frozen dataclass of the standard library sets
each field through `object.__setattr__`, which makes it four times as expensive to create: one with twenty fields costs
four microseconds instead of one. Here mypy is the only one to refuse an assignment. Everything else is as with
`dataclass(frozen=True, slots=True)`: objects are compared and hashed by their fields, and `replace` makes changed
copies. Use that where objects are made more rarely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool = False) -> Callable[[type[_Class]], type[_Class]]:
    """A decorator for a class whose objects nobody changes, which the type checker sees to."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)
