"""Rules whose functions need not be written before they are called.

An index chooses a rule or two of many. Writing a rule's function may fail, may need a memo slot, which a context has
from the beginning or not at all, and may need functions of other rules. For most rules in large groups a glance shows
that none of this happens: their bodies are comparisons and calls over `input` and base data, of variables that are
bound before, with one loop at most. Such rules are written when they are first called (see functions.py).
"""

from __future__ import annotations

from policy_engine.codegen.names import Names
from policy_engine.compiler.program import NormalRule
from policy_engine.compiler.terms import builtin_name, is_simple, walk_terms
from policy_engine.compiler.variables import own_vars
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr, Term


def can_wait(names: Names, rule: NormalRule) -> bool:
    """True if writing a rule's function certainly cannot fail, and needs nothing else."""
    if len(rule.clauses) != 1 or rule.suffix or names.mock_slots or names.observer.exact:
        return False
    if not all(isinstance(arg, (nodes.Scalar, nodes.Var)) for arg in rule.args or ()):
        return False
    (clause,) = rule.clauses
    look = _Look(names, {arg.name for arg in rule.args or () if isinstance(arg, nodes.Var)})
    if not all(map(look.expr, clause.body)):
        return False
    # A function may be called in a loop.
    loops = look.loops + (rule.args is not None)
    return loops <= 1 and all(look.is_bound(term) for term in (clause.value, rule.key) if term is not None)


class _Look:
    """Reads a body in its order. `bound` are the variables that have a value by then."""

    def __init__(self, names: Names, bound: set[str]) -> None:
        self.names = names
        self.bound = bound
        self.loops = 0

    def expr(self, expr: Expr) -> bool:
        """True if an expression is a plain comparison, call or reference, whose operands are bound."""
        if not expr.flat or expr.withs:
            return False
        what = expr.what
        if isinstance(what, nodes.Call):
            terms = what.args
            is_equality = len(terms) == 2 and builtin_name(what) == "eq"
            fits = self._equality(terms) if is_equality else self._call(what)
        elif isinstance(what, nodes.Ref):
            terms = (what,)
            fits = self._ref(what)
        else:
            return self.bound.issuperset(own_vars(expr))
        if fits and not expr.negated:
            for term in terms:
                self._bind(term)
        return fits

    def _bind(self, term: Term) -> None:
        if type(term) is nodes.Var:
            self.bound.add(term.name)
        elif type(term) is nodes.Ref and is_simple(term):
            self.bound.update([step.name for step in term.path if type(step) is nodes.Var])
        elif type(term) is not nodes.Scalar:
            self.bound |= _names(term)

    def _equality(self, sides: tuple[Term, ...]) -> bool:
        known = 0
        for side in sides:
            if type(side) is nodes.Ref:
                if not self._ref(side):
                    return False
                known += 1
            elif type(side) is nodes.Call:
                if not self._call(side):
                    return False
                known += 1
            else:
                known += self.is_bound(side)
        return known > 0

    def _call(self, call: nodes.Call) -> bool:
        name = builtin_name(call)
        builtin = None if name is None else self.names.program.builtins.get(name)
        if builtin is None or builtin.relation:
            return False
        return all(map(self.is_bound, call.args[: len(builtin.decl.args)]))

    def _ref(self, ref: nodes.Ref) -> bool:
        head = ref.head
        if type(head) is not nodes.Var or (head.name == "data" and not self.names.is_base(ref.path)):
            return False
        for step in ref.path:
            if type(step) is not nodes.Scalar and not self.is_bound(step):
                self.loops += 1
        return True

    def is_bound(self, term: Term) -> bool:
        """True if a term consists of constants and of variables that are bound."""
        if type(term) is nodes.Scalar:
            return True
        if type(term) is nodes.Var:
            return term.name in self.bound
        return not isinstance(term, nodes.Ref) and self.bound.issuperset(_names(term))


def _names(term: Term) -> set[str]:
    return {item.name for item in walk_terms(term) if isinstance(item, nodes.Var)}
