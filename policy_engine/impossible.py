"""Conditions that no input can make true: members that no input has, and comparisons with values that none has.

A misspelt member is undefined, and a denial that depends on it never denies; nobody notices. Given the schema of
`input`, this finds such conditions in the rules in their normal form, as far as they are certain: everything that is
not known (`ANYTHING`) may be right. Variables, constant rules, the bundle's data, and what all calls of a function give
to it are followed. Conditions on the policies' own constants are settings, and no mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from policy_engine import domains
from policy_engine.compiler.generated_names import is_generated
from policy_engine.compiler.program import Clause, Kind, NormalRule, Path, Program, RuleGroup, dotted
from policy_engine.compiler.suggestions import did_you_mean
from policy_engine.compiler.terms import (
    COMPREHENSIONS,
    bodies,
    builtin_name,
    closures,
    expr_terms,
    function_path,
    heads,
    operands,
    walk_terms,
)
from policy_engine.domains import ANYTHING, Constant, Domain, constant, is_given, iterate, select
from policy_engine.impossible_texts import listed, text, types_text
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.values import Set, Value, equal, freeze, thaw, to_term

_PASSES: Final = 4
"""Each but the last finds out what calls give to functions, one level of calls deeper than the one before it."""
_OF_EXPRESSIONS: Final = (nodes.Negation, nodes.Conjunction, nodes.Disjunction)
_WITH_MEMBERS: Final = frozenset(("array", "object", "set"))
_TYPE_TESTS: Final = frozenset(
    (*(f"is_{name}" for name in ("null", "boolean", "number", "string", "array", "object", "set")), "type_name")
)
_OFF: Final = (None, "", "*")
"""Values that switch a setting off or leave it open: as a constant of the policies they are no misspelt names."""
_COMPARED: Final = frozenset(("equal", "eq", "neq", "lt", "lte", "gt", "gte"))


@dataclass(frozen=True, slots=True)
class Impossible:
    """A condition that no input can make true, or that every input does."""

    message: str
    hint: str
    location: Location


@dataclass(slots=True)
class _Scope:
    """Facts about the variables of a body, and the values that its conditions so far leave to parts of the input."""

    domains: dict[str, Domain] = field(default_factory=dict)
    written: dict[str, Term] = field(default_factory=dict)
    left: dict[Path, list[Value]] = field(default_factory=dict)
    loc: Location = NOWHERE

    def inner(self) -> _Scope:
        return _Scope(dict(self.domains), dict(self.written), dict(self.left), self.loc)


def find(program: Program, data: Mapping[str, Value], schema: Mapping[str, Any]) -> list[Impossible] | None:
    """The conditions of a compiled program that no input of this schema meets, in order of their places.

    None for a program that replaces documents by `with`: what its rules see is not what comes in.
    """
    if program.masked or any(_replaces_input(clause.body) for _, clause in program.ordered):
        return None
    search = _Search(program, data, domains.described(schema, schema))
    for _ in range(_PASSES):
        search.pass_through()
    return sorted(search.found.values(), key=lambda each: each.location)


def compared(
    program: Program, data: Mapping[str, Value], schema: Mapping[str, Any], paths: Sequence[Sequence[Value]]
) -> list[Value]:
    """The constants that conditions compare what is at some paths of the input with, in the order of the rules."""
    search = _Search(program, data, domains.described(schema, schema))
    for _ in range(_PASSES):
        search.pass_through()
    found: list[Value] = []
    for path in paths:
        domain = domains.described(schema, schema)
        for step in path:
            domain = select(domain, step)
        for part in domain or ():
            found += search.compared.get(id(part.schema), []) if isinstance(part, domains.Described) else []
    return found


def _replaces_input(body: Body) -> bool:
    for expr in body:
        for item in expr.withs:
            head = item.target.head if isinstance(item.target, nodes.Ref) else item.target
            if head == nodes.Var("input"):
                return True
        for closure in closures(expr):
            if any(map(_replaces_input, bodies(closure))):
                return True
    return False


class _Search:
    """One look at all rules, each after those that it depends on."""

    def __init__(self, program: Program, data: Mapping[str, Value], given: Domain) -> None:
        self._program, self._data, self._input = program, data, given
        self._given: dict[str, list[Domain]] = {}
        """The operands that calls give to functions, by their names."""
        self.found: dict[tuple[str, Location], Impossible] = {}
        self.compared: dict[int, list[Value]] = {}
        """The constants that parts of the input are compared with, by the identities of their schemas."""

    def pass_through(self) -> None:
        self.found, self.compared = {}, {}
        self._calls: dict[str, list[Domain]] = {}
        self._documents: dict[Path, list[Domain]] = {}
        for rule, clause in self._program.ordered:
            self._clause(rule, clause)
        self._given = self._calls

    def _clause(self, rule: NormalRule, clause: Clause) -> None:
        scope = _Scope(loc=clause.loc or rule.loc)
        for number, arg in enumerate(rule.args or ()):
            given = self._given.get(dotted(rule.path), [])
            if isinstance(arg, nodes.Var):
                known = number < len(given) and not _tests_type(clause.body, arg)
                scope.domains[arg.name] = given[number] if known else ANYTHING
            else:
                self._bind(arg, scope)
        self._body(clause.body, scope)
        for step in rule.suffix:
            self._value(step, scope)
        head = rule.key if rule.key is not None else clause.value
        value = ANYTHING if head is None else self._value(head, scope)
        self._documents.setdefault(rule.path, []).append(ANYTHING if rule.suffix else value)

    # ---- bodies

    def _body(self, body: Body, scope: _Scope) -> None:
        for expr in body:
            scope.loc = expr.loc or scope.loc
            self._expr(expr, scope)

    def _expr(self, expr: Expr, scope: _Scope) -> None:
        what = expr.what
        if expr.withs:  # a function is replaced
            self._called_with_anything(expr)
            return
        if isinstance(what, nodes.Every):
            domain, inner = self._value(what.domain, scope), scope.inner()
            inner.domains[what.value.name] = iterate(domain)
            self._body(what.body, inner)
        elif isinstance(what, _OF_EXPRESSIONS):
            for operand in operands(what):
                self._body((operand,) if isinstance(operand, Expr) else operand, scope.inner())
        elif isinstance(what, nodes.Call) and builtin_name(what) == "eq" and len(what.args) == 2:
            self._equality(*what.args, scope, holds=not expr.negated)
        elif isinstance(what, nodes.Call):
            self._call(what, scope, holds=not expr.negated)
        elif not isinstance(what, nodes.SomeDecl | nodes.SomeIn):
            self._value(what, scope)

    def _called_with_anything(self, expr: Expr, *more: Term) -> None:
        """Note for the functions that an expression calls that nothing is known of their operands."""
        for term in (*((expr.what,) if isinstance(expr.what, nodes.Call) else expr_terms(expr)), *more):
            for part in walk_terms(term):
                if isinstance(part, nodes.Call) and builtin_name(part) is None:
                    self._function(part, [ANYTHING for _ in part.args])
        for closure in closures(expr):
            for inner in (inner for body in bodies(closure) for inner in body):
                self._called_with_anything(inner, *(heads(closure) if isinstance(closure, COMPREHENSIONS) else ()))

    def _equality(self, a: Term, b: Term, scope: _Scope, *, holds: bool) -> None:
        if isinstance(a, nodes.Array) and isinstance(b, nodes.Array) and len(a.items) == len(b.items):
            for one, other in zip(a.items, b.items, strict=True):
                self._equality(one, other, scope, holds=False)
            return
        for one, other in ((a, b), (b, a)):
            if isinstance(one, nodes.Var) and one.name not in ("input", "data") and one.name not in scope.domains:
                scope.domains[one.name] = self._value(other, scope)
                scope.written[one.name] = other
                return
        for one in (a, b):
            self._bind(one, scope)
        a_domain, b_domain = self._value(a, scope), self._value(b, scope)
        self._members_of(a, b_domain, b, scope)
        self._members_of(b, a_domain, a, scope)
        self._compare("eq", a, a_domain, b, b_domain, scope, holds=holds)

    def _members_of(self, pattern: Term, domain: Domain, of: Term, scope: _Scope) -> None:
        """The members of an object that is compared with a part of the input."""
        for key, _ in pattern.pairs if isinstance(pattern, nodes.Object) and is_given(domain) else ():
            if isinstance(key, nodes.Scalar) and domains.names(domain) and select(domain, key.value) == ():
                self._undefined_key(f"`{text(of, scope.written)}`", key.value, domains.names(domain), of, scope)

    def _bind(self, pattern: Term, scope: _Scope) -> None:
        """Nothing is known of the new variables of a pattern."""
        if isinstance(pattern, nodes.Array | nodes.Object | nodes.Set):
            for term in walk_terms(pattern):
                if isinstance(term, nodes.Var):
                    scope.domains.setdefault(term.name, ANYTHING)

    # ---- values

    def _value(self, term: Term, scope: _Scope) -> Domain:
        """The domain of a term. Each is looked at once, because that finds what is wrong in it."""
        found = constant_value(term)
        if found is not None:
            return constant(found[0])
        match term:
            case nodes.Var("input"):
                return self._input
            case nodes.Var(name):
                return scope.domains.setdefault(name, ANYTHING)
            case nodes.Ref():
                return self._reference(term, scope)
            case nodes.Call():
                return self._call(term, scope, holds=False)
            case nodes.Array(items) | nodes.Set(items):
                return (domains.Collected(domains.union(iter([self._value(item, scope) for item in items]))),)
            case nodes.Object(pairs):
                for pair in pairs:
                    for part in pair:
                        self._value(part, scope)
        if isinstance(term, COMPREHENSIONS):
            inner = scope.inner()
            (body,) = bodies(term)
            self._body(body, inner)
            values = [self._value(head, inner) for head in heads(term)]
            return (domains.Collected(values[0]),) if len(values) == 1 else ANYTHING
        return ANYTHING

    def _reference(self, ref: nodes.Ref, scope: _Scope) -> Domain:
        head = ref.head
        number, domain, ours, varied = 0, ANYTHING, False, False
        if head == nodes.Var("data"):
            number, domain, ours = self._document(ref, scope)
        else:
            domain = self._value(head, scope)
        for place in range(number, len(ref.path)):
            step = ref.path[place]
            if domain == ():
                return ()
            if isinstance(step, nodes.Scalar):
                below = select(domain, step.value)
                if below == () and (is_given(domain) or ours):
                    there = domains.names(domain)
                    # A member that none of many entries in the bundle's data has may be optional.
                    if not varied or _near(step.value, there):
                        self._undefined(ref, place, there, scope)
                domain = below
            else:
                domain, varied = self._any_step(ref, place, domain, scope), varied or ours
        return domain

    def _any_step(self, ref: nodes.Ref, place: int, domain: Domain, scope: _Scope) -> Domain:
        """The domain behind a step that is no constant."""
        step = ref.path[place]
        keys = self._value(step, scope)
        constants = _constants(keys)
        if constants and is_given(domain):
            below = domains.union(select(domain, key) for key in constants)
            if below == ():
                self._undefined(ref, place, domains.names(domain), scope, constants[0])
            return below
        if is_given(domain) and not domains.types(domain) & _WITH_MEMBERS:
            above = nodes.Ref(ref.head, ref.path[:place]) if place else ref.head
            self._say(f"`{text(above, scope.written)}` has no members: it is {types_text(domain)}", "", ref, scope)
        if is_given(keys) and (known := [key for each in _constants(domain) for key in _keys(each)]):
            self._compare("eq", step, keys, ref, tuple(map(Constant, known)), scope, holds=False)
        return iterate(domain)

    def _document(self, ref: nodes.Ref, scope: _Scope) -> tuple[int, Domain, bool]:
        """The number of steps to a rule or to base data, the domain there, and whether it is base data."""
        node, base = self._program.tree, cast(Any, self._data)
        for place, step in enumerate(ref.path):
            if node.group is not None:
                return place, self._rule(node.group), False
            if not isinstance(step, nodes.Scalar):
                self._value(step, scope)
                return len(ref.path), ANYTHING, False
            key = freeze(step.value)
            below, under = node.children.get(key), base.get(key, _MISSING) if isinstance(base, dict) else _MISSING
            if below is None and under is _MISSING:
                there = [*map(thaw, node.children), *(map(thaw, base) if isinstance(base, dict) else ())]
                self._undefined(ref, place, [each for each in there if isinstance(each, str)], scope)
                return len(ref.path), (), False
            if below is None:
                return place + 1, constant(under), True
            node, base = below, under
        return len(ref.path), ANYTHING if node.group is None else self._rule(node.group), False

    def _rule(self, group: RuleGroup) -> Domain:
        found = domains.union(iter(self._documents.get(group.path, [ANYTHING])))
        if group.kind is Kind.COMPLETE:
            return found
        return (domains.Collected(found),) if group.kind is Kind.SET else ANYTHING

    # ---- calls

    def _call(self, call: nodes.Call, scope: _Scope, *, holds: bool) -> Domain:
        name = builtin_name(call)
        args = [self._value(arg, scope) for arg in call.args]
        if name is None:
            return self._function(call, args)
        if name in _COMPARED and len(args) == 2:
            self._compare(name, call.args[0], args[0], call.args[1], args[1], scope, holds=holds)
        elif name in ("internal.member_2", "internal.member_3"):
            self._member(call, args, scope, holds=holds)
        elif name == "object.get" and len(args) >= 3:
            return self._get(call, args, scope)
        return ANYTHING

    def _function(self, call: nodes.Call, args: list[Domain]) -> Domain:
        assert isinstance(call.operator, nodes.Ref)
        path = function_path(call.operator)
        before = self._calls.get(dotted(path))
        pairs = [args] if before is None else [before, args]
        self._calls[dotted(path)] = [domains.union(iter(each)) for each in zip(*pairs, strict=False)]
        return domains.union(iter(self._documents.get(path, [ANYTHING])))

    def _member(self, call: nodes.Call, args: list[Domain], scope: _Scope, *, holds: bool) -> None:
        one, many = call.args[-2], call.args[-1]
        types = domains.types(args[-1])
        if is_given(args[-1]) and not types & _WITH_MEMBERS:
            hint = "`contains(text, part)` looks for a part of a text" if "string" in types else ""
            self._say(f"`{text(many, scope.written)}` has no members: it is {types_text(args[-1])}", hint, call, scope)
            return
        self._compare("in", one, args[-2], many, iterate(args[-1]), scope, holds=holds)

    def _get(self, call: nodes.Call, args: list[Domain], scope: _Scope) -> Domain:
        """`object.get`: the value at a key, or at a path of keys, or the default."""
        keys = _constants(args[1])
        if not is_given(args[0]) or len(keys) != 1:
            return ANYTHING
        domain = args[0]
        for key in keys[0] if isinstance(keys[0], list) else keys:
            below = select(domain, key)
            if below == () and domain:
                self._undefined_key(f"`{text(call.args[0], scope.written)}`", key, domains.names(domain), call, scope)
                return ANYTHING
            domain = below
        return domains.union(iter((domain, args[2])))

    # ---- comparisons

    def _compare(
        self, how: str, a: Term, a_domain: Domain, b: Term, b_domain: Domain, scope: _Scope, *, holds: bool
    ) -> None:
        for one, domain, other, of in ((a, a_domain, b, b_domain), (b, b_domain, a, a_domain)):
            values, is_written = _constants(of), constant_value(_written(other, scope)) is not None
            if not values or domain is None or not is_given(domain):
                continue
            for part in domain:
                if isinstance(part, domains.Described):
                    self.compared.setdefault(id(part.schema), []).extend(values)
            if how in ("eq", "equal", "neq", "in"):
                possible = [value for value in values if domains.admits(domain, value)]
                wrong = [value for value in values if not domains.admits(domain, value)]
                if possible:  # of several values some may be for other inputs: only misspelt ones are certainly wrong
                    wrong = [value for value in wrong if _similar(value, domain)]
                for value in wrong:
                    if value in _OFF[:2] if how == "neq" else value in _OFF and not is_written:
                        continue  # a condition that is always true in vain, or a setting that is off
                    self._never(one, domain, value, scope, member=how == "in" and one is b)
                if holds and possible and how != "neq" and one is a:
                    self._narrow(one, possible, scope)
            elif len(values) == 1 and (is_written or domains.type_of(values[0]) not in ("null", "number")):
                self._order(how if one is a else _TURNED[how], one, domain, values[0], scope)
            return

    def _never(self, one: Term, domain: Domain, value: Value, scope: _Scope, *, member: bool) -> None:
        where = text(one, scope.written)
        hint = ""
        if near := _similar(value, domain):
            hint = f"did you mean `{near}`?"
        elif domains.type_of(value) not in domains.types(domain):
            hint = f"it is {types_text(domain)}"
        elif names := domains.texts(domain):
            hint = f"it is one of {listed(names)}"
        elif pattern := domains.pattern(domain):
            hint = f"it matches `{pattern}`"
        said = f"`{where}` never has the member" if member else f"`{where}` is never"
        self._say(f"{said} `{to_term(value)}`", hint, one, scope)

    def _narrow(self, one: Term, values: list[Value], scope: _Scope) -> None:
        """Note what a condition leaves of a part of the input; nothing is left of two that exclude each other."""
        path = _input_path(one, scope)
        if path is None:
            return
        before = scope.left.get(path)
        after = values if before is None else [each for each in before if any(equal(each, one) for one in values)]
        if not after:
            this, that = (" or ".join(f"`{to_term(each)}`" for each in side[:4]) for side in (values, before or ()))
            said = f"`{text(one, scope.written)}` cannot be {this} and {that} in one call"
            self._say(said, "two rules of one name mean `or`; so does `in {…}`", one, scope)
        scope.left[path] = after

    def _order(self, how: str, one: Term, domain: Domain, value: Value, scope: _Scope) -> None:
        """`<` and the like: between types the order is Rego's, which is hardly ever meant; numbers have bounds."""
        types = domains.types(domain)
        where = text(one, scope.written)
        if domains.type_of(value) not in types:
            self._say(f"`{where}` is compared with `{to_term(value)}`", f"it is {types_text(domain)}", one, scope)
        elif types == {"number"} and isinstance(value, int | float):
            low, high = domains.bounds(domain)
            never = {"lt": low >= value, "lte": low > value, "gt": high <= value, "gte": high < value}[how]
            if never:
                sign = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}[how]
                hint = f"it is at most {high:g}" if how in ("gt", "gte") else f"it is at least {low:g}"
                self._say(f"`{where}` is never `{sign} {to_term(value)}`", hint, one, scope)

    # ---- findings

    def _undefined(self, ref: nodes.Ref, place: int, there: list[str], scope: _Scope, key: Value = None) -> None:
        step = ref.path[place]
        key = step.value if isinstance(step, nodes.Scalar) else key
        above = nodes.Ref(ref.head, ref.path[:place]) if place else ref.head
        self._undefined_key(f"`{text(above, scope.written)}`", key, there, ref, scope)

    def _undefined_key(self, where: str, key: Value, there: list[str], at: nodes.Node, scope: _Scope) -> None:
        shown = key if isinstance(key, str) else to_term(key)
        names = f"there is {listed(sorted(set(there)))}" if there else ""
        hint = did_you_mean(key, there, names) if isinstance(key, str) else names
        self._say(f"{where} never has a member `{shown}`", hint, at, scope)

    def _say(self, message: str, hint: str, at: nodes.Node, scope: _Scope) -> None:
        where = at.loc if at.loc != NOWHERE else scope.loc
        self.found.setdefault((message, where), Impossible(message, hint, where))


_MISSING: Final = object()
_TURNED: Final = {"lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte"}


def _constants(domain: Domain) -> list[Value]:
    """The values of a domain that consists of constants; none of any other."""
    if domain is None or not all(isinstance(each, Constant) for each in domain):
        return []
    return [each.value for each in domain if isinstance(each, Constant)]


def _near(key: Value, there: list[str]) -> bool:
    return isinstance(key, str) and bool(domains.similar(key, there))


def _written(term: Term, scope: _Scope) -> Term:
    """The term that a variable of the compiler stands for."""
    while isinstance(term, nodes.Var) and is_generated(term.name) and term.name in scope.written:
        term = scope.written[term.name]
    return term


def _tests_type(body: Body, var: nodes.Var) -> bool:
    """True if a body asks for the type of a variable: it is written for values that the calls of today do not give."""
    for expr in body:
        terms = (expr.what,) if isinstance(expr.what, nodes.Call) else expr_terms(expr)
        parts = [part for term in terms for part in walk_terms(term)]
        if any(
            isinstance(each, nodes.Call) and builtin_name(each) in _TYPE_TESTS and var in each.args for each in parts
        ):
            return True
        inner = operands(expr.what) if isinstance(expr.what, _OF_EXPRESSIONS) else ()
        if any(_tests_type((each,) if isinstance(each, Expr) else each, var) for each in inner):
            return True
    return False


def _keys(value: Value) -> list[Value]:
    if isinstance(value, dict):
        return [thaw(key) for key in value]
    return list(value) if isinstance(value, Set) else []


def _similar(value: Value, domain: Domain) -> str:
    """The text of a domain that a value was probably meant to be; "" if there is none."""
    listed = domains.texts(domain)
    if not isinstance(value, str) or not listed:
        return ""
    folded = {each.casefold(): each for each in listed}
    near = domains.similar(value.casefold(), list(folded))
    return folded[near[0]] if near else ""


def _input_path(term: Term, scope: _Scope) -> Path | None:
    """The path below `input` of a term that stands for a part of it."""
    while isinstance(term, nodes.Var) and term.name in scope.written:
        term = scope.written[term.name]
    if not isinstance(term, nodes.Ref) or not all(isinstance(step, nodes.Scalar) for step in term.path):
        return None
    return tuple(freeze(step.value) for step in term.path) if term.head == nodes.Var("input") else None  # type: ignore[union-attr]
