"""Stage: no rule depends on itself; and the order of rules that follows from it.

Also: which groups a rule can reach, which code generation and facts build on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from policy_engine.compiler.program import Kind, Program, Rule, Tree, dotted
from policy_engine.compiler.terms import (
    FunctionValue,
    bodies,
    expr_terms,
    function_path,
    heads,
    term_closures,
    walk_terms,
)
from policy_engine.errors import RECURSION_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.values import equal, freeze


def check(program: Program, errors: list[PolicyError]) -> None:
    """Report each rule that takes part in a cycle, once per cycle found."""
    edges = {
        rule: sorted(set(dependencies(program, rule, functions=True)), key=lambda r: r.loc) for rule in program.rules
    }
    state: dict[Rule, int] = {}
    for start in program.rules:
        if start not in state:
            program.ordered += _visit(start, edges, state, errors)
    program.dependencies = edges


def _visit(start: Rule, edges: dict[Rule, list[Rule]], state: dict[Rule, int], errors: list[PolicyError]) -> list[Rule]:
    """Depth first without Python's own recursion: chains of rules may be long. 1 is on the path, 2 is done."""
    path: list[Rule] = []
    done: list[Rule] = []
    pending: list[tuple[Rule, Iterator[Rule]]] = []

    def enter(rule: Rule) -> None:
        state[rule] = 1
        path.append(rule)
        pending.append((rule, iter(edges[rule])))

    enter(start)
    while pending:
        rule, rest = pending[-1]
        for target in rest:
            if state.get(target) == 1:
                cycle = [*path[path.index(target) :], target]
                names = [dotted(item.path) for item in cycle]
                text = f"rule {names[0]} is recursive: {' -> '.join(names)}"
                errors.append(PolicyError(RECURSION_ERROR, text, target.loc))
            elif target not in state:
                enter(target)
                break
        else:
            pending.pop()
            path.pop()
            done.append(rule)
            state[rule] = 2
    return done


def dependencies(program: Program, rule: Rule, *, functions: bool = False) -> Iterator[Rule]:
    """The rules one rule's document is made from, itself apart.

    With `functions` also those of a package that it refers to as a whole: they are no part of the document, but OPA
    looks for recursion through them, and the package's type has them.
    """
    for term in rule_terms(rule):
        yield from term_dependencies(program, term, functions)


def term_dependencies(program: Program, term: Term, functions: bool) -> Iterator[Rule]:
    """The rules that one term refers to or calls."""
    if isinstance(term, nodes.Ref) and isinstance(term.head, nodes.Var) and term.head.name == "data":
        yield from matching(program.tree, term.path, functions)
    elif isinstance(term, nodes.Var) and term.name == "data":
        yield from matching(program.tree, (), functions)
    elif isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Ref):
        yield from _function(program, dotted(function_path(term.operator)))
    elif isinstance(term, FunctionValue):
        yield from _function(program, str(term.value))


def _function(program: Program, name: str) -> Iterator[Rule]:
    group = program.functions.get(name)
    if group is not None:
        yield from (*group.rules, *group.defaults)


def matching(tree: Tree, path: tuple[Term, ...], functions: bool = False) -> Iterator[Rule]:
    """The rules whose documents a reference below `data` can touch. A step that is no constant matches anything.

    `functions` below the path are among them only if asked for.
    """
    nodes_here = [tree]
    for number, step in enumerate(path):
        following: list[Tree] = []
        for node in nodes_here:
            if node.group is not None:
                for rule in (*node.group.rules, *node.group.defaults):
                    if rule.args is None and compatible(_ground(rule.suffix), path[number:]):
                        yield rule
                continue
            constant = constant_value(step)
            if constant is not None:
                child = node.children.get(freeze(constant[0]))
                following += [child] if child is not None else []
            else:
                following += node.children.values()
        nodes_here = following
    for node in nodes_here:
        if node.group is not None and node.group.kind is Kind.FUNCTION:
            yield from (*node.group.rules, *node.group.defaults)
        for group in node.groups():
            yield from (rule for rule in (*group.rules, *group.defaults) if functions or rule.args is None)


def _ground(suffix: tuple[Term, ...]) -> tuple[Term, ...]:
    """The constants that a suffix starts with. Behind them a rule may define anything, as far as OPA looks."""
    return tuple(itertools.takewhile(lambda step: isinstance(step, nodes.Scalar), suffix))


def compatible(suffix: tuple[Term, ...], path: tuple[Term, ...]) -> bool:
    """Whether a rule's head can lie on a path: no two constants differ. A collection in a head counts as a variable."""
    pairs = ((a.value, constant_value(b)) for a, b in zip(suffix, path, strict=False) if isinstance(a, nodes.Scalar))
    return all(b is None or equal(a, b[0]) for a, b in pairs)


def rule_terms(rule: Rule) -> list[Term]:
    """Every term of a rule, at any depth."""
    found: list[Term] = []
    for head in (*rule.suffix, *([rule.key] if rule.key is not None else [])):
        found += all_terms(head)
    for clause in rule.clauses:
        if clause.value is not None:
            found += all_terms(clause.value)
        found += body_terms(clause.body)
    return found


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
        # To replace a document or function is to depend on it; to replace `input` is not to read it.
        found += [item.target for item in expr.withs if item.target != nodes.Var("input")]
        if isinstance(expr.what, (nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
            for inner in bodies(expr.what):
                found += body_terms(inner)
    return found


def all_terms(term: Term) -> Sequence[Term]:
    """A term and every term in it, comprehensions included; not the variable that a reference starts with."""
    items = walk_terms(term)
    heads_of_refs = {id(item.head) for item in items if isinstance(item, nodes.Ref)}
    closures = term_closures(term)
    if not heads_of_refs and not closures:
        return items
    found = [item for item in items if id(item) not in heads_of_refs]
    for closure in closures:
        for head in heads(closure):
            found += all_terms(head)
        for body in bodies(closure):
            found += body_terms(body)
    return found
