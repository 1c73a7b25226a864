"""The data-independent part of a policy set: its program, its code, and the cache of its code.

With a cache nothing is parsed or compiled before a question that the cache cannot answer: another entry point, another
query, a traced decision, annotations. Each entry of the cache has code of its own. Without a cache all entry points
share one unit of code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from policy_engine import facts, impossible, members, queries
from policy_engine.builtins.table import Builtin
from policy_engine.cache import Cache
from policy_engine.codegen import image
from policy_engine.codegen.context import Code, Query
from policy_engine.codegen.observer import Covering, Observer, Traced
from policy_engine.codegen.profile import Profile, Profiling
from policy_engine.codegen.steps import Recording
from policy_engine.codegen.unit import Unit
from policy_engine.compiler.program import Path, Program, dotted
from policy_engine.errors import COMPILE_ERROR, PolicyError, combine, depth_refused
from policy_engine.facts import Facts
from policy_engine.impossible import Impossible
from policy_engine.location import Location
from policy_engine.members import Member
from policy_engine.queries import Rows, RowShape
from policy_engine.values import Value

Document = tuple[Code, Callable[[Query], Value]]
"""A function that gives a document in a context, and what that context must have."""


class Compiled:
    """A compiled set of policies, which may be compiled later. Any number of threads may use it.

    `build` parses and compiles, and raises `PolicyError`. Without a cache it is called at once. With `covering` a
    traced decision notes the expressions that were evaluated, not those that succeeded.
    """

    def __init__(
        self,
        build: Callable[[], Program],
        builtins: Mapping[str, Builtin],
        cache: Cache | None = None,
        *,
        covering: bool = False,
    ) -> None:
        self._build = build
        self._builtins = builtins
        self._cache = cache
        self._covering = covering
        self._lock = threading.RLock()
        self._program: Program | None = None
        self._units: dict[tuple[type[Observer], frozenset[str], frozenset[Path]], Unit] = {}
        outline = self._kept("outline", "", self._outline)
        self.packages: dict[str, Path] = dict(outline[0])
        """The package of each module, by file name."""
        self._groups: list[tuple[Path, tuple[Any, ...]]] = outline[1]

    @property
    def program(self) -> Program:
        """The program, which is compiled when it is first asked for."""
        with self._lock:
            if self._program is None:
                with depth_refused():
                    self._program = self._build()
                del self._build  # it holds the texts
            return self._program

    def _outline(self) -> tuple[Any, ...]:
        program = self.program
        packages = [(info.file, info.package) for info in program.modules]
        # Base data can lie only where all steps are strings.
        groups = [group for group in program.groups if all(isinstance(step, str) for step in group.path)]
        return packages, [(group.path, tuple(group.loc)) for group in groups]

    def _kept(self, kind: str, question: str, compute: Callable[[], Any]) -> Any:
        """An entry of the cache. If there is none it is computed, and kept there."""
        if self._cache is None:
            return compute()
        entry = self._cache.get(kind, question)
        if entry is None:
            entry = compute()
            self._cache.put(kind, question, entry)
        return entry

    def check(self, data: Mapping[str, Value]) -> None:
        """Raises `PolicyError` if base data lies at, above (unless it is an object) or below a rule's path."""
        errors = [
            PolicyError(COMPILE_ERROR, f"conflicting rule for data path {'/'.join(path)} found", Location._make(where))
            for path, where in self._groups
            if _is_taken(data, path)
        ]
        if errors:
            raise combine(errors)

    # ---- code

    def document(self, path: Path) -> Document:
        """The function for the document at a path below data."""
        with depth_refused():
            if self._cache is None:
                unit = self.unit(self.program)
                function = unit.value(path)
                unit.write_entry(path)
                return unit.code, function
            stored = self._cache.get("document", dotted(path))
            if stored is not None:
                return image.restore(stored, self._builtins)
            unit = Unit(self.program)
            function = unit.value(path)
            unit.write_entry(path)
            self._store("document", dotted(path), unit, function)
            return unit.code, function

    def traced(self, path: Path) -> Document:
        """The function of the traced build. It is not kept in the cache, because few decisions are explained."""
        return self._watched(path, Covering if self._covering else Traced)

    def recording(self, path: Path) -> Document:
        """The function of the build that records its steps. It is not kept in the cache either."""
        return self._watched(path, Recording)

    def _watched(self, path: Path, watch: type[Observer]) -> Document:
        with depth_refused():
            unit = self.unit(self.program, watch)
            return unit.code, unit.value(path)

    def query(self, text: str, *, capture: bool) -> tuple[Code, Rows, RowShape]:
        """The function for a query's rows."""
        with depth_refused():
            return self._query(text, capture)

    def _query(self, text: str, capture: bool) -> tuple[Code, Rows, RowShape]:
        if self._cache is None:
            unit, rows, shape = queries.prepare(self.program, text, self.unit, capture=capture)
            return unit.code, rows, shape
        kind = "results" if capture else "bindings"
        stored = self._cache.get(kind, text)
        if stored is not None:
            code, rows = image.restore(stored[0], self._builtins)
            return code, rows, RowShape(*stored[1:])
        unit, rows, shape = queries.prepare(self.program, text, Unit, capture=capture)
        self._store(kind, text, unit, rows, shape.variables, shape.captures, shape.lone)
        return unit.code, rows, shape

    def profiled(self, text: str, profile: Profile) -> tuple[Code, Rows, RowShape]:
        """The function for a query's rows, whose times `profile` collects."""
        with depth_refused():
            unit, rows, shape = queries.prepare(
                self.program, text, lambda program: Unit(program, partial(Profiling, profile)), capture=True
            )
        return unit.code, rows, shape

    def recording_query(self, text: str) -> tuple[Code, Rows, RowShape]:
        """The function for a query's rows that records its steps."""
        with depth_refused():
            unit, rows, shape = queries.prepare(self.program, text, partial(self.unit, watch=Recording))
        return unit.code, rows, shape

    def _store(self, kind: str, question: str, unit: Unit, function: Callable[[Query], Any], *more: object) -> None:
        assert self._cache is not None
        try:
            taken = image.snapshot(unit, function)
        except image.UnstorableError:
            return
        self._cache.put(kind, question, (taken, *more) if more else taken)

    def unit(self, program: Program, watch: type[Observer] = Observer) -> Unit:
        """The code for queries that replace with `with` what a program replaces. They share it."""
        own = self.program
        if program.mocked <= own.mocked and program.masked <= own.masked:
            program = own
        key = (watch, frozenset(program.mocked), frozenset(program.masked))
        with self._lock:
            if key not in self._units:
                self._units[key] = Unit(program, watch)
            return self._units[key]

    # ---- facts

    def facts(self, path: Path) -> Facts:
        """The inputs on which a decision at a path below data can depend."""

        def compute() -> tuple[Any, ...]:
            with depth_refused():
                found = facts.find(self.program, path)
            return found.input_paths, found.data_paths, found.nondeterministic, found.rules

        return Facts(*self._kept("facts", dotted(path), compute))

    def members(self, path: Path) -> tuple[Member, ...]:
        """The parts that rules add to the document of a package. This needs the program, which no cache has."""
        return tuple(members.find(self.program, path))

    def impossible(self, data: Mapping[str, Value], schema: Mapping[str, Any]) -> list[Impossible] | None:
        """Conditions that no input of a schema meets. Needs the program, too."""
        with depth_refused():
            return impossible.find(self.program, data, schema)

    def compared(
        self, data: Mapping[str, Value], schema: Mapping[str, Any], paths: Sequence[Sequence[Value]]
    ) -> list[Value]:
        """Constants that parts of the input are compared with. Needs the program, too."""
        with depth_refused():
            return impossible.compared(self.program, data, schema, paths)


def _is_taken(data: Value, path: Path) -> bool:
    """True if base data leaves no room for a rule's document."""
    for step in path:
        if data.__class__ is not dict:
            return True
        if step not in data:
            return False
        data = data[step]
    return True
