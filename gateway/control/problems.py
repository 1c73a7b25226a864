"""The control API's answers to requests that it cannot carry out: problem details (RFC 9457).

`code` is stable and for programs, `detail` says what is wrong, `hint` what to do, and `errors` name the members of a
body or the parameters that are wrong. Nothing in them tells whether another organization has something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.errors import Denied, GatewayError, Hint, Kind, UnknownError
from gateway.logs import without_keys

if TYPE_CHECKING:
    from gateway.registry.fleet.document import Mistake

MEDIA_TYPE: Final = "application/problem+json"
_LONGEST = 1000

_STATUS: Final[Mapping[Kind, int]] = {"invalid": 422, "not_found": 404, "conflict": 409, "forbidden": 403}


class Problem(Exception):  # the specification's name
    """An answer that is a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: Sequence[Mapping[str, str | int]] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = list(errors)
        self.headers = tuple(headers)

    def body(self) -> bytes:
        return orjson.dumps(self.document())

    def document(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": _safe(self.detail),
            **({"hint": _safe(self.hint)} if self.hint else {}),
            **({"errors": self.errors} if self.errors else {}),
        }


def of(error: GatewayError, noun: str = "", *, named: Collection[str] = (), commands: bool = False) -> Problem:
    """The problem that an error of the registry is.

    `named` has the kinds of the things that the path names; if one of them is the unknown one, the answer is 404.
    `commands` says that the command line asks, so that hints may name commands.
    """
    from gateway.registry.fleet.document import FleetError

    if isinstance(error, Denied):
        return Problem(error.reason.status, error.code, error.text, hint="send the body as one JSON object in UTF-8")
    code = error.code
    if isinstance(error, FleetError):
        errors = [_mistake(each) for each in error.mistakes]
        hint = error.hint if commands else _hint(error, noun)
        return Problem(422, code, error.mistakes[0].message, hint=hint, errors=errors)
    if error.kind == "unavailable":
        return Problem(503, code, error.message, hint="try again", headers=[("retry-after", "2")])
    status = _STATUS[error.kind]
    if isinstance(error, UnknownError) and error.thing not in named:
        status = 422  # the body names it, and the path leads to something
    return Problem(status, code, error.message, hint=error.hint if commands else _hint(error, noun))


def _hint(error: GatewayError, noun: str) -> str:
    """The hint on what to do next, for programs that do not type commands."""
    hint = error.hint.api if isinstance(error.hint, Hint) else error.hint
    if not hint and isinstance(error, UnknownError) and f"{error.thing}s" == noun:
        return f"GET /api/v1/{noun} lists them"
    return hint


def _mistake(mistake: Mistake) -> dict[str, str | int]:
    """By the line that the sender gave the item, or by its place in the body."""
    where: dict[str, str | int] = {"pointer": mistake.pointer} if mistake.pointer else {"line": mistake.line}
    return {**where, "message": _safe(mistake.message)}


def _safe(text: str) -> str:
    return without_keys(text)[:_LONGEST]
