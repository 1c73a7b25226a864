"""Comprehensions in loops that are looked up in a table, and the keys of those tables.

    some host in input.hosts
    key := [host.zone, lower(host.name)]
    ports := {service.port | some service in input.services; key == [service.zone, lower(service.host)]}

searches all services for each host. But the body itself says what `key` must be, so one run of it without `key` finds
the ports for every value that `key` can have, and those of each host are looked up. If an equality compares a part
of a member, a join index does the same for less (see `lookahead`). A table is for values that are computed from
members.

Nobody can tell whether there is a table. The part of a body that runs for values that nobody asks for calls nothing
with an effect, and if it raises an error the table is given up (see `joins.grouped`).
"""

from __future__ import annotations

from collections.abc import Iterable

from policy_engine.codegen.frame import FunctionFrame
from policy_engine.codegen.names import Names
from policy_engine.compiler.recursion import all_terms, body_terms
from policy_engine.compiler.terms import bodies, builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr, Term

MOST_TABLES = 2
"""The most comprehensions nested in each other that have tables."""


def table_keys(fn: FunctionFrame, comprehension: Term) -> tuple[str, ...]:
    """The outer variables by which a comprehension is looked up; none if it gets no table."""
    if not fn.loops or fn.tables >= MOST_TABLES or fn.observer.exact:
        return ()
    keys = tuple(sorted(_names(all_terms(comprehension)) & fn.env.keys()))
    (body,) = bodies(comprehension)
    missing, known, computed = set(keys), set[str](), set[str]()
    for expr in body:
        terms = body_terms((expr,))
        names = _names(terms)
        if names & missing:
            key = _bound_key(expr, missing, known, computed)
            if key is None or len(names & missing) > 1:
                return ()
            missing.remove(key)
        if expr.withs or not _is_unnoticed(fn.names, terms, len(missing) < len(keys)):
            return ()
        if isinstance(expr.what, nodes.Call) and any(isinstance(arg, nodes.Call) for arg in expr.what.args):
            computed |= names - known  # a call among the operands is a side of an equality
        known |= names
    return () if missing else keys


def _is_unnoticed(names: Names, terms: Iterable[Term], more_often: bool) -> bool:
    """True if nobody can notice that an expression of these terms runs less often, or `more_often` for other values."""
    for term in terms:
        if isinstance(term, nodes.Call):
            name = builtin_name(term)
            if names.has_effect(name) or (more_often and not names.is_plain(name)):
                return False
        elif more_often and isinstance(term, (nodes.Ref, nodes.Var)):
            head, path = (term.head, term.path) if isinstance(term, nodes.Ref) else (term, ())
            if isinstance(head, nodes.Var) and head.name == "data" and not names.is_base(path):
                return False
    return True


def _names(terms: Iterable[Term]) -> set[str]:
    """The names of the variables among terms."""
    heads = (term.head if isinstance(term, nodes.Ref) else term for term in terms)
    return {head.name for head in heads if isinstance(head, nodes.Var)}


def _bound_key(expr: Expr, missing: set[str], known: set[str], computed: set[str]) -> str | None:
    """The variable of `missing` that an equality binds to what is computed from members; None if there is none."""
    what = expr.what
    if expr.negated or not isinstance(what, nodes.Call) or builtin_name(what) != "eq" or len(what.args) != 2:
        return None
    for variable, value in (what.args, what.args[::-1]):
        if isinstance(variable, nodes.Var) and variable.name in missing:
            made = isinstance(value, (nodes.Array, nodes.Object)) or (
                isinstance(value, nodes.Var) and value.name in computed
            )
            if made and known >= _names(all_terms(value)):
                return variable.name
    return None
