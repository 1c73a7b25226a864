"""Stage: the meaning of every name.

Afterwards a variable is either local to its rule (declared ones are renamed: `x'3`) or the root `data` or `input`;
every reference to a rule or import starts at a root; a call names a builtin (`Var`) or a function below `data` (`Ref`);
template strings are calls of `internal.template_string`; rules are split into path, suffix and clauses.

This file resolves rules and their heads, resolver.py bodies and terms; scopes.py knows local names, imports.py imports.
"""

from __future__ import annotations

from dataclasses import replace

from policy_engine.compiler import imports
from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.imports import rule_name
from policy_engine.compiler.program import Clause, ModuleInfo, NormalRule, Path, Program, dotted
from policy_engine.compiler.resolver import Resolver
from policy_engine.compiler.scopes import BindingKind, Local, declared_names, variables
from policy_engine.compiler.terms import EVALUATED, ROOTS, equality, map_term, walk_terms
from policy_engine.errors import COMPILE_ERROR, PolicyError
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
    for info in program.modules:
        resolver = RuleResolver(imports.global_names(info, rules[info.package]), functions, program.names, errors)
        resolver.annotations = annotations
        resolver.relations = relations
        resolver.strict = program.strict
        for rule in info.module.rules:
            before = len(errors)
            resolved = resolver.rule(info, rule)
            program.rules.append(resolved)
            if len(errors) > before:
                program.unresolved.update(resolved.clauses)
                program.broken.update(resolved.clauses)
        errors += resolver.scopes.unused
        if program.strict:
            errors += imports.unused(info, resolver.used)
        errors += builtin_facts(info.module.rules, program.builtins)
        errors += imports.shadowing_rules(info)
        errors += imports.duplicates(info)


def _function_names(program: Program) -> set[str]:
    """The full names of all functions: builtins, and `data.…` for functions of the policies."""
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

    def rule(self, info: ModuleInfo, rule: nodes.Rule) -> NormalRule:
        """A rule in the compiler's form."""
        self.current = (info, rule)
        head = rule.head
        steps = head.ref.path if isinstance(head.ref, nodes.Ref) else ()
        ground = 0
        names: list[object] = []
        # A constant collection is not part of the path: like a variable, it makes the rule define an object.
        while ground < len(steps) and isinstance(step := steps[ground], nodes.Scalar):
            names.append(freeze(step.value))
            ground += 1
        path: Path = (*info.package, rule_name(rule), *names)
        # Arguments that need evaluation are compared before the rest of the body runs.
        args, first, arguments = self._arguments(head.args)
        clauses: list[Clause] = []
        suffix: tuple[Term, ...] = ()
        key: Term | None = None
        part: nodes.Rule | None = rule
        while part is not None:
            self.current = (info, part)  # annotations belong to the rule, not to its `else`
            scope = self.scopes.open(declared_names(part.body) | arguments.keys())
            if arguments:
                scope.locals.update({name: replace(local, uses=0) for name, local in arguments.items()})
            body = (*first, *self._exprs(part.body))
            self.in_head = True
            if part is rule:
                suffix, body = self._heads(steps[ground:], body)
                if head.key is not None:
                    (key,), body = self._heads((head.key,), body)
            value = part.head.value if part.head.value is not None else nodes.Scalar(True, loc=part.loc)
            if head.key is None:
                (value,), body = self._heads((value,), body)
            self.in_head = False
            clauses.append(Clause(None if head.key is not None else value, body, part.loc))
            self.scopes.close(strict=self.strict)
            for name, local in arguments.items():
                local.uses += scope.locals[name].uses
            part = part.else_
        if self.strict:
            self._report_unused_arguments(arguments)
        return NormalRule(path, suffix, args, key, clauses, rule.default, rule.loc, info)

    def _arguments(self, terms: tuple[Term, ...] | None) -> tuple[tuple[Term, ...] | None, Body, dict[str, Local]]:
        """A function's arguments, the statements that compare them, and the names that they declare."""
        if not terms:  # `f()` is the document `f`
            return None, (), {}
        scope = self.scopes.open({var.name for term in terms for var in variables(term)})
        for term in terms:
            self._declare_argument(term)
        counted = {name: local.uses for name, local in scope.locals.items()}
        args, first = self._heads(terms, ())
        self.scopes.close(strict=False)
        arguments = {name: replace(scope.locals[name], uses=uses) for name, uses in counted.items()}
        return args, first, arguments

    def _declare_argument(self, pattern: Term) -> None:
        """Declare the variables of a pattern. A second occurrence is a use: the two values are compared."""
        match pattern:
            case nodes.Var():
                if not pattern.is_wildcard and self.scopes.use(pattern.name) is None:
                    self.scopes.declare(pattern, BindingKind.ARGUMENT)
            case nodes.Array(items):
                for item in items:
                    self._declare_argument(item)
            case nodes.Object(pairs):
                for _, value in pairs:
                    self._declare_argument(value)
            case nodes.Ref():
                for var in variables(pattern):
                    if var.name not in ROOTS:
                        self._declare_argument(var)
            case nodes.Call():
                hint = "compare in the body: `f(x) if x == …`"
                text = "rule arguments cannot contain calls"
                self.errors.append(PolicyError(COMPILE_ERROR, text, pattern.loc, hint=hint))
            case _:
                return

    def _report_unused_arguments(self, arguments: dict[str, Local]) -> None:
        self.scopes.unused += [
            PolicyError(COMPILE_ERROR, f"unused argument {name}", local.loc, hint="write `_` in its place")
            for name, local in arguments.items()
            if not local.uses
        ]

    def _heads(self, terms: tuple[Term, ...], body: Body) -> tuple[tuple[Term, ...], Body]:
        """Resolve head terms. A term that needs evaluation becomes a variable, bound at the end of the body."""
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
        """Replace each call in a head term by a variable. The rest of the term may need no evaluation."""
        match term:
            case nodes.Call():
                local = self.fresh.fresh("", term)
                extra.append(equality(local, term, term))
                return local
            case nodes.Array() | nodes.Object() | nodes.Set():
                return map_term(term, lambda item: self._without_calls(item, extra))
            case _:
                return term


def _is_plain(term: Term) -> bool:
    """True if a head term needs no evaluation: a scalar, a local variable, or a collection of these."""
    if type(term) is nodes.Scalar:
        return True
    return not any(
        item.__class__ is nodes.Call
        or item.__class__ in EVALUATED
        or (isinstance(item, nodes.Var) and item.name in ROOTS)
        for item in walk_terms(term)
    )
