"""From syntax trees to a `Program`: the stages, in order.

Each stage takes the program and a list that it adds errors to. Later stages still run, but skip the rules that have an
error and assume nothing about their values, so that one mistake is reported once. The order follows OPA
(v1/ast/compile.go): names first; nested calls become statements before safety is checked, references and comprehensions
after it; recursion is searched for in the bodies as they will run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler import calls, expand, names, recursion, safety, tree
from policy_engine.compiler.annotations import check as check_annotations
from policy_engine.compiler.annotations import read as read_annotations
from policy_engine.compiler.generated_names import FreshNames, is_generated
from policy_engine.compiler.program import Clause, ModuleInfo, NormalRule, Program, Tree
from policy_engine.compiler.resolver import Resolver
from policy_engine.compiler.terms import ROOTS
from policy_engine.compiler.typecheck import rules as typecheck
from policy_engine.compiler.typecheck.annotated import read as read_schemas
from policy_engine.compiler.variables import expr_vars
from policy_engine.errors import COMPILE_ERROR, PolicyError, combine
from policy_engine.location import NOWHERE
from policy_engine.syntax import nodes
from policy_engine.values import Value

Stage = Callable[[Program, list[PolicyError]], None]


def _safety(program: Program, errors: list[PolicyError]) -> None:
    safety.check(program, calls.arity(program), errors)


def _release(program: Program, errors: list[PolicyError]) -> None:
    for info in program.modules:
        info.module = nodes.Module(info.module.package, (), ())


STAGES: Final[dict[str, Stage]] = {
    "annotations": read_annotations,  # metadata blocks: rules can read them
    "schemas": read_schemas,  # the type of `input`, if there is a schema for it
    "names": names.resolve,  # the meaning of every name; rules split into path, suffix and clauses
    "annotated": check_annotations,  # no document or package is annotated twice
    "tree": tree.build,  # groups and the tree of virtual documents: needs every rule's full path
    "release": _release,  # frees the syntax trees: a quarter of the memory of a large compilation
    "calls": calls.check,  # functions exist, `with` targets are valid: needs the tree
    "expand": expand.calls,  # nested calls become statements
    "safety": _safety,  # orders bodies so that every variable is bound before it is used
    "dynamic": expand.dynamic,  # references and comprehensions become statements; safety needs them in place
    "recursion": recursion.check,  # on the normal form, where every reference is visible
    "types": typecheck.check,  # in dependency order, which the recursion stage computes
    "documents": calls.documents,  # calls of documents become references; needs types
}
"""The stages of a program, in order."""

QUERY_STAGES: Final[dict[str, Stage]] = {
    "calls": STAGES["calls"],
    "expand": STAGES["expand"],
    "safety": STAGES["safety"],
    "dynamic": expand.query_dynamic,
    "types": typecheck.check_query,  # against the types of the rules
    "documents": STAGES["documents"],
}
"""The stages of a query, whose names are resolved before. Nothing depends on a query, so it cannot be recursive."""


def compile_program(
    modules: Mapping[str, nodes.Module],
    builtins: Mapping[str, Builtin],
    *,
    strict: bool = False,
    schemas: Mapping[str, Value] | None = None,
) -> Program:
    """Run all stages. `modules` maps file names to syntax trees. Raises `PolicyError` with the errors of all stages.

    Files are processed in the order of their names, as in OPA: the order in which rules are typed depends on it.

    `strict` also rejects unused imports, arguments and assigned variables.
    """
    infos = [ModuleInfo(file, module.package.path, module) for file, module in sorted(modules.items())]
    del modules
    _check_lengths(infos)
    program = Program(infos, Tree(()), [], [], FreshNames(), builtins, strict, schemas)
    _run(program, STAGES)
    return program


def _check_lengths(infos: Iterable[ModuleInfo]) -> None:
    """Reject very long paths: every prefix of a path is stored, so memory grows with the square of the length."""
    for info in infos:
        for rule in info.module.rules:
            ref = rule.head.ref
            if len(info.package) + (len(ref.path) if isinstance(ref, nodes.Ref) else 0) > MAX_PATH:
                where = rule.head.loc
                raise PolicyError(COMPILE_ERROR, f"the path of the rule has more than {MAX_PATH} names", where)


MAX_PATH: Final = 1000


def compile_query(program: Program, body: nodes.Body) -> tuple[Program, nodes.Body, dict[str, str]]:
    """Compile a query against a compiled program.

    The result is a program that differs only in what `with` replaces, the body in normal form, and the query's
    variables: the name in the body for each name in the query.
    """
    query = Program([], program.tree, program.groups, [], program.names, program.builtins)
    query.dependencies, query.documents = program.dependencies, program.documents
    query.functions = program.functions
    errors: list[PolicyError] = []
    resolver = Resolver({}, {*program.builtins, *program.functions}, program.names, errors)
    info = ModuleInfo("", (), nodes.Module(nodes.Package(()), (), ()))
    clause = Clause(None, resolver.body(body)[0])
    if errors := [*errors, *resolver.scopes.unused]:
        raise combine(errors)
    query.rules.append(NormalRule((), (), None, None, [clause], False, NOWHERE, info))
    variables = {}
    for expr in clause.body:
        for var in expr_vars(expr):
            if var.name not in ROOTS and not is_generated(var.name):
                variables[var.name.split("'")[0]] = var.name
    _run(query, QUERY_STAGES)
    query.mocked |= program.mocked
    query.masked |= program.masked
    query.modules = program.modules
    return query, clause.body, variables


def _run(program: Program, stages: Mapping[str, Stage]) -> None:
    errors: list[PolicyError] = []
    for stage in stages.values():
        stage(program, errors)
    if errors:
        # A rule with several bodies repeats its head, and with it the head's errors.
        raise combine({(error.location, error.code, error.message): error for error in errors}.values())
