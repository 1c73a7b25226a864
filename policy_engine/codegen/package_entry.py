"""The function that a caller of a whole package calls: what the gateway asks for each request.

It should cost no more than its rules. Each is a function inside of the factory, where it sees what does not change with
the input, and gives away small values without a copy (see entry.py).

    def u3(b):
     v1 = b[0].get(k1, U) …
     def w7(q, input):
      …
     def entry(input=U):
      q = [input, *b]
      r = {}
      v = w7(q, input)
      if v is not U: r[k2] = v
      …
      return r
     …
"""

from __future__ import annotations

from typing import Final

from policy_engine.codegen.context import DATA
from policy_engine.codegen.entry import LAZY, MOST_LINES, DataInvariants, EntryAccess, deciding, write_factory
from policy_engine.codegen.frame import Access, FunctionFrame
from policy_engine.codegen.groups import document
from policy_engine.codegen.names import Names
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Kind, RuleGroup, Tree

MOST_RULES: Final = 64
"""The most documents of rules in a package that is worth an entry."""

MOST_LINES_OF_ALL: Final = 600
"""The most lines of a package's rules that are written once more for an entry."""


def write_package(names: Names, writer: Writer, tree: Tree) -> None:
    """The factory of the entry for a package; none if that is too large."""
    if names.is_replaced(tree.path) or not 0 < _rules(tree) <= MOST_RULES or not _has_names(tree):
        return
    package = _Package(names)
    package.document("r", tree)
    # Base data in the package would be part of the document. Then there is no entry.
    beginning = [*package.invariants.lines, f"if base_at(b[{DATA - 1}], {names.path(tree.path)}) is not U: return None"]
    before = beginning + [line.replace(LAZY, "q") for line in package.functions.lines]
    package.body.line("return r")
    write_factory(writer, names.extent(tree), before, package.body.lines, opened=True)


def _rules(tree: Tree) -> int:
    return int(tree.group is not None) + sum(map(_rules, tree.children.values()))


def _has_names(tree: Tree) -> bool:
    """True if every step below a place is a plain text, as a key of a result."""
    named = all(step.__class__ is str and step.isascii() for step in tree.children)
    return named and all(map(_has_names, tree.children.values()))


class _Package:
    """Writes a package's document."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.functions = Writer()
        self.invariants = DataInvariants(self.functions)
        self.body = deciding()
        self.export = names.new_slot()
        """The slot for what copies large values."""

    def document(self, name: str, tree: Tree) -> None:
        """Write lines that put the document of a place into a variable."""
        self.body.line(f"{name} = {{}}")
        for step, child in tree.children.items():
            key = self.names.constants.value(step)
            if child.group is None:
                below = self.functions.name("r")
                self.document(below, child)
                self.body.line(f"{name}[{key}] = {below}")
            elif child.group.kind is not Kind.FUNCTION:
                self.body.line(f"v = {self._function(child.group)}(q, input)")
                self.body.line(f"if v is not U: {name}[{key}] = v")

    def _function(self, group: RuleGroup) -> str:
        """The name of a function for a copy of a group's document."""
        name = f"w{group.number}"
        slot = f"q[{self.names.slot(group)}]"
        lines = self.functions.lines
        with self.functions.block(f"def {name}(q, input):"):
            begun = len(lines)
            access = PackageAccess(self.invariants, self.export, slot if group in self.names.asked else "")
            fn = FunctionFrame(self.names, self.functions, access)
            worth_it = not self.names.is_fixed(group) and begun <= MOST_LINES_OF_ALL
            if worth_it:
                access.look_up(fn)
                document(fn, group)
            if not worth_it or len(lines) - begun > MOST_LINES:
                del lines[begun:]
                fn.line(f"r = {slot}")
                fn.line(f"if r is NC: r = {self.names.function(group)}(q)")
                access.copy(fn, "r")
        return name


class PackageAccess(EntryAccess):
    """The way in which a rule's function inside a package's factory reaches the documents, and returns its value.

    `slot` is where other rules that ask for the group's document must find it, "" if there are none. `export` is where
    a context keeps what copies the large values.
    """

    def __init__(self, invariants: DataInvariants, export: int, slot: str) -> None:
        super().__init__(invariants)
        self._export = export
        self._slot = slot

    def look_up(self, fn: FunctionFrame) -> None:
        """Give the value that another rule has asked for before."""
        if self._slot:
            fn.line(f"r = {self._slot}")
            with fn.writer.block("if r is not NC:"):
                self.copy(fn, "r")

    def give(self, fn: FunctionFrame, value: str) -> None:
        if self._slot:
            fn.line(f"{self._slot} = {value}")
            self.copy(fn, value)
        else:
            super().give(fn, value)

    def give_set(self, fn: FunctionFrame) -> None:
        if self._slot:
            Access.give_set(self, fn)
        else:
            super().give_set(fn)

    def small_copy(self, value: str) -> str:
        return f"shallow({value}, False)"

    def exported(self, fn: FunctionFrame, value: str) -> str:
        return f"exported(q, {self._export}, {value})"
