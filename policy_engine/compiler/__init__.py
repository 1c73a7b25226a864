"""From syntax trees to a `Program`: the stages, in order.

Each stage takes the program and a list it adds errors to. Stages go on after errors, but leave out the rules that have
some, and take for granted what is said of them elsewhere. The order follows OPA's (v1/ast/compile.go): names before
everything; calls are taken out of terms before safety is decided, refs and comprehensions after it; recursion is looked
for in the bodies as they will run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler import calls, expand, names, recursion, safety, tree
from policy_engine.compiler.annotations import check as check_annotations
from policy_engine.compiler.annotations import read as read_annotations
from policy_engine.compiler.generated_names import Names, is_generated
from policy_engine.compiler.program import Clause, ModuleInfo, Program, Rule, Tree
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


STAGES: Final[tuple[tuple[str, Stage], ...]] = (
    ("annotations", read_annotations),  # what blocks of metadata say: rules can ask for it
    ("schemas", read_schemas),  # what `input` looks like, if somebody says so
    ("names", names.resolve),  # what every name means; rules split into path, suffix, clauses
    ("annotated", check_annotations),  # nothing is annotated twice
    ("tree", tree.build),  # groups, and the tree of virtual documents: needs every rule's full path
    ("release", _release),  # the trees as they were written: a quarter of what compiling many rules holds
    ("calls", calls.check),  # functions exist, `with` targets make sense: needs the tree
    ("expand", expand.calls),  # nested calls become expressions of their own
    ("safety", _safety),  # bodies in an order that binds every variable before it is needed
    ("dynamic", expand.dynamic),  # refs and comprehensions out of operands: must not change what safety sees
    ("recursion", recursion.check),  # on normal form, so that nothing hides a reference
    ("types", typecheck.check),  # in the order of dependencies, which recursion has found
    ("documents", calls.documents),  # those that are called; their types are known by now
)

QUERY_STAGES: Final[tuple[tuple[str, Stage], ...]] = (
    *STAGES[6:9],
    ("dynamic", expand.query_dynamic),
    ("types", typecheck.check_query),  # against the types of the rules' documents
    STAGES[-1],
)
"""A query's names are resolved on their own; nothing depends on it, so that no recursion goes through it."""


def compile_program(
    modules: Mapping[str, nodes.Module],
    builtins: Mapping[str, Builtin],
    *,
    strict: bool = False,
    schemas: Mapping[str, Value] | None = None,
) -> Program:
    """Run all stages. `modules` maps file names to syntax trees. Raises `PolicyError` with every error of every stage.

    Files count in the order of their names, as in OPA: which rules are typed before others depends on it.

    `strict` reports unused imports, arguments and assigned variables too.
    """
    infos = [ModuleInfo(file, module.package.path, module) for file, module in sorted(modules.items())]
    del modules
    _check_lengths(infos)
    program = Program(infos, Tree(()), [], [], Names(), builtins, strict, schemas)
    _run(program, STAGES)
    return program


def _check_lengths(infos: Iterable[ModuleInfo]) -> None:
    """Places have all those above them in memory, so that a path takes the square of its length."""
    for info in infos:
        for rule in info.module.rules:
            ref = rule.head.ref
            if len(info.package) + (len(ref.path) if isinstance(ref, nodes.Ref) else 0) > MAX_PATH:
                where = rule.head.loc
                raise PolicyError(COMPILE_ERROR, f"the path of the rule has more than {MAX_PATH} names", where)


MAX_PATH: Final = 1000


def compile_query(program: Program, body: nodes.Body) -> tuple[Program, nodes.Body, dict[str, str]]:
    """A query against a compiled program.

    The result is a program that differs only in what its `with` modifiers replace, the body in normal form, and the
    query's variables: for each name as written, the name in the body.
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
    query.rules.append(Rule((), (), None, None, [clause], False, NOWHERE, info))
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


def _run(program: Program, stages: tuple[tuple[str, Stage], ...]) -> None:
    errors: list[PolicyError] = []
    for _, stage in stages:
        stage(program, errors)
    if errors:
        # The head of a rule with several bodies is looked at with each of them.
        raise combine({(error.location, error.code, error.message): error for error in errors}.values())
