"""Finds the things of a provider's list that an agent may use, by asking the policies that judge its calls.

A provider's own guard (`CallGuard`) asks about calls of which not everything is known, such as tools without arguments.
It shows nothing that policies deny in any case. Of lists of models:

Policies may demand more of every call than the simplest one has, such as an approved prompt. Then nothing passes, which
says nothing about things, and the list stays as it is. Each call is decided all the same: the list is a help for
clients that let people choose, and protects nothing. A key's scope protects: what is outside is not shown.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.identity.principals import Principal
from gateway.policy import authorization
from gateway.policy.cache import Panel
from gateway.upstream.guards import CallGuard, Guard, GuardTap, ListTap, Shown, Sighting

_MOST_LISTS: Final = 256  # agents whose answers are kept, of one server
_SECONDS: Final = 1.0  # for judging a list; a list that takes longer stays whole


class Guarded:
    """Asks the panel that has allowed the call for the list. `tap` may be finished on any thread.

    `usage` is what the agent has used, as the policies saw it when they allowed the list. In `derived` answers are kept
    for the next list of the same upstream.
    """

    def __init__(
        self,
        guard: Guard | CallGuard,
        judges: Panel,
        principal: Principal,
        usage: Mapping[str, Any],
        derived: dict[str, Any],
    ) -> None:
        self._guard = guard
        self._judges = judges
        self._principal = principal
        self._usage = usage
        self._ends = 0.0
        self._known = self._before(derived) if isinstance(guard, CallGuard) else None

    def tap(self, kind: bytes, note: Sighting) -> GuardTap | None:
        """The tap that removes things from the list that this client may not use; None if nothing is restricted.

        `kind` is the media type of the answer; `note` hears of tools that are not as they were approved.
        """
        guard = self._guard
        if isinstance(guard, CallGuard):
            return guard.tap(kind, self._shown, note)
        scope = self._principal.scope
        inside, asks = None if scope is None else guard.in_scope(scope), self._asks(guard)
        if inside is None and not asks:
            return None

        def among(named: Sequence[str]) -> Collection[str]:
            known = [each for each in named if inside is None or inside(each)]
            return self._usable(guard, known) if asks else known

        return ListTap(guard, among, strict=inside is not None)

    def _shown(self, call: Call) -> Shown:
        """Ask about a call whose content nobody knows."""
        scope = self._principal.scope
        if scope is not None and authorization.scope_verdict(
            replace(scope, networks=()), call.action, call.models, None, authorization.upstream_of(call)
        ):
            return Shown.NO
        known, tool = self._known, call.tool
        key = None if tool is None else (tool.name, tool.digest, tool.state, tool.approved)
        if known is not None and (before := known.get(key)) is not None:
            return before
        self._ends = self._ends or time.monotonic() + _SECONDS
        found = authorization.foreseen(
            self._judges, self._principal, call, time.time_ns(), ends=self._ends, usage=self._usage
        )
        answer = Shown.UNKNOWN if found is None else Shown.YES if found else Shown.NO
        if known is not None and time.monotonic() < self._ends:
            known[key] = answer
        return answer

    def _before(self, derived: dict[str, Any]) -> dict[Any, Shown] | None:
        """What the same policies have answered of the same agent before; None if they could say something else now."""
        judges, principal = self._judges, self._principal
        varying = ((), ("usage",), ("time",))
        read = (path[:1] for member in judges.members for path in member.bundle.input_paths)
        if judges.nondeterministic or judges.refusal is not None or any(each in varying for each in read):
            return None
        lists: dict[Any, dict[Any, Shown]] = derived.setdefault("shown", {})
        whose = judges.activation_id, judges.summary, orjson.dumps([principal.document, principal.person])
        if whose not in lists and len(lists) >= _MOST_LISTS:
            lists.clear()
        return lists.setdefault(whose, {})

    def _asks(self, guard: Guard) -> bool:
        """True if there is a call to ask about, and policies that can look at what it uses."""
        return bool(guard.uses) and any(
            path[: len(wanted)] == wanted[: len(path)]
            for member in self._judges.members
            for path in member.bundle.input_paths
            for wanted in guard.inputs
        )

    def _usable(self, guard: Guard, named: Sequence[str]) -> Collection[str]:
        """Those of these things that the agent may use; all of them if it could use none."""
        every = dict.fromkeys(named)
        now_ns, ends = time.time_ns(), time.monotonic() + _SECONDS
        calls = [*guard.uses]
        # Most things are allowed by the call that allowed the last one.
        usable: list[str] = []
        for each in every:
            for place, call in enumerate(calls):
                if time.monotonic() > ends:
                    return every
                if self._allows(guard.using(call, each), now_ns, ends):
                    usable.append(each)
                    calls.insert(0, calls.pop(place))
                    break
        return usable or every

    def _allows(self, call: Call, now_ns: int, ends: float) -> bool:
        found = authorization.decide(self._judges, self._principal, call, now_ns, ends=ends, usage=self._usage)
        return found.allow
