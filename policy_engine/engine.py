"""The public objects: compiled policies, entrypoints, decisions, queries, facts. Nothing here knows Rego's rules."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from policy_engine.builtins import TABLE
from policy_engine.builtins.table import Builtin
from policy_engine.codegen.context import Code, Limits, Options, Query, Run, begin, beginning, run_of
from policy_engine.codegen.export import Export, export
from policy_engine.codegen.unit import Unit
from policy_engine.compiler import compile_program, compile_query, recursion, terms
from policy_engine.compiler.program import Path, Program, Rule
from policy_engine.errors import (
    COMPILE_ERROR,
    EVAL_CANCEL_ERROR,
    EVAL_INTERNAL_ERROR,
    TYPE_ERROR,
    BuiltinError,
    PolicyError,
    combine,
)
from policy_engine.syntax import nodes, parser
from policy_engine.syntax.constants import constant_value
from policy_engine.types import ANY, Function
from policy_engine.values import UNDEFINED, Value, to_json

Declaration = Function | int
"""A host function's type, or just how many operands it takes."""


def compile(  # noqa: A001  the verb of the language, used as `pe.compile`
    modules: Mapping[str, str],
    data: Mapping[str, Value] | None = None,
    *,
    schemas: Mapping[str, Value] | None = None,
    strict: bool = False,
    limits: Limits | None = None,
    allow_network: bool = False,
    functions: Mapping[str, tuple[Declaration, Callable[..., Value]]] | None = None,
    capabilities: Collection[str] | None = None,
    print: Callable[[str], None] | None = None,  # noqa: A002
) -> Policies:
    """Compile Rego modules (file name → source) over base `data`, which belongs to the result from now on.

    `limits` is the budget of each decision. `functions` are the host's own builtins (name → declaration, callable);
    `capabilities` are the names of the only builtins that may be used. `print` receives what policies print.
    Raises `PolicyError` with every parse error, or every error of the first compiler stage that finds one.
    """
    trees: dict[str, nodes.Module] = {}
    errors: list[PolicyError] = []
    with _no_collection():
        for file, source in modules.items():
            try:
                trees[file] = parser.parse_module(source, file)
            except PolicyError as error:
                errors.append(error)
        if errors:
            raise combine(errors)
        return from_modules(
            trees,
            data,
            strict=strict,
            schemas=schemas,
            options=Options(limits or Limits(), allow_network, print),
            table=_builtins(functions or {}, capabilities),
        )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Compiling makes very many objects that live on and no cycles: the collector would only walk them again and again.

    With it the cost of a rule grows with the number of rules.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def from_modules(
    trees: Mapping[str, nodes.Module],
    data: Mapping[str, Value] | None,
    *,
    options: Options,
    table: Mapping[str, Builtin] | None = None,
    strict: bool = False,
    schemas: Mapping[str, Value] | None = None,
) -> Policies:
    """Compile syntax trees."""
    if schemas:
        raise PolicyError(COMPILE_ERROR, "schemas are not supported by this version", hint="compile without `schemas`")
    program = compile_program(trees, table if table is not None else TABLE, strict=strict)
    documents = dict(data or {})
    _check_conflicts(program, documents)
    return Policies(program, documents, options, Units(program))


def _builtins(
    functions: Mapping[str, tuple[Declaration, Callable[..., Value]]], capabilities: Collection[str] | None
) -> dict[str, Builtin]:
    table = dict(TABLE)
    if capabilities is not None:
        # Operators have no other spelling, so capabilities do not take them away.
        table = {
            name: item for name, item in table.items() if name in capabilities or item.infix or "internal." in name
        }
    for name, (declaration, function) in functions.items():
        decl = declaration if isinstance(declaration, Function) else Function((ANY,) * declaration, ANY)
        table[name] = Builtin(name, decl, _guarded(name, function))
    return table


def _guarded(name: str, function: Callable[..., Value]) -> Callable[..., Value]:
    """A host function whose exceptions are builtin errors."""

    def call(*args: Value) -> Value:
        try:
            return function(*args)
        except (BuiltinError, PolicyError):
            raise
        except Exception as error:
            raise BuiltinError(f"{name}: {error}") from error

    return call


def _check_conflicts(program: Program, data: dict[str, Value]) -> None:
    """Base data at, above (unless it is an object) or below a rule's path would hide one of the two: an error."""
    errors = [
        PolicyError(COMPILE_ERROR, f"conflicting rule for data path {'/'.join(map(str, group.path))} found", group.loc)
        for group in program.groups
        if _is_taken(data, group.path)
    ]
    if errors:
        raise combine(errors)


def _is_taken(data: Value, path: Path) -> bool:
    """Whether base data leaves no room for a rule's document. It has no places but those that strings name."""
    if not all(isinstance(step, str) for step in path):
        return False
    for step in path:
        if data.__class__ is not dict:
            return True
        if step not in data:
            return False
        data = data[step]
    return True


class Units:
    """The generated code of one program: the fast build, and the traced one when it is first asked for."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._lock = threading.Lock()
        self._units: dict[tuple[bool, frozenset[str], frozenset[Path]], Unit] = {}

    def get(self, *, trace: bool = False, query: Program | None = None) -> Unit:
        """The unit for queries that replace what the policies, and `query`, replace with `with`."""
        program = query or self.program
        if program.mocked <= self.program.mocked and program.masked <= self.program.masked:
            program = self.program
        key = (trace, frozenset(program.mocked), frozenset(program.masked))
        with self._lock:
            if key not in self._units:
                self._units[key] = Unit(program, trace=trace)
            return self._units[key]


class Policies:
    """A compiled set of policies over base data. Immutable; any number of threads may use it."""

    def __init__(self, program: Program, data: dict[str, Value], options: Options, units: Units) -> None:
        self._program = program
        self._data = data
        self._options = options
        self._units = units

    def entrypoint(self, path: str, *, strict_builtin_errors: bool = False) -> Entrypoint:
        """The document at a constant path (`data.support.authz.allow`) as a callable: the hot path."""
        return Entrypoint(self, _path(path), strict_builtin_errors)

    def prepare(self, query: str, *, strict_builtin_errors: bool = False) -> PreparedQuery:
        """Any Rego query, compiled once. Raises `PolicyError`."""
        return PreparedQuery(self, parser.parse_query(query), strict_builtin_errors)

    def with_data(self, data: Mapping[str, Value]) -> Policies:
        """The same policies over other base data; code is shared. Raises `PolicyError` if data lies where a rule is."""
        documents = dict(data)
        _check_conflicts(self._program, documents)
        return Policies(self._program, documents, self._options, self._units)

    def facts(self, path: str) -> Facts:
        """What a decision at `path` can depend on, decided from the policies alone."""
        return _facts(self._program, _path(path))

    def packages(self) -> dict[str, Path]:
        """The package of each module, by file name."""
        return {info.file: info.package for info in self._program.modules}

    def annotations(self) -> list[dict[str, Value]]:
        """The metadata annotations of all modules, in order (OPA: docs/policy-language, "Metadata")."""
        from policy_engine.syntax import metadata

        return [found.document() for info in self._program.modules for found in metadata.read(info.module)]

    def python_source(self, *paths: str) -> str:
        """The Python that the policies (or what `paths` need) compile to. For people; constants are names in it."""
        unit = Unit(self._program)
        for path in paths or [".".join(("data", *info.package)) for info in self._program.modules]:
            unit.value(_path(path))
        return unit.source()


def parse_value(text: str) -> Value:
    """The value of a ground Rego term, usable as input or data; sets are allowed. Raises `PolicyError`."""
    term = parser.parse_term(text)
    found = constant_value(term)
    if found is None:
        raise PolicyError(TYPE_ERROR, "the term is not ground: it has variables, references or calls in it", term.loc)
    return found[0]


def _path(text: str) -> Path:
    """The path below data that an entrypoint names."""
    term = parser.parse_term(text)
    head = term.head if isinstance(term, nodes.Ref) else term
    steps = term.path if isinstance(term, nodes.Ref) else ()
    names = tuple(step.value for step in steps if isinstance(step, nodes.Scalar) and isinstance(step.value, str))
    if not isinstance(head, nodes.Var) or head.name != "data" or len(names) != len(steps):
        raise PolicyError(
            TYPE_ERROR,
            f"`{text}` is not a path below data",
            hint="write it like data.authz.allow; anything else is a query for `prepare`",
        )
    return names


def _failure(error: Exception) -> PolicyError:
    """What a caller sees of an exception in generated code. Whatever happens there ends in a `PolicyError`."""
    if isinstance(error, PolicyError):
        return error
    if isinstance(error, RecursionError):
        return PolicyError(EVAL_CANCEL_ERROR, "rules or values are nested too deeply")
    text = f"the engine failed ({type(error).__name__}: {error}): this is a defect of the engine"
    return PolicyError(EVAL_INTERNAL_ERROR, text)


class Entrypoint:
    """A document of a policy set, ready to be asked for many times."""

    def __init__(self, policies: Policies, path: Path, strict: bool) -> None:
        self._units = policies._units
        self._data = policies._data
        self._options = policies._options
        self._path = path
        self._strict = strict
        with _no_collection():
            unit = self._units.get()
            self._code = unit.code
            self._function = unit.value(path)
        # All that the function can reach is compiled now, so there will be no more memo slots to be made.
        limits = self._options.limits
        self._beginning = beginning(unit.code, self._start, limits, self._data)
        self._timed = limits.seconds is not None
        self._traced: tuple[Code, Callable[[Query], Value]] | None = None

    def __call__(self, input: Value = UNDEFINED) -> Value:  # noqa: A002
        """The document for an input: a JSON value, or `UNDEFINED`. Without an argument `input` is undefined.

        Raises `PolicyError`: conflicts, budgets, values that are no JSON, and builtin errors under strict.
        """
        query = [input, *self._beginning]
        if self._timed:
            run_of(query)
        try:
            value = self._function(query)
        except Exception as error:
            raise _failure(error) from error
        if value is True or value is False or value is UNDEFINED:
            return value
        return export(value, self._options.limits, query)

    def _start(self) -> Run:
        options = self._options
        return Run(options, self._strict, options.limits)

    def decide(
        self,
        input: Value = UNDEFINED,  # noqa: A002
        *,
        now_ns: int | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
        replay: Mapping[str, Value] | None = None,
        trace: bool = False,
    ) -> Decision:
        """The document, and what it depended on. Raises `PolicyError` like a call.

        `now_ns` sets the clock, `seed` the random source; `replay` takes a former decision's `nondeterministic`.
        """
        code, function = self._code, self._function
        if trace:
            if self._traced is None:
                unit = self._units.get(trace=True)
                self._traced = (unit.code, unit.value(self._path))
            code, function = self._traced
        limits = limits or self._options.limits
        run = Run(self._options, self._strict, limits)
        run.now, run.seed, run.replay = now_ns, seed, replay
        query = begin(run, code, input, self._data)
        try:
            value = function(query)
        except Exception as error:
            raise _failure(error) from error
        exported = export(value, limits, query)
        coverage = _coverage(run) if trace else None
        why = tuple(run.fired or ()) if trace else None
        recorded = {call: to_json(result) for call, result in run.recorded.items()}
        return Decision(exported, recorded, tuple(run.prints), coverage, why)


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer and what is needed to explain or repeat it.

    `nondeterministic` maps calls to the values they gave; given back as `replay=` it makes the decision the same, years
    later. With `trace`, `coverage` maps files to the lines whose expressions succeeded, and `why` names the rules that
    gave a value, in order (`data.authz.allow at authz.rego:4`).
    """

    value: Value
    nondeterministic: dict[str, Value]
    prints: tuple[str, ...]
    coverage: dict[str, tuple[int, ...]] | None = None
    why: tuple[str, ...] | None = None


def _coverage(run: Run) -> dict[str, tuple[int, ...]]:
    lines: dict[str, set[int]] = {}
    for loc in run.hits:
        lines.setdefault(loc.file, set()).add(loc.row)
    return {file: tuple(sorted(rows)) for file, rows in sorted(lines.items())}


class PreparedQuery:
    """A query against a policy set, compiled once."""

    def __init__(self, policies: Policies, body: nodes.Body, strict: bool) -> None:
        self._policies = policies
        self._strict = strict
        self._body = body
        program, normal, self._names = compile_query(policies._program, body)
        self._unit = policies._units.get(query=program)
        self._function = self._unit.query(normal, tuple(self._names.values()))
        self._captured: tuple[Callable[[Query], list[tuple[Value, ...]]], tuple[str, ...], list[str | None]] | None = (
            None
        )

    def bindings(self, input: Value = UNDEFINED) -> list[dict[str, Value]]:  # noqa: A002
        """The query's variables at each of its solutions, as JSON values. Raises `PolicyError`."""
        rows = self._rows(self._function, input)
        names = tuple(self._names)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def results(self, input: Value = UNDEFINED) -> list[tuple[list[Value], dict[str, Value]]]:  # noqa: A002
        """Like `bindings`, with the value of each expression, as in `opa eval`.

        A query that is one expression and does not iterate has a result even if that is false.
        """
        if self._captured is None:
            body, captures = _capture(self._body)
            program, normal, names = compile_query(self._policies._program, body)
            assert program.mocked <= set(self._unit.mock_slots)
            function = self._unit.query(normal, tuple(names.values()))
            self._captured = (function, tuple(names), captures)
        function, variables, captures = self._captured
        lone = len(self._body) == 1 and not _iterates(self._body[0])
        results = []
        for row in self._rows(function, input):
            found = dict(zip(variables, row, strict=True))
            values = [True if name is None else found[name] for name in captures]
            if lone or not any(value is False for value in values):
                results.append((values, {name: value for name, value in found.items() if name not in captures}))
        return results

    def _rows(self, function: Callable[[Query], list[tuple[Value, ...]]], value: Value) -> list[tuple[Value, ...]]:
        options, code = self._policies._options, self._unit.code
        limits = options.limits
        query = begin(Run(options, self._strict, limits), code, value, self._policies._data)
        try:
            rows = function(query)
        except Exception as error:
            raise _failure(error) from error
        copy = Export(limits, query).value
        return [tuple(map(copy, row)) for row in rows]


def _iterates(expr: nodes.Expr) -> bool:
    """Whether a reference in an expression has a variable in it (OPA: v1/rego, `iteration`)."""
    return any(
        isinstance(item, nodes.Ref) and any(isinstance(step, nodes.Var) for step in item.path)
        for term in terms.expr_terms(expr)
        for item in terms.walk_terms(term)
    )


def _capture(body: nodes.Body) -> tuple[nodes.Body, list[str | None]]:
    """The query with each expression's value bound to a variable; None for those that have none but true."""
    result: list[nodes.Expr] = []
    captures: list[str | None] = []
    for number, expr in enumerate(body):
        name = f"expression {number}"
        what = expr.what
        if isinstance(what, nodes.SomeDecl):
            result.append(expr)
            continue
        valued = not expr.negated and not isinstance(
            what, (nodes.SomeIn, nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction)
        )
        if isinstance(what, nodes.Call) and isinstance(what.operator, nodes.Var):
            valued = valued and what.operator.name not in ("assign", "eq", "print")
        if valued and isinstance(what, nodes.Term):
            equality = nodes.Call(nodes.Var("eq"), (nodes.Var(name), what), loc=expr.loc)
            result.append(nodes.Expr(equality, withs=expr.withs, loc=expr.loc))
        else:
            result.append(expr)
        captures.append(name if valued else None)
    return tuple(result), captures


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision can depend on. A path is a tuple of names; all below it may be read. `()` is all of it."""

    input_paths: tuple[Path, ...]
    data_paths: tuple[Path, ...]
    nondeterministic: tuple[str, ...]


def _facts(program: Program, path: Path) -> Facts:
    seen: set[Rule] = set()
    pending = list(recursion.matching(program.tree, tuple([nodes.Scalar(step) for step in path])))
    inputs: set[Path] = set()
    data: set[Path] = {path}  # a package's document has the base data below its path in it
    volatile: set[str] = set()
    while pending:
        rule = pending.pop()
        if rule in seen:
            continue
        seen.add(rule)
        pending.extend(recursion.dependencies(program, rule))
        for term in recursion.rule_terms(rule):
            if isinstance(term, nodes.Var) and term.name == "input":
                inputs.add(())
            elif isinstance(term, nodes.Ref) and isinstance(term.head, nodes.Var):
                if term.head.name == "input":
                    inputs.add(_constant_prefix(term.path))
                elif term.head.name == "data":
                    data.add(_constant_prefix(term.path))
            elif isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Var):
                builtin = program.builtins[term.operator.name]
                volatile |= {builtin.name} if builtin.nondeterministic else set()
    data = {item for item in data if not _is_rule(program, item)}
    return Facts(_shortest(inputs), _shortest(data), tuple(sorted(volatile)))


def _is_rule(program: Program, path: Path) -> bool:
    """Whether a rule is at or above a path: then no base data can be read there."""
    return any(
        (node := program.tree.find(path[:length])) is not None and node.group is not None
        for length in range(len(path) + 1)
    )


def _constant_prefix(path: tuple[nodes.Term, ...]) -> Path:
    names: list[str] = []
    for step in path:
        if not isinstance(step, nodes.Scalar) or not isinstance(step.value, str):
            break
        names.append(step.value)
    return tuple(names)


def _shortest(paths: set[Path]) -> tuple[Path, ...]:
    """The paths that no other one is the beginning of."""
    return tuple(path for path in sorted(paths) if not any(path[:length] in paths for length in range(len(path))))
