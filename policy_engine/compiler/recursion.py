"""Stage: no rule depends on itself. It also computes the order in which rules can be typed.

The rules that a reference can reach are a `RuleSet`, shared by all references to the same place: a thousand rules that
read a set made by a thousand rules are two thousand edges and not a million.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from policy_engine.compiler import graph
from policy_engine.compiler.generated_names import as_written
from policy_engine.compiler.program import Clause, Kind, NormalRule, Program, RuleGroup, RuleSet, Tree, dotted
from policy_engine.compiler.terms import (
    HOLD_BODIES,
    HOLD_OPERANDS,
    DocumentValue,
    FunctionValue,
    bodies,
    expr_terms,
    function_path,
    heads,
    is_simple,
    walk_terms,
)
from policy_engine.errors import MAX_ERRORS, RECURSION_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.syntax.printer import to_text
from policy_engine.values import equal, freeze

_Node: TypeAlias = Clause | RuleSet


def check(program: Program, errors: list[PolicyError]) -> None:
    """Order the clauses by their dependencies and report cycles."""
    touched = Touched(program.tree, functions=True)
    own: dict[Clause, list[RuleSet]] = {}
    rule_of: dict[Clause, NormalRule] = {}
    for rule in program.rules:
        head = _head_terms(rule)
        found: dict[RuleSet, None] = {}
        for clause in rule.clauses:
            terms = [] if clause in program.broken else [*head, *_touching_terms(clause)]
            own[clause] = touched.by_terms(program, terms)
            rule_of[clause] = rule
            found.update(dict.fromkeys(own[clause]))
            head = []
        program.dependencies[rule] = list(found)

    def edges(node: _Node) -> Iterable[_Node]:
        return itertools.chain.from_iterable(r.clauses for r in node.rules) if isinstance(node, RuleSet) else own[node]

    cycles: list[Clause] = []
    every: list[_Node] = [*own]
    for component in graph.components(every, edges):
        clauses = [node for node in component if isinstance(node, Clause)]
        program.ordered += [(rule_of[clause], clause) for clause in clauses]
        if len(component) > 1:
            # A cycle leads through at least one rule set, so a component of one node is not a cycle.
            cycles += clauses
    cycles.sort(key=lambda clause: clause.loc)
    for clause in cycles[: MAX_ERRORS + 1]:
        goal: _Node = clause
        path = [node for node in graph.shortest_path(own[clause], goal, edges) if isinstance(node, Clause)]
        names = [_name(rule_of[item]) for item in (clause, *path)]
        text = f"rule {names[0]} is recursive: {' -> '.join(names)}"
        errors.append(PolicyError(RECURSION_ERROR, text, clause.loc))
    program.broken.update(cycles)


def _name(rule: NormalRule) -> str:
    """A rule's reference as written in the policy."""
    text = dotted(rule.path)
    for step in rule.suffix:
        if isinstance(step, nodes.Scalar):
            text = dotted((freeze(step.value),), text)
        else:
            text += f"[{to_text(as_written(step)) or '_'}]"
    return text


class Touched:
    """Finds the rules that references can reach, as shared rule sets.

    With `functions`, a reference to a whole package also reaches its functions: they are not part of the document, but
    OPA searches for recursion through them, and they are part of the package's type.
    """

    def __init__(self, tree: Tree, *, functions: bool = False) -> None:
        self.tree = tree
        self.functions = functions
        self._below: dict[Tree, RuleSet] = {}
        self._groups: dict[RuleGroup, RuleSet] = {}
        self._members: dict[tuple[object, ...], RuleSet] = {}
        self._placed: dict[RuleGroup, dict[object, list[NormalRule]]] = {}

    def by_terms(self, program: Program, terms: Iterable[Term]) -> list[RuleSet]:
        """The rules that terms refer to or call."""
        found: list[RuleSet] = []
        for term in terms:
            if not _is_local(term):
                found += [rule_set for rule_set in self._by_term(program, term) if rule_set.rules]
        return found

    def _by_term(self, program: Program, term: Term) -> Iterator[RuleSet]:
        if isinstance(term, nodes.Ref) and isinstance(term.head, nodes.Var) and term.head.name == "data":
            yield from self.by_path(term.path)
        elif isinstance(term, nodes.Var) and term.name == "data":
            yield from self.by_path(())
        elif isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Ref):
            name = dotted(function_path(term.operator))
            yield from self._function(program, name) if name in program.functions else self.by_path(term.operator.path)
        elif isinstance(term, FunctionValue):
            yield from self._function(program, str(term.value))
        elif isinstance(term, DocumentValue):
            yield from self.by_path(tuple([nodes.Scalar(name) for name in term.path]))

    def _function(self, program: Program, name: str) -> Iterator[RuleSet]:
        group = program.functions.get(name)
        if group is not None:
            yield self._whole(group)

    def by_path(self, path: tuple[Term, ...]) -> Iterator[RuleSet]:
        """The rules that a reference below `data` can reach. A step that is not constant matches anything."""
        nodes_here = [self.tree]
        for number, step in enumerate(path):
            following: list[Tree] = []
            for node in nodes_here:
                if node.group is not None:
                    yield from self._inside(node.group, path[number:])
                    continue
                constant = constant_value(step)
                if constant is not None:
                    child = node.children.get(freeze(constant[0]))
                    following += [child] if child is not None else []
                else:
                    following += node.children.values()
            if not following:
                return
            nodes_here = following
        for node in nodes_here:
            if node.group is not None and node.group.kind is Kind.FUNCTION:
                yield self._whole(node.group)
            yield self._all_below(node)

    def _whole(self, group: RuleGroup) -> RuleSet:
        """All rules of a group."""
        if group not in self._groups:
            self._groups[group] = RuleSet((*group.rules, *group.defaults))
        return self._groups[group]

    def _all_below(self, node: Tree) -> RuleSet:
        """The rules at and below a node."""
        if node not in self._below:
            rules = (rule for group in node.groups() for rule in (*group.rules, *group.defaults))
            self._below[node] = RuleSet(tuple([rule for rule in rules if self.functions or rule.args is None]))
        return self._below[node]

    def _inside(self, group: RuleGroup, path: tuple[Term, ...]) -> Iterator[RuleSet]:
        """The rules of a group that a reference into its document can reach.

        Rules without a constant suffix match every path and form a set of their own.
        """
        if group.kind is Kind.FUNCTION:
            if self.functions:
                yield self._whole(group)
            return
        placed = self._placed.get(group)
        if placed is None:
            placed = self._placed[group] = {}
            for rule in (*group.rules, *group.defaults):
                ground = _ground(rule.suffix)
                first = (freeze(ground[0].value),) if ground and isinstance(ground[0], nodes.Scalar) else None
                placed.setdefault(first, []).append(rule)
            self._members[group, None] = RuleSet(tuple(placed.pop(None, ())))
        yield self._members[group, None]
        if not placed:
            return
        constants = [constant_value(step) for step in path]
        key = tuple([None if constant is None else (freeze(constant[0]),) for constant in constants])
        if (group, key) not in self._members:
            rules = placed.get(key[0], ()) if key[0] is not None else itertools.chain.from_iterable(placed.values())
            self._members[group, key] = RuleSet(tuple([r for r in rules if compatible(_ground(r.suffix), path)]))
        yield self._members[group, key]


def dependencies(program: Program, rule: NormalRule) -> Iterator[NormalRule]:
    """The rules that one rule depends on."""
    for rule_set in Touched(program.tree).by_terms(program, rule_terms(rule)):
        yield from rule_set.rules


def matching(tree: Tree, path: tuple[Term, ...], *, functions: bool = False) -> Iterator[NormalRule]:
    """The rules that a reference below `data` can reach."""
    for rule_set in Touched(tree, functions=functions).by_path(path):
        yield from rule_set.rules


def _ground(suffix: tuple[Term, ...]) -> tuple[Term, ...]:
    """The constants at the beginning of a suffix. OPA does not look at the steps behind them."""
    return tuple(itertools.takewhile(lambda step: isinstance(step, nodes.Scalar), suffix))


def compatible(suffix: tuple[Term, ...], path: tuple[Term, ...]) -> bool:
    """True if a rule's head can match a path: no two constants differ. A collection in a head counts as a variable."""
    pairs = ((a.value, constant_value(b)) for a, b in zip(suffix, path, strict=False) if isinstance(a, nodes.Scalar))
    return all(b is None or equal(a, b[0]) for a, b in pairs)


def rule_terms(rule: NormalRule) -> Iterator[Term]:
    """Every term of a rule, at any depth; lazily, for callers that stop early."""
    for clause in rule.clauses:
        for expr in clause.body:
            yield from body_terms((expr,))
        if clause.value is not None:
            yield from all_terms(clause.value)
    yield from _head_terms(rule)


def _head_terms(rule: NormalRule) -> list[Term]:
    steps = (*rule.suffix, *([rule.key] if rule.key is not None else []))
    return [term for step in steps for term in all_terms(step)]


_INPUT: Final = nodes.Var("input")


def _touching_terms(clause: Clause) -> list[Term]:
    """The terms of a clause that can refer to rules. Skips local terms of flat expressions, which are the majority."""
    found = [*(all_terms(clause.value) if clause.value is not None else ())]
    for expr in clause.body:
        if not expr.flat or expr.withs:
            found += body_terms((expr,))
            continue
        if type(expr.what) is nodes.Call and type(expr.what.operator) is nodes.Ref:
            found.append(expr.what)
        for term in expr_terms(expr):
            if not (is_simple(term) and _is_local(term)):
                found += all_terms(term)
    return found


def _is_local(term: Term) -> bool:
    """True if a term itself, regardless of its subterms, is a constant, local, or part of `input`."""
    if type(term) is nodes.Ref:
        return type(term.head) is nodes.Var and term.head.name != "data"
    if type(term) is nodes.Var:
        return term.name != "data"
    return type(term) is nodes.Scalar


def body_terms(body: Body) -> list[Term]:
    """Every term of a body, at any depth."""
    found: list[Term] = []
    for expr in body:
        if isinstance(expr.what, nodes.Call):
            found.append(expr.what)
        for term in expr_terms(expr):
            found += all_terms(term)
        for item in expr.withs:
            found += all_terms(item.value)
        # Replacing a document or function is a dependency; replacing `input` does not read it.
        found += [item.target for item in expr.withs if item.target != _INPUT]
        if expr.what.__class__ in HOLD_OPERANDS:
            for inner in bodies(expr.what):
                found += body_terms(inner)
    return found


def all_terms(term: Term) -> Sequence[Term]:
    """A term and every term in it, including comprehensions, without the variables that references start with."""
    if is_simple(term):
        return (term, *term.path) if type(term) is nodes.Ref else (term,)
    items = walk_terms(term)
    heads_of_refs = {id(item.head) for item in items if isinstance(item, nodes.Ref)}
    closures = [item for item in items if item.__class__ in HOLD_BODIES]
    if not heads_of_refs and not closures:
        return items
    found = [item for item in items if id(item) not in heads_of_refs]
    for closure in closures:
        for head in heads(closure):
            found += all_terms(head)
        for body in bodies(closure):
            found += body_terms(body)
    return found
