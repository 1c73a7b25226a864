"""What the control API answers when it cannot do what it was asked: problem details (RFC 9457).

`code` is stable and for programs, `detail` says what is wrong, `hint` what to do, and `errors` name the members of a
body or the parameters that are wrong. Nothing in them tells whether another organization has something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson

from gateway.errors import Denied, GatewayError
from gateway.logs import without_keys
from gateway.registry.fleet.document import FleetError, Mistake

MEDIA_TYPE: Final = "application/problem+json"
_LONGEST = 1000

_CONFLICTS: Final = frozenset(
    {
        "other_effect",
        "nobody_in_team",
        "nobody_in_organization",
        "already_rotated",
        "dead_key",
        "bundle_not_in_force",
        "not_a_raise",
        "review_overdue",
        "would_suspend",
        "name_revoked",
        "key_adopted",
        "no_adoption",
        "role_of_rules",
        "tokens_of_logins",
    }
)
"""Codes of what is refused because of how things are, not because of how it was asked for."""

_FORBIDDEN: Final = frozenset({"token_outlives_maker", "forbidden", "name_not_given"})

_NOT_THERE: Final = frozenset({"not_yet", "no_such_limit", "no_checkpoint", "not_signed"})

_UNAVAILABLE: Final = frozenset({"registry_unavailable", "audit_unavailable", "key_file_unusable"})

_HINTS: Final = {
    "other_effect": 'send "other_effect": true if that is meant',
    "nobody_in_team": 'send "without_members": true if its agents will come later',
    "nobody_in_organization": 'send "without_members": true if its agents will come later',
    "insecure_url": 'use https, or send "insecure": true if the network is trusted',
    "invalid_secret": "leave the secret out to have one made",
    "too_many_keys": "revoke a key of this agent first",
    "too_many_tokens": "revoke a token of this operator first",
    "proof_needed": 'send "proof", which `gateway keys prove` prints where the agent runs',
    "invalid_proof": "make it for this deployment, organization, agent and key: GET /api/v1/me names the deployment",
    "name_not_given": "an owner of the whole gateway gives it: POST /api/v1/organizations/NAME/names",
    "owner_needed": 'say who moves the programs: send "owner"',
    "no_adoption": "GET /api/v1/adoptions lists them",
    "key_adopted": "stop that adoption first, or give each organization a key of its own",
    "review_overdue": "review it first, if it is still wanted",
    "would_suspend": 'review them first, or send "suspend_now": true if that is meant',
    "name_revoked": 'send "replace_revoked": true if that is meant',
    "not_a_raise": "to lower it, set the limit",
    "token_outlives_maker": "give it a shorter `expires_in`, or ask with a token that ends later",
    "operator_revoked": "add the operator anew",
    "role_of_rules": "change the login rules, or revoke the operator",
    "agent_exists": "choose another name, or end that agent first",
    "upstream_exists": "choose another name, or replace that upstream with PUT",
}


class Problem(Exception):  # as the specification calls it
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
    if isinstance(error, Denied):
        return Problem(error.reason.status, error.code, error.text, hint="send the body as one JSON object in UTF-8")
    code = error.code
    if isinstance(error, FleetError):
        errors = [_mistake(each) for each in error.mistakes]
        hint = error.hint if commands else _hint(error, noun)
        return Problem(422, code, error.mistakes[0].message, hint=hint, errors=errors)
    if code in _UNAVAILABLE:
        return Problem(503, code, error.message, hint="try again", headers=[("retry-after", "2")])
    if code in _NOT_THERE or (code.startswith("unknown_") and code.removeprefix("unknown_") in named):
        status = 404
    elif code in _FORBIDDEN:
        status = 403
    elif code.endswith(("_exists", "_revoked", "_retired")) or code.startswith("too_many_") or code in _CONFLICTS:
        status = 409
    else:
        status = 422
    return Problem(status, code, error.message, hint=error.hint if commands else _hint(error, noun))


def _hint(error: GatewayError, noun: str) -> str:
    """What to do next. Hints that name commands are for the command line, so another one takes their place."""
    if error.code in _HINTS:
        return _HINTS[error.code]
    if error.hint and "`gateway " not in error.hint and "--" not in error.hint:
        return error.hint
    if error.code.startswith("unknown_"):
        plural = error.code.removeprefix("unknown_") + "s"
        return f"GET /api/v1/{plural} lists them" if plural == noun else ""
    return ""


def _mistake(mistake: Mistake) -> dict[str, str | int]:
    """By the line that the sender gave the item, or by its place in the body."""
    where: dict[str, str | int] = {"pointer": mistake.pointer} if mistake.pointer else {"line": mistake.line}
    return {**where, "message": _safe(mistake.message)}


def _safe(text: str) -> str:
    return without_keys(text)[:_LONGEST]
