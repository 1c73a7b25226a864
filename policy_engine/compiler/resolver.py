"""What the names in bodies and terms mean: in the rules of a module (names.py), or in a query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.findings import Findings
from policy_engine.compiler.program import ModuleInfo, dotted
from policy_engine.compiler.renaming import Renaming
from policy_engine.compiler.scopes import (
    How,
    Local,
    Scope,
    Scopes,
    all_names,
    as_written,
    assignable,
    declared_names,
    is_assignment,
    shown,
    variables,
)
from policy_engine.compiler.terms import (
    CAPTURE,
    COMPREHENSIONS,
    HOLD_BODIES,
    HOLD_OPERANDS,
    ROOTS,
    FunctionValue,
    Names,
    bodies,
    call,
    expr_terms,
    map_operands,
    map_term,
    pattern_vars,
    subterms,
    walk_terms,
)
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_term, constant_value
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.syntax.printer import to_text


class Resolver:
    """Resolves the rules of one module, or one query."""

    def __init__(self, table: dict[str, Term], functions: set[str], fresh: Names, found: Findings) -> None:
        self.table = table
        self.functions = functions
        self.fresh = fresh
        self.found = found
        self.scopes = Scopes(fresh)
        self.relations: set[str] = set()
        """The builtins that may have several results."""
        self.namesakes: dict[str, nodes.Var] = {}
        """Variables of the body at hand that have a function's name and are declared nowhere."""
        self.in_operand = False
        """What is being resolved is a part of an operand of `not`, `and` or `or` without braces, outside of bodies."""
        self.shows = False
        """Something since this was last set has been a template string or an operand of `print`."""
        self.holds = False
        """Something since this was last set has been a comprehension or something else that holds bodies."""
        self.strict = False
        """Report what is declared, assigned, imported or taken as an argument and never used (`opa check --strict`)."""
        self.used: set[str] = set()
        """The names of the table that something refers to."""
        self.annotations: Annotations | None = None
        self.head: Scope | None = None
        """The scope of the body whose rule's key or value is being resolved: OPA does that before the body."""
        self.current: tuple[ModuleInfo, nodes.Rule] | None = None
        """The rule that is being resolved, which `rego.metadata` speaks of; None in a query."""

    def _set_errors(self, errors: list[PolicyError]) -> list[PolicyError]:
        """Collect errors of local names in another list; those that are there already are found."""
        if self.scopes.errors:
            self.found.locals += [error for error in self.scopes.errors if error not in self.found.locals]
        before, self.scopes.errors = self.scopes.errors, errors
        return before

    # ---- bodies

    def body(self, body: Body, outer: Iterable[Term] = ()) -> tuple[Body, tuple[Term, ...]]:
        """A body in a scope of its own, and the terms (a comprehension's head) that see what it declares."""
        around, self.in_operand = self.in_operand, False
        self.scopes.open(declared_names(body))
        exprs = self._exprs(body)
        terms = tuple([self.term(term) for term in outer])
        self.scopes.close(strict=self.strict)
        self.in_operand = around
        return exprs, terms

    def query(self, body: Body) -> Body:
        """A query's body. It may declare what a rule must not."""
        resolved, _ = self.body(body)
        self._set_errors([])
        return resolved

    def _exprs(self, body: Body) -> Body:
        resolved = [self._expr(expr) for expr in body]
        return tuple([expr for expr in resolved if expr is not None])

    def _expr(self, expr: Expr) -> Expr | None:
        what = expr.what
        if isinstance(what, nodes.SomeDecl):
            for symbol in what.symbols:
                self.scopes.declare(symbol, How.DECLARED, expr.loc)
            return None
        around, self.holds = self.holds, False
        if type(what) is nodes.Call and is_assignment(what) and len(what.args) == 2:
            resolved = self._assignment(expr, *what.args)
        else:
            new = self._what(expr)
            withs = self._withs(expr) if expr.withs else ()
            resolved = Expr(new, expr.negated, withs, loc=expr.loc)
        if resolved is not None:
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
                return self._some_in(expr, key, value, collection)
            case nodes.Every(key, value, domain, body):
                names = {var.name for var in (key, value) if var is not None}
                with self.scopes.hiding(names):
                    source = self.term(domain)
                scope = self.scopes.open(names)
                for var in (key, value):
                    if var is not None and not var.is_wildcard:
                        self.scopes.declare(var, How.DECLARED, body[0].loc)
                exprs = self._exprs(body)
                self.scopes.close(strict=self.strict)
                exprs = self._renamed_inside(exprs, scope)
                source = self._renaming(scope).term(source)  # what is bound there, nothing binds for the domain
                renamed = [scope.locals[v.name].var if v and v.name in scope.locals else v for v in (key, value)]
                assert renamed[1] is not None
                return nodes.Every(renamed[0], renamed[1], source, exprs, loc=expr.what.loc)
            case nodes.Negation() as negation:
                place = None if self.in_operand else expr.loc
                return map_operands(negation, lambda operand: self._negated(operand, place))
            case nodes.Conjunction() | nodes.Disjunction() as logic:
                where = f"implicit {'and' if isinstance(logic, nodes.Conjunction) else 'or'} operand"
                resolved = map_operands(logic, lambda operand: self._operand(operand, where))
                self._see_inside(resolved)
                return resolved
            case nodes.SomeDecl():
                raise AssertionError("it declares, and is gone")
            case term:
                return self.term(term)

    def _call(self, what: nodes.Call) -> Term:
        """A call that is a whole expression."""
        if self._prints(what.operator):
            self.scopes.see(_PRINT)
            return call("internal.print", (self._optional(what.args, what),), what)
        if _is_metadata(what):
            return self.term(what)
        args = tuple([self.term(arg) for arg in what.args])
        return nodes.Call(self._operator(what.operator)[0], args, infix=what.infix, loc=what.loc)

    def _assignment(self, expr: Expr, target: Term, value: Term) -> Expr | None:
        assert isinstance(expr.what, nodes.Call)
        if isinstance(target, nodes.Var) and target.name in ROOTS and self.current is not None:
            text = f"variables must not shadow {target.name} (use a different variable name)"
            self.found.roots.append(PolicyError(COMPILE_ERROR, text, expr.loc))
        if expr.negated:
            self._refuse_assignment(expr.loc, "negated expression")
            return None
        source = self.term(value)
        # Neither the values nor the targets of its `with` see what the expression declares.
        withs = tuple([self._with(item, renamed=False) for item in expr.withs])
        for var in assignable(target, self.scopes.errors):
            if not var.is_wildcard:
                self.scopes.declare(var, How.ASSIGNED, expr.loc)
        return Expr(call("assign", (self._assigned(target), source), expr.what), False, withs, loc=expr.loc)

    def _assigned(self, target: Term) -> Term:
        """The target of an assignment. Keys of objects in it are as they were: no name that is declared."""
        match target:
            case nodes.Var(name):
                local = self.scopes.find(name)
                return local.var if local is not None else target
            case nodes.Array(items):
                return nodes.Array(tuple(map(self._assigned, items)), loc=target.loc)
            case nodes.Object(pairs):
                return nodes.Object(tuple([(key, self._assigned(value)) for key, value in pairs]), loc=target.loc)
            case _:
                return target

    def _refuse_assignment(self, loc: Location, where: str) -> None:
        self.scopes.errors.append(PolicyError(COMPILE_ERROR, f"cannot assign vars inside {where}", loc))

    def _some_in(self, expr: Expr, key: Term | None, value: Term, collection: Term) -> Term:
        taken = {self._stands_for(name) for name in all_names(collection)}
        names = {var.name: var for var in (*(variables(key) if key is not None else ()), *pattern_vars(value))}
        # What references beside it iterate is declared as well.
        for term in (value, *(part for item in expr.withs for part in (item.target, item.value))):
            names.update((var.name, var) for var in self._iterated(term, taken))
        for name, var in sorted(names.items()):
            declares = name not in taken and name not in ROOTS and not var.is_wildcard
            if declares and not self.scopes.declare(var, How.DECLARED, expr.loc):
                break
        # Before the collection: a comprehension in it may declare what is seen outside of it already.
        item_value = self.term(value)
        step = self.term(key) if key is not None else self.fresh.fresh("$", collection)
        source = self.term(collection)
        item = nodes.Ref(source, (step,), loc=collection.loc)
        if isinstance(source, nodes.Ref):
            item = nodes.Ref(source.head, (*source.path, step), loc=collection.loc)
        return call("eq", (item_value, item), value)

    def _iterated(self, term: Term, bound: set[str]) -> Iterator[nodes.Var]:
        """The variables in the steps of the references in a term that start with something bound."""
        if isinstance(term, COMPREHENSIONS):
            return
        if isinstance(term, nodes.Ref):
            head = [item.name for item in walk_terms(term.head) if isinstance(item, nodes.Var)]
            if not {self._stands_for(name) for name in head} <= bound:
                return
            for step in term.path:
                yield from (var for var in variables(step) if var.name not in bound)
        for part in subterms(term):
            yield from self._iterated(part, bound)

    def _stands_for(self, name: str) -> str:
        """A name, or the document that a rule or import of this name is in."""
        found = self._global(name)
        head = found.head if isinstance(found, nodes.Ref) else found
        return head.name if isinstance(head, nodes.Var) else name

    def _operand(self, operand: Body | Expr, where: str) -> Body | Expr:
        if not isinstance(operand, Expr):
            return self.body(operand)[0]
        if operand.negated:  # of an operand `not` is no part, where the place of a mistake is concerned
            operand = replace(operand, loc=operand.what.loc)
        match operand.what:
            case nodes.Call(nodes.Var("assign"), (_, _)):
                self._refuse_assignment(operand.loc, where)
                return Expr(nodes.Scalar(True), loc=operand.loc)  # what is refused has mentioned no names
            case what:
                around, self.in_operand = self.in_operand, not _is_metadata_alone(what)
                resolved = self._expr(operand)
                self.in_operand = around
                assert resolved is not None
                return resolved

    def _negated(self, operand: Body | Expr, loc: Location | None) -> Body | Expr:
        if isinstance(operand, Expr):
            return self._operand(replace(operand, loc=loc or operand.loc), "negated expression")
        around, self.in_operand = self.in_operand, False
        scope = self.scopes.open(declared_names(operand))
        exprs = self._exprs(operand)
        self.scopes.close(strict=self.strict)
        self.in_operand = around
        return self._renamed_inside(exprs, scope)

    def _renamed_inside(self, body: Body, scope: Scope) -> Body:
        """The body of `every` or `not`: what it declares, bodies in it that stand further up mean as well.

        OPA renames such a body twice, and the second time knows all of its names.
        """
        return self._renaming(scope).body(body)

    def _renaming(self, scope: Scope) -> Renaming:
        return Renaming({name: local.var.name for name, local in scope.locals.items() if local.how is not How.SEEN})

    def _see_inside(self, logic: nodes.Node) -> None:
        """What operands in braces mention without declaring it, the body around has mentioned too."""
        for body in bodies(logic):
            for expr in body:
                terms = [expr.what] if isinstance(expr.what, nodes.Call) else expr_terms(expr)
                for term in (*terms, *(part for item in expr.withs for part in (item.target, item.value))):
                    for var in _mentioned(term):
                        self.scopes.see(var)
                if isinstance(expr.what, (nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
                    self._see_inside(expr.what)

    def _withs(self, expr: Expr) -> tuple[nodes.With, ...]:
        """Those of a body that is negated, and of `every`, the body around has not come to know the names in."""
        own = isinstance(expr.what, nodes.Every) or (
            isinstance(expr.what, nodes.Negation) and not isinstance(expr.what.body, Expr)
        )
        if own:
            self.scopes.open(set())
        withs = tuple([self._with(item) for item in expr.withs])
        if own:
            self.scopes.close(strict=False)
        return withs

    def _with(self, item: nodes.With, *, renamed: bool = True) -> nodes.With:
        target = self._named(item.target) if renamed else self._as_written(item.target)
        value: Term | None = None
        if _dotted(target) in self.functions and _dotted(item.value):
            name = self._named(item.value)
            if _dotted(name) in self.functions:
                value = FunctionValue(_dotted(name), loc=item.value.loc)
        return nodes.With(target, self.term(item.value) if value is None else value, loc=item.loc)

    def _named(self, name: Term) -> nodes.Var | nodes.Ref:
        """What a name in a place for documents and functions stands for; a builtin's is a dotted `Var`."""
        head = name.head if isinstance(name, nodes.Ref) else name
        assert isinstance(head, nodes.Var)  # a parsed name, of a target or a dotted value
        if head.name in ROOTS:  # whatever imports have that name
            if head.name == "data" and (isinstance(name, nodes.Ref) or self._declared("data") is not None):
                head = self._root(head)
            if not isinstance(name, nodes.Ref):
                return head
            self.scopes.see(head)
            return nodes.Ref(head, tuple([self.term(step) for step in name.path]), loc=name.loc)
        free = self._global(head.name) is None and self._declared(head.name) is None
        if free and _dotted(name) in self.functions:
            self.scopes.see(head)
            return nodes.Var(_dotted(name), loc=name.loc)
        target = self.term(name)
        assert isinstance(target, (nodes.Var, nodes.Ref))
        return target

    def _as_written(self, written: Term) -> nodes.Var | nodes.Ref:
        """A target whose variables are no names of the body around: not what they stand for there, and not seen."""
        self.scopes.open(set())
        named = self._named(written)
        self.scopes.close(strict=False)
        for var in variables(written):
            if (local := self._declared(var.name)) is not None:
                local.uses -= 1
        target = as_written(named)
        assert isinstance(target, (nodes.Var, nodes.Ref))
        return target

    # ---- names

    def _is_of_head(self, local: Local) -> bool:
        """Whether it is the rule's key or value that is being resolved, and a local is one of the body's."""
        return self.head is not None and any(local.var is own.var for own in self.head.locals.values())

    def _declared(self, name: str) -> Local | None:
        """The local that a name stands for, if it is a declared one."""
        local = self.scopes.find(name)
        return local if local is not None and local.var.name != name else None

    def _global(self, name: str) -> Term | None:
        """The rule or import that a name stands for."""
        if name not in self.table or self.scopes.hides(name):
            return None
        return self.table[name]

    def _prints(self, operator: nodes.Var | nodes.Ref) -> bool:
        """Whether a call is one of `print`, and of nothing else that has its name."""
        if type(operator) is not nodes.Var or operator.name != "print" or "print" in self.table:
            return False
        return self._declared("print") is None

    # ---- terms

    def term(self, term: Term) -> Term:
        """A term with its names resolved."""
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
                return self._metadata(_dotted(term.operator), term)
            case nodes.Call(operator, args):
                if self._prints(operator):
                    self.found.void.append(PolicyError(TYPE_ERROR, f"{to_text(term)} used as value", term.loc))
                resolved = tuple([self.term(arg) for arg in args])
                function, shadowed = self._operator(operator)
                if shadowed is not None and not self._is_of_head(shadowed):
                    name = _dotted(function).replace(shadowed.var.name, shown(shadowed.var.name), 1)
                    text = f"called function {name} shadowed"
                    self.scopes.errors.append(PolicyError(COMPILE_ERROR, text, term.loc))
                return nodes.Call(function, resolved, infix=term.infix, loc=term.loc)
            case nodes.ArrayComprehension() | nodes.SetComprehension():
                body, (item,) = self.body(term.body, (term.term,))
                return replace(term, term=item, body=body)
            case nodes.ObjectComprehension():
                body, (key, value) = self.body(term.body, (term.key, term.value))
                return replace(term, key=key, value=value, body=body)
            case nodes.Template(parts):
                return self._template(term, parts)
            case _:
                return map_term(term, self.term)

    def _ref(self, ref: nodes.Ref) -> nodes.Ref:
        head = ref.head
        start = self._root(head) if type(head) is nodes.Var and head.name in ROOTS else self.term(head)
        if start is not head and type(start) is nodes.Var and start.name in ROOTS:
            start = self._root(start)  # an import of all of it
        steps = tuple([step if type(step) is nodes.Scalar else self.term(step) for step in ref.path])
        if isinstance(start, nodes.Ref):
            return nodes.Ref(start.head, (*start.path, *steps), loc=ref.loc)
        return nodes.Ref(start, steps, loc=ref.loc)

    def _var(self, term: nodes.Var, name: str) -> Term:
        if term.is_wildcard or name.startswith("'"):
            return term
        if name in ROOTS:
            self.used.add(name)
            if (declared := self._declared(name)) is None:
                return term
            declared.uses += 1
            return nodes.Var(declared.var.name, loc=term.loc)
        if (local := self.scopes.use(name)) is not None:
            if self.head is not None and self.head.locals.get(name) is local:
                self.scopes.see_outer(name, local)
            if name in self.functions and local.var.name == name:
                self._note_namesake(name, term)
            return nodes.Var(local.var.name, loc=term.loc)
        target = self._global(name)
        if target is None:
            if name in self.functions:
                self._note_namesake(name, term)
            self.scopes.see(term)
            return term
        self.used.add(name)
        if not isinstance(target, nodes.Ref):
            return replace(target, loc=term.loc)
        return nodes.Ref(self._start(target), target.path, loc=term.loc)

    def _start(self, target: nodes.Ref) -> nodes.Var:
        """What the path of a rule or an import starts with, which counts as a mention of it.

        OPA has written out all paths before it looks for local names: a local `data` hides the rules, too.
        """
        head = target.head
        assert isinstance(head, nodes.Var)  # `data` or `input`
        if (local := self.scopes.use(head.name)) is not None:
            return local.var
        self.scopes.see(head)
        return head

    def _note_namesake(self, name: str, var: nodes.Var) -> None:
        if self.scopes.outermost and not self.in_operand and self.head is None:
            self.namesakes[name] = var

    def _root(self, head: nodes.Var) -> nodes.Var:
        """`data` or `input` where a reference starts. By itself it is a document; here it counts as a variable too."""
        self.used.add(head.name)
        if (local := self.scopes.use(head.name)) is not None:
            return nodes.Var(local.var.name, loc=head.loc)
        self.scopes.see(head)
        return head

    def _operator(self, operator: nodes.Var | nodes.Ref) -> tuple[nodes.Var | nodes.Ref, Local | None]:
        """What a call calls, and the local that has taken its name: a local is never a function."""
        head = operator if isinstance(operator, nodes.Var) else operator.head
        assert isinstance(head, nodes.Var)
        if (local := self._declared(head.name)) is not None:
            local.uses += 1
            return nodes.Var(_dotted(operator).replace(head.name, local.var.name, 1), loc=operator.loc), local
        target = self._global(head.name)
        if isinstance(target, nodes.Ref):
            self.used.add(head.name)
            path = operator.path if isinstance(operator, nodes.Ref) else ()
            function = nodes.Ref(self._start(target), (*target.path, *path), loc=operator.loc)
            hidden = self._declared(target.head.name) if isinstance(target.head, nodes.Var) else None
            return (nodes.Var(_dotted(function), loc=operator.loc), hidden) if hidden else (function, None)
        self.scopes.see(head)
        if head is operator or head.name == "data":
            return operator, None
        return nodes.Var(_dotted(operator), loc=operator.loc), None

    def _template(self, term: nodes.Template, parts: tuple[str | Expr, ...]) -> Term:
        namesakes = dict(self.namesakes)
        items = [nodes.Scalar(part, loc=term.loc) if isinstance(part, str) else self._shown(part) for part in parts]
        self.namesakes = namesakes  # what it shows is in a body of its own
        return call("internal.template_string", (nodes.Array(tuple(items), loc=term.loc),), term)

    def _shown(self, part: Expr) -> Term:
        """An expression of a template string as a set: of its value, or empty. Variables are bound in any case."""
        if isinstance(part.what, nodes.Call) and (name := _dotted(part.what.operator)) in self.relations:
            text = f"illegal call to relation built-in '{name}' that may cause multiple outputs"
            self.found.templates.append(PolicyError(COMPILE_ERROR, text, part.loc))
        if isinstance(part.what, nodes.Var):
            var = self.term(part.what)
            if isinstance(var, nodes.Var) and var.name not in ROOTS:
                return nodes.Set((var,), loc=part.loc)
        return self._captured(part)

    def _metadata(self, name: str, call_: nodes.Call) -> Term:
        """A call of `rego.metadata.*`: the constant it stands for."""
        assert self.annotations is not None or self.current is None
        taken = self._declared("rego") is not None or self._global("rego") is not None
        if self.current is None or self.annotations is None or taken:
            return nodes.Call(self._operator(call_.operator)[0], (), loc=call_.loc)
        if self.in_operand and name in _METADATA:
            # OPA has a variable for its value by the time that it asks what is bound where, and calls it unsafe.
            return self.fresh.fresh("$", call_)
        if name == "rego.metadata.rule":
            return constant_term(self.annotations.rule(*self.current), call_.loc)
        if name == "rego.metadata.chain":
            return constant_term(self.annotations.chain(*self.current), call_.loc)
        return nodes.Call(self._operator(call_.operator)[0], (), loc=call_.loc)

    def _optional(self, items: Iterable[Term], like: nodes.Node) -> Term:
        """An array in which every term but a constant is a set comprehension: undefined shows as an empty set."""
        parts = [item if isinstance(item, nodes.Scalar) else self._captured(item) for item in items]
        return nodes.Array(tuple(parts), loc=like.loc)

    def _captured(self, item: Term | Expr) -> Term:
        """The set of a term's values."""
        self.shows = self.holds = True
        local = self.fresh.fresh(CAPTURE, item)
        what = item.what if isinstance(item, Expr) else item
        assert isinstance(what, Term)
        withs = item.withs if isinstance(item, Expr) else ()
        around, self.in_operand = self.in_operand, False
        body = self._exprs((Expr(call("eq", (local, what), item), withs=withs, loc=item.loc),))
        self.in_operand = around
        return nodes.SetComprehension(local, body, loc=item.loc)


_METADATA: Final = frozenset({"rego.metadata.rule", "rego.metadata.chain"})


def _is_metadata_alone(what: object) -> bool:
    """Whether an operand is a call of `rego.metadata.*`, or `=` between one and a constant."""
    if not isinstance(what, nodes.Call):
        return False
    if what.operator == nodes.Var("eq") and len(what.args) == 2:
        calls = [isinstance(arg, nodes.Call) and _is_metadata(arg) for arg in what.args]
        return any(calls) and any(constant_value(arg) is not None for arg in what.args)
    return _is_metadata(what)


_PRINT: Final = nodes.Var("print")


def _mentioned(term: Term) -> Iterator[nodes.Var]:
    """The undeclared variables of a resolved term. What paths and names of functions start with counts as one."""
    for item in walk_terms(term):
        name = item.operator if isinstance(item, nodes.Call) else item
        head = name.head if isinstance(name, nodes.Ref) else name
        if not isinstance(head, nodes.Var) or head.is_wildcard or "'" in head.name:
            continue
        if head.name == "internal.print":
            yield _PRINT
        elif head is not item or head.name not in ROOTS:  # by itself a root is a document
            yield nodes.Var(head.name.split(".")[0], loc=head.loc)


def _is_metadata(term: nodes.Call) -> bool:
    return not term.args and _dotted(term.operator).startswith("rego.metadata.")


def _is_string(term: Term) -> bool:
    return isinstance(term, nodes.Scalar) and isinstance(term.value, str)


def _dotted(name: Term) -> str:
    """A name as text; "" for a term that is none."""
    if isinstance(name, nodes.Var):
        return name.name
    if not isinstance(name, nodes.Ref) or not isinstance(name.head, nodes.Var) or not all(map(_is_string, name.path)):
        return ""
    return dotted(tuple([step.value for step in name.path if isinstance(step, nodes.Scalar)]), _dotted(name.head))
