"""Resolves the names in bodies and terms, of the rules of a module (names.py) or of a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.generated_names import CAPTURE, FreshNames
from policy_engine.compiler.program import ModuleInfo, dotted
from policy_engine.compiler.scopes import (
    BindingKind,
    Scopes,
    assignable,
    declared_names,
    is_assignment,
    variables,
)
from policy_engine.compiler.terms import (
    HOLD_BODIES,
    HOLD_OPERANDS,
    ROOTS,
    FunctionValue,
    call,
    map_operands,
    map_term,
)
from policy_engine.compiler.variables import pattern_vars
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_term
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.syntax.printer import to_text


class Resolver:
    """Resolves the rules of one module, or one query."""

    def __init__(
        self, table: dict[str, Term], functions: set[str], fresh: FreshNames, errors: list[PolicyError]
    ) -> None:
        self.table = table
        self.functions = functions
        self.fresh = fresh
        self.errors = errors
        self.scopes = Scopes(fresh, errors)
        self.relations: set[str] = set()
        """The builtins that can have several results."""
        self.in_head = False
        """True if a rule's key or value is being resolved."""
        self.holds = False
        """True if a term with bodies in it was resolved since this was last cleared."""
        self.strict = False
        """Reject assignments, imports and arguments that are never used (`opa check --strict`)."""
        self.used: set[str] = set()
        """The names in `table` that were used."""
        self.annotations: Annotations | None = None
        self.current: tuple[ModuleInfo, nodes.Rule] | None = None
        """The current rule, whose metadata `rego.metadata` returns; None in a query."""

    # ---- bodies

    def body(self, body: Body, outer: Iterable[Term] = ()) -> tuple[Body, tuple[Term, ...]]:
        """Resolve a body in a new scope, and the terms (a comprehension's head) that see its declarations."""
        self.scopes.open(declared_names(body))
        exprs = self._exprs(body)
        terms = tuple([self.term(term) for term in outer])
        self.scopes.close(strict=self.strict)
        return exprs, terms

    def _exprs(self, body: Body) -> Body:
        resolved = [self._expr(expr) for expr in body]
        return tuple([expr for expr in resolved if expr is not None])

    def _expr(self, expr: Expr) -> Expr | None:
        what = expr.what
        if isinstance(what, nodes.SomeDecl):
            for symbol in what.symbols:
                self.scopes.declare(symbol, BindingKind.DECLARED)
            return None
        around, self.holds = self.holds, False
        if type(what) is nodes.Call and is_assignment(what) and len(what.args) == 2:
            resolved = self._assignment(expr, what)
        else:
            new = self._what(expr)
            withs = tuple([self._with(item) for item in expr.withs]) if expr.withs else ()
            resolved = Expr(new, expr.negated, withs, loc=expr.loc)
        resolved.flat = not self.holds
        self.holds |= around
        return resolved

    def _what(self, expr: Expr) -> nodes.Term | nodes.Every | nodes.Negation | nodes.Conjunction | nodes.Disjunction:
        if type(expr.what) is nodes.Call:
            return self._call(expr.what)
        if expr.what.__class__ in HOLD_OPERANDS:
            self.holds = True
        match expr.what:
            case nodes.SomeIn(key, value, collection):
                return self._some_in(key, value, collection)
            case nodes.Every() as every:
                return self._every(every)
            case nodes.Negation() as negation:
                return map_operands(negation, lambda operand: self._operand(operand, "negated expression"))
            case nodes.Conjunction() | nodes.Disjunction() as logic:
                where = f"operand of `{'and' if isinstance(logic, nodes.Conjunction) else 'or'}`"
                return map_operands(logic, lambda operand: self._operand(operand, where))
            case nodes.SomeDecl():
                raise AssertionError("it declares, and is gone")
            case term:
                return self.term(term)

    def _call(self, what: nodes.Call) -> Term:
        """A call that is a statement."""
        if self._prints(what.operator):
            return call("internal.print", (self._optional(what.args, what),), what)
        if _is_metadata(what):
            return self.term(what)
        args = tuple([self.term(arg) for arg in what.args])
        return nodes.Call(self._operator(what.operator, TYPE_ERROR), args, infix=what.infix, loc=what.loc)

    def _every(self, every: nodes.Every) -> nodes.Every:
        domain = self.term(every.domain)
        declared = [var for var in (every.key, every.value) if var is not None]
        self.scopes.open({var.name for var in declared})
        for var in declared:
            if not var.is_wildcard:
                self.scopes.declare(var, BindingKind.DECLARED)
        exprs = self._exprs(every.body)
        renamed = [local.var if (local := self.scopes.find(var.name)) else var for var in declared]
        self.scopes.close(strict=self.strict)
        return nodes.Every(renamed[0] if every.key is not None else None, renamed[-1], domain, exprs, loc=every.loc)

    def _assignment(self, expr: Expr, what: nodes.Call) -> Expr:
        target, value = what.args
        source = self.term(value)
        # The `with` modifiers do not see the variables that this statement declares.
        withs = tuple([self._with(item) for item in expr.withs])
        if expr.negated:
            self._refuse_assignment(what, "negated expression")
            return Expr(source, loc=expr.loc)
        for var in assignable(target, self.errors):
            if not var.is_wildcard:
                self.scopes.declare(var, BindingKind.ASSIGNED)
        return Expr(call("assign", (self._assigned(target), source), what), False, withs, loc=expr.loc)

    def _assigned(self, target: Term) -> Term:
        """Resolve the target of an assignment. This is not a use of the variables."""
        match target:
            case nodes.Var(name):
                local = self.scopes.find(name)
                return local.var if local is not None else target
            case nodes.Array(items):
                return nodes.Array(tuple(map(self._assigned, items)), loc=target.loc)
            case nodes.Object(pairs):
                resolved = [(self.term(key), self._assigned(value)) for key, value in pairs]
                return nodes.Object(tuple(resolved), loc=target.loc)
            case _:
                return target

    def _refuse_assignment(self, what: nodes.Call, where: str) -> None:
        text, hint = f"cannot assign vars inside {where}", "assign in a statement before, and use the variable here"
        self.errors.append(PolicyError(COMPILE_ERROR, text, what.loc, hint=hint))

    def _some_in(self, key: Term | None, value: Term, collection: Term) -> Term:
        for var in {var.name: var for var in (*(variables(key) if key else ()), *pattern_vars(value))}.values():
            if not var.is_wildcard:
                self.scopes.declare(var, BindingKind.DECLARED)
        item_value = self.term(value)
        step = self.term(key) if key is not None else self.fresh.fresh("$", collection)
        source = self.term(collection)
        item = nodes.Ref(source, (step,), loc=collection.loc)
        if isinstance(source, nodes.Ref):
            item = nodes.Ref(source.head, (*source.path, step), loc=collection.loc)
        return call("eq", (item_value, item), value)

    def _operand(self, operand: Body | Expr, where: str) -> Body | Expr:
        if not isinstance(operand, Expr):
            return self.body(operand)[0]
        if isinstance(operand.what, nodes.Call) and is_assignment(operand.what):
            self._refuse_assignment(operand.what, where)
            return Expr(self.term(operand.what.args[-1]), loc=operand.loc)
        resolved = self._expr(operand)
        assert resolved is not None
        return resolved

    def _with(self, item: nodes.With) -> nodes.With:
        target = self._named(item.target)
        value: Term | None = None
        if _dotted(target) in self.functions and _dotted(item.value):
            name = self._named(item.value)
            if _dotted(name) in self.functions:
                value = FunctionValue(_dotted(name), loc=item.value.loc)
        return nodes.With(target, self.term(item.value) if value is None else value, loc=item.loc)

    def _named(self, name: Term) -> nodes.Var | nodes.Ref:
        """Resolve a name that may mean a document or a function; a builtin becomes a dotted `Var`."""
        head = name.head if isinstance(name, nodes.Ref) else name
        assert isinstance(head, nodes.Var)  # the parser allows only names here
        if head.name in ROOTS and not isinstance(name, nodes.Ref):
            return head
        free = self._global(head.name) is None and self.scopes.declared(head.name) is None
        if free and _dotted(name) in self.functions and head.name not in ROOTS:
            self.scopes.mention(head)
            return nodes.Var(_dotted(name), loc=name.loc)
        target = self.term(name)
        assert isinstance(target, (nodes.Var, nodes.Ref))
        return target

    # ---- names

    def _global(self, name: str) -> Term | None:
        """The rule or import that a name means."""
        if name not in self.table or self.scopes.hides(name):
            return None
        return self.table[name]

    def _prints(self, operator: nodes.Var | nodes.Ref) -> bool:
        """True if a call is one of the builtin `print`, not of a rule or variable of that name."""
        if type(operator) is not nodes.Var or operator.name != "print" or "print" in self.table:
            return False
        return self.scopes.declared("print") is None

    # ---- terms

    def term(self, term: Term) -> Term:
        """Resolve the names in a term."""
        cls = type(term)
        if cls is nodes.Scalar:
            return term
        if type(term) is nodes.Var:
            return self._var(term, term.name)
        if type(term) is nodes.Ref:
            return self._ref(term)
        if cls in HOLD_BODIES:
            self.holds = True
        match term:
            case nodes.Call() if _is_metadata(term):
                return self._metadata(term)
            case nodes.Call(operator, args):
                if self._prints(operator):
                    hint = "`print` is a statement of its own"
                    self.errors.append(PolicyError(TYPE_ERROR, f"{to_text(term)} used as value", term.loc, hint=hint))
                resolved = tuple([self.term(arg) for arg in args])
                function = self._operator(operator, TYPE_ERROR if self.in_head else COMPILE_ERROR)
                return nodes.Call(function, resolved, infix=term.infix, loc=term.loc)
            case nodes.ArrayComprehension() | nodes.SetComprehension():
                body, (item,) = self.body(term.body, (term.term,))
                return replace(term, term=item, body=body)
            case nodes.ObjectComprehension():
                body, (key, value) = self.body(term.body, (term.key, term.value))
                return replace(term, key=key, value=value, body=body)
            case nodes.Template(parts):
                items = tuple([self._part(part, term) for part in parts])
                return call("internal.template_string", (nodes.Array(items, loc=term.loc),), term)
            case _:
                return map_term(term, self.term)

    def _ref(self, ref: nodes.Ref) -> nodes.Ref:
        start = self.term(ref.head)
        steps = tuple([step if type(step) is nodes.Scalar else self.term(step) for step in ref.path])
        if isinstance(start, nodes.Ref):
            return nodes.Ref(start.head, (*start.path, *steps), loc=ref.loc)
        return nodes.Ref(start, steps, loc=ref.loc)

    def _var(self, term: nodes.Var, name: str) -> Term:
        if term.is_wildcard or name.startswith("'"):
            return term
        if name in ROOTS:
            self.used.add(name)
            return term
        if (local := self.scopes.use(name)) is not None:
            return nodes.Var(local.var.name, loc=term.loc)
        target = self._global(name)
        if target is None:
            self.scopes.mention(term)
            return term
        self.used.add(name)
        if isinstance(target, nodes.Ref):
            return nodes.Ref(target.head, target.path, loc=term.loc)
        return replace(target, loc=term.loc)

    def _operator(self, operator: nodes.Var | nodes.Ref, code: str) -> nodes.Var | nodes.Ref:
        """Resolve the function of a call. `code` is the code of the error if a variable shadows it."""
        head = operator if isinstance(operator, nodes.Var) else operator.head
        assert isinstance(head, nodes.Var)
        if (local := self.scopes.declared(head.name)) is not None:
            local.uses += 1
            text = f"called function {_dotted(operator)} shadowed by the variable {head.name} of row {local.loc.row}"
            hint = "choose another name for the variable"
            self.errors.append(PolicyError(code, text, operator.loc, hint=hint))
            return operator
        target = self._global(head.name)
        if isinstance(target, nodes.Ref):
            self.used.add(head.name)
            path = operator.path if isinstance(operator, nodes.Ref) else ()
            return nodes.Ref(target.head, (*target.path, *path), loc=operator.loc)
        if head.name == "data":
            return operator
        self.scopes.mention(head)
        return operator if head is operator else nodes.Var(_dotted(operator), loc=operator.loc)

    def _metadata(self, call_: nodes.Call) -> Term:
        """Replace a call of `rego.metadata.*` by its value."""
        hidden = self.scopes.declared("rego") is not None or self._global("rego") is not None
        if self.current is not None and self.annotations is not None and not hidden:
            match _dotted(call_.operator):
                case "rego.metadata.rule":
                    return constant_term(self.annotations.rule(*self.current), call_.loc)
                case "rego.metadata.chain":
                    return constant_term(self.annotations.chain(*self.current), call_.loc)
        return nodes.Call(self._operator(call_.operator, COMPILE_ERROR), (), loc=call_.loc)

    # ---- operands that may be undefined: in template strings and `print`

    def _part(self, part: str | Expr, template: nodes.Template) -> Term:
        """A part of a template string: a text, or a set with the value of an expression, empty if it is undefined."""
        if isinstance(part, str):
            return nodes.Scalar(part, loc=template.loc)
        if isinstance(part.what, nodes.Call) and (name := _dotted(part.what.operator)) in self.relations:
            text = f"illegal call to relation built-in '{name}' that may cause multiple outputs"
            self.errors.append(PolicyError(COMPILE_ERROR, text, part.loc))
        if isinstance(part.what, nodes.Var):
            var = self.term(part.what)
            if isinstance(var, nodes.Var) and var.name not in ROOTS:
                return nodes.Set((var,), loc=part.loc)
        return self._captured(part)

    def _optional(self, items: Iterable[Term], like: nodes.Node) -> Term:
        """An array of constants and, for other terms, of sets with their values, empty if undefined."""
        parts = [item if isinstance(item, nodes.Scalar) else self._captured(item) for item in items]
        return nodes.Array(tuple(parts), loc=like.loc)

    def _captured(self, item: Term | Expr) -> Term:
        """The set comprehension of a term's values."""
        self.holds = True
        local = self.fresh.fresh(CAPTURE, item)
        what = item.what if isinstance(item, Expr) else item
        assert isinstance(what, Term)
        withs = item.withs if isinstance(item, Expr) else ()
        body = self._exprs((Expr(call("eq", (local, what), item), withs=withs, loc=item.loc),))
        return nodes.SetComprehension(local, body, loc=item.loc)


def _is_metadata(term: nodes.Call) -> bool:
    return not term.args and _dotted(term.operator).startswith("rego.metadata.")


def _is_string(term: Term) -> bool:
    return isinstance(term, nodes.Scalar) and isinstance(term.value, str)


def _dotted(name: Term) -> str:
    """A name as text; "" for any other term."""
    if isinstance(name, nodes.Var):
        return name.name
    if not isinstance(name, nodes.Ref) or not isinstance(name.head, nodes.Var) or not all(map(_is_string, name.path)):
        return ""
    return dotted(tuple([step.value for step in name.path if isinstance(step, nodes.Scalar)]), _dotted(name.head))
