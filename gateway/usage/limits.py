"""Limits: their names, what each of them counts, and which of them apply to a call.

A limit is set by a policy (`limits` of its decision, always for the calling agent) or in the registry (for an agent, a
team or an organization, perhaps only for one upstream or model). All that apply must hold, so the lowest wins and none
is ignored. The rules of counting are in limits.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.audit.balance import COUNTERS, unit
from gateway.frozen import frozen

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.identity.principals import BoundLimit, Principal

LIMITS: Final = frozenset(COUNTERS)
BOUNDED: Final = frozenset(name for name in COUNTERS if name.startswith(("tokens", "spend_microusd")))
"""Limits that need to know the most that a call can use."""

HARD: Final = "hard"
ESTIMATE: Final = "estimate"
"""A limit on tokens or money refuses a call that has no bound, or reserves an estimate for it."""

SPEND: Final = frozenset(name for name in COUNTERS if name.startswith("spend_microusd"))

MAX_LIMIT: Final = 2**53 - 1


def is_spend(name: str) -> bool:
    return name.startswith("spend_microusd")


def is_tokens(name: str) -> bool:
    return name.startswith("tokens")


def default_mode(name: str) -> str:
    """The mode of a limit that is set from now on without one."""
    return ESTIMATE if name in BOUNDED else HARD


def scopes(principal: Principal) -> tuple[str, ...]:
    """The scopes that every call of an agent counts in, also where no limit applies."""
    found = [f"agent:{principal.agent_id}", f"organization:{principal.organization}"]
    if principal.team:
        found.insert(1, f"team:{principal.team}")
    return tuple(found)


def scope(kind: str, subject: str, upstream: str = "", model: str = "") -> str:
    """The scope of a limit: a subject (an agent's id, a team's or an organization's name), or a part of its calls."""
    return f"{kind}:{subject}" + (f" upstream:{upstream}" if upstream else "") + (f" model:{model}" if model else "")


def matches(pattern: str, model: str) -> bool:
    """True if a limit for `pattern` is one for this model: its name, or how it begins, with a star at the end.

    Capital letters count as small ones, as in the table of prices: some providers take either.
    """
    pattern, model = pattern.lower(), model.lower()
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


@frozen()
class Applied:
    """A limit that applies to a call. `value` and `raised` are in the unit of the counter: nano-dollars for money."""

    name: str
    scope: str
    counter: str
    value: int
    # For people: `agent:support-bot`, `team:research`, `org:acme`; and what of its calls is limited.
    subject: str
    part: str = ""
    # Empty if a policy has set it.
    id: str = ""
    raised: int = 0
    raised_until_ns: int = 0
    # True if the gateway's operators have set it, and not those of the organization.
    by_gateway: bool = False
    # A call that has no bound reserves an estimate, and is not refused. Limits of policies are never so.
    estimates: bool = False
    # A call with an approval may go over it, but not beyond this: 0 for none, and None without an end.
    approvable: int | None = 0

    def at(self, time_ns: int) -> int:
        """Its value at this time: a raise ends by itself, and never lowers anything."""
        return max(self.value, self.raised) if time_ns < self.raised_until_ns else self.value

    @property
    def spends(self) -> bool:
        """True if it is one on money."""
        return is_spend(self.name)

    @property
    def unit(self) -> int:
        """The number of the counter's units in one of the limit's."""
        return unit(self.name)


class Prepared(NamedTuple):
    """The part that is the same for all calls of an agent: the limits of the registry that apply to it, and where it
    counts.

    `partial` says whether some are only for calls of one upstream or model: those have to be looked at for each call.
    `bounded` is the first of them that needs to know the most that a call can use, as `limits.bounded` chooses.
    """

    limits: tuple[tuple[BoundLimit, Applied], ...]
    applied: tuple[Applied, ...]
    scopes: tuple[str, ...]
    partial: bool
    bounded: Applied | None


def prepared(principal: Principal) -> Prepared:
    """The limits of an agent, prepared once for each state of the registry."""
    found: Prepared | None = principal.derived.get("limits")
    if found is None:
        found = principal.derived["limits"] = _prepare(principal)
    return found


def _prepare(principal: Principal) -> Prepared:
    if not principal.limits:  # as of most agents, and the first call of each comes here
        return Prepared((), (), scopes(principal), partial=False, bounded=None)
    limits = tuple((limit, _of_registry(limit, principal)) for limit in principal.limits)
    applied = tuple(each for _, each in limits)
    partial = any(limit.upstream or limit.model for limit in principal.limits)
    return Prepared(limits, applied, all_scopes(principal, applied), partial, bounded(applied))


def applying(
    principal: Principal, policy: Mapping[str, int], call: Call, firm: Mapping[str, int] | None = None
) -> tuple[Applied, ...]:
    """Every limit that applies to this call of an agent: those of its policies first.

    `firm` are those of the policies that nobody may let it go over; all of them if it is not given.
    """
    of_agent = prepared(principal)
    if not policy and not of_agent.partial:
        return of_agent.applied
    firm = policy if firm is None else firm
    found = [_of_policy(principal, name, value, firm.get(name)) for name, value in policy.items()]
    for limit, applied in of_agent.limits:
        if limit.upstream and limit.upstream != call.upstream:
            continue
        if limit.model and not any(matches(limit.model, model) for model in call.models):
            continue
        found.append(applied)
    return tuple(found)


def all_scopes(principal: Principal, limits: Iterable[Applied]) -> tuple[str, ...]:
    """The scopes that a call counts in: those of its agent, and those of the limits that apply to it."""
    return tuple(dict.fromkeys((*scopes(principal), *(limit.scope for limit in limits))))


def first(applied: Iterable[Applied], names: Collection[str]) -> Applied | None:
    """The first limit that has one of these names."""
    return next((each for each in applied if each.name in names), None)


def bounded(applied: Iterable[Applied]) -> Applied | None:
    """The first limit that needs to know the most that a call can use; one that is exact, if there is any."""
    found = [each for each in applied if each.name in BOUNDED]
    return next((each for each in found if not each.estimates), found[0] if found else None)


def _of_policy(principal: Principal, name: str, value: int, firm: int | None) -> Applied:
    where, factor = scope("agent", principal.agent_id), unit(name)
    most = None if firm is None else firm * factor
    return Applied(name, where, COUNTERS[name], value * factor, f"agent:{principal.name}", approvable=most)


def _of_registry(limit: BoundLimit, principal: Principal) -> Applied:
    kind = limit.subject_kind
    subject = {"agent": principal.agent_id, "team": principal.team}.get(kind, principal.organization)
    named = {"agent": principal.name, "team": principal.team}.get(kind, principal.organization)
    factor = unit(limit.name)
    return Applied(
        name=limit.name,
        scope=scope(kind, subject, limit.upstream, limit.model),
        counter=COUNTERS[limit.name],
        value=limit.value * factor,
        subject=f"{'org' if kind == 'organization' else kind}:{named}",
        part=scope("", "", limit.upstream, limit.model).removeprefix(":").strip(),
        id=limit.id,
        raised=(limit.raised or 0) * factor,
        raised_until_ns=limit.raised_until_ns or 0,
        by_gateway=bool(limit.by_gateway),
        estimates=limit.mode == ESTIMATE,
    )
