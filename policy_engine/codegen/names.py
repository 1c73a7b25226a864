"""The names of one program's functions, the slots of a context that they use, and the functions still to be written.

A writer that refers to a function, a table or a document asks for its name here. A function that is asked for the first
time goes into a queue, as data, and `unit.py` has it written. So code exists only for what an entrypoint or query can
reach.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import NamedTuple

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import MEMO, Code, DataNode
from policy_engine.codegen.fixed import Fixed
from policy_engine.codegen.functions import remembered
from policy_engine.codegen.index import Index, find, without_decided
from policy_engine.codegen.observer import Observer
from policy_engine.compiler import calls
from policy_engine.compiler.program import Kind, NormalRule, Path, Program, RuleGroup, Tree
from policy_engine.compiler.recursion import rule_terms
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term


class Lookup(NamedTuple):
    """The function for the part of a group's document at some known steps.

    `pattern` has a constant for each step that every caller knows, None for those that are parameters.
    """

    group: RuleGroup
    name: str
    pattern: tuple[Term | None, ...]


class RuleFunction(NamedTuple):
    """The function for one of the rules of a group that are tried one after the other."""

    group: RuleGroup
    number: int

    @property
    def name(self) -> str:
        return f"g{self.group.number}_r{self.number}"

    @property
    def rule(self) -> NormalRule:
        return self.group.rules[self.number]


Needed = RuleGroup | Tree | Lookup | RuleFunction
"""A function to be written. A group stands for the function of its document, a tree for that of the whole document at
its
place, rules and base data.
"""

Lookups = dict[tuple[RuleGroup, tuple[object, ...]], str]
State = tuple[set[str], Lookups, dict[int, DataNode]]


class Names:
    """The names of one build of a program."""

    def __init__(self, program: Program, constants: Constants, code: Code, observer: Observer) -> None:
        self.program = program
        self.constants = constants
        self.code = code
        self.observer = observer
        self.arity = calls.arity(program)
        self.mock_slots = {name: number for number, name in enumerate(sorted(program.mocked))}
        self.needed: deque[Needed] = deque()
        """Functions that must be written and compiled."""
        self.chosen: deque[RuleFunction] = deque()
        """Functions that must be compiled when an index first chooses them."""
        self.tables: dict[str, dict[str | None, list[str]] | list[str]] = {}
        """Names of rules' functions by the string that an index looks up, or in order. To be filled in by unit.py."""
        self.asked: set[RuleGroup] = set()
        """The groups whose whole documents other rules ask for."""
        self.nodes: dict[int, DataNode] = {}
        self.rules: dict[int, tuple[str, int]] = {}
        """For the number of a node the function that gives its document, and the slot where that is remembered."""
        self._written: set[str] = set()
        self._lookups: Lookups = {}
        self._slots: dict[RuleGroup, int] = {}
        self._indexes: dict[RuleGroup, Index | None] = {}
        self._fixed = Fixed(program, self.mock_slots)
        self._masked = {
            number
            for path in program.masked
            if (tree := program.tree.find(path)) is not None
            for number in _numbers(tree)
        }

    # ---- functions

    def is_new(self, name: str) -> bool:
        """True if a name is asked for the first time, so that its function must be written."""
        if name in self._written:
            return False
        self._written.add(name)
        return True

    def function(self, group: RuleGroup) -> str:
        """The function for a group's document, or for calls of it."""
        name = f"g{group.number}"
        if self.is_new(name):
            self.needed.append(group)
        return name

    def lookup(self, group: RuleGroup, path: tuple[Term, ...]) -> tuple[str, list[int]]:
        """The lookup for some known steps, and which of them it takes as parameters.

        A constant is built into the function only where some rule's head has a constant at that place.
        """
        pattern: list[Term | None] = []
        for number, step in enumerate(path):
            heads = [(*rule.suffix, *([rule.key] if rule.key is not None else []))[number:][:1] for rule in group.rules]
            matters = isinstance(step, nodes.Scalar) and any(isinstance(h[0], nodes.Scalar) for h in heads if h)
            pattern.append(step if matters else None)
        key = (group, tuple(None if step is None else self.constant(step) for step in pattern))
        name = self._lookups.get(key)
        if name is None:
            name = self._lookups[key] = f"g{group.number}_{len(self._lookups)}"
            self.needed.append(Lookup(group, name, tuple(pattern)))
        return name, [number for number, step in enumerate(pattern) if step is None]

    def extent(self, tree: Tree) -> str:
        """The function for the whole document at a place in the tree of virtual documents."""
        if tree.group is not None and tree.group.kind is not Kind.FUNCTION and not self._masked:
            return self.function(tree.group)
        name = f"e{tree.number}"
        if self.is_new(name):
            self.needed.append(tree)
        return name

    def document(self, tree: Tree) -> str:
        """The function for a document in a context without a `with`."""
        return self.extent(tree) if tree.group is None else self.function(tree.group)

    def dispatch(self, group: RuleGroup, index: Index | None) -> tuple[str, str]:
        """One function for each rule of a group: the name of the table of those that an index chooses, and of the rest.

        Without an index the rest is all of them, and they are compiled with everything else.
        """
        table, rest = f"t{group.number}", f"t{group.number}_rest"
        if self.is_new(table):
            functions = [RuleFunction(group, number) for number in range(len(group.rules))]
            names = [function.name for function in functions]
            if index is None:
                self.needed += functions
                self.tables[rest] = names
            else:
                self.chosen += functions
                self.tables[rest] = [names[number] for number in index.rest]
                self.tables[table] = {
                    text: [names[number] for number in numbers] for text, numbers in index.table.items()
                }
        return table, rest

    def undecided(self, function: RuleFunction) -> NormalRule:
        """The rule of a function, without what an index has decided when it chooses the function."""
        index = self.index(function.group)
        if index is None or self.observer.whole:
            return function.rule
        return without_decided(function.rule, function.number, index)

    def index(self, group: RuleGroup) -> Index | None:
        """The index of a group's rules; None if none is worth it."""
        if not self.observer.indexed:
            return None
        if group not in self._indexes:
            self._indexes[group] = find(group.rules)
        return self._indexes[group]

    def state(self) -> State:
        """Everything that has been asked for by now, for `forget`."""
        return set(self._written), dict(self._lookups), dict(self.nodes)

    def forget(self, state: State) -> None:
        """Forget what has been asked for since a state, because it cannot be written."""
        self._written, self._lookups, self.nodes = state
        self.needed.clear()
        self.chosen.clear()
        self.tables.clear()

    # ---- constants, slots, places

    def constant(self, term: Term) -> str:
        """The expression for a constant term."""
        found = constant_value(term)
        assert found is not None
        return self.constants.value(found[0])

    def slot(self, group: RuleGroup) -> int:
        """The slot of a context for a group's document."""
        if group not in self._slots:
            self._slots[group] = self.new_slot()
        return self._slots[group]

    def new_slot(self) -> int:
        """A slot of a context for something to remember."""
        self.code.slots += 1
        return MEMO + self.code.slots - 1

    def path(self, path: Path) -> str:
        """The constant for a path of names."""
        return self.constants.named("p", path, path)

    def place(self, tree: Tree) -> str:
        """The constant for a place in the tree of virtual documents. All functions below it are written, too."""
        return self.constants.named("d", tree.number, self._node(tree))

    def _node(self, tree: Tree) -> DataNode:
        node = self.nodes.get(tree.number)
        if node is None:
            node = self.nodes[tree.number] = DataNode(tree.number, tree.path)
            if tree.group is not None:
                node.is_function = tree.group.kind is Kind.FUNCTION
                if not node.is_function:
                    self.asked.add(tree.group)
                    name, slot = self.function(tree.group), self.slot(tree.group)
                    self.rules[tree.number] = name, slot
                    node.rule = remembered(self.constants.namespace, name, slot)
            node.children = {name: self._node(child) for name, child in tree.children.items()}
        return node

    # ---- facts about the program

    def group_of(self, call: nodes.Call) -> RuleGroup:
        """The function of the policies that a call calls."""
        group = calls.find_function(self.program, call)
        assert group is not None
        return group

    def is_relation(self, call: nodes.Call) -> bool:
        """True if a call may have more than one result."""
        name = builtin_name(call)
        return name is not None and self.program.builtins[name].relation

    def is_base(self, path: tuple[Term, ...]) -> bool:
        """True if the document at a path below `data` is base data alone."""
        return self.program.tree.is_base(path)

    def is_fixed(self, group: RuleGroup) -> bool:
        """True if a group's document is kept with the data."""
        return not self.observer.exact and group in self._fixed

    @functools.cached_property
    def prints(self) -> bool:
        """True if some rule prints or traces."""
        return any(
            isinstance(term, nodes.Call) and self._has_own_effect(builtin_name(term))
            for group in self.program.groups
            for rule in group.rules
            for term in rule_terms(rule)
        )

    def has_effect(self, name: str | None) -> bool:
        """True if it matters how often a builtin is called, or, without a name, a function of the policies."""
        return self._has_own_effect(name) or ((name is None or name in self.mock_slots) and self.prints)

    def _has_own_effect(self, name: str | None) -> bool:
        return name is not None and self.program.builtins[name].effect

    def is_plain(self, name: str | None) -> bool:
        """True if it is certain that a call always gives the same for the same operands, and has no effect."""
        return name is not None and self._fixed.is_plain(name)

    # ---- `with`

    def is_masked(self, group: RuleGroup) -> bool:
        """True if some `with` replaces a group's document, or one that it is a part of."""
        return self.number(group) in self._masked

    def number(self, group: RuleGroup) -> int:
        """The number of a group's place."""
        tree = self.program.tree.find(group.path)
        assert tree is not None
        return tree.number

    def is_replaced(self, path: Path) -> bool:
        """True if some `with` replaces the document at a path, a part of it, or one that it is a part of."""
        return any(other[: len(path)] == path[: len(other)] for other in self.program.masked)

    def is_replaced_below(self, path: Path) -> bool:
        """True if some `with` replaces a part of the document at a path."""
        return any(len(other) > len(path) and other[: len(path)] == path for other in self.program.masked)

    def hidden(self, path: Path) -> str:
        """The rules that replacing a document hides, as a constant."""
        tree = self.program.tree.find(path)
        numbers = frozenset(_numbers(tree)) if tree is not None else frozenset()
        return self.constants.named("x", numbers, numbers)


def _numbers(tree: Tree) -> set[int]:
    """The numbers of a place and all below it."""
    return {tree.number}.union(*map(_numbers, tree.children.values()))
