"""Limits: their names, what each of them counts, and which of them apply to a call.

A limit is set by a policy (`limits` of its decision, always for the calling agent) or in the registry (for an agent, a
team or an organization, perhaps only for a part of its calls). All that apply must hold, so the lowest wins and none
is ignored. The rules of counting are in limits.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.audit.balance import COUNTERS, unit
from gateway.frozen import frozen

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.identity.principals import BoundLimit, Principal

LIMITS: Final = frozenset(COUNTERS)
TOOL: Final = "tool_"
"""How the names of those limits of policies begin that count only calls of the very tool that a call names."""
OF_POLICIES: Final = LIMITS | {TOOL + name for name in COUNTERS if "requests" in name}
BOUNDED: Final = frozenset(name for name in COUNTERS if name.startswith(("tokens", "spend_microusd")))
"""Limits that need to know the most that a call can use."""

HARD: Final = "hard"
ESTIMATE: Final = "estimate"
"""A limit on tokens or money refuses a call that has no bound, or reserves an estimate for it."""

SPEND: Final = frozenset(name for name in COUNTERS if name.startswith("spend_microusd"))
MANDATE_SPEND: Final = "spend_microusd_per_month"
MANDATE_REQUESTS: Final = "requests_per_month"
"""Names of the limits of a mandate, whose windows last as long as it (`CallReservation.until`)."""

MAX_LIMIT: Final = 2**53 - 1


TO: Final = "to:"
FROM: Final = "from:"
"""How a `counterparty` begins: calls to agents of an organization, and calls that its agents make to the subject's."""
ANYBODY: Final = "*"


class Part(NamedTuple):
    """The calls of a subject that a limit counts; a member that is empty leaves none out.

    Tables, bodies, commands and files have columns, members and options of these names.
    """

    upstream: str = ""
    # A name, or how it begins, with a star at the end.
    model: str = ""
    # `to:ORGANIZATION`, `from:ORGANIZATION`, `from:*`; with `/AGENT` for one agent of it.
    counterparty: str = ""
    # Of an MCP server: a name, or how it begins, with a star at the end.
    tool: str = ""

    @classmethod
    def of(cls, each: Any) -> Part:
        """The part that a row, a record or a body has."""
        return cls(*(getattr(each, name) for name in cls._fields))

    @classmethod
    def in_item(cls, item: Mapping[str, Any]) -> Part:
        """The part that an item of a file has, which may leave members out."""
        return cls(*(item.get(name, "") for name in cls._fields))

    @property
    def receives(self) -> bool:
        """True if it is one of calls that others make."""
        return self.counterparty.startswith(FROM)

    def words(self) -> str:
        """Its members for people: `upstream:openai model:gpt-5`."""
        return " ".join(f"{name}:{value}" for name, value in self._asdict().items() if value)

    def has(self, call: Call) -> bool:
        """True if an agent's call is one of them."""
        if self.upstream and self.upstream != call.upstream:
            return False
        if self.model and not any(matches(self.model, model) for model in call.models):
            return False
        if self.tool and (call.tool is None or not begins(self.tool, call.tool.name)):
            return False
        if not self.counterparty:
            return True
        callee = call.agent or {}
        return not self.receives and self.counterparty in among(TO, callee.get("organization"), callee.get("name"))


ALL: Final = Part()
"""All calls of a subject."""


_WORD: Final = re.compile(r"(?:^| )(\w+):")


def as_options(words: str) -> str:
    """The words of a part as options of a command, each after a space."""
    return _WORD.sub(r" --\1 ", words)


def among(direction: str, organization: object, agent: object) -> tuple[str, ...]:
    """The counterparties that an agent of an organization is one of."""
    return f"{direction}{ANYBODY}", f"{direction}{organization}", f"{direction}{organization}/{agent}"


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


def scope(kind: str, subject: str, part: Part = ALL) -> str:
    """The scope of a limit: a subject (an agent's id, a team's or an organization's name), or a part of its calls."""
    return f"{kind}:{subject}" + (f" {part.words()}" if any(part) else "")


def matches(pattern: str, model: str) -> bool:
    """True if a limit for `pattern` is one for this model: its name, or how it begins, with a star at the end.

    Capital letters count as small ones, as in the table of prices: some providers take either.
    """
    pattern, model = pattern.lower(), model.lower()
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def begins(pattern: str, name: str) -> bool:
    """The same of a tool, whose name is exactly what its server calls it."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


@frozen()
class Applied:
    """A limit that applies to a call. `value` and `raised` are in the unit of the counter: nano-dollars for money."""

    name: str
    scope: str
    counter: str
    value: int
    # For people: `agent:support-bot`, `team:research`, `org:acme`; and what of its calls is limited.
    subject: str
    part: Part = ALL
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
    # The organization in which it counts, if that is not the one that calls: it has granted the mandate for the call.
    organization: str = ""

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

    `partial` says whether some are only for a part of its calls: those have to be looked at for each call. Those of
    calls that others make to it are not among them.
    `bounded` is the first of them that needs to know the most that a call can use, as `limits.bounded` chooses.
    """

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
        return Prepared((), scopes(principal), partial=False, bounded=None)
    every = [_of_registry(limit, principal) for limit in principal.limits]
    applied = tuple(each for each in every if not each.part.receives)
    partial = any(any(each.part) for each in applied)
    return Prepared(applied, all_scopes(principal, applied), partial, bounded(applied))


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
    found = [
        _of_policy(
            principal, name.removeprefix(TOOL), value, firm.get(name), _of_tool(call) if name.startswith(TOOL) else ALL
        )
        for name, value in policy.items()
        if call.tool is not None or not name.startswith(TOOL)
    ]
    return (*found, *(each for each in of_agent.applied if not of_agent.partial or each.part.has(call)))


def _of_tool(call: Call) -> Part:
    """The calls of the tool that a call names, at its server."""
    return ALL if call.tool is None else Part(upstream=call.upstream, tool=call.tool.name)


def received(
    callee: Principal, caller: Principal, policy: Mapping[str, int]
) -> tuple[tuple[Applied, ...], tuple[str, ...]]:
    """The limits of an agent on a call that another one makes to it, and the scopes that this call counts in there.

    Those of its policies count the calls of this caller alone. It is counted for the caller's organization also where
    no limit is set, and never among the calls that the agent makes itself.
    """
    named = among(FROM, caller.organization, caller.name)
    one = Part(counterparty=f"{FROM}{caller.organization}/{caller.agent_id}")
    found = [_of_policy(callee, name, value, value, one) for name, value in policy.items()]
    found += [_of_registry(limit, callee) for limit in callee.limits if limit.counterparty in named]
    every = scope("agent", callee.agent_id, Part(counterparty=f"{FROM}{caller.organization}"))
    return tuple(found), tuple(dict.fromkeys((every, *(each.scope for each in found))))


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


def _of_policy(principal: Principal, name: str, value: int, firm: int | None, part: Part = ALL) -> Applied:
    where, factor = scope("agent", principal.agent_id, part), unit(name)
    most = None if firm is None else firm * factor
    return Applied(name, where, COUNTERS[name], value * factor, f"agent:{principal.name}", part, approvable=most)


def _of_registry(limit: BoundLimit, principal: Principal) -> Applied:
    kind = limit.subject_kind
    subject = {"agent": principal.agent_id, "team": principal.team}.get(kind, principal.organization)
    named = {"agent": principal.name, "team": principal.team}.get(kind, principal.organization)
    factor, part = unit(limit.name), Part.of(limit)
    return Applied(
        name=limit.name,
        scope=scope(kind, subject, part),
        counter=COUNTERS[limit.name],
        value=limit.value * factor,
        subject=f"{'org' if kind == 'organization' else kind}:{named}",
        part=part,
        id=limit.id,
        raised=(limit.raised or 0) * factor,
        raised_until_ns=limit.raised_until_ns or 0,
        by_gateway=bool(limit.by_gateway),
        estimates=limit.mode == ESTIMATE,
    )
