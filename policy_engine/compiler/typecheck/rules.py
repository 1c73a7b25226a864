"""Stage: checks the types of rules, each after its dependencies, and computes the types of their documents.

The document of a rule with an error has any type, so that rules using it get no errors from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from policy_engine.compiler import recursion
from policy_engine.compiler.program import Clause, NormalRule, Path, Program, RuleSet
from policy_engine.compiler.terms import walk_terms
from policy_engine.compiler.typecheck import type_budget
from policy_engine.compiler.typecheck.annotated import Schemas
from policy_engine.compiler.typecheck.bodies import Bodies
from policy_engine.compiler.typecheck.documents import DocumentNode
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term
from policy_engine.types import ANY, UNKNOWN, FunctionType, ObjectType, SetType, Type
from policy_engine.values import freeze


def check(program: Program, errors: list[PolicyError]) -> None:
    """Check every rule; `program.documents` holds the types of their documents afterwards."""
    type_budget.begin(len(program.ordered))
    checker = Bodies(program.builtins, Dependents(program).layer)
    schemas = Schemas(program)
    (tree,) = program.documents.layers
    for rule, clause in program.ordered:
        found = clause in program.broken
        if not found:
            documents = schemas.over(program.documents, rule, clause, errors)
            scope = TypeScope(clause.body, documents)
            wrong = checker.check(scope)
            errors += wrong
            found = bool(wrong)
        if found:
            tree.put(("data", *rule.path, *map(_key, rule.suffix)), ANY)
            continue
        ground = _scalars(rule.suffix)
        type_ = _type(rule, clause, scope)
        for step in reversed(rule.suffix[len(ground) :]):
            key = scope.type_of(step)
            type_ = UNKNOWN if UNKNOWN in (key, type_) else ObjectType((), (key, type_))
        if type_ is not UNKNOWN:
            program.types[clause] = type_
            tree.insert(("data", *rule.path, *ground), type_)


def check_query(query: Program, errors: list[PolicyError]) -> None:
    """Check a query's body against the documents of a program that has been checked."""
    type_budget.begin(0)
    checker = Bodies(query.builtins, Dependents(query).layer)
    for _, clause in query.valid_clauses(errors):
        errors += checker.check(TypeScope(clause.body, query.documents))


def _scalars(steps: Sequence[Term]) -> Path:
    """The steps before the first one that is not a scalar; the rest is part of the document's type."""
    return tuple(itertools.takewhile(lambda key: key is not UNKNOWN, map(_key, steps)))


def _key(step: Term) -> object:
    """A step in the tree of documents."""
    return freeze(step.value) if isinstance(step, nodes.Scalar) else UNKNOWN


def _type(rule: NormalRule, clause: Clause, scope: TypeScope) -> Type:
    """The type of a clause's value, or of the set or function that it is part of."""
    if rule.key is not None:
        member = scope.type_of(rule.key)
        return UNKNOWN if member is UNKNOWN else SetType(member)
    assert clause.value is not None
    if rule.args is None:
        return scope.type_of(clause.value)
    for arg in rule.args:
        for term in walk_terms(arg):
            if isinstance(term, nodes.Var) and scope.find(term.name) is UNKNOWN:
                scope.bind(term.name, ANY)
    result = scope.type_of(clause.value)
    return FunctionType(tuple([scope.type_of(arg) for arg in rule.args]), None if result is UNKNOWN else result)


class Dependents:
    """The rules that depend on a replaced document. Computed when a `with` first asks."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._users: dict[NormalRule | RuleSet, list[NormalRule | RuleSet]] | None = None
        self._known: dict[Path, DocumentNode | None] = {}

    def layer(self, target: Path) -> DocumentNode | None:
        """A layer with any type for documents that depend on a target; None if there are none."""
        if target not in self._known:
            paths = self._paths(target)
            layer = DocumentNode() if paths else None
            for path in paths:
                assert layer is not None
                layer.put(("data", *path), ANY)
            self._known[target] = layer
        return self._known[target]

    def _paths(self, target: Path) -> set[Path]:
        """The ground paths of all rules that depend on rules at or below a path, without those rules."""
        users = self._all_users()
        steps = tuple([nodes.Scalar(step) for step in target])
        replaced: set[NormalRule | RuleSet] = set(recursion.matching(self._program.tree, steps, functions=True))
        node = self._program.tree.find(target)
        if node is not None and node.group is not None:
            replaced.update((*node.group.rules, *node.group.defaults))
        pending, found = list(replaced), set(replaced)
        while pending:
            new = set(users.get(pending.pop(), ())) - found
            found |= new
            pending += new
        return {(*rule.path, *_scalars(rule.suffix)) for rule in found - replaced if isinstance(rule, NormalRule)}

    def _all_users(self) -> dict[NormalRule | RuleSet, list[NormalRule | RuleSet]]:
        if self._users is None:
            self._users = {}
            for rule, rule_sets in self._program.dependencies.items():
                for rule_set in rule_sets:
                    if rule_set not in self._users:
                        for item in rule_set.rules:
                            self._users.setdefault(item, []).append(rule_set)
                    self._users.setdefault(rule_set, []).append(rule)
        return self._users
