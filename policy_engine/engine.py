"""The public objects: compiled policies, entrypoints, decisions, queries, facts. Nothing here knows Rego's rules."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple, Protocol

from policy_engine import cache as caching
from policy_engine.builtins import TABLE
from policy_engine.builtins.table import Builtin
from policy_engine.codegen.context import (
    LEFT,
    RUN,
    SLICE,
    START,
    Code,
    Indexes,
    Limits,
    Options,
    Query,
    Run,
    Start,
    are_wide,
    beginning,
    deadline_error,
    first_slice,
    run_of,
)
from policy_engine.codegen.entry import entry_factory
from policy_engine.codegen.export import Export, export, failure
from policy_engine.codegen.profile import Profile
from policy_engine.codegen.steps import Step, Steps, steps
from policy_engine.codegen.unit import Unit
from policy_engine.compiled import Compiled, Document
from policy_engine.compiler import compile_program
from policy_engine.compiler.program import Path, Program
from policy_engine.errors import TYPE_ERROR, BuiltinError, PolicyError
from policy_engine.explanation import Explanation
from policy_engine.facts import Facts
from policy_engine.impossible import Impossible
from policy_engine.members import Member
from policy_engine.queries import Rows, RowShape
from policy_engine.syntax import nodes, parser
from policy_engine.syntax.constants import constant_value
from policy_engine.types import ANY, FunctionType
from policy_engine.values import UNDEFINED, Value, to_json

Declaration = FunctionType | int
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
    cache: str | PathLike[str] | None = None,
) -> Policies:
    """Compile Rego modules (file name → source) over base `data`, which belongs to the result from now on.

    `limits` is the budget of each decision. `functions` are the host's own builtins (name → declaration, callable);
    `capabilities` are the names of the only builtins that may be used. `print` receives what policies print.
    `schemas` are JSON Schemas for the type checker: "schema" is the one of `input`, "schema.a" one for annotations.
    `cache` is a directory of this user's own where compiled code is kept and looked up, see `policy_engine.cache`.
    Raises `PolicyError` with every parse error, or, if all modules can be read, the errors of all compiler stages.
    """
    modules, schemas = dict(modules), None if schemas is None else dict(schemas)
    table = _builtins(functions or {}, capabilities)
    kept = None
    if cache is not None:
        declared = {name: declaration for name, (declaration, _) in (functions or {}).items()}
        key = caching.key(modules, strict=strict, schemas=schemas, capabilities=capabilities, functions=declared)
        kept = caching.Cache(FilePath(cache), key) if key is not None else None

    def build() -> Program:
        return compile_program(parser.parse_modules(modules), table, strict=strict, schemas=schemas)

    compiled = Compiled(build, table, kept)
    return _over(compiled, data, Options(limits or Limits(), allow_network, print))


def _over(compiled: Compiled, data: Mapping[str, Value] | None, options: Options) -> Policies:
    documents = dict(data or {})
    compiled.check(documents)
    return Policies(compiled, documents, options)


def from_modules(
    trees: Mapping[str, nodes.Module],
    data: Mapping[str, Value] | None,
    *,
    options: Options,
    schemas: Mapping[str, Value] | None = None,
    covering: bool = False,
) -> Policies:
    """Compile syntax trees. With `covering` the coverage of a traced decision consists of the expressions that were
    evaluated and the heads of rules that gave a value, as in `opa test`.
    """
    compiled = Compiled(lambda: compile_program(trees, TABLE, schemas=schemas), TABLE, covering=covering)
    return _over(compiled, data, options)


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
        decl = declaration if isinstance(declaration, FunctionType) else FunctionType((ANY,) * declaration, ANY)
        effect = name in TABLE and TABLE[name].effect
        table[name] = Builtin(name, decl, _guarded(name, function), effect=effect)
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


class Policies:
    """A compiled set of policies over base data. Immutable; any number of threads may use it."""

    def __init__(self, compiled: Compiled, data: dict[str, Value], options: Options) -> None:
        self._compiled = compiled
        self._data = data
        self._options = options
        self._indexes: dict[bool, Indexes] = {False: {}, True: {}}
        """The tables that are kept with the data, for decisions without and with strict builtin errors."""

    def entrypoint(self, path: str, *, strict_builtin_errors: bool = False) -> Entrypoint:
        """The document at a constant path (`data.support.authz.allow`) as a callable: the hot path."""
        return _Asked(self, _path(path), strict_builtin_errors).entrypoint()

    def prepare(self, query: str, *, strict_builtin_errors: bool = False) -> PreparedQuery:
        """Any Rego query, compiled once. Raises `PolicyError`."""
        return PreparedQuery(self, query, strict_builtin_errors)

    def with_data(self, data: Mapping[str, Value]) -> Policies:
        """The same policies over other base data; code is shared. Raises `PolicyError` if data lies where a rule is."""
        return _over(self._compiled, data, self._options)

    def facts(self, path: str) -> Facts:
        """The inputs on which a decision at `path` can depend, whatever their values are."""
        return self._compiled.facts(_path(path))

    def members(self, path: str) -> tuple[Member, ...]:
        """The members that the rules of a package define, with types, constant values and places, in order."""
        return self._compiled.members(_path(path))

    def impossible(self, schema: Mapping[str, Any]) -> list[Impossible] | None:
        """The conditions that no input of a JSON Schema can make true, in order of their places.

        None if a rule replaces documents by `with`, so that others see what no schema describes.
        """
        return self._compiled.impossible(self._data, schema)

    def compared(self, schema: Mapping[str, Any], paths: Sequence[Sequence[Value]]) -> list[Value]:
        """The constants that conditions compare the parts of `input` at these paths with, whose schema this is."""
        return self._compiled.compared(self._data, schema, paths)

    def packages(self) -> dict[str, Path]:
        """The package of each module, by file name."""
        return dict(self._compiled.packages)

    def annotations(self) -> list[dict[str, Value]]:
        """The metadata annotations of all modules, in order (OPA: docs/policy-language, "Metadata")."""
        return [copy.deepcopy(found.to_json()) for found in self._compiled.program.annotations]

    def python_source(self, *paths: str) -> str:
        """The Python of the policies, or of what `paths` need, to be read by people. Constants appear as names."""
        unit = Unit(self._compiled.program)
        for path in map(_path, paths) if paths else self._compiled.packages.values():
            unit.value(path)
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
    if _DOTTED.fullmatch(text):  # nearly all are so simple, and need no parser
        return tuple(text.split(".")[1:])
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


_DOTTED: Final = re.compile(r"data(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class Entrypoint(Protocol):
    """A document of a policy set, ready to be asked for many times.

    It is an ordinary function that has `decide` and `explain` as attributes. Calling an object of a class would take as
    long as a small decision.
    """

    def __call__(self, input: Value = UNDEFINED) -> Value:  # noqa: A002
        """The document for an input: a JSON value, or `UNDEFINED`. Without an argument `input` is undefined.

        Raises `PolicyError`: conflicts, budgets, values that are no JSON, and builtin errors under strict.
        """

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
        """The document, and what it depended on."""

    def explain(
        self,
        input: Value = UNDEFINED,  # noqa: A002
        *,
        now_ns: int | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
        replay: Mapping[str, Value] | None = None,
    ) -> Explanation:
        """The document, and why it is what it is."""


def _evaluated(function: Callable[[Query], Any], query: Query) -> Any:
    """The result of generated code. Raises no exception but `PolicyError`."""
    try:
        return function(query)
    except PolicyError:
        raise
    except Exception as error:
        raise failure(error) from error


def _exported(value: Value, query: Query) -> Value:
    """A fresh JSON value for the caller. Raises no exception but `PolicyError`."""
    if value is True or value is False or value is UNDEFINED:
        return value
    return _evaluated(lambda query: export(value, query), query)


class _Asked:
    """The state behind an entrypoint."""

    def __init__(self, policies: Policies, path: Path, strict: bool) -> None:
        self._compiled = policies._compiled
        self._data = policies._data
        self._indexes = policies._indexes[strict]
        self._options = policies._options
        self._path = path
        self._strict = strict
        code, self._function = self._compiled.document(path)
        self._traced: Document | None = None
        # All that the function can reach is compiled now, so there will be no more memo slots to be made.
        start: Start = (self._options, strict, self._options.limits, None, None, None, None)
        self._begun = beginning(code, start, self._data, self._indexes)
        self._entry: Callable[[Value], Value] | None = None
        self._decided: Callable[[Value, Query], Value] | None = None
        factory = entry_factory(self._function)
        if factory is not None:
            with suppress(PolicyError):  # base data is no JSON: each decision raises that error
                self._entry, self._decided = factory(self._begun) or (None, None)

    def entrypoint(self) -> Entrypoint:
        begun, evaluate, limits = self._begun, self._function, self._options.limits

        def plain(input: Value = UNDEFINED) -> Value:  # noqa: A002
            query = [input, *begun]
            return _exported(_evaluated(evaluate, query), query)

        def timed(input: Value = UNDEFINED) -> Value:  # noqa: A002
            return self.decide(input).value

        function: Any = timed if limits.seconds is not None else self._entry if are_wide(limits) else plain
        function = function or plain
        function.__name__ = function.__qualname__ = "entrypoint"
        function.__doc__ = Entrypoint.__call__.__doc__
        function.decide = self.decide
        function.explain = self.explain
        return function  # type: ignore[no-any-return]

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
        if limits is None:
            limits = self._options.limits
        deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        start = (self._options, self._strict, limits, deadline, now_ns, seed, replay)
        if trace:
            return self._trace(input, start)
        query = [input, *self._begun]
        query[START] = start
        if self._decided is not None and are_wide(limits):
            query[LEFT] = SLICE
            answer = self._decided(input, query)
        else:
            query[LEFT] = first_slice(limits)
            answer = _exported(_evaluated(self._function, query), query)
        if deadline is not None and time.monotonic() > deadline:
            raise deadline_error()
        run: Run | None = query[RUN]
        if run is None or (run.recorded is None and run.prints is None):
            return tuple.__new__(Decision, (answer, {}, (), None, None))  # `Decision(…)` takes as long as a small rule
        return Decision(answer, _recorded(run), tuple(run.prints or ()))

    def explain(
        self,
        input: Value = UNDEFINED,  # noqa: A002
        *,
        now_ns: int | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
        replay: Mapping[str, Value] | None = None,
    ) -> Explanation:
        """The document, which rules made it, where the others failed, and every expression that was evaluated.

        An error of the evaluation is in the result, not raised. No index leaves out rules, so it is slow.
        """
        limits = limits or self._options.limits
        deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        start = (replace(self._options, print=None), self._strict, limits, deadline, now_ns, seed, replay)
        value, failed, noted = UNDEFINED, None, Steps()
        try:
            code, function = self._compiled.recording(self._path)  # loops may be nested too deeply for this build
            query = [input, *beginning(code, start, self._data, self._indexes)]
            noted = steps(query)
            value = _exported(_evaluated(function, query), query)
        except PolicyError as error:
            failed = error
        return Explanation(value, failed, noted, self._compiled.program)

    def _trace(self, value: Value, start: Start) -> Decision:
        """A traced decision."""
        if self._traced is None:
            self._traced = self._compiled.traced(self._path)
        code, function = self._traced
        query = [value, *beginning(code, start, self._data, self._indexes)]
        answer = _exported(_evaluated(function, query), query)
        run = run_of(query)
        run.look_at_clock()
        return Decision(answer, _recorded(run), tuple(run.prints or ()), _coverage(code, run), tuple(run.fired or ()))


class Decision(NamedTuple):
    """An answer and what is needed to explain or repeat it.

    `nondeterministic` maps calls to the values they gave; given back as `replay=`, it makes the decision the same,
    years later. With `trace`, `coverage` maps files to the lines whose expressions succeeded, and `why` names the rules
    that gave a value, in order (`data.authz.allow at authz.rego:4`).
    """

    value: Value
    nondeterministic: dict[str, Value]
    prints: tuple[str, ...]
    coverage: dict[str, tuple[int, ...]] | None = None
    why: tuple[str, ...] | None = None


def _recorded(run: Run) -> dict[str, Value]:
    """The values of clock, chance and other hosts that a decision used, as JSON values."""
    return {call: to_json(result) for call, result in (run.recorded or {}).items()}


def _coverage(code: Code, run: Run) -> dict[str, tuple[int, ...]]:
    lines: dict[str, set[int]] = {}
    marks = run.marks or b""
    number = marks.find(1)  # faster than a loop: a decision marks few places of a large policy
    while number >= 0:
        loc = code.places[number]
        lines.setdefault(loc.file, set()).add(loc.row)
        number = marks.find(1, number + 1)
    return {file: tuple(sorted(rows)) for file, rows in sorted(lines.items())}


class PreparedQuery:
    """A query against a policy set, compiled once."""

    def __init__(self, policies: Policies, query: str, strict: bool) -> None:
        self._policies = policies
        self._strict = strict
        self._query = query
        self._plain = policies._compiled.query(query, capture=False)
        self._captured: tuple[Code, Rows, RowShape] | None = None

    def bindings(self, input: Value = UNDEFINED) -> list[dict[str, Value]]:  # noqa: A002
        """The query's variables at each of its solutions, as JSON values. Raises `PolicyError`."""
        code, function, shape = self._plain
        return [dict(zip(shape.variables, row, strict=True)) for row in self._rows(code, function, input)]

    def results(self, input: Value = UNDEFINED) -> list[tuple[list[Value], dict[str, Value]]]:  # noqa: A002
        """Like `bindings`, with the value of each expression, as in `opa eval`.

        A query that is one expression and does not iterate has a result even if that is false.
        """
        if self._captured is None:
            self._captured = self._policies._compiled.query(self._query, capture=True)
        code, function, shape = self._captured
        return _results(shape, self._rows(code, function, input))

    def profile(
        self,
        input: Value = UNDEFINED,  # noqa: A002
    ) -> tuple[list[tuple[list[Value], dict[str, Value]]], Profile]:
        """`results`, and where the time went.

        The query is evaluated twice, and the second time counts. The first one also does work that is done only once,
        like making tables of the data, which would hide the rest.
        """
        profile = Profile()
        code, function, shape = self._policies._compiled.profiled(self._query, profile)
        self._rows(code, function, input, quiet=True)
        profile.restart()
        return _results(shape, self._rows(code, function, input)), profile

    def steps(self, input: Value = UNDEFINED) -> list[Step]:  # noqa: A002
        """Every expression that is evaluated for the bindings, in order, up to an error."""
        code, function, _ = self._policies._compiled.recording_query(self._query)
        query = self._begin(code, input, quiet=True)
        with suppress(PolicyError):
            _evaluated(function, query)
        return steps(query).all

    def _rows(self, code: Code, function: Rows, value: Value, *, quiet: bool = False) -> list[tuple[Value, ...]]:
        query = self._begin(code, value, quiet=quiet)
        rows: list[tuple[Value, ...]] = _evaluated(function, query)
        exported = Export(query)
        copied: list[tuple[Value, ...]] = _evaluated(lambda _: [tuple(map(exported.value, row)) for row in rows], query)
        run_of(query).look_at_clock()
        return copied

    def _begin(self, code: Code, value: Value, *, quiet: bool) -> Query:
        """The context of an evaluation; with `quiet` nothing is printed."""
        options = self._policies._options
        if quiet:
            options = replace(options, print=None)
        policies, limits = self._policies, options.limits
        deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        start = (options, self._strict, limits, deadline, None, None, None)
        return [value, *beginning(code, start, policies._data, policies._indexes[self._strict])]


def _results(shape: RowShape, rows: list[tuple[Value, ...]]) -> list[tuple[list[Value], dict[str, Value]]]:
    """The values of a query's expressions, and its variables, at each solution that counts."""
    captures = shape.captures
    results = []
    for row in rows:
        found = dict(zip(shape.variables, row, strict=True))
        values = [True if name is None else found[name] for name in captures]
        if shape.lone or not any(value is False for value in values):
            results.append((values, {name: value for name, value in found.items() if name not in captures}))
    return results
