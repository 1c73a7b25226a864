"""A JSON API as the gateway knows it: its operations, their parameters, and how it takes its credential.

`openapi.py` reads it from an OpenAPI document; the registry keeps it as `dump` writes it, and workers `load` it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

Place = Literal["path", "query", "header", "body"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that a call of an operation may have. Names of headers are in lower case.

    `inner` are the names of all members within a value of the body, as far as the document declares them.
    """

    name: str
    place: Place
    required: bool
    inner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """One request that the API knows. `body`: it takes a JSON object."""

    name: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: bool

    def at(self, place: Place) -> list[Parameter]:
        return [each for each in self.parameters if each.place == place]


@dataclass(frozen=True, slots=True)
class Api:
    """The content of an OpenAPI document. The credential goes into `header`, after `prefix`."""

    operations: tuple[ApiOperation, ...]
    header: str = "Authorization"
    prefix: str = "Bearer "


def dump(api: Api) -> str:
    """The API as it is stored: JSON with sorted keys, so that equal APIs have equal texts."""
    return orjson.dumps(api, option=orjson.OPT_SORT_KEYS).decode()


def load(text: str) -> Api:
    """The API that `dump` has written."""
    stored = orjson.loads(text)
    operations = tuple(
        ApiOperation(**{**each, "parameters": tuple(map(_parameter, each["parameters"]))})
        for each in stored["operations"]
    )
    return Api(operations, stored["header"], stored["prefix"])


def _parameter(stored: dict[str, Any]) -> Parameter:
    return Parameter(**{**stored, "inner": tuple(stored.get("inner", ()))})
