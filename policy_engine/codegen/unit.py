"""One build of a program as Python: the namespace of its functions.

Functions are written when something first refers to them (see names.py), so code exists only for what an entrypoint or
query can reach. Sources are compiled in chunks: CPython's memory use for one huge module is out of proportion. A
function that an index may choose is compiled when it is chosen (see functions.py).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from policy_engine.codegen.body import solutions
from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code, Query
from policy_engine.codegen.deferred import can_wait
from policy_engine.codegen.entry import factory_name, write_entry
from policy_engine.codegen.frame import Action, FunctionFrame, tuple_of
from policy_engine.codegen.functions import Functions, forget, late
from policy_engine.codegen.groups import write_extent, write_group, write_lookup, write_rule
from policy_engine.codegen.metering import of_query
from policy_engine.codegen.names import Lookup, Names, Needed, RuleFunction
from policy_engine.codegen.namespace import NAMESPACE
from policy_engine.codegen.observer import Observer
from policy_engine.codegen.package_entry import write_package
from policy_engine.codegen.refs import DOCUMENTS, value_of
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Kind, Path, Program, RuleGroup, Tree
from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body
from policy_engine.values import Value

CHUNK = 2000
"""The lines after which a new source begins. Compiling one takes about 3 kB."""

Watch = Callable[[Constants, Code], Observer]
"""Makes the observer of a build."""


class Unit:
    """Code generation for one program. Any number of threads may use it."""

    def __init__(self, program: Program, watch: Watch = Observer) -> None:
        self.program = program
        self.namespace: dict[str, Any] = {"__builtins__": {}, **NAMESPACE}
        self.code = Code()
        self.functions = Functions(self.namespace)
        constants = Constants(self.namespace)
        self.names = Names(program, constants, self.code, watch(constants, self.code))
        self._lock = threading.RLock()
        with self._writing():
            self.code.fns = tuple(self._mock_default(name) for name in self.names.mock_slots)

    def _mock_default(self, name: str) -> Any:
        """The function for calls of a function that some `with` replaces, in contexts where none does."""
        if name in self.program.functions:
            return late(self.namespace, self.names.function(self.program.functions[name]))
        return of_query(self.program.builtins[name])

    # ---- entry points

    def query(self, body: Body, variables: tuple[str, ...]) -> Callable[[Query], list[tuple[Value, ...]]]:
        """A function that gives the values of variables at each solution of a body in normal form."""

        def write(fn: FunctionFrame) -> None:
            fn.line("c = []")
            row = Action(lambda: fn.line(f"c.append({tuple_of([fn.env[name] for name in variables])})"))
            solutions(fn, body, row)
            fn.line("return c")

        return self._own(write)

    def value(self, path: Path) -> Callable[[Query], Value]:
        """A function that gives the document at a constant path below `data`, or undefined."""
        tree = self.program.tree.find(path)
        if tree is None or (tree.group is not None and tree.group.kind is Kind.FUNCTION):
            ref = nodes.Ref(DOCUMENTS, tuple([nodes.Scalar(step) for step in path]))
            return self._own(lambda fn: fn.line(f"return {value_of(fn, ref if path else DOCUMENTS)}"))
        with self._writing():
            name = self.names.document(tree)
        return self.namespace[name]  # type: ignore[no-any-return]

    def write_entry(self, path: Path) -> None:
        """Write the factory of the entry for a document, if it is to have one (see entry.py)."""
        tree = self.program.tree.find(path)
        if tree is None or not path:
            return
        if tree.group is not None and (tree.group.kind is Kind.FUNCTION or self.names.is_fixed(tree.group)):
            return
        # With an entry around them, nested loops may be too deep for Python. Then there is no entry.
        with suppress(PolicyError), self._writing():
            writer = Writer()
            if self.names.is_new(factory_name(self.names.document(tree))):
                if tree.group is None:
                    write_package(self.names, writer, tree)
                else:
                    write_entry(self.names, writer, tree.group)
            if writer.lines:
                self.functions.define([writer.text()])

    def _own(self, write: Callable[[FunctionFrame], None]) -> Callable[[Query], Any]:
        """A new function of a context. It lives only as long as its caller keeps it."""
        with self._writing():
            writer = Writer()
            with writer.block("def entry(q):"):
                self.names.observer.begin(writer)
                write(FunctionFrame(self.names, writer))
            source = self.functions.define([writer.text()])
            function = self.namespace.pop("entry")
        weakref.finalize(function, forget, self.functions.sources, source)
        return function  # type: ignore[no-any-return]

    def source(self) -> str:
        """The text of all functions, compiled or not."""
        waiting = [text for _, text in self.functions.waiting_texts()]
        return "\n".join([*self.functions.sources.values(), *waiting])

    # ---- writing and compiling

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write and compile what has been asked for inside. If that fails, forget all of it."""
        with self._lock:
            names, state = self.names, self.names.state()
            try:
                yield
                while names.needed or names.chosen:
                    if names.needed:
                        self._define_chunk()
                    else:
                        rule = names.chosen.popleft()
                        waits = can_wait(names, rule.rule)
                        later = partial(self._written_late, rule) if waits else self._text(rule)
                        self.functions.stand_in(rule.name, later)
            except BaseException:
                names.forget(state)
                raise
            for name, table in names.tables.items():
                if isinstance(table, dict):
                    self.namespace[name] = {text: self._named(found) for text, found in table.items()}
                else:
                    self.namespace[name] = self._named(table)
            names.tables.clear()

    def _named(self, functions: list[str]) -> tuple[Any, ...]:
        return tuple([self.namespace[name] for name in functions])

    def _define_chunk(self) -> None:
        """Define the functions that are needed now, as many as fit into one source."""
        texts: list[str] = []
        lines = 0
        for _ in range(len(self.names.needed)):
            texts.append(self._text(self.names.needed.popleft()))
            lines += texts[-1].count("\n")
            if lines >= CHUNK:
                break
        self.functions.define(texts)

    def _written_late(self, rule: RuleFunction) -> str:
        """The text of a function that could wait. It adds no slot, for which contexts in use would have no room."""
        with self._lock:
            slots = self.code.slots
            text = self._text(rule)
            assert self.code.slots == slots
            assert not self.names.needed
            return text

    def _text(self, needed: Needed) -> str:
        """The text of a function."""
        names, writer = self.names, Writer()
        match needed:
            case RuleFunction():
                write_rule(names, writer, needed)
            case Lookup():
                write_lookup(names, writer, needed)
                writer.lines = names.observer.whole_function(needed.group, writer.lines)
            case RuleGroup():
                write_group(names, writer, needed)
                writer.lines = names.observer.whole_function(needed, writer.lines)
            case Tree():
                write_extent(names, writer, needed)
        return writer.text()
