"""Stage: what every name means.

After it a variable is either local to its rule (declared ones renamed apart: `x'3`), or the root `data` or `input`;
every reference to a rule or import starts at a root; a call names a builtin (`Var`) or a function below `data`
(`Ref`); template strings are calls of `internal.template_string`; rules are split into path, suffix and clauses.

The scoping rules are OPA's (v1/ast/compile.go, resolveAllRefs and rewriteLocalVars): a name declared in a body (`some`,
`:=`, `every`, a function's argument) hides what is outside from there on; any other variable belongs to the outermost
body that mentions it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.program import Clause, ModuleInfo, Path, Program, Rule, dotted
from policy_engine.compiler.terms import (
    CAPTURE,
    COMPREHENSIONS,
    ROOTS,
    FunctionValue,
    Names,
    call,
    equality,
    map_operands,
    map_term,
    walk_terms,
)
from policy_engine.errors import COMPILE_ERROR, UNSAFE_VAR_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_term
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.values import freeze


def resolve(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.rules` from the modules."""
    names: dict[Path, set[str]] = {}
    for info in program.modules:
        names.setdefault(info.package, set()).update(map(rule_name, info.module.rules))
    functions = function_names(program)
    annotations = Annotations(program)
    for info in program.modules:
        resolver = Resolver(global_names(info, names[info.package], errors), functions, program.names, errors)
        resolver.annotations = annotations
        resolver.strict = program.strict
        for rule in info.module.rules:
            program.rules.append(resolver.rule(info, rule))
        if program.strict:
            _unused_imports(info, resolver.used, errors)


def _unused_imports(info: ModuleInfo, used: set[str], errors: list[PolicyError]) -> None:
    for item in info.module.imports:
        alias = item.alias or _last_step(item.path)
        head = item.path.head if isinstance(item.path, nodes.Ref) else item.path
        if isinstance(head, nodes.Var) and head.name in ROOTS and alias not in used:
            written = f"import {_dotted(item.path)}" + (f" as {item.alias}" if item.alias else "")
            errors.append(PolicyError(COMPILE_ERROR, f"{written} unused", item.loc, hint="remove it"))


def function_names(program: Program) -> set[str]:
    """The full names of all functions: builtins, and `data.…` for those of the policies."""
    functions = set(program.builtins)
    for info in program.modules:
        for rule in info.module.rules:
            if rule.head.args is not None:
                steps = rule.head.ref.path if isinstance(rule.head.ref, nodes.Ref) else ()
                names = [step.value for step in steps if isinstance(step, nodes.Scalar)]
                functions.add(dotted((*info.package, rule_name(rule), *names)))
    return functions


def rule_name(rule: nodes.Rule) -> str:
    """The first part of a rule's name."""
    ref = rule.head.ref
    head = ref if isinstance(ref, nodes.Var) else ref.head
    assert isinstance(head, nodes.Var)
    return head.name


def global_names(info: ModuleInfo, rules: Iterable[str], errors: list[PolicyError]) -> dict[str, Term]:
    """What the names at the top of a module stand for: its package's rules, and its imports."""
    table: dict[str, Term] = {}
    for name in rules:
        steps = tuple([nodes.Scalar(step) for step in (*info.package, name)])
        table[name] = nodes.Ref(nodes.Var("data"), steps)
    taken = set(rules)
    for item in info.module.imports:
        head = item.path if isinstance(item.path, nodes.Var) else item.path.head
        assert isinstance(head, nodes.Var)
        if head.name not in ROOTS:
            continue  # rego.v1 and future.keywords change the parser only
        alias = item.alias or _last_step(item.path)
        if alias in taken:
            errors.append(PolicyError(COMPILE_ERROR, f"import must not shadow `{alias}`", item.loc))
        table[alias] = item.path
    return table


def _last_step(path: Term) -> str:
    if isinstance(path, nodes.Ref) and isinstance(path.path[-1], nodes.Scalar):
        return str(path.path[-1].value)
    assert isinstance(path, nodes.Var)
    return path.name


class Scope:
    """The names one body declares. `pending` are those it declares further down."""

    __slots__ = ("declared", "inline", "occurred", "pending", "unused")

    def __init__(self, pending: set[str], inline: bool = False) -> None:
        self.declared: dict[str, nodes.Var] = {}
        self.occurred: set[str] = set()
        self.pending = pending
        self.unused: dict[str, tuple[str, Location]] = {}
        """Declared names that nothing has used yet, with what to say about them if nothing does."""
        self.inline = inline
        """What occurs here has occurred in the body around too: a template's expression, an operand in braces."""


class Resolver:
    """Resolves the rules of one module, or one query."""

    def __init__(self, table: dict[str, Term], functions: set[str], fresh: Names, errors: list[PolicyError]) -> None:
        self.table = table
        self.functions = functions
        self.fresh = fresh
        self.errors = errors
        self.scopes: list[Scope] = []
        self.strict = False
        """Report what is declared, assigned, imported or taken as an argument and never used (`opa check --strict`)."""
        self.used: set[str] = set()
        """The names of the table that something refers to."""
        self.annotations: Annotations | None = None
        self.current: tuple[ModuleInfo, nodes.Rule] | None = None
        """The rule that is being resolved, which `rego.metadata` speaks of; None in a query."""

    # ---- rules

    def rule(self, info: ModuleInfo, rule: nodes.Rule) -> Rule:
        """A rule in the compiler's form."""
        self.current = (info, rule)
        head = rule.head
        steps = head.ref.path if isinstance(head.ref, nodes.Ref) else ()
        ground = 0
        names: list[object] = []
        # A constant collection is no part of the path: like a variable it makes the rule one of an object.
        while ground < len(steps) and isinstance(step := steps[ground], nodes.Scalar):
            names.append(freeze(step.value))
            ground += 1
        path: Path = (*info.package, rule_name(rule), *names)
        self.scopes.append(Scope(set()))
        args = None
        first: Body = ()
        if head.args is not None:
            for arg in head.args:
                self._declare(arg, "arg")
            # An argument that must be evaluated is compared before anything else of the body runs.
            args, first = self._heads(head.args, ())
            if self.strict and not rule.default:
                hint = "(hint: use _ (wildcard variable) instead)"
                for name in self.scopes[-1].declared:
                    self.scopes[-1].unused[name] = (f"unused argument {name}. {hint}", rule.loc)
        clauses: list[Clause] = []
        suffix: tuple[Term, ...] = ()
        key: Term | None = None
        part: nodes.Rule | None = rule
        while part is not None:
            scope = self._open(part.body)
            body = (*first, *self._exprs(part.body))
            if part is rule:
                suffix, body = self._heads(steps[ground:], body)
                if head.key is not None:
                    (key,), body = self._heads((head.key,), body)
            value = part.head.value if part.head.value is not None else nodes.Scalar(True, loc=part.loc)
            if head.key is None:
                (value,), body = self._heads((value,), body)
            clauses.append(Clause(None if head.key is not None else value, body, part.loc))
            self._close(scope)
            part = part.else_
        self._close(self.scopes[-1])
        return Rule(path, suffix, args, key, clauses, rule.default, rule.loc, info)

    def _heads(self, terms: tuple[Term, ...], body: Body) -> tuple[tuple[Term, ...], Body]:
        """Head terms resolved; one that must be evaluated becomes a variable that the end of the body binds."""
        result: list[Term] = []
        extra: list[Expr] = []
        for term in terms:
            resolved = self._without_calls(self.term(term), extra)
            if not _is_plain(resolved):
                local = self.fresh.fresh("", term)
                extra.append(equality(local, resolved, term))
                resolved = local
            result.append(resolved)
        return tuple(result), (*body, *extra)

    def _without_calls(self, term: Term, extra: list[Expr]) -> Term:
        """A head term in which a variable stands for each call: what is left may need no evaluation of its own."""
        match term:
            case nodes.Call():
                local = self.fresh.fresh("", term)
                extra.append(equality(local, term, term))
                return local
            case nodes.Array() | nodes.Object() | nodes.Set():
                return map_term(term, lambda item: self._without_calls(item, extra))
            case _:
                return term

    # ---- bodies

    def body(self, body: Body, outer: Iterable[Term] = (), *, inline: bool = False) -> tuple[Body, tuple[Term, ...]]:
        """A body in a scope of its own, and the terms (a comprehension's head) that see what it declares."""
        scope = self._open(body, inline)
        exprs = self._exprs(body)
        terms = tuple([self.term(term) for term in outer])
        self._close(scope)
        return exprs, terms

    def _open(self, body: Body, inline: bool = False) -> Scope:
        pending: set[str] = set()
        for expr in body:
            match expr.what:
                case nodes.SomeDecl(symbols):
                    pending.update(symbol.name for symbol in symbols)
                case nodes.SomeIn(key, value, _):
                    pending.update(var.name for term in (key, value) if term for var in _declarable(term))
                case nodes.Call(nodes.Var("assign"), args):
                    pending.update(var.name for var in _declarable(args[0]))
        scope = Scope(pending, inline)
        self.scopes.append(scope)
        return scope

    def _close(self, scope: Scope) -> None:
        assert self.scopes[-1] is scope
        self.scopes.pop()
        for text, loc in scope.unused.values():
            self.errors.append(PolicyError(COMPILE_ERROR, text, loc))

    def _exprs(self, body: Body) -> Body:
        result: list[Expr] = []
        for expr in body:
            # The values of `with` do not see what the expression declares.
            declares = (
                isinstance(expr.what, nodes.Call) and expr.what.infix and expr.what.operator == nodes.Var("assign")
            )
            withs = tuple([self._with(item) for item in expr.withs]) if declares else ()
            what = self._what(expr)
            if not declares:
                withs = tuple([self._with(item) for item in expr.withs])
            if what is not None:
                result.append(Expr(what, expr.negated, withs, loc=expr.loc))
        return tuple(result)

    def _what(
        self, expr: Expr
    ) -> nodes.Term | nodes.Every | nodes.Negation | nodes.Conjunction | nodes.Disjunction | None:
        match expr.what:
            case nodes.SomeDecl(symbols):
                for symbol in symbols:
                    self._declare(symbol, "some")
                return None
            case nodes.SomeIn(key, value, collection):
                source = self.term(collection)
                self._declare(value if key is None else nodes.Array((key, value)), "in")
                step = self.term(key) if key is not None else self.fresh.fresh("$", collection)
                item = nodes.Ref(source, (step,), loc=collection.loc)
                if isinstance(source, nodes.Ref):
                    item = nodes.Ref(source.head, (*source.path, step), loc=collection.loc)
                return call("eq", (self.term(value), item), value)
            case nodes.Every(key, value, domain, body):
                source = self.term(domain)
                scope = Scope(set())
                self.scopes.append(scope)
                for var in (key, value):
                    if var is not None:
                        self._declare(var, "every")
                exprs, _ = self.body(body)
                self._close(scope)
                renamed_key = scope.declared.get(key.name, key) if key is not None else None
                renamed_value = scope.declared.get(value.name, value)
                return nodes.Every(renamed_key, renamed_value, source, exprs, loc=expr.what.loc)
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                return map_operands(expr.what, self._operand)
            case nodes.Call(nodes.Var("assign"), (target, value)) if expr.what.infix:
                source = self.term(value)
                self._declare(target, "assign")
                resolved = self.term(target)
                for var in _declarable(target) if self.strict else ():
                    self.scopes[-1].unused[var.name] = (f"assigned var {var.name} unused", var.loc)
                return call("eq", (resolved, source), expr.what)
            case term:
                return self.term(term)

    def _operand(self, operand: Body | Expr) -> Body | Expr:
        return self._exprs((operand,))[0] if isinstance(operand, Expr) else self.body(operand, inline=True)[0]

    def _with(self, item: nodes.With) -> nodes.With:
        target = self._named(item.target)
        for step in item.target.path if isinstance(item.target, nodes.Ref) else ():
            # OPA does not rename the declared variables of a target: there they are other, unbound ones.
            for var in _declarable(step):
                if any(var.name in scope.declared for scope in self.scopes):
                    self.errors.append(PolicyError(UNSAFE_VAR_ERROR, f"var {var.name} is unsafe", var.loc))
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
        free = head.name not in self.table and head.name not in ROOTS and self._lookup(head.name) is None
        if free and _dotted(name) in self.functions:
            return nodes.Var(_dotted(name), loc=name.loc)
        target = self.term(name)
        assert isinstance(target, (nodes.Var, nodes.Ref))
        return target

    # ---- declarations

    def _declare(self, pattern: Term, how: str) -> None:
        """Give each variable of a pattern a name of its own from here on."""
        scope = self.scopes[-1]
        here: set[str] = set()
        for var in _declarable(pattern):
            name = var.name
            if name in scope.declared:
                if how == "arg" or (how == "in" and name in here):
                    continue  # `f(x, x)`, `some x, x in xs`: the same value twice
                text = "assigned" if how == "assign" else "declared"
                self.errors.append(PolicyError(COMPILE_ERROR, f"var {name} {text} above", var.loc))
                continue
            if name in scope.occurred:
                self.errors.append(PolicyError(COMPILE_ERROR, f"var {name} referenced above", var.loc))
            if name in ROOTS:
                what = "args" if how == "arg" else "variables"
                text = f"{what} must not shadow {name} (use a different variable name)"
                self.errors.append(PolicyError(COMPILE_ERROR, text, var.loc))
            scope.declared[name] = self.fresh.fresh(name, var)
            here.add(name)
            scope.pending.discard(name)
            if how in ("some", "every"):
                scope.unused[name] = (f"declared var {name} unused", var.loc)

    def _lookup(self, name: str) -> nodes.Var | None:
        """The local a name stands for; a plain variable if a body around declares it later."""
        for scope in reversed(self.scopes):
            if (var := scope.declared.get(name)) is not None:
                scope.unused.pop(name, None)
                return var
            if name in scope.pending:
                if all(inner.inline for inner in self.scopes[self.scopes.index(scope) + 1 :]):
                    self._occurs(name, scope)
                return nodes.Var(name)
        return None

    def _occurs(self, name: str, scope: Scope) -> None:
        """Note that a scope uses a name it has not declared; the outermost use is the one that counts."""
        if not any(name in outer.occurred for outer in self.scopes):
            scope.occurred.add(name)

    # ---- terms

    def term(self, term: Term) -> Term:
        """A term with its names resolved."""
        match term:
            case nodes.Var(name):
                return self._var(term, name)
            case nodes.Scalar():
                return term
            case nodes.Ref(head, path):
                steps = tuple([self.term(step) for step in path])
                start = self.term(head)
                if isinstance(start, nodes.Ref):
                    return nodes.Ref(start.head, (*start.path, *steps), loc=term.loc)
                return nodes.Ref(start, steps, loc=term.loc)
            case nodes.Call(nodes.Var("print"), args) if "print" not in self.table:
                return call("internal.print", (self._optional(args, term),), term)
            case nodes.Call(operator, ()) if (name := _dotted(operator)).startswith("rego.metadata."):
                return self._metadata(name, term)
            case nodes.Call(operator, args):
                resolved = tuple([self.term(arg) for arg in args])
                return nodes.Call(self._operator(operator), resolved, infix=term.infix, loc=term.loc)
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

    def _var(self, term: nodes.Var, name: str) -> Term:
        if term.is_wildcard:
            return term
        local = self._lookup(name)
        if local is not None:
            return nodes.Var(local.name, loc=term.loc)
        target = self.table.get(name)
        if target is None:
            if name not in ROOTS and self.scopes:
                self._occurs(name, self.scopes[-1])
            return term
        self.used.add(name)
        return replace(target, loc=term.loc)

    def _operator(self, operator: nodes.Var | nodes.Ref) -> nodes.Var | nodes.Ref:
        head = operator if isinstance(operator, nodes.Var) else operator.head
        assert isinstance(head, nodes.Var)
        if self._lookup(head.name) is not None:
            # A local in operator position is never a function; the check of calls says so.
            return nodes.Var(_dotted(operator), loc=operator.loc)
        target = self.table.get(head.name)
        if target is not None and isinstance(target, nodes.Ref):
            self.used.add(head.name)
            path = operator.path if isinstance(operator, nodes.Ref) else ()
            return nodes.Ref(target.head, (*target.path, *path), loc=operator.loc)
        if head.name == "data":
            return operator
        return nodes.Var(_dotted(operator), loc=operator.loc)

    def _template(self, term: nodes.Template, parts: tuple[str | Expr, ...]) -> Term:
        items = [nodes.Scalar(part, loc=term.loc) if isinstance(part, str) else self._shown(part) for part in parts]
        return call("internal.template_string", (nodes.Array(tuple(items), loc=term.loc),), term)

    def _shown(self, part: Expr) -> Term:
        """An expression of a template string as a set: of its value, or empty. Variables are bound in any case."""
        if isinstance(part.what, nodes.Var) and not part.what.is_wildcard:
            var = self.term(part.what)
            if isinstance(var, nodes.Var) and var.name not in ROOTS:
                return nodes.Set((var,), loc=part.loc)
        return self._captured(part)

    def _metadata(self, name: str, call_: nodes.Call) -> Term:
        """A call of `rego.metadata.*`: the constant it stands for."""
        assert self.annotations is not None or self.current is None
        if self.current is None or self.annotations is None or "rego" in self.table:
            return nodes.Call(self._operator(call_.operator), (), loc=call_.loc)
        if name == "rego.metadata.rule":
            return constant_term(self.annotations.rule(*self.current), call_.loc)
        if name == "rego.metadata.chain":
            return constant_term(self.annotations.chain(*self.current), call_.loc)
        return nodes.Call(self._operator(call_.operator), (), loc=call_.loc)

    def _optional(self, items: Iterable[Term], like: nodes.Node) -> Term:
        """An array in which every term but a constant is a set comprehension: undefined shows as an empty set."""
        parts = [item if isinstance(item, nodes.Scalar) else self._captured(item) for item in items]
        return nodes.Array(tuple(parts), loc=like.loc)

    def _captured(self, item: Term | Expr) -> Term:
        """The set of a term's values."""
        local = self.fresh.fresh(CAPTURE, item)
        what = item.what if isinstance(item, Expr) else item
        assert isinstance(what, Term)
        withs = item.withs if isinstance(item, Expr) else ()
        self.scopes.append(Scope(set(), inline=True))
        body = self._exprs((Expr(call("eq", (local, what), item), withs=withs, loc=item.loc),))
        self._close(self.scopes[-1])
        return nodes.SetComprehension(local, body, loc=item.loc)


def _declarable(pattern: Term) -> Iterable[nodes.Var]:
    """The variables that `:=`, `some` or an argument declares: all in a pattern but wildcards and ref heads."""
    for term in walk_terms(pattern):
        if isinstance(term, nodes.Var) and not term.is_wildcard:
            yield term


def _is_string(term: Term) -> bool:
    return isinstance(term, nodes.Scalar) and isinstance(term.value, str)


def _is_plain(term: Term) -> bool:
    """Whether a head term needs no evaluation of its own: scalars, local variables and collections of these."""
    return not any(
        isinstance(item, (nodes.Ref, nodes.Call, *COMPREHENSIONS))
        or (isinstance(item, nodes.Var) and item.name in ROOTS)
        for item in walk_terms(term)
    )


def _dotted(name: Term) -> str:
    """A name as text; "" for a term that is none."""
    if isinstance(name, nodes.Var):
        return name.name
    if not isinstance(name, nodes.Ref) or not all(map(_is_string, name.path)):
        return ""
    return dotted(tuple([step.value for step in name.path if isinstance(step, nodes.Scalar)]), _dotted(name.head))
