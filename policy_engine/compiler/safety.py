"""Stage: every variable is bound before it is needed, by putting the expressions of each body in an order that does so.

The algorithm, and so which bodies are refused, is OPA's (v1/ast/compile.go, reorderBodyForSafety and outputVarsForExpr;
v1/ast/unify.go). Expressions keep their order where nothing forces another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cached_property
from typing import Final

from policy_engine.compiler.program import Clause, Program, Rule
from policy_engine.compiler.scopes import is_internal, shown
from policy_engine.compiler.terms import (
    COMPREHENSIONS,
    HOLD_OPERANDS,
    ROOTS,
    Plain,
    bodies,
    builtin_name,
    closures,
    expr_terms,
    heads,
    is_leaf,
    map_closure,
    map_operands,
    map_term,
    operands,
    same_key,
    subterms,
    term_closures,
    walk_terms,
)
from policy_engine.errors import UNSAFE_VAR_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.syntax.rules import IMPORTABLE

Arity = Callable[[nodes.Call], int]
"""The number of operands a call's function takes, without the output; -1 for a function that does not exist."""


def check(program: Program, arity: Arity, errors: list[PolicyError]) -> None:
    """Order every body, and report variables that nothing binds: in heads, or if there are none there, in bodies."""
    checker = Safety(arity, errors)
    rows = _Rows(program)
    known: dict[Rule, AbstractSet[str]] = {
        rule: ROOTS.union(var.name for arg in rule.args for var in _all_vars(arg)) if rule.args else ROOTS
        for rule in program.rules
    }
    for rule in program.rules:
        for number, clause in enumerate(rule.clauses):
            terms = [clause.value] if clause.value is not None else []
            if number == 0:
                terms += [*rule.suffix, *([rule.key] if rule.key is not None else [])]
            if wanted := [var for term in terms for var in _all_vars(term) if var.name not in known[rule]]:
                bound = {name for expr in clause.body for name in _outer_vars(expr)}
                checker.unbound((var.name, var.loc) for var in wanted if var.name not in bound)
                if checker.unsafe:
                    checker.report(rows.which(rule, clause))
    for rule in program.rules if not errors else ():
        for clause in rule.clauses:
            clause.body = checker.body(clause.body, known[rule])
            if checker.unsafe:
                checker.report(rows.which(rule, clause))


class _Rows:
    """The names of the rules in each row, looked through when the first error wants them."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @cached_property
    def names(self) -> dict[tuple[str, int], set[str]]:
        found: dict[tuple[str, int], set[str]] = defaultdict(set)
        for rule in self.program.rules:
            for clause in rule.clauses:
                found[clause.loc[:2]].add(rule.name_in_module)
        return found

    def which(self, rule: Rule, clause: Clause) -> str:
        """The name of a clause's rule, if there is another one in its row, which does not tell then which is meant."""
        return f" in rule {rule.name_in_module}" if len(self.names[clause.loc[:2]]) > 1 else ""


class Safety:
    """Orders bodies. `errors` collects one error for each variable that stays unbound."""

    def __init__(self, arity: Arity, errors: list[PolicyError]) -> None:
        self.arity = arity
        self.errors = errors
        self.unsafe: dict[str, Location] = {}
        """The variables of a body, inner ones included, that nothing binds, and the place of their first expression."""

    def unbound(self, found: Iterable[tuple[str, Location]]) -> None:
        for name, loc in found:
            self.unsafe[name] = min(loc, self.unsafe.get(name, loc))

    def report(self, which: str = "") -> None:
        """One error for each variable of the policy that is unbound, if there is none, the place of another one."""
        before = len(self.errors)
        for name, loc in self.unsafe.items():
            if not is_internal(name):
                hint = f"`import future.keywords.{name}` makes it a keyword" if name in IMPORTABLE else ""
                text = f"var {shown(name)} is unsafe{which}"
                self.errors.append(PolicyError(UNSAFE_VAR_ERROR, text, loc, hint=hint))
        if self.unsafe and len(self.errors) == before:
            hint = "put operands of `not`, `and` and `or` in braces, or bind what they compute before"
            place = min(self.unsafe.values())
            self.errors.append(PolicyError(UNSAFE_VAR_ERROR, "expression is unsafe", place, hint=hint))
        self.unsafe = {}

    def body(self, body: Body, outside: AbstractSet[str]) -> Body:
        """The body in a safe order, closures in it too. `outside` are the variables bound around it."""
        own = [_outer_vars(expr) for expr in body]
        body_vars = set().union(*own)
        safe = body_vars & outside | ROOTS
        missing = [names - safe for names in own]
        closed = [closures(expr) for expr in body]
        any_closures = any(closed)
        inner = [self.closure_vars(found) if found else set() for found in closed]
        outputs: dict[tuple[int, int], set[str]] = {}  # for an expression, and how many of its variables are safe
        order: list[int] = []
        placed = [False] * len(body)
        left: set[str] = set()
        while True:
            before = len(order)
            for i, expr in enumerate(body):
                if placed[i]:
                    continue
                if not any_closures and own[i] <= safe:
                    placed[i] = True
                    order.append(i)
                    continue
                known = own[i] & safe
                if (i, len(known)) not in outputs:
                    outputs[i, len(known)] = self.outputs(expr, known)
                bound = outputs[i, len(known)]
                iterated, left = self._iterated(expr, bound, safe, left) if any_closures else (bound, left)
                if inner[i]:
                    closed_over = (inner[i] & body_vars) - outside
                    if closed_over:
                        # A closure over just what the same expression iterates is never safe in OPA, even where
                        # something before has bound it: `some v in xs; xs[v] == [v | true]`. OPA adds to what is
                        # iterated what it has found in the call it looked at last.
                        if closed_over == iterated:
                            continue
                        # What the expression itself lacks counts no longer: so does OPA, which then evaluates an
                        # `every` whose domain nothing has bound yet, and finds it undefined.
                        domain = own[i] if isinstance(expr.what, nodes.Every) else set()
                        missing[i] = closed_over | domain | self._builtins_for_documents(expr)
                missing[i] = missing[i] - bound - safe
                if not missing[i]:
                    placed[i] = True
                    order.append(i)
                    safe |= bound
            if len(order) == before:
                break
        if len(order) < len(body):
            skipped = [
                done or isinstance(expr.what, nodes.Every) or bool((names & body_vars) - outside - safe)
                for expr, done, names in zip(body, placed, inner, strict=True)
            ]
            forgiven = self._forgiven(body, own, safe, skipped) if len(body) - len(order) <= _MAX_FORGIVEN else ()
            found = list(self._where(body, placed, missing))
            self.unbound([(name, loc) for name, loc in found if name not in forgiven] or found)
            return body
        if not any_closures:
            return tuple([body[i] for i in order])
        result: list[Expr] = []
        seen = set(outside)
        for i in order:
            result.append(self._inside(body[i], seen) if closed[i] else body[i])
            seen |= own[i]
        return tuple(result)

    def _builtins_for_documents(self, expr: Expr) -> set[str]:
        """The builtins whose names are values of its `with`: OPA takes each for something to evaluate, and unbound."""
        names = {item.value.name for item in expr.withs if isinstance(item.value, nodes.Var)}
        return {name for name in names if self.arity(nodes.Call(nodes.Var(name), ())) >= 0}

    def _iterated(self, expr: Expr, bound: set[str], safe: set[str], left: set[str]) -> tuple[set[str], set[str]]:
        """What OPA takes an expression to bind, which may be more than it does, and what it leaves for the next one.

        It collects variables in a set that a call leaves as it is and an equality empties, but only when it is done.
        """
        if not expr.negated and isinstance(expr.what, nodes.Every):
            return bound | left, bound | left
        if expr.negated or not isinstance(expr.what, nodes.Call):
            return bound, left
        call = expr.what
        if call.operator in (_EQ, _ASSIGN):
            if not isinstance(call.args[-1], nodes.Call):
                return bound | (left - safe), set()
            call = call.args[-1]  # the call of a head, which has its result on the left
        return bound, _ref_outputs(call.args, safe) | bound

    def _forgiven(self, body: Body, own: list[set[str]], safe: set[str], skipped: list[bool]) -> set[str]:
        """What lacks a variable, and yet OPA does not report it. `msg := $"{x}"` lacks `x`, but not `msg`.

        The result of a call counts as bound in an equality behind it, unless what it lacks is needed for that: what is
        in sets, keys of objects and closures is not.
        """
        known = set(safe)
        done = list(skipped)
        found = True
        while found:
            found = False
            results: set[str] = set()
            for i, expr in enumerate(body):
                if done[i]:
                    continue
                what = expr.what
                is_equality = isinstance(what, nodes.Call) and what.operator in (_EQ, _ASSIGN)
                if isinstance(what, nodes.Call) and is_equality and isinstance(inner := what.args[-1], nodes.Call):
                    expr = replace(expr, what=nodes.Call(inner.operator, (*inner.args, what.args[0])))
                    is_equality = False  # the call has its result on the left
                here = known | results if is_equality else known
                bound = self.outputs(expr, here & own[i])
                if isinstance(what, nodes.Call):
                    results = set() if is_equality else bound
                if own[i] <= bound | here:
                    done[i] = found = True
                    known |= own[i]
        return known - safe

    def _where(self, body: Body, placed: list[bool], missing: list[set[str]]) -> Iterable[tuple[str, Location]]:
        wanted = set().union(*(names for names, done in zip(missing, placed, strict=True) if not done))
        for i, expr in enumerate(body):
            if not placed[i]:
                # What OPA has put in front of an `every` stands where its domain does.
                domain = expr.what.domain if isinstance(expr.what, nodes.Every) else None
                ahead = {var.name for var in _all_vars(domain)} if domain is not None else set()
                for name in missing[i]:
                    yield name, domain.loc if domain is not None and name in ahead else expr.loc
                if isinstance(expr.what, nodes.Every):  # its own names, which its domain must not use, are missing here
                    yield from ((name, expr.loc) for name in _declared_by(expr.what) if name in wanted)

    def _inside(self, expr: Expr, seen: set[str]) -> Expr:
        """Order the bodies in an expression. What the expression itself binds is not bound inside them."""

        def term(item: Term) -> Term:
            if isinstance(item, COMPREHENSIONS):
                return self._comprehension(item, seen, expr.loc)
            return map_term(item, term)

        what = expr.what
        match what:
            case nodes.Every(key, value, domain, body):
                known = seen | _declared_by(what)
                what = nodes.Every(key, value, term(domain), self.body(body, known), loc=what.loc)
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                what = map_operands(what, lambda operand: self._operand(operand, seen))
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("declarations are gone after the names stage")
            case _:
                what = term(what)
        withs = tuple([replace(item, value=term(item.value)) for item in expr.withs])
        return replace(expr, what=what, withs=withs)

    def _operand(self, operand: Body | Expr, seen: set[str]) -> Body | Expr:
        if not isinstance(operand, Expr):
            return self.body(operand, seen)
        if isinstance(operand.what, _LOGIC) and (lacking := _outer_vars(operand) - seen - ROOTS):
            first = operands(operand.what)[0]  # of an operand a `not` is no part
            loc = first.loc if isinstance(first, Expr) and first.negated else operand.loc
            self.unbound((name, loc) for name in lacking)
            return operand
        return self._inside(operand, seen)

    def _comprehension(self, item: Term, seen: set[str], loc: Location) -> Term:
        result = map_closure(item, lambda body: self.body(body, seen))
        (body,) = bodies(result)
        bound = seen | {name for expr in body for name in _outer_vars(expr)} | set(ROOTS)
        for head in heads(result):
            self.unbound((var.name, loc) for var in _all_vars(head) if var.name not in bound)
        return result

    # ---- which variables the bodies in an expression have

    def closure_vars(self, inside: Sequence[nodes.Node]) -> set[str]:
        """The variables that occur in the bodies of an expression's closures."""
        found: set[str] = set()
        for closure in inside:
            found |= self._names_inside(closure)
            if isinstance(closure, nodes.Every):
                found -= _declared_by(closure)
        return found

    def _names_inside(self, closure: nodes.Node) -> set[str]:
        found = {var.name for head in heads(closure) for var in _all_vars(head)}
        for head in heads(closure):
            for inner in term_closures(head):
                found |= self._names_inside(inner)
        for body in bodies(closure):
            for expr in body:
                found |= own_vars(expr) | self.closure_vars(closures(expr))
        return found

    # ---- what an expression binds

    def _unbound_in(self, term: Term, safe: set[str]) -> bool:
        """Whether the value of an assignment has a variable that nothing binds: `:=` binds what is on its left only."""
        known = _ref_outputs((term,), safe) | safe | ROOTS
        return any(var.name not in known for var in _all_vars(term))

    def outputs(self, expr: Expr, safe: set[str]) -> set[str]:
        """The variables that evaluating `expr` binds, given those in `safe`; some may be bound already."""
        if expr.negated:
            return set()
        for item in expr.withs:
            if any(var.name not in safe for var in _all_vars(item.value)):
                return set()
        what = expr.what
        if type(what) is nodes.Call:
            return self._call_outputs(what, safe)
        if isinstance(what, (nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
            return set()
        return _ref_outputs(expr_terms(expr), safe)

    def _call_outputs(self, call: nodes.Call, safe: set[str]) -> set[str]:
        args = call.args
        name = builtin_name(call)
        if (name == "eq" or name == "assign") and len(args) == 2:
            left, right = args
            if name == "assign" and self._unbound_in(right, safe):
                return _ref_outputs(args, safe)
            known = _ref_outputs(args, safe) | safe
            return (known | unify(known, left, right)) - safe
        outputs = _ref_outputs(args, safe)
        arity = self.arity(call)
        if arity < 0 or arity >= len(args):
            return outputs
        needed = {var.name for arg in args[:arity] for var in _input_vars(arg)}
        if needed - outputs - safe:
            return set()
        return outputs | {var.name for arg in args[arity:] for var in _input_vars(arg)}


def own_vars(expr: Expr) -> set[str]:
    """The names of the variables that an expression mentions outside of the bodies in it."""
    if expr.withs or expr.what.__class__ in HOLD_OPERANDS:
        return {var.name for var in expr_vars(expr)}
    found: set[str] = set()
    for term in expr_terms(expr):
        if type(term) is nodes.Var:
            found.add(term.name)
        elif type(term) is not nodes.Scalar:
            for item in walk_terms(term):
                if type(item) is nodes.Var:
                    found.add(item.name)
    return found


def _declared_by(every: nodes.Every) -> set[str]:
    return {var.name for var in (every.key, every.value) if var is not None}


def _outer_vars(expr: Expr) -> set[str]:
    """Those of `own_vars` but for operands that are a `not`, `and` or `or` themselves: OPA looks into these later."""
    what = expr.what
    if not isinstance(what, _LOGIC):
        return own_vars(expr)
    return own_vars(replace(expr, what=map_operands(what, lambda operand: () if _is_logic(operand) else operand)))


def _is_logic(operand: Body | Expr) -> bool:
    return isinstance(operand, Expr) and isinstance(operand.what, _LOGIC)


def expr_vars(expr: Expr) -> list[nodes.Var]:
    """The variables of an expression outside of the bodies in it, in the order they stand there."""
    found: list[nodes.Var] = []
    for term in expr_terms(expr):
        found += _all_vars(term)
    if isinstance(expr.what, (nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
        for operand in operands(expr.what):
            if isinstance(operand, (Expr, Plain)):
                for inner in (operand,) if isinstance(operand, Expr) else operand:
                    found += [var for var in expr_vars(inner) if not var.name.startswith("'")]
    for item in expr.withs:
        found += _all_vars(item.value)
        if isinstance(item.target, nodes.Ref):
            for step in item.target.path:
                found += _all_vars(step)
    return found


def _all_vars(term: Term) -> list[nodes.Var]:
    """Every variable of a term outside closures; ref heads count, function names do not."""
    return [item for item in walk_terms(term) if type(item) is nodes.Var]


def _input_vars(term: Term) -> Iterable[nodes.Var]:
    """The variables of a pattern: not those in sets, object keys, ref heads or closures."""
    match term:
        case nodes.Var():
            yield term
        case nodes.Ref(_, path):
            for step in path:
                yield from _input_vars(step)
        case nodes.Array(items):
            for item in items:
                yield from _input_vars(item)
        case nodes.Object(pairs):
            for _, value in pairs:
                yield from _input_vars(value)
        case nodes.Call(_, args):
            for arg in args:
                yield from _input_vars(arg)


def _ref_outputs(terms: Iterable[Term], safe: set[str]) -> set[str]:
    """The variables in the steps of refs whose heads are bound: iterating a ref binds them."""
    found: set[str] = set()
    pending = [term for term in terms if not is_leaf(term)]
    while pending:
        term = pending.pop()
        if type(term) is nodes.Ref:
            if not _is_safe_head(term, safe):
                continue
            for step in term.path:
                if type(step) is nodes.Var:
                    found.add(step.name)
                elif type(step) is not nodes.Scalar:
                    found |= step_vars(step)
        pending += [part for part in subterms(term) if not is_leaf(part)]
    return found


def step_vars(step: Term) -> set[str]:
    """The variables of a ref's step, but for those that refs in it start with."""
    if isinstance(step, nodes.Var):
        return {step.name}
    inner = step.path if isinstance(step, nodes.Ref) else subterms(step)
    return set().union(*map(step_vars, inner))


def _is_safe_head(ref: nodes.Ref, safe: set[str]) -> bool:
    return not isinstance(ref.head, nodes.Var) or ref.head.name in safe or ref.head.name in ROOTS


def unify(safe: set[str], a: Term, b: Term) -> set[str]:
    """The variables that `a = b` binds, given those in `safe`."""
    if a.__class__ not in _PATTERNS and b.__class__ not in _PATTERNS:
        return set()
    unifier = _Unifier(safe)
    unifier.unify(a, b)
    return unifier.unified


_PATTERNS: Final = frozenset((nodes.Var, nodes.Array, nodes.Object))
"""What can bind variables."""

_MAX_FORGIVEN: Final = 30
"""Of so many statements that lack something at most it is asked which of them OPA reports: it takes their square."""

_LOGIC: Final = (nodes.Negation, nodes.Conjunction, nodes.Disjunction)
_EQ: Final = nodes.Var("eq")
_ASSIGN: Final = nodes.Var("assign")

_MATCH_RIGHT: Final[dict[type, tuple[type, ...]]] = {
    nodes.Array: (nodes.Ref, nodes.Call, *COMPREHENSIONS),
    nodes.Object: (nodes.Ref, nodes.Call),
}
_MATCH_LEFT: Final[dict[type, tuple[type, ...]]] = {
    nodes.Array: (nodes.Ref, nodes.Call, nodes.ArrayComprehension),
    nodes.Object: (nodes.Ref, nodes.Call, nodes.ObjectComprehension),
}
"""What binds the variables of a pattern, on the other side of `=`: behind the pattern, and before it."""


class _Unifier:
    def __init__(self, safe: set[str]) -> None:
        self.safe = safe
        self.unified: set[str] = set()
        self.waiting: dict[str, set[str]] = {}
        """For a variable that is still unbound, those that it is made of: either side binds the other."""

    def known(self, name: str) -> bool:
        return name in self.safe or name in self.unified or name in ROOTS

    def unify(self, a: Term, b: Term) -> None:
        match a, b:
            case nodes.Var(x), nodes.Var(y):
                if self.known(y):
                    self.mark(x)
                elif self.known(x):
                    self.mark(y)
                else:
                    self.wait(x, {y})
                    self.wait(y, {x})
            case nodes.Var(x), nodes.Array() | nodes.Object():
                self._with_pattern(x, b)
            case nodes.Array() | nodes.Object(), nodes.Var(y):
                self._with_pattern(y, a)
            case nodes.Array(left), nodes.Array(right):
                if len(left) == len(right):
                    for x_item, y_item in zip(left, right, strict=True):
                        self.unify(x_item, y_item)
            case nodes.Object(left_pairs), nodes.Object(right_pairs):
                if len(left_pairs) == len(right_pairs):
                    for key, value in left_pairs:
                        for other_key, other in right_pairs:
                            if same_key(key, other_key):
                                self.unify(value, other)
            case _:
                self._with_value(b, a, _MATCH_RIGHT)
                self._with_value(a, b, _MATCH_LEFT)

    def _with_value(self, value: Term, pattern: Term, matches: dict[type, tuple[type, ...]]) -> None:
        """`pattern` is matched against something that is known once evaluated."""
        if isinstance(value, (nodes.Var, nodes.Array, nodes.Object)):
            return
        if not isinstance(value, matches.get(pattern.__class__, nodes.Node)):
            return
        if isinstance(value, nodes.Ref) and not _is_safe_head(value, self.safe | self.unified):
            return
        if isinstance(value, (nodes.Set, nodes.Call)) and any(not self.known(var.name) for var in _all_vars(value)):
            return
        for var in _input_vars(pattern) if isinstance(pattern, (nodes.Var, nodes.Array, nodes.Object)) else ():
            self.mark(var.name)

    def _with_pattern(self, name: str, pattern: Term) -> None:
        if self.known(name):
            for var in _input_vars(pattern):
                self.mark(var.name)
            return
        unknown = {var.name for var in _all_vars(pattern) if not self.known(var.name)}
        if unknown:
            self.wait(name, unknown)
        else:
            self.mark(name)

    def wait(self, name: str, needed: set[str]) -> None:
        self.waiting.setdefault(name, set()).update(needed)

    def mark(self, name: str) -> None:
        if self.known(name):
            return
        self.unified.add(name)
        for part in self.waiting.pop(name, ()):
            self.mark(part)
        for other, needed in list(self.waiting.items()):
            if name in needed:
                needed.discard(name)
                if not needed:
                    self.waiting.pop(other, None)
                    self.mark(other)
