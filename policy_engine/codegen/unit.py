"""One compiled set of policies as Python: which functions exist, what they are called, and the namespace they live in.

Functions are written when something first refers to them, so code exists only for what an entrypoint or query can
reach. Sources are compiled in chunks: CPython's memory use for one huge module is out of proportion. What an index
chooses from is compiled when it is chosen (see functions.py).
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from policy_engine.codegen.body import BodyWriter
from policy_engine.codegen.comprehensions import Action
from policy_engine.codegen.context import MEMO, Code, Node, Query
from policy_engine.codegen.deferred import can_wait
from policy_engine.codegen.entry import EXPORTED, name_of, write_entry
from policy_engine.codegen.fixed import OBSERVED, Fixed
from policy_engine.codegen.functions import Functions, forget, late, remembered
from policy_engine.codegen.groups import write_extent, write_group, write_lookup
from policy_engine.codegen.index import Index, find, without_decided
from policy_engine.codegen.metering import of_query
from policy_engine.codegen.package_entry import write_package
from policy_engine.codegen.writer import Constants, Writer
from policy_engine.compiler import calls
from policy_engine.compiler.program import Group, Kind, Path, Program, Rule, Tree
from policy_engine.compiler.recursion import rule_terms
from policy_engine.compiler.terms import builtin_name
from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.values import Value

CHUNK = 2000
"""Lines of one source, after which the next one begins. Compiling takes about 3 kB for each."""


class Unit:
    """Code generation for one program. `trace` builds functions that note which expressions succeeded."""

    joins = True
    """Whether loops look only at the members that an equality behind them lets through."""

    def __init__(self, program: Program, *, trace: bool = False, mocked: frozenset[str] = frozenset()) -> None:
        self.program = program
        self.trace = trace
        self.arity = calls.arity(program)
        self.namespace: dict[str, Any] = {"__builtins__": {}, **EXPORTED}
        self.constants = Constants(self.namespace)
        self.code = Code(self.namespace, Node(program.tree.number, ()))
        self.mock_slots = {name: number for number, name in enumerate(sorted(program.mocked | mocked))}
        self.functions = Functions(self.namespace)
        self._slots: dict[Group, int] = {}
        self.asked: set[Group] = set()
        """The groups whose whole documents other rules ask for."""
        self._places: dict[Location, int] = {}
        self.nodes: dict[int, Node] = {}
        self.rules: dict[int, tuple[str, int]] = {}
        """For the number of a node the function that gives its document, and the place where that is remembered."""
        self._lookups: dict[tuple[Group, tuple[object, ...]], str] = {}
        self._masked = self._masked_numbers()
        self._fixed = Fixed(program, self.mock_slots)
        self._written: set[str] = set()
        self._pending: deque[Callable[[Writer], None]] = deque()
        self._indexes: dict[Group, Index | None] = {}
        self._chosen: deque[tuple[str, Rule, Callable[[Writer], None]]] = deque()
        """Functions to be written like those pending, but not to be compiled yet."""
        self._tables: list[tuple[str, dict[str | None, tuple[str, ...]], tuple[str, ...]]] = []
        self._lock = threading.RLock()
        with self._lock:
            self.code.fns = tuple(self._mock_default(name) for name in self.mock_slots)
            self._flush()

    # ---- entry points

    def query(self, body: Body, names: tuple[str, ...]) -> Callable[[Query], list[tuple[Value, ...]]]:
        """A function that gives the values of `names` at each solution of a body in normal form."""

        def write(writer: Writer) -> None:
            body_writer = BodyWriter(self, writer)

            def row() -> None:
                writer.line(f"c.append({body_writer.tuple_of([body_writer.env[item] for item in names])})")

            writer.line("c = []")
            body_writer.solutions(body, Action(row))
            writer.line("return c")

        return self._entry(write)

    def value(self, path: Path) -> Callable[[Query], Value]:
        """A function that gives the document at a constant path below `data`, or undefined."""
        tree = self.program.tree.find(path)
        if tree is not None and (tree.group is None or tree.group.kind is not Kind.FUNCTION):
            return self._document(tree)
        ref = nodes.Ref(nodes.Var("data"), tuple([nodes.Scalar(step) for step in path]))
        return self._entry(
            lambda writer: writer.line(f"return {BodyWriter(self, writer).side(ref if path else ref.head)}")
        )

    def write_entry(self, path: Path) -> None:
        """Write what makes the function for callers of a document, if it is to have one (see entry.py)."""
        tree = self.program.tree.find(path)
        if tree is None or not path:
            return
        group = tree.group
        if group is not None and (group.kind is Kind.FUNCTION or self.is_fixed(group)):
            return
        name = self._document_name(tree)

        def write(writer: Writer) -> None:
            if group is None:
                write_package(self, writer, tree)
            else:
                write_entry(self, writer, group)

        with self._lock:
            if name_of(name) not in self._written:
                self._written.add(name_of(name))
                self._pending.append(write)
                with suppress(PolicyError):  # loops too deep for a function with more around them: it has to do without
                    self._flush()

    def _document(self, tree: Tree) -> Callable[[Query], Value]:
        def needed(_: Writer) -> None:
            self._document_name(tree)

        with self._lock:
            self._pending.append(needed)  # asked for in the flush: what that cannot write, it also forgets
            self._flush()
            return self.namespace[self._document_name(tree)]  # type: ignore[no-any-return]

    def _document_name(self, tree: Tree) -> str:
        """The function for a document where no `with` replaces anything."""
        return self.extent_name(tree) if tree.group is None else self.function_name(tree.group)

    def _entry(self, write: Callable[[Writer], None]) -> Callable[[Query], Any]:
        """A new function of a context, and all that it needs. It lives only as long as its caller keeps it."""

        def write_function(writer: Writer) -> None:
            with writer.block("def entry(q):"):
                self.begin_function(writer)
                write(writer)

        with self._lock:
            self._pending.append(write_function)
            source = self._flush()
            function = self.namespace.pop("entry")
        weakref.finalize(function, forget, self.functions.sources, source)
        return function  # type: ignore[no-any-return]

    # ---- what a profiled or a covering unit adds

    def reached(self, writer: Writer, loc: Location) -> None:
        """Called before an expression is written."""

    def gave(self, writer: Writer, loc: Location) -> None:
        """Called in the traced build where a rule gives a value."""

    def function(self, group: Group, write: Callable[[Writer], None]) -> Callable[[Writer], None]:
        """What writes a group's function, given what writes it."""
        return write

    # ---- names, as the writers ask for them

    def operand(self, term: Term) -> str:
        """The expression for a constant term."""
        found = constant_value(term)
        assert found is not None
        return self.constants.value(found[0])

    def function_name(self, group: Group) -> str:
        name = f"g{group.number}"
        if name not in self._written:
            self._written.add(name)
            self._pending.append(self.function(group, lambda writer: write_group(self, writer, group)))
        return name

    def lookup_name(self, group: Group, path: tuple[Term, ...]) -> tuple[str, list[int]]:
        """The lookup for some known steps, and which of them it takes as parameters.

        A constant is built into the function only where some rule's head has a constant at that place.
        """
        pattern: list[Term | None] = []
        for number, step in enumerate(path):
            heads = [(*rule.suffix, *([rule.key] if rule.key is not None else []))[number:][:1] for rule in group.rules]
            matters = isinstance(step, nodes.Scalar) and any(isinstance(h[0], nodes.Scalar) for h in heads if h)
            pattern.append(step if matters else None)
        key = (group, tuple(None if step is None else self.operand(step) for step in pattern))
        name = self._lookups.get(key)
        if name is None:
            name = self._lookups[key] = f"g{group.number}_{len(self._lookups)}"
            fixed = tuple(pattern)
            self._pending.append(self.function(group, lambda writer: write_lookup(self, writer, group, name, fixed)))
        return name, [number for number, step in enumerate(pattern) if step is None]

    def index_of(self, group: Group, rules: list[Rule]) -> Index | None:
        """The index of all of a group's rules, or of some of them."""
        if rules is not group.rules:
            return find(rules)
        if group not in self._indexes:
            self._indexes[group] = find(rules)
        return self._indexes[group]

    def dispatch(
        self,
        group: Group,
        params: list[str],
        rules: list[Rule],
        write: Callable[[Writer, Rule], None],
        index: Index | None,
    ) -> tuple[str, str]:
        """Functions for a group's rules one by one, once, and the table to choose from: its name, and that of the rest.

        `write` writes the body of a rule's function, which takes the context and `params`. Without an index the rest is
        all of them, and they are compiled with everything else.
        """
        table = f"t{group.number}"
        if table in self._written:
            return table, f"{table}_rest"
        self._written.add(table)
        functions = [f"g{group.number}_r{number}" for number in range(len(rules))]

        def write_function(number: int, writer: Writer) -> None:
            with writer.block(f"def {functions[number]}({', '.join(['q', *params])}):"):
                self.begin_function(writer)
                write(writer, self.without_decided(rules[number], number, index))

        for number, rule in enumerate(rules):
            if index is None:
                self._pending.append(partial(write_function, number))
            else:
                self._chosen.append((functions[number], rule, partial(write_function, number)))
        chosen, rest = ({}, range(len(rules))) if index is None else (index.table, index.rest)
        named = {text: tuple([functions[number] for number in numbers]) for text, numbers in chosen.items()}
        self._tables.append((table, named, tuple([functions[number] for number in rest])))
        return table, f"{table}_rest"

    def without_decided(self, rule: Rule, number: int, index: Index | None) -> Rule:
        """A rule that an index chooses, without what it decides; whole where every expression must show."""
        return rule if index is None or self.trace else without_decided(rule, number, index)

    @functools.cached_property
    def prints(self) -> bool:
        """Whether some rule prints or traces."""
        return any(
            isinstance(term, nodes.Call) and builtin_name(term) in OBSERVED
            for group in self.program.groups
            for rule in group.rules
            for term in rule_terms(rule)
        )

    def has_effect(self, name: str | None) -> bool:
        """Whether it matters how often a builtin is called, or, without a name, a function of the policies."""
        return name in OBSERVED or (self.prints and (name is None or name in self.mock_slots))

    def is_plain(self, name: str | None) -> bool:
        """Whether a builtin gives the same for the same operands always. Of functions of the policies nobody knows."""
        return name is not None and self._fixed.is_plain(name)

    def place(self, loc: Location) -> int:
        """In the traced build: the number of a place in the policies that may be marked."""
        number = self._places.get(loc)
        if number is None:
            number = self._places[loc] = len(self._places)
            self.code.places.append(loc)
        return number

    def begin_function(self, writer: Writer) -> None:
        """What a function begins with that writes bodies."""
        if self.trace:
            writer.line("h = marks(q)")

    def slot(self, group: Group) -> int:
        if group not in self._slots:
            self._slots[group] = self.new_slot()
        return self._slots[group]

    def new_slot(self) -> int:
        """The place in a context of something to remember."""
        self.code.slots += 1
        return MEMO + self.code.slots - 1

    def group_of(self, call: nodes.Call) -> Group:
        group = calls.find_function(self.program, call)
        assert group is not None
        return group

    def node_name(self, tree: Tree) -> str:
        """The name of a place in the tree of virtual documents; everything below it is written too."""
        return self.constants.named("d", tree.number, self._node(tree))

    def extent_name(self, tree: Tree) -> str:
        """The function for all there is at a place in the tree of virtual documents."""
        if tree.group is not None and tree.group.kind is not Kind.FUNCTION and not self._masked:
            return self.function_name(tree.group)
        name = f"e{tree.number}"
        if name not in self._written:
            self._written.add(name)
            self._pending.append(lambda writer: write_extent(self, writer, tree))
        return name

    def is_replaced(self, path: Path) -> bool:
        """Whether some `with` replaces the document at a path, a part of it, or one that it is a part of."""
        return any(other[: len(path)] == path[: len(other)] for other in self.program.masked)

    def is_replaced_below(self, path: Path) -> bool:
        """Whether some `with` replaces a part of the document at a path."""
        return any(len(other) > len(path) and other[: len(path)] == path for other in self.program.masked)

    def _node(self, tree: Tree) -> Node:
        node = self.nodes.get(tree.number)
        if node is None:
            node = self.nodes[tree.number] = Node(tree.number, tree.path)
            if tree.group is not None:
                node.is_function = tree.group.kind is Kind.FUNCTION
                if not node.is_function:
                    self.asked.add(tree.group)
                    name, slot = self.function_name(tree.group), self.slot(tree.group)
                    self.rules[tree.number] = name, slot
                    node.rule = remembered(self.namespace, name, slot)
            node.children = {name: self._node(child) for name, child in tree.children.items()}
        return node

    # ---- `with`

    def _mock_default(self, name: str) -> Any:
        if name in self.program.functions:
            return late(self.namespace, self.function_name(self.program.functions[name]))
        builtin = self.program.builtins[name]
        return of_query(builtin)

    def _masked_numbers(self) -> set[int]:
        found: set[int] = set()
        for path in self.program.masked:
            tree = self.program.tree.find(path)
            found |= _below(tree) if tree is not None else set()
        return found

    def is_fixed(self, group: Group) -> bool:
        """Whether what a group says is kept with the data. Not in the traced build: there every rule must show."""
        return not self.trace and group in self._fixed

    def is_masked(self, group: Group) -> bool:
        return self.node_number(group) in self._masked

    def node_number(self, group: Group) -> int:
        tree = self.program.tree.find(group.path)
        assert tree is not None
        return tree.number

    def hidden(self, path: Path) -> str:
        """The rules that replacing a document hides, as a constant."""
        tree = self.program.tree.find(path)
        numbers = frozenset(_below(tree)) if tree is not None else frozenset()
        return self.constants.named("x", numbers, numbers)

    # ---- compiling

    def _flush(self) -> str:
        """Write and compile what is pending; writing may add more. The result is the first source's name.

        A failure leaves no function half there.
        """
        names = []
        before = set(self._written), dict(self._lookups), dict(self.nodes)
        try:
            while self._pending or self._chosen:
                if self._pending:
                    names.append(self._define_chunk())
                else:
                    name, rule, write = self._chosen.popleft()
                    waits = can_wait(self, rule)
                    self.functions.stand_in(name, partial(self._written_late, write) if waits else _text(write))
        except BaseException:
            self._written, self._lookups, self.nodes = before
            self._pending.clear()
            self._chosen.clear()
            self._tables.clear()
            raise
        for table, chosen, rest in self._tables:
            namespace = self.namespace
            namespace[table] = {text: tuple([namespace[item] for item in items]) for text, items in chosen.items()}
            namespace[f"{table}_rest"] = tuple([namespace[item] for item in rest])
        self._tables.clear()
        return names[0] if names else ""

    def _define_chunk(self) -> str:
        """What is pending now, if it is not too long: what this adds must not be forgotten with it."""
        texts: list[str] = []
        lines = 0
        for _ in range(len(self._pending)):
            writer = Writer()
            self._pending.popleft()(writer)
            if writer.lines:
                texts.append(writer.text())
            lines += len(writer.lines)
            if lines >= CHUNK:
                break
        return self.functions.define(texts) if texts else ""

    def _written_late(self, write: Callable[[Writer], None]) -> str:
        """The text of a function that could wait: contexts that are in use have no room for what it might add."""
        with self._lock:
            slots = self.code.slots
            text = _text(write)
            assert self.code.slots == slots
            assert not self._pending
            return text

    def source(self) -> str:
        """Everything that has been written or is to be, whether it is compiled yet or not."""
        waiting = [text for _, text in self.functions.waiting_texts()]
        return "\n".join([*self.functions.sources.values(), *waiting])


def _text(write: Callable[[Writer], None]) -> str:
    writer = Writer()
    write(writer)
    return writer.text()


def _below(tree: Tree) -> set[int]:
    found = {tree.number}
    for child in tree.children.values():
        found |= _below(child)
    return found
