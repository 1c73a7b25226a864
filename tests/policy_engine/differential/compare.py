"""Runs a program in OPA and in this engine and reports where they differ.

Modules are compared by acceptance and codes, documents as text (a template string shows sets and number text), errors
of evaluation by code. All documents of a program are one query, ten times as fast as one query each; if it fails, they
are queried one by one. The traced build must agree with the fast one.

Two differences can be due to the order of evaluation alone: whether an evaluation error surfaces, and the text of a
number where `1` and `1.0` are equal. Such a difference is `about_order`; order.py proves or refutes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import policy_engine as pe
from policy_engine.codegen import frame, index, joins
from policy_engine.compiler.program import Kind
from policy_engine.errors import MAX_ERRORS
from policy_engine.values import equal
from tests.oracle import Answer, Oracle
from tests.policy_engine.differential.program import Program

Said = TypeVar("Said")

Outcomes = dict[str, str]
"""path → its text, `error CODE`, or `CRASH …`"""

MODULES = "modules"
"""The path of a difference about acceptance or codes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind` is preserved by shrinking: refusals, values, evaluation errors, builds of the same policy."""

    path: str
    strict: bool
    opa: str
    engine: str
    builds: bool = False
    """The two sides are the fast and the traced build of this engine, not OPA and this engine."""
    detail: str = field(default="", compare=False)
    """OPA's message about modules that it refuses."""

    @property
    def about_order(self) -> bool:
        sides = (self.opa, self.engine)
        if any(side.startswith(("CRASH", "error eval_internal_error")) for side in sides):
            return False  # a defect, whatever the order
        return any(side.startswith("error eval_") for side in sides) or same_value(*sides)

    @property
    def kind(self) -> tuple[object, ...]:
        return self.builds, self.strict, _shape(self.opa), _shape(self.engine)

    def __str__(self) -> str:
        names = ("fast", "traced") if self.builds else ("OPA", "engine")
        mode = "strict" if self.strict else "default"
        return f"{self.path} ({mode})\n    {names[0]:6} {self.opa} {self.detail}\n    {names[1]:6} {self.engine}"


def same_value(a: str, b: str) -> bool:
    """True if two outcomes are equal values. They may differ in the text of numbers."""
    try:
        return equal(pe.parse_value(a), pe.parse_value(b))
    except pe.PolicyError:
        return False


def _shape(outcome: str) -> str:
    return outcome[:60] if outcome.startswith(("error", "refused", "accepted", "CRASH")) else "value"


@contextmanager
def generated_with(
    *,
    fewest: int = index.FEWEST,
    depth: int = frame.MAX_DEPTH,
    members: int = joins.FEWEST,
    searched: int = joins.SHORT,
) -> Iterator[None]:
    """Compile and evaluate with other thresholds: `fewest` rules for an index, `depth` blocks in a function, tables for
    collections of `members`, made at the second loop over more than `searched`.
    """
    before = index.FEWEST, frame.MAX_DEPTH, joins.FEWEST, joins.SHORT
    index.FEWEST, frame.MAX_DEPTH, joins.FEWEST, joins.SHORT = fewest, depth, members, searched
    try:
        yield
    finally:
        index.FEWEST, frame.MAX_DEPTH, joins.FEWEST, joins.SHORT = before


VARIANTS: Final[tuple[dict[str, int], ...]] = (
    {},
    {"fewest": 2},
    {"members": 0},
    {"depth": 2},
    {},
    {"fewest": 2, "depth": 3, "members": 0, "searched": 0},
)
"""Thresholds by the number of the program. They must not change its values."""


class Engine:
    """This engine's answers about one program."""

    def __init__(self, program: Program, limits: pe.Limits | None = None, *, strict: bool = False) -> None:
        self.program = program
        self.errors: tuple[pe.PolicyError, ...] = ()
        self.codes: set[str] = set()
        """The codes of the errors with which the modules are refused."""
        self._policies: Any = None
        try:
            self._policies = pe.compile(program.modules, program.data, limits=limits, strict=strict)
        except pe.PolicyError as error:
            self.errors = tuple(error.errors)
            self.codes = {item.code for item in self.errors}
        except Exception as error:  # a defect: shown like any other difference
            self.codes = {f"CRASH {error!r}"}

    def outcomes(self, strict: bool, paths: list[str] | None = None) -> Outcomes:
        return _one_by_one(paths or self.program.paths, lambda asked: self._ask(asked, strict))

    def _ask(self, paths: list[str], strict: bool) -> list[str] | str:
        def rows() -> list[str]:
            found = self._policies.prepare(query(paths), strict_builtin_errors=strict).bindings(self.program.input)
            return [str(found[0][f"x{number}"]) for number in range(len(paths))] if found else ["nothing"]

        return _outcome(rows)

    def outcome(self, strict: bool, path: str, first: list[str]) -> str:
        """One document's outcome, in a query that asks for others first."""
        return _last([*first, path], lambda asked: self._ask(asked, strict))

    def builds(self, strict: bool) -> tuple[Outcomes, Outcomes]:
        """The values of packages and rules in the fast and the traced build, as JSON.

        The fast build evaluates a rule through its own entry (codegen/entry.py).
        """
        fast: Outcomes = {}
        traced: Outcomes = {}
        for path in dict.fromkeys([*self.program.packages(), *rules(self._policies)]):
            try:
                entry = self._policies.entrypoint(path, strict_builtin_errors=strict)
            except pe.PolicyError as error:  # code generation refuses it, also in a query
                fast[path] = traced[path] = f"error {error.code}"
                continue
            fast[path] = _outcome(partial(_fast, entry, self.program.input))
            traced[path] = _outcome(partial(_traced, entry, self.program.input))
        return fast, traced


@dataclass(frozen=True, slots=True)
class Opa:
    """OPA's answers about one program in one mode: outcomes, or the message with which it refuses the modules."""

    outcomes: Outcomes
    refused: str = ""

    @classmethod
    def ask(cls, program: Program, oracle: Oracle, paths: list[str] | None = None) -> Opa:
        refused = ""

        def ask(asked: list[str]) -> list[str] | str:
            nonlocal refused
            answer = _answer(program, oracle, asked)
            if answer.code in ("parse_error", "prepare_error"):
                refused = answer.message
            if answer.code:
                return f"error {answer.code}"
            return [row[f"x{number}"] for row in answer.bindings for number in range(len(asked))]

        outcomes = _one_by_one(paths or program.paths, ask, lambda: bool(refused))
        return cls(outcomes, refused)

    @staticmethod
    def outcome(program: Program, oracle: Oracle, path: str, first: list[str]) -> str:
        """One document's outcome, in a query that asks for others first."""

        def ask(asked: list[str]) -> list[str] | str:
            answer = _answer(program, oracle, asked)
            return f"error {answer.code}" if answer.code else [row[f"x{len(first)}"] for row in answer.bindings]

        return _last([*first, path], ask)


def rules(policies: pe.Policies) -> list[str]:
    """The paths of all rules that are documents."""
    groups = [group for group in policies._compiled.program.groups if group.kind is not Kind.FUNCTION]
    paths = [group.path for group in groups if all(isinstance(step, str) for step in group.path)]
    return ["data" + "".join(f"[{json.dumps(step)}]" for step in path) for path in paths]


def _last(paths: list[str], ask: Callable[[list[str]], list[str] | str]) -> str:
    found = ask(paths)
    return found if isinstance(found, str) else found[-1]


def _answer(program: Program, oracle: Oracle, paths: list[str]) -> Answer:
    return oracle.query(query(paths), modules=program.modules, data=program.data, input=program.input)


def query(paths: Iterable[str]) -> str:
    """One query for all documents. It always has one solution: a template string shows undefined values."""
    return "; ".join(f'x{number} := $"{{[{path}]}}"' for number, path in enumerate(paths))


def _one_by_one(
    paths: list[str], ask: Callable[[list[str]], list[str] | str], enough: Callable[[], bool] = lambda: False
) -> Outcomes:
    """All at once, or, if that fails, each path on its own."""
    together = ask(paths)
    if not isinstance(together, str):
        return dict(zip(paths, together, strict=True))
    if len(paths) == 1:
        return {paths[0]: together}
    outcomes: Outcomes = {}
    for path in paths:
        if enough():
            break
        found = ask([path])
        outcomes[path] = found if isinstance(found, str) else found[0]
    return outcomes


def differences(program: Program, oracle: Oracle, engine: Engine, *, strict: bool) -> list[Difference]:
    """Every path on which the two disagree in one mode."""
    return list(_differences(program, Opa.ask(program, oracle), engine, strict))


def _differences(program: Program, opa: Opa, engine: Engine, strict: bool) -> Iterator[Difference]:
    if opa.refused or engine.codes:
        if not refused_alike(opa.refused, engine):
            sides = (refusal_codes(opa.refused), engine.codes)
            texts = [" ".join(["refused:", *sorted(codes)]) if codes else "accepted" for codes in sides]
            yield Difference(MODULES, strict, *texts, detail=opa.refused)
        return
    here = engine.outcomes(strict)
    for path, outcome in opa.outcomes.items():
        if outcome != here[path] and outcome != "error not_json":
            yield Difference(path, strict, outcome, here[path])
    fast, traced = engine.builds(strict)
    for path, outcome in fast.items():
        if outcome != traced[path]:
            yield Difference(path, strict, outcome, traced[path], builds=True)


def refusal_codes(message: str) -> set[str]:
    """The codes of OPA's errors, without the one that says that there are more than ten."""
    return set(re.findall(r"(rego_\w+_error)(?!: error limit reached)", message))


def refused_alike(message: str, engine: Engine) -> bool:
    """True if both accept the modules, or this engine refuses them with all codes that OPA has.

    OPA stops at the first kind of mistakes that it finds. Both list ten errors, not necessarily the same ones.
    """
    codes = refusal_codes(message)
    if not codes or len(engine.errors) > MAX_ERRORS:
        return bool(codes) == bool(engine.codes)
    return codes <= engine.codes


def _fast(entry: pe.Entrypoint, value: Any) -> str:
    return _json(entry(value))


def _traced(entry: pe.Entrypoint, value: Any) -> str:
    return _json(entry.decide(value, trace=True).value)


def _json(value: Any) -> str:
    return "undefined" if value is pe.UNDEFINED else pe.dumps(value)


def _outcome(evaluate: Callable[[], Said]) -> Said | str:
    try:
        return evaluate()
    except pe.PolicyError as error:
        return f"error {error.code}" if error.code != "eval_internal_error" else f"CRASH {error}"
    except Exception as error:  # a defect: shown like any other difference
        return f"CRASH {error!r}"
