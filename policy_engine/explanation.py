"""Why a document has the value that it has: which rules held, and which expression failed in those that did not.

`Policies.explain` evaluates once more in the build of `codegen/explaining.py`; this file makes plain data of what that
has noted. The compiler takes expressions apart: here they are put together again, as the source has them. Values of
references are looked up afterwards, because looking must not change what is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from policy_engine.codegen.explaining import Attempt, Step, Trace
from policy_engine.compiler.generated_names import is_generated, source_name
from policy_engine.compiler.program import Program, dotted
from policy_engine.compiler.terms import bodies, expr_terms, walk_terms
from policy_engine.compiler.variables import expr_vars
from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes, parser
from policy_engine.syntax.nodes import Expr
from policy_engine.values import UNDEFINED, Value, freeze, to_json

Lookup = Callable[[str], Value]
"""The document at a path, such as `data.authz.roles`; `UNDEFINED` if there is none."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The expression at which a rule ended: the furthest that any attempt came. `times` is how often it failed there.

    `values` are those of the variables, references and calls in it, as the first attempt had them, each with its text.
    A value may be `UNDEFINED`.
    """

    location: Location
    text: str
    values: tuple[tuple[str, Value], ...]
    times: int


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule, or an `else` part of one. `values` are what it gave, as JSON values: members of a set, or one value.

    `kind` is complete, set, object or function.

    If `tried` is 0 it was not needed, because another rule had given the value. `failed` is None if it held or was not
    tried, and also if the arguments or the key that were asked for did not match its head.
    """

    path: str
    kind: str
    location: Location
    default: bool
    tried: int
    held: int
    values: tuple[Value, ...]
    failed: Failed | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and its rules, in source order; if the evaluation ended in an error, the rules up to then."""

    value: Value
    error: PolicyError | None
    rules: tuple[RuleOutcome, ...]


def outcomes(
    program: Program, trace: Trace, modules: Mapping[str, str], document: Value, lookup: Lookup
) -> tuple[RuleOutcome, ...]:
    """The rules that were evaluated and their alternatives. `document` is the input, `modules` the sources."""
    sources = _Sources(modules)
    attempts: dict[int, list[Attempt]] = {}
    for attempt in trace.attempts:
        if attempt.tried:
            attempts.setdefault(id(attempt.clause), []).append(attempt)
    found: list[RuleOutcome] = []
    for group in program.groups:
        rules = [*group.rules, *group.defaults]
        if not any(id(clause) in attempts for rule in rules for clause in rule.clauses):
            continue
        for rule in rules:
            for clause in rule.clauses:
                same = attempts.get(id(clause), [])
                held = sum(each.held for each in same)
                values = {freeze(value): to_json(value) for each in same for value in each.values}
                failed = None if held else _failed(same, sources, document, lookup)
                found.append(
                    RuleOutcome(
                        path=dotted(rule.path),
                        kind=group.kind.value,
                        location=clause.loc,
                        default=rule.default,
                        tried=sum(each.tried for each in same),
                        held=held,
                        values=tuple(values.values()),
                        failed=failed,
                    )
                )
    return tuple(sorted(found, key=lambda each: each.location))


def _failed(attempts: list[Attempt], sources: _Sources, document: Value, lookup: Lookup) -> Failed | None:
    """Where the attempts ended. What was reached last has failed: otherwise the next one would have been reached."""
    reached = [[step for step in each.steps if step.reached] for each in attempts]
    steps = max(reached, key=len, default=[])
    if not steps:
        return None
    last = steps[-1]
    whole = sources.expression(last.expr.loc)
    parts = [step for step in steps if _within(step.expr.loc, whole)]
    values = dict(_values(last, parts, sources, document, lookup))
    if last.inner is not None:
        inner = last.inner
        values |= {sources.text(inner.expr.loc): False} | dict(_values(inner, [inner], sources, document, lookup))
    return Failed(whole, sources.text(whole), tuple(values.items()), last.reached)


def _values(
    step: Step, parts: Iterable[Step], sources: _Sources, document: Value, lookup: Lookup
) -> Iterator[tuple[str, Value]]:
    """What is known of the parts of an expression: variables, intermediate values, references."""
    bound = dict(zip(step.variables, step.values, strict=True))
    mentioned = {var.name: var for part in parts for var in _variables(part.expr)}
    for name, var in mentioned.items():
        if name in bound:
            text = sources.text(var.loc) if is_generated(name) else source_name(name)
            yield text, to_json(bound[name])
    for term in _terms(step.expr):
        if isinstance(term, nodes.Ref) and isinstance(term.head, nodes.Var):
            found = _reference(term, bound, document, lookup)
            if found is not None:
                text, value, is_whole = found
                yield (sources.text(term.loc) if is_whole else text) or text, value


def _variables(expr: Expr) -> list[nodes.Var]:
    return [*expr_vars(expr), *(var for inner in _inner(expr) for var in expr_vars(inner))]


def _terms(expr: Expr) -> Iterator[nodes.Term]:
    for each in (expr, *_inner(expr)):
        for term in expr_terms(each):
            yield from walk_terms(term)


def _inner(expr: Expr) -> list[Expr]:
    """The expressions inside `not`, `and` and `or`."""
    if not isinstance(expr.what, (nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
        return []
    return [inner for body in bodies(expr.what) for inner in body]


def _reference(
    ref: nodes.Ref, bound: Mapping[str, Value], document: Value, lookup: Lookup
) -> tuple[str, Value, bool] | None:
    """A reference, its value, and whether that is all of it: where it iterates, it is the collection."""
    assert isinstance(ref.head, nodes.Var)
    root = ref.head.name
    path: list[Value] = []
    for step in ref.path:
        if isinstance(step, nodes.Scalar):
            path.append(step.value)
        elif isinstance(step, nodes.Var) and step.name in bound:
            path.append(bound[step.name])
        else:
            break
    if not path:
        return None
    text = dotted(tuple(map(freeze, path)), source_name(root))
    if root == "data":
        try:
            return text, lookup(text), len(path) == len(ref.path)
        except PolicyError:
            return None  # a function, or a document whose evaluation fails
    value = document if root == "input" else bound.get(root, UNDEFINED)
    value = value if root == "input" or value is UNDEFINED else to_json(value)
    for key in path:
        value = _member(value, key)
    return text, value, len(path) == len(ref.path)


def _member(value: Value, key: Value) -> Value:
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key, UNDEFINED)
    if isinstance(value, list) and key.__class__ is int and 0 <= key < len(value):
        return value[key]
    return UNDEFINED


class _Sources:
    """The texts of modules, and where their expressions are."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._lines = {file: source.split("\n") for file, source in modules.items()}
        self._modules = modules
        self._expressions: dict[str, list[Location]] = {}

    def text(self, loc: Location) -> str:
        """The source of a span, on one line."""
        lines = self._lines.get(loc.file, [])[loc.row - 1 : loc.end_row]
        if not lines or not loc.row:
            return ""
        lines[-1] = lines[-1][: loc.end_col - 1]  # the end first: both ends may be on the same line
        lines[0] = lines[0][loc.col - 1 :]
        return " ".join(" ".join(lines).split())

    def expression(self, loc: Location) -> Location:
        """The expression of a rule's body that contains a place. The value of a head is one, too."""
        if loc.file not in self._expressions:
            source = self._modules.get(loc.file)
            module = None if source is None else parser.parse_module(source, loc.file)
            self._expressions[loc.file] = [] if module is None else list(_expressions(module.rules))
        return next((whole for whole in self._expressions[loc.file] if _within(loc, whole)), loc)


def _expressions(rules: Iterable[nodes.Rule]) -> Iterator[Location]:
    for rule in rules:
        part: nodes.Rule | None = rule
        while part is not None:
            yield from (expr.loc for expr in part.body)
            part = part.else_


def _within(loc: Location, whole: Location) -> bool:
    """Whether a span is a part of another one."""
    return (
        loc.file == whole.file
        and (whole.row, whole.col) <= (loc.row, loc.col)
        and (loc.end_row, loc.end_col) <= (whole.end_row, whole.end_col)
    )
