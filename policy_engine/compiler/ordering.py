"""Orders the statements of a body so that each has its variables bound before it runs.

The result is that of trying all statements in source order, round after round, and placing those that are ready. It is
computed by counting what each statement still lacks, in time proportional to the body.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from policy_engine.compiler.bindings import Binding, Implications
from policy_engine.compiler.generated_names import is_internal
from policy_engine.errors import MAX_ERRORS


@dataclass(slots=True)
class Statement:
    """The variables of an expression. `own` are those that it mentions, in source order.

    `needed` must be bound before it: variables that its inner bodies share with the body around, and those in values of
    `with`.
    """

    own: Sequence[str]
    needed: Sequence[str]
    bindings: Sequence[Binding]


def arrange(statements: dict[int, Statement], bound: AbstractSet[str]) -> tuple[list[int], list[str]]:
    """Order statements, given by number. Returns the order and the variables that nothing binds.

    Such a variable counts as bound once it is found, so that variables depending on it are not reported as well. The
    search ends when there are more errors than can be reported.
    """
    known = Implications[str | int | tuple[int, str]](bound)
    ready: list[int] = []
    for number, statement in statements.items():
        for needs, gives in statement.bindings:
            ready += _numbers(known.add_rule([(number, name) for name in needs], [(number, name) for name in gives]))
        for name in statement.own:
            ready += _numbers(known.add_rule([name], [(number, name)]))
        wanted = [(number, name) for name in statement.own]
        ready += _numbers(known.add_rule([*wanted, *statement.needed], [number]))
    order: list[int] = []
    unbound: list[str] = []
    left = dict(statements)
    queue = [(0, number) for number in ready]
    while left and len(unbound) <= MAX_ERRORS:
        heapq.heapify(queue)
        while queue:
            round_, number = heapq.heappop(queue)
            order.append(number)
            for other in _numbers(known.add(left.pop(number).own)):
                heapq.heappush(queue, (round_ + (other < number), other))
        if left:
            found = _unbound(left, known.known)
            unbound += found
            queue = [(0, number) for number in _numbers(known.add(found))]
    return order, unbound


def _numbers(facts: Iterable[object]) -> list[int]:
    """The numbers of statements among some facts."""
    return [fact for fact in facts if isinstance(fact, int)]


def _unbound(left: dict[int, Statement], known: AbstractSet[object]) -> list[str]:
    """The variables that no statement binds; if there are none, one of those that statements need from each other."""
    missing = [[name for name in (*item.own, *item.needed) if name not in known] for item in left.values()]
    given = {name for statement in left.values() for _, gives in statement.bindings for name in gives}
    if found := {name: None for names in missing for name in names if name not in given}:
        return list(found)
    own = {name for _, gives in next(iter(left.values())).bindings for name in gives}
    return [min(reversed(missing[0]), key=lambda name: (is_internal(name), name in own))]
