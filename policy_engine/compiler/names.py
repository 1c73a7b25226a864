"""Stage: what every name means.

After it a variable is either local to its rule (declared ones renamed apart: `x'3`), or the root `data` or `input`;
every reference to a rule or import starts at a root; a call names a builtin (`Var`) or a function below `data`
(`Ref`); template strings are calls of `internal.template_string`; rules are split into path, suffix and clauses.

Here are the rules and their heads. Bodies and terms: resolver.py; what is local: scopes.py; imports: imports.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from policy_engine.compiler import imports
from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.findings import Findings
from policy_engine.compiler.imports import rule_name
from policy_engine.compiler.namesakes import Apart, in_withs
from policy_engine.compiler.program import Clause, ModuleInfo, Path, Program, Rule, dotted
from policy_engine.compiler.resolver import Resolver
from policy_engine.compiler.scopes import How, Local, declared_names, variables
from policy_engine.compiler.terms import (
    EVALUATED,
    ROOTS,
    equality,
    function_path,
    map_term,
    walk_terms,
)
from policy_engine.compiler.undeclared import Arity, Shown
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.location import NOWHERE
from policy_engine.syntax import nodes
from policy_engine.syntax.heads import builtin_facts
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.values import freeze


def resolve(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.rules` from the modules."""
    rules: dict[Path, set[str]] = {}
    for info in program.modules:
        rules.setdefault(info.package, set()).update(map(rule_name, info.module.rules))
    functions = _function_names(program)
    annotations = Annotations(program)
    relations = {name for name, builtin in program.builtins.items() if builtin.relation}
    found = Findings()
    for info in program.modules:
        resolver = RuleResolver(imports.global_names(info, rules[info.package]), functions, program.names, found)
        resolver.annotations = annotations
        resolver.relations = relations
        resolver.strict = program.strict
        for rule in info.module.rules:
            program.rules.append(resolver.rule(info, rule))
        if program.strict:
            found.references += imports.unused(info, resolver.used)
        found.facts += builtin_facts(info.module.rules, program.builtins)
        found.roots += imports.shadowing_rules(info)
        found.imports += imports.duplicates(info)
    errors += found.first(_arity(program))


def _arity(program: Program) -> Arity:
    """How many operands functions take, before there is a tree to find them in; -1 if there is none of the name."""
    known = {name: len(builtin.decl.args) for name, builtin in program.builtins.items()}
    for rule in program.rules:
        known.setdefault(dotted(rule.path), len(rule.args or ()))

    def count(call: nodes.Call) -> int:
        operator = call.operator
        return known.get(operator.name if isinstance(operator, nodes.Var) else dotted(function_path(operator)), -1)

    return count


def _function_names(program: Program) -> set[str]:
    """The full names of all functions: builtins, and `data.…` for those of the policies."""
    functions = set(program.builtins)
    for info in program.modules:
        for rule in info.module.rules:
            if rule.head.args:
                steps = rule.head.ref.path if isinstance(rule.head.ref, nodes.Ref) else ()
                names = [step.value for step in steps if isinstance(step, nodes.Scalar)]
                functions.add(dotted((*info.package, rule_name(rule), *names)))
    return functions


class RuleResolver(Resolver):
    """Resolves the rules of one module."""

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
        # An argument that must be evaluated is compared before anything else of the body runs.
        self.shows = False
        args, first, arguments = self._arguments(head.args)
        bound = {var.name for arg in args for var in variables(arg)} if args else set()
        clauses: list[Clause] = []
        suffix: tuple[Term, ...] = ()
        key: Term | None = None
        part: nodes.Rule | None = rule
        while part is not None:
            self.current = (info, part)  # annotations speak of the rule, not of its `else`
            scope = self.scopes.open(declared_names(part.body) | arguments.keys())
            if arguments:
                scope.locals.update({name: replace(local, uses=0) for name, local in arguments.items()})
            body = (*first, *self._exprs(part.body))
            errors = self._set_errors([])  # what is wrong with the head does not depend on the body
            if part is rule:
                suffix, body = self._heads(steps[ground:], body)
            self.head = scope
            end = len(body)
            if part is rule and head.key is not None:
                (key,), body = self._heads((head.key,), body)
            value = part.head.value if part.head.value is not None else nodes.Scalar(True, loc=part.loc)
            if head.key is None:
                (value,), body = self._heads((value,), body)
            self.head = None
            self._set_errors(errors)
            if self.namesakes:
                apart = self._apart(part.body)
                own, ends = Apart(apart, self.scopes.errors), Apart(apart)
                body = (*own.body(body[:end]), *ends.body(body[end:]))
                value, suffix = ends.term(value), ends.terms(suffix)
                key = ends.term(key) if key is not None else None
            if self.shows:
                self.found.shown.append(Shown(bound, body[len(first) : end], (*first, *body[end:])))
            clauses.append(Clause(None if head.key is not None else value, body, part.loc))
            self.scopes.close(strict=self.strict)
            self._set_errors([])
            for name, local in arguments.items():
                local.uses += scope.locals[name].uses
            part = part.else_
        if self.strict:
            self._report_unused_arguments(rule, arguments)
        return Rule(path, suffix, args, key, clauses, rule.default, rule.loc, info)

    def _apart(self, body: Body) -> dict[str, str]:
        """Other names for the variables of a body that have a builtin's name."""
        taken, self.namesakes = self.namesakes, {}
        mentioned = in_withs(body)
        # `=` and `:=` are calls, of which there are more than the policy has.
        return {
            name: self.fresh.fresh(name, var).name
            for name, var in taken.items()
            if name not in mentioned and name not in ("eq", "assign")
        }

    def _arguments(self, terms: tuple[Term, ...] | None) -> tuple[tuple[Term, ...] | None, Body, dict[str, Local]]:
        """A function's arguments, what of them its bodies begin with, and the names they declare."""
        if not terms:  # `f()` is the document `f`
            return None, (), {}
        if (root := next((name for term in terms for name in _root_names(term)), None)) is not None:
            text = f"args must not shadow {root} (use a different variable name)"
            place = NOWHERE if self.current is None else self.current[1].loc
            self.found.references.append(PolicyError(COMPILE_ERROR, text, place))
        names = {var.name for term in terms for var in variables(term)}
        scope = self.scopes.open(names)
        for term in terms:
            self._declare_argument(term)
        counted = {name: local.uses for name, local in scope.locals.items()}
        args, first = self._heads(terms, ())
        self.scopes.close(strict=False)
        self._set_errors([])
        arguments = {name: replace(scope.locals[name], uses=uses) for name, uses in counted.items()}
        return args, first, arguments

    def _declare_argument(self, pattern: Term) -> None:
        """The names in a pattern. A name that is there twice stands for one value, and is used."""
        match pattern:
            case nodes.Var() if pattern.name not in ROOTS and not pattern.is_wildcard:
                if self.scopes.use(pattern.name) is None:
                    self.scopes.declare(pattern, How.ARGUMENT, pattern.loc)
            case nodes.Array(items):
                for item in items:
                    self._declare_argument(item)
            case nodes.Object(pairs):
                for _, value in pairs:
                    self._declare_argument(value)
            case nodes.Ref():
                for var in variables(pattern):
                    if self.scopes.use(var.name) is None:
                        self.scopes.declare(var, How.ARGUMENT, var.loc)
            case nodes.Call():
                self.scopes.errors.append(
                    PolicyError(COMPILE_ERROR, "rule arguments cannot contain calls", pattern.loc)
                )
            case _:
                return

    def _report_unused_arguments(self, rule: nodes.Rule, arguments: dict[str, Local]) -> None:
        hint = "(hint: use _ (wildcard variable) instead)"
        place = rule.head.loc if rule.default else rule.loc  # each of several bodies is a rule of its own
        self.found.locals += [
            PolicyError(COMPILE_ERROR, f"unused argument {name}. {hint}", place)
            for name, local in arguments.items()
            if not local.uses
        ]

    def _heads(self, terms: tuple[Term, ...], body: Body) -> tuple[tuple[Term, ...], Body]:
        """Head terms resolved; one that must be evaluated becomes a variable that the end of the body binds."""
        result: list[Term] = []
        extra: list[Expr] = []
        for term in terms:
            resolved = self.term(term)
            if type(resolved) is not nodes.Scalar:
                resolved = self._without_calls(resolved, extra)
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


def _root_names(term: Term) -> Iterator[str]:
    """The root documents in an argument, in the order OPA comes to them; not those that references begin with."""
    match term:
        case nodes.Var(name):
            if name in ROOTS:
                yield name
        case nodes.Object(pairs):
            for part in (*(value for _, value in pairs), *(part for pair in pairs for part in pair)):
                yield from _root_names(part)
        case nodes.Ref(_, parts) | nodes.Array(parts):
            for part in parts:
                yield from _root_names(part)
        case _:  # what cannot be matched
            return


def _is_plain(term: Term) -> bool:
    """Whether a head term needs no evaluation of its own: scalars, local variables and collections of these."""
    if type(term) is nodes.Scalar:
        return True
    return not any(
        item.__class__ is nodes.Call
        or item.__class__ in EVALUATED
        or (isinstance(item, nodes.Var) and item.name in ROOTS)
        for item in walk_terms(term)
    )
