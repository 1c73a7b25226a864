"""Finds rules of an entrypoint package that can never be part of a decision: by their names, types and constant values.

The engine knows a rule's possible types without any input. Only what is certainly wrong is found here: a rule that may
be right for some request passes, and `decision.read` judges it when it has a value. So an empty collection counts as
right for any content only if its type allows other content too.
Specification: schemas/decision.schema.json; a test compares it with `DECISION`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import policy_engine as pe
from gateway.errors import did_you_mean
from gateway.policy import decision
from gateway.policy.obligations import HEADERS
from gateway.usage.limits import OF_POLICIES
from policy_engine import types
from policy_engine.location import Location
from policy_engine.members import Member


@dataclass(frozen=True, slots=True)
class Many:
    """A set or an array of members of one kind."""

    of: Wanted


@dataclass(frozen=True, slots=True)
class Closed:
    """An object with these members and no others; `what` names one of them in an error."""

    members: Mapping[str, Wanted]
    what: str
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds."""

    kinds: tuple[Wanted, ...]


Wanted: TypeAlias = types.ScalarType | Many | Closed | Either

_TEXTS: Final = Many(types.STRING)
_APPROVERS: Final = Closed({"teams": _TEXTS, "operators": _TEXTS}, "a member of `approvers`")
_ESCALATION: Final = Closed(
    {"after_seconds": types.NUMBER, "teams": _TEXTS, "operators": _TEXTS},
    "a member of an escalation",
    ("after_seconds",),
)
_SCOPE: Final = Closed(
    {"uses": types.NUMBER, "seconds": types.NUMBER, "pattern": types.STRING}, "a member of an approval's scope"
)
_APPROVAL: Final = Closed(
    {
        "reason": types.STRING,
        "approvers": _APPROVERS,
        "quorum": types.NUMBER,
        "denials": types.NUMBER,
        "expires_seconds": types.NUMBER,
        "scope": Either((types.STRING, _SCOPE)),
        "four_eyes": types.BOOLEAN,
        "escalate": _ESCALATION,
    },
    "a member of an approval",
    ("reason",),
)
DECISION: Final = Closed(
    {
        "allow": types.BOOLEAN,
        "deny": Many(Either((types.STRING, Closed({"msg": types.STRING}, "a member of a reason", ("msg",))))),
        "require_approval": Many(_APPROVAL),
        "over_limit": Many(_APPROVAL),
        "limits": Closed(dict.fromkeys(sorted(OF_POLICIES), types.NUMBER), "a limit"),
        "references": types.STRING,
        "obligations": Closed(
            {
                "max_output_tokens": types.NUMBER,
                "strip_tools": _TEXTS,
                "set_headers": Closed(dict.fromkeys(sorted(HEADERS), types.STRING), "a header that a policy may set"),
                "model": types.STRING,
            },
            "an obligation",
        ),
    },
    "a member of a decision",
)
_PRIVATE: Final = "a rule that is only for other rules needs a name that begins with `_`"


@dataclass(frozen=True, slots=True)
class Misfit:
    """A rule that no decision can contain: `unsupported` if it asks for what this version cannot enforce."""

    message: str
    hint: str
    location: Location
    unsupported: bool = False


class _Wrong(Exception):
    """A type that does not fit: the message, and what to do."""


def misfits(policies: pe.Policies, entrypoint: str) -> Iterator[Misfit]:
    """Every rule of the entrypoint's package that cannot be right, in order of their places."""
    for member in policies.members(entrypoint):
        if member.path and member.path[0].startswith("_"):
            continue
        try:
            wanted, where = _wanted(member.path)
            _fit(member.type, wanted, where)
        except _Wrong as wrong:
            message, hint = wrong.args
            if not member.path and "must be an object" in message:
                rule, package = entrypoint, entrypoint.rpartition(".")[0]
                message, hint = f"the entrypoint `{rule}` is a rule, and no decision", f"did you mean `{package}`?"
                yield Misfit(message, hint, member.location)
                return
            yield Misfit(message, hint, member.location)
            continue
        # Everything is known of a constant, also that a number is no integer or is too small.
        verdict = decision.read(_document(member), "guard")
        if verdict.code == "policy_bad_decision":
            yield Misfit(verdict.detail, "", member.location)
        elif verdict.code == "policy_unsupported":
            hint = "until it can, every request for which the rule has a value is denied: take the rule out"
            yield Misfit(f"this version cannot enforce `{verdict.detail}`", hint, member.location, unsupported=True)


def _wanted(path: tuple[str, ...]) -> tuple[Wanted, str]:
    """The required type at a path of the decision document, and the spelling of the path."""
    wanted: Wanted = DECISION
    for number, step in enumerate(path):
        where = ".".join(path[: number + 1])
        if isinstance(wanted, Closed):
            if step not in wanted.members:
                raise _unknown(where, step, wanted)
            wanted = wanted.members[step]
        else:
            raise _Wrong(f"`{'.'.join(path[:number])}` must be {_text(wanted)}, so it has no `{step}`", "")
    return wanted, ".".join(path) or "the entrypoint"


def _document(member: Member) -> object:
    """A decision document with nothing but this member: its constant value, or the least that could stand there."""
    value = member.value
    if value is pe.UNDEFINED:
        value = _least(_wanted(member.path)[0], member.type)
    for step in reversed(member.path):
        value = {step: value}
    return value


def _least(wanted: Wanted, type_: types.Type) -> object:
    match wanted:
        case types.ScalarType(name):
            return {"boolean": False, "number": 1, "string": "allowed"}[name]
        case Closed(members) if isinstance(type_, types.ObjectType):
            return {key: _least(members[key], value) for key, value in type_.static if key in members}
        case Many():
            return []
        case _:
            return {}


def _fit(type_: types.Type, wanted: Wanted, where: str) -> None:
    """Raise `_Wrong` if no value of a type can be what is wanted."""
    type_ = types.unfolded(types.unnamed(type_))
    if isinstance(type_, types.Any_):
        _fit_any(type_.of, wanted, where)
        return
    if isinstance(type_, types.Unknown):
        return
    match wanted:
        case Either(kinds):
            _fit_either(type_, kinds, wanted, where)
        case Many(of) if isinstance(type_, types.SetType):
            _fit(type_.of, of, f"{where}[_]")
        case Many(of) if isinstance(type_, types.ArrayType):
            for item in (*type_.static, *([] if type_.dynamic is None else [type_.dynamic])):
                _fit(item, of, f"{where}[_]")
        case Closed() if isinstance(type_, types.ObjectType):
            _fit_closed(type_, wanted, where)
        case types.ScalarType() if type_ == wanted:
            pass
        case _:
            raise _Wrong(f"`{where}` must be {_text(wanted)}, and is {_type_text(type_)}", "")


def _fit_any(kinds: tuple[types.Type, ...], wanted: Wanted, where: str) -> None:
    """One kind of a union that fits is enough; a union of nothing is any type."""
    wrong = None
    for kind in kinds:
        try:
            _fit(kind, wanted, where)
        except _Wrong as error:
            wrong = wrong or error
        else:
            return
    if wrong is not None:
        raise wrong


def _fit_either(type_: types.Type, kinds: Iterable[Wanted], wanted: Wanted, where: str) -> None:
    for kind in kinds:
        if isinstance(kind, Closed) and isinstance(type_, types.ObjectType):
            _fit(type_, kind, where)  # its error says more than that neither kind fits
            return
        try:
            _fit(type_, kind, where)
        except _Wrong:
            continue
        return
    raise _Wrong(f"`{where}` must be {_text(wanted)}, and is {_type_text(type_)}", "")


def _fit_closed(type_: types.ObjectType, wanted: Closed, where: str) -> None:
    prefix = "" if wanted is DECISION else f"{where}."
    names = set()
    for key, value in type_.static:
        names.add(key)
        if wanted is DECISION and isinstance(key, str) and key.startswith("_"):
            continue
        if key not in wanted.members:
            raise _unknown(f"{prefix}{key}", str(key), wanted)
        _fit(value, wanted.members[key], f"{prefix}{key}")
    if type_.dynamic is not None:
        _fit(type_.dynamic[0], types.STRING, f"each name in {where}")
        if wanted is not DECISION:
            _fit(type_.dynamic[1], Either(tuple(wanted.members.values())), f"{where}[_]")
    elif missing := [name for name in wanted.required if name not in names]:
        raise _Wrong(f"an object in `{where.removesuffix('[_]')}` must have the member `{missing[0]}`", "")


def _unknown(where: str, name: str, closed: Closed) -> _Wrong:
    """A name that is none of an object's: what it may have been meant to be."""
    private = _PRIVATE if closed is DECISION else ""
    similar = did_you_mean(name, closed.members)
    listed = f"the names are {', '.join(f'`{each}`' for each in closed.members)}"
    advice = f"{similar} {private}".strip() or listed
    return _Wrong(f"`{where}` is not {closed.what}", advice)


def _text(wanted: Wanted) -> str:
    match wanted:
        case types.ScalarType(name):
            return f"a {name}"
        case Many(of):
            return f"a set of {_plural(of)}"
        case Either(kinds):
            return " or ".join(dict.fromkeys(map(_text, kinds)))
        case _:
            return "an object"


def _plural(wanted: Wanted) -> str:
    match wanted:
        case types.ScalarType(name):
            return f"{name}s"
        case Either(kinds):
            return " or ".join(map(_plural, kinds))
        case Many():
            return "sets"
        case _:
            return "objects"


def _type_text(type_: types.Type) -> str:
    match type_:
        case types.ScalarType("null"):
            return "null"
        case types.ScalarType(name):
            return f"a {name}"
        case types.SetType():
            return "a set"
        case types.ArrayType():
            return "an array"
        case _:
            return "an object"
