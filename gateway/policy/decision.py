"""Decision documents: reading the answer of one policy, and combining several.

Pure: documents in, verdicts out; `gateway/policy/authorization.py` evaluates policies. `read` judges the decision
document of one bundle. The document is closed: nothing in it is ignored, so a misspelt `obligation` denies instead of
silently not applying. `combine` joins the verdicts of all bundles that are bound to an agent.
Specification: architecture.md, section 6; schemas/decision.schema.json.

# INVARIANT: `combine` answers `ALLOWED` only if there is a grant, every grant's verdict is `ALLOWED` and so is every
# guard's. Every other case ends in a reason code.

A bundle that would allow a call after an approval gives the code `APPROVAL`. So does `combine` if nothing else is in
the way, with the obligations and limits that hold once the approval is given. An approval for going over limits
(`over_limit`) is another thing: the verdict only offers it, and `beyond_limits` asks for it once a limit has no room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.audit.approval_scope import Scope
from gateway.audit.balance import CONCURRENT
from gateway.frozen import frozen
from gateway.identity.credentials import PREFIXES
from gateway.policy.approvals import Escalation, Requirement, ordered
from gateway.policy.obligations import HEADERS, NOTHING, Conflict, Obligations, together
from gateway.usage.limits import OF_POLICIES, TOOL

if TYPE_CHECKING:
    from gateway.identity.principals import Effect

ALLOWED: Final = "allowed"
APPROVAL: Final = "approval_required"

PRECEDENCE: Final = (
    "policy_not_loaded",
    "policy_deadline",
    "policy_error",
    "policy_bad_decision",
    "policy_unsupported",
    "policy_undefined",
    "policy_denied",
    APPROVAL,
)
"""The code of a refusal is the first of these that a bundle gave. Faults of policies come before their answers, because
somebody must mend them. The order of the bindings does not matter."""

MAX_INTEGER: Final = 2**53 - 1

_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")
_PATTERN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,500}")
_MODEL: Final = re.compile(r"[!-~]{1,256}")


@frozen()
class Verdict:
    """The answer of one bundle, or of all of them together.

    `code` is `ALLOWED` or a reason code; `reasons` are the policies' own texts, sorted; `detail` is for the log alone.
    `obligations` are what must be changed before the request is forwarded. `foreign_references` says that the call may
    use state at the provider that its agent did not create here. `limits` are what the agent may use, by name; only the
    transaction that records the decision can tell whether there is room. `approvals` are what people must do first.
    `over_limit` is what people must do before a call may go over `limits`, but never over those in `firm`.
    """

    code: str
    reasons: tuple[str, ...] = ()
    obligations: Obligations = NOTHING
    foreign_references: bool = False
    detail: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    approvals: tuple[Requirement, ...] = ()
    over_limit: tuple[Requirement, ...] = ()
    firm: Mapping[str, int] = field(default_factory=dict)


def read(document: object, effect: Effect) -> Verdict:
    """The verdict of one bundle whose entrypoint package evaluated to `document` (a JSON value, sets as arrays).

    Never raises. A guard's `allow` must be a boolean like any other, but does not count.
    """
    if document.__class__ is not dict:
        return Verdict("policy_bad_decision", detail="the entrypoint's value is not an object")
    reasons: tuple[str, ...] = ()
    obligations = NOTHING
    allow: bool | None = None
    foreign = False
    limits: Mapping[str, int] = {}
    approvals: tuple[Requirement, ...] = ()
    over_limit: tuple[Requirement, ...] = ()
    of_session = ""
    for name, value in document.items():
        if name.__class__ is str and name.startswith("_"):
            continue
        try:
            if name == "allow":
                allow = _expect(value, bool, "allow")
            elif name == "deny":
                reasons = _reasons(value)
            elif name == "obligations":
                obligations = _obligations(value)
            elif name == "limits":
                limits = _limits(value)
            elif name == "references":
                foreign = _references(value)
            elif name == "require_approval":
                approvals = _approvals(value, name)
            elif name == "over_limit":
                over_limit = tuple(replace(each, over_limit=True) for each in _approvals(value, name))
            else:
                raise _Invalid(f"`{name}` is not a member of a decision")
        except _Invalid as error:
            return Verdict("policy_bad_decision", detail=str(error))
        if name in ("require_approval", "over_limit") and any(each.get("scope") == "session" for each in value):
            of_session = name
    if of_session:
        return Verdict("policy_unsupported", reasons, detail=f"{of_session} with the scope `session`")
    if reasons:
        return Verdict("policy_denied", reasons)
    if effect != "guard" and allow is not True:
        return Verdict("policy_undefined" if allow is None else "policy_denied")
    found = Verdict(
        ALLOWED,
        obligations=obligations,
        foreign_references=foreign,
        limits=limits,
        over_limit=ordered(over_limit) if limits and over_limit else (),
        # A place among calls under way is free again before anybody has read the question.
        firm={name: value for name, value in limits.items() if _is_firm(name)} if over_limit else limits,
    )
    if effect == "receive" and (unmet := _unmet_of_receiver(document)):
        return Verdict("policy_unsupported", detail=f"`{unmet}` of a bundle that is bound with the effect `receive`")
    return awaiting(found, approvals) if approvals else found


def _unmet_of_receiver(document: Mapping[str, Any]) -> str:
    """The member by which a bundle demands of a call to its subject what nobody enforces; empty if there is none."""
    if name := next((name for name in ("obligations", "require_approval", "over_limit") if document.get(name)), ""):
        return name
    return next((f"limits.{name}" for name in document.get("limits", ()) if name.startswith(TOOL)), "")


def awaiting(allowed: Verdict, approvals: Iterable[Requirement]) -> Verdict:
    """The verdict of a call that is allowed once people have done this."""
    found = ordered(approvals)
    reasons = tuple(sorted({each.reason for each in found}))
    return replace(allowed, code=APPROVAL, reasons=reasons, approvals=found)


def beyond_limits(allowed: Verdict) -> Verdict:
    """The verdict of a call that has no room in limits which people may let it go over."""
    return awaiting(allowed, (*allowed.approvals, *allowed.over_limit))


def combine(verdicts: Iterable[tuple[Effect, Verdict]]) -> Verdict:
    """All bundles' verdicts as one.

    Any refusal refuses, obligations add up and must not contradict each other, of each limit the lowest holds, and
    foreign references need the word of every grant. Reasons are collected from every bundle, whichever code wins, so
    that they can all be mended at once.
    """
    codes: set[str] = set()
    reasons: set[str] = set()
    obligations: list[Obligations] = []
    limits: list[Mapping[str, int]] = []
    approvals: list[Requirement] = []
    over_limit: list[Requirement] = []
    firm: list[Mapping[str, int]] = []
    details: list[str] = []
    granted = False
    foreign = True
    for effect, verdict in verdicts:
        if effect != "guard":
            granted = True
            foreign = foreign and verdict.foreign_references
        codes.add(verdict.code)
        approvals += verdict.approvals
        over_limit += verdict.over_limit
        firm.append(verdict.firm)
        if verdict.code != APPROVAL:
            reasons.update(verdict.reasons)
        obligations.append(verdict.obligations)
        limits.append(verdict.limits)
        if verdict.detail:
            details.append(verdict.detail)
    if not granted:
        return Verdict("no_policy")
    if codes <= {ALLOWED, APPROVAL}:
        lowest_of_all = lowest(limits)
        try:
            found = Verdict(
                ALLOWED,
                obligations=together(obligations),
                foreign_references=foreign,
                limits=lowest_of_all,
                over_limit=ordered(over_limit) if over_limit else (),
                firm=lowest(firm) if over_limit else lowest_of_all,
            )
        except Conflict as conflict:
            return Verdict("policy_bad_decision", detail=str(conflict))
        return awaiting(found, approvals) if APPROVAL in codes else found
    code = next((code for code in PRECEDENCE if code in codes), "policy_error")
    return Verdict(code, tuple(sorted(reasons)), detail="; ".join(sorted(details)))


def lowest(several: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """All of these limits at once."""
    found: dict[str, int] = {}
    for limits in several:
        for name, value in limits.items():
            found[name] = min(value, found.get(name, value))
    return found


class _Invalid(Exception):
    """The document is not a decision; the text says where. Does not leave this module."""


def _expect(value: object, cls: type[Any], where: str) -> Any:
    # The exact class: `True` is an instance of `int`, and a cap of `true` must not become a cap of 1.
    if value.__class__ is not cls:
        raise _Invalid(f"`{where}` must be {_NAMES[cls]}")
    return value


_NAMES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    str: "a string",
    dict: "an object",
    list: "a set",
}


def _integer(value: object, low: int, where: str) -> int:
    number: int = _expect(value, int, where)
    if not low <= number <= MAX_INTEGER:
        raise _Invalid(f"`{where}` must be from {low} to 2**53 - 1")
    return number


def _texts(value: object, where: str) -> list[str]:
    texts: list[str] = _expect(value, list, where)
    for text in texts:
        _expect(text, str, f"{where}[_]")
    return texts


def _reasons(value: object) -> tuple[str, ...]:
    found: set[str] = set()
    for item in _expect(value, list, "deny"):
        if item.__class__ is dict:
            if item.keys() != {"msg"}:
                raise _Invalid("an object in `deny` must have the member `msg` and no other")
            item = item["msg"]
        found.add(_expect(item, str, "deny[_]"))
    return tuple(sorted(found))


def _references(value: object) -> bool:
    if _expect(value, str, "references") != "allowed":
        raise _Invalid('`references` must be "allowed"')
    return True


def _approvals(value: object, member: str) -> tuple[Requirement, ...]:
    """The approvals that must be given; all members but the reason have defaults."""
    found: list[Requirement] = []
    approvals: list[dict[str, Any]] = _expect(value, list, member)
    for each in approvals:
        _expect(each, dict, f"{member}[_]")
        if "reason" not in each:
            raise _Invalid(f"an object in `{member}` must have the member `reason`")
        for name, wanted in each.items():
            where = f"{member}[_].{name}"
            if name == "reason":
                _expect(wanted, str, where)
            elif name == "approvers":
                _approvers(wanted, where)
            elif name in ("quorum", "denials", "expires_seconds"):
                _integer(wanted, 1, where)
            elif name == "scope":
                _scope(wanted, where)
            elif name == "four_eyes":
                _expect(wanted, bool, where)
            elif name == "escalate":
                _escalation(wanted, where)
            else:
                raise _Invalid(f"`{where}` is not a member of an approval")
        kept = ("quorum", "denials", "expires_seconds", "four_eyes")
        members: dict[str, Any] = {name: each[name] for name in kept if name in each}
        if isinstance(scope := each.get("scope"), dict):
            members["scope"] = Scope(**scope)
        members |= _approvers(each.get("approvers", {}), "approvers")
        if "escalate" in each:
            members["escalate"] = _escalation(each["escalate"], "escalate")
        found.append(Requirement(each["reason"], **members))
    return tuple(found)


def _scope(value: object, where: str) -> None:
    if isinstance(value, str):
        if value not in ("request", "session"):
            raise _Invalid(f'`{where}` must be "request", "session" or an object')
        return
    scope: Mapping[str, object] = _expect(value, dict, where)
    for name, wanted in scope.items():
        if name in ("uses", "seconds"):
            _integer(wanted, 1, f"{where}.{name}")
        elif name == "pattern":
            if not _PATTERN.fullmatch(_expect(wanted, str, f"{where}.{name}")):
                raise _Invalid(f"`{where}.{name}` must be 1 to 500 characters in one line")
        else:
            raise _Invalid(f"`{where}.{name}` is neither `uses`, `seconds` nor `pattern`")


def _escalation(value: object, where: str) -> Escalation:
    members: Mapping[str, object] = _expect(value, dict, where)
    if "after_seconds" not in members or len(members) < 2:
        raise _Invalid(f"`{where}` must have `after_seconds`, and `teams` or `operators`")
    after = _integer(members["after_seconds"], 1, f"{where}.after_seconds")
    return Escalation(after, **_approvers({n: each for n, each in members.items() if n != "after_seconds"}, where))


def _approvers(value: object, where: str) -> dict[str, tuple[str, ...]]:
    approvers: Mapping[str, object] = _expect(value, dict, where)
    for name, listed in approvers.items():
        if name not in ("teams", "operators"):
            raise _Invalid(f"`{where}.{name}` is neither `teams` nor `operators`")
        _texts(listed, f"{where}.{name}")
    return {name: tuple(sorted(set(_texts(listed, name)))) for name, listed in approvers.items()}


def _is_firm(name: str) -> bool:
    """True if nobody can let a call go over a limit of this name."""
    return name == CONCURRENT or name.startswith(TOOL)


def _limits(value: object) -> Mapping[str, int]:
    limits: Mapping[str, int] = _expect(value, dict, "limits")
    for name, limit in limits.items():
        if name not in OF_POLICIES:
            raise _Invalid(f"`limits.{name}` is not a limit")
        _integer(limit, 0, f"limits.{name}")
    return limits


def _obligations(value: object) -> Obligations:
    members: Mapping[str, object] = _expect(value, dict, "obligations")
    cap: int | None = None
    tools: list[str] = []
    headers: Mapping[str, str] = {}
    model: str | None = None
    for name, wanted in members.items():
        where = f"obligations.{name}"
        if name == "max_output_tokens":
            cap = _integer(wanted, 1, where)
        elif name == "strip_tools":
            tools = _texts(wanted, where)
        elif name == "set_headers":
            headers = _headers(wanted, where)
        elif name == "model":
            model = _model(wanted, where)
        else:
            raise _Invalid(f"`{where}` is not an obligation")
    return Obligations(cap, frozenset(tools), headers, model) if cap or tools or headers or model else NOTHING


def _headers(value: object, where: str) -> Mapping[str, str]:
    headers: Mapping[str, str] = _expect(value, dict, where)
    for name, text in headers.items():
        if name not in HEADERS:
            hint = f": write `{name.lower()}`" if name.lower() in HEADERS else ""
            raise _Invalid(f"`{where}.{name}` is not a header that a policy may set{hint}")
        if not _HEADER_VALUE.fullmatch(_expect(text, str, f"{where}.{name}")):
            raise _Invalid(f"`{where}.{name}` must be 1 to 512 printable ASCII characters, without spaces at its ends")
    return headers


def _model(value: object, where: str) -> str:
    model: str = _expect(value, str, where)
    # The same rule as for the model of a request.
    if not _MODEL.fullmatch(model) or any(prefix in model for prefix in PREFIXES.values()):
        raise _Invalid(f"`{where}` must be the name of a model: 1 to 256 printable ASCII characters without spaces")
    return model
