"""The function that a caller of a whole package calls: what the gateway asks for each request.

It is to cost no more than its rules: each is a function inside of the one that makes the entry, where it sees what is
always the same, and gives away a small value as it is (see entry.py).

    def u3(b):
     v1 = b[0].get(k1, U) …
     def w7(q, input):
      …
     def entry(input=U, *, q=None):
      if q is None: q = [input, *b]
      r = {}
      v = w7(q, input)
      if v is not U: r[k2] = v
      …
      return r
     return entry
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_engine.codegen.context import DATA
from policy_engine.codegen.entry import LAZY, MOST_LINES, Always, EntryWriter, deciding, write_opener
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Group, Kind, Rule, Tree

if TYPE_CHECKING:
    from policy_engine.codegen.unit import Unit

MOST_RULES: Final = 64
"""Documents of rules in a package that is worth an entry."""

MOST_LINES_OF_ALL: Final = 600
"""Lines of a package's rules that are worth having twice."""


def write_package(unit: Unit, writer: Writer, tree: Tree) -> None:
    """The function that makes the entry for a package; none if that is too large."""
    if unit.is_replaced(tree.path) or not 0 < _rules(tree) <= MOST_RULES or not _has_names(tree):
        return
    package = _Package(unit)
    package.document("r", tree)
    path = unit.constants.named("p", tree.path, tree.path)
    # Base data in the package is part of the document. Then this is not worth it.
    beginning = [*package.always.lines, f"if base_at(b[{DATA - 1}], {path}) is not U: return None"]
    before = beginning + [line.replace(LAZY, "q") for line in package.functions.lines]
    package.body.line("return r")
    write_opener(writer, unit.extent_name(tree), before, package.body.lines, opened=True)


def _rules(tree: Tree) -> int:
    return int(tree.group is not None) + sum(map(_rules, tree.children.values()))


def _has_names(tree: Tree) -> bool:
    """Whether every step below a place is a name as JSON has it."""
    named = all(step.__class__ is str and step.isascii() for step in tree.children)
    return named and all(map(_has_names, tree.children.values()))


class _Package:
    """Writes a package's document."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.functions = Writer()
        self.always = Always(self.functions)
        self.body = deciding()
        self.export = unit.new_slot()
        """Where a context keeps what copies the large values."""

    def document(self, name: str, tree: Tree) -> None:
        """Write what gives the document of a place to a variable."""
        self.body.line(f"{name} = {{}}")
        for step, child in tree.children.items():
            key = self.unit.constants.value(step)
            if child.group is None:
                below = self.functions.name("r")
                self.document(below, child)
                self.body.line(f"{name}[{key}] = {below}")
            elif child.group.kind is not Kind.FUNCTION:
                self.body.line(f"v = {self._function(child.group)}(q, input)")
                self.body.line(f"if v is not U: {name}[{key}] = v")

    def _function(self, group: Group) -> str:
        """The name of a function for a copy of what a group says."""
        name = f"w{group.number}"
        lines = self.functions.lines
        self.functions.line(f"def {name}(q, input):")
        begun = len(lines)
        self.functions.indent += 1
        rules = RulesWriter(self.unit, self.functions, group, self.always, self.export)
        worth_it = not self.unit.is_fixed(group) and begun <= MOST_LINES_OF_ALL
        if worth_it:
            rules.all_rules()
        if not worth_it or len(lines) - begun > MOST_LINES:
            del lines[begun:]
            rules.ordinary()
        self.functions.indent -= 1
        return name


class RulesWriter(EntryWriter):
    """Writes a group's rules into a function inside of a package's."""

    def __init__(self, unit: Unit, writer: Writer, group: Group, always: Always, export: int) -> None:
        super().__init__(unit, writer, group, always)
        self._export = export
        self._asked = group in unit.asked
        """Whether other rules ask for the group's document, and must find it."""
        self._place = f"q[{unit.slot(group)}]"

    def all_rules(self) -> None:
        if self._asked:
            self.writer.line(f"r = {self._place}")
            with self.writer.block("if r is not NC:"):
                self._copy("r")
        super().all_rules()

    def ordinary(self) -> None:
        """Write a call of the group's own function."""
        self.writer.line(f"r = {self._place}")
        self.writer.line(f"if r is NC: r = {self.unit.function_name(self.group)}(q)")
        self._copy("r")

    def give(self, value: str) -> None:
        if self._asked:
            self.writer.line(f"{self._place} = {value}")
        elif value in self._fresh:
            self.writer.line(f"if {self._fresh[value]}: return {value}")
        self._copy(value)

    def _copy(self, value: str) -> None:
        if value in ("True", "False", "U"):
            self.writer.line(f"return {value}")
            return
        self.writer.line(f"s = shallow({value}, False)")
        self.writer.line(f"return exported(q, {self._export}, {value}) if s is None else s")

    def collection(self, rules: list[Rule], known: tuple[str, ...]) -> None:
        if self.group.kind is not Kind.SET or self._asked:
            super(EntryWriter, self).collection(rules, known)
            return
        self.writer.line("c = {}")
        self._members(rules, known, self.unit.index_of(self.group, rules))
        self.writer.line("r = listing(c)")
        self.writer.line(f"return exported(q, {self._export}, Set.of(c)) if r is None else r")
