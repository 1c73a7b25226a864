"""The definition of a workload. The workloads themselves are in `workloads/`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
ByHand = Callable[[Document], Callable[[Any], Any]]
"""From the data to the decision as a Python function. Its preparation of the data is not part of a decision."""


class Kind(enum.StrEnum):
    SMALL = "small decisions"
    GROWING = "growing"
    HEAVY = "heavy"
    LOADING = "loading and replacing"
    MEMORY = "memory"


class Measure(enum.StrEnum):
    """The work that is repeated under the clock."""

    ASK = "ask"
    """One decision by an engine that is ready, µs."""
    LOAD = "load"
    """From the policy's text, and the data as Python objects, to the first answer, ms."""
    RESTORE = "restore"
    """The same from what the engine kept in a file when it compiled the policy before, ms."""
    REPLACE = "replace"
    """From new data, as Python objects, to the first answer over it, ms."""
    MEMORY = "memory"
    """The growth of the process with the policy loaded, MB. By hand: the data as Python objects."""


UNDEFINED = "undefined"
"""The text of no answer. No answer of a workload is the string of that name: it would have quotes."""


@dataclass(frozen=True)
class Cedar:
    """The same decision in Cedar: the policies, the entities, and the request that a caller makes of the input."""

    policies: Callable[[], str]
    request: Callable[[Any], dict[str, Any]]
    entities: Callable[[], list[dict[str, Any]]] = list


@dataclass(frozen=True)
class Workload:
    """A policy, asked for `data.w` or a rule in it with one input.

    Texts and documents are made when they are needed: a million grants are not kept for those who measure something
    else. `want` is the answer; it and every engine's are compared with OPA's before anything is timed.
    """

    name: str
    kind: Kind
    module: Callable[[], str]
    input: Callable[[], Any]
    want: Any
    by_hand: ByHand | None
    data: Callable[[], Document] = dict
    path: str = "w.allow"
    cedar: Cedar | None = None
    measure: Measure = Measure.ASK
    series: str = ""
    """The growing quantity, whose value here is `size`: a growing workload is a point of that curve."""
    size: int = 0


def fixed(value: Any) -> Callable[[], Any]:
    """A builder of something that is small enough to be there all the time."""
    return lambda: value


def context(value: Any) -> dict[str, Any]:
    """The request that has the whole input as its context: what a Cedar policy without entities looks at."""
    return {"principal": 'Agent::"a"', "action": 'Action::"ask"', "resource": 'Model::"m"', "context": value}
