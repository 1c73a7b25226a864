"""The function that a caller calls: an entrypoint's rules with the beginning and the end of a decision around them.

For most small policies, making a context, calling the rule's function and copying its answer cost more than the rules.
Here they are one function. It makes a context when something first needs one, remembers nothing that no other rule asks
for, reads base data at constant paths once for all decisions, and gives small answers away without a copy:

    def o7(b):                   # the factory; b: all of a context but its input
     v1 = b[0].get(k1, U) …      # what does not change with the input
     def entry(input=U):
      …
     def decided(input, q):
      …
     return entry, decided

`decided` is the entry for `decide`, which makes a context with a clock, a seed and limits of its own, and finds the
record of the decision there afterwards. Other rules call the group's own function, which gives the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from policy_engine.codegen.context import DATA
from policy_engine.codegen.export import FEW, SHORT, WORD, shallow
from policy_engine.codegen.frame import Access, FunctionFrame, Join, tuple_of
from policy_engine.codegen.groups import document
from policy_engine.codegen.joins import MOST_UNCHARGED
from policy_engine.codegen.names import Names
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import RuleGroup
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term

MOST_LINES: Final = 200
"""The most lines of a function that is worth an entry. Beginning and end are a small part of a longer one."""

LAZY: Final = "?q"
"""Stands for the context in expressions that few decisions evaluate, until it is known if all decisions have one."""

IS_SHORT: Final = (
    f"({{name}}.__class__ is str and len({{name}}) <= {SHORT} and {{name}}.isascii() "
    f"or {{name}}.__class__ is int and -{WORD} < {{name}} < {WORD})"
)
"""The condition that a value is a scalar which needs no copy. Singletons are too rare to be tested for."""


def factory_name(name: str) -> str:
    """The name of the factory for the function of a group, `g7`, or of a place, `e7`."""
    return ("o" if name[0] == "g" else "u") + name[1:]


def entry_factory(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The factory for the function of a document; None if there is none."""
    found: Callable[..., Any] | None = function.__globals__.get(factory_name(function.__name__))
    return found


def write_entry(names: Names, writer: Writer, group: RuleGroup) -> None:
    """The factory of the entry for a complete rule, a set or an object; none if that is too long."""
    rules = deciding()
    invariants = DataInvariants(rules)
    access = EntryAccess(invariants)
    document(FunctionFrame(names, rules, access), group)
    if len(rules.lines) <= MOST_LINES:
        write_factory(writer, names.function(group), invariants.lines, rules.lines, opened=access.opened)


def deciding() -> Writer:
    """A writer for the lines of an entry."""
    writer = Writer()
    writer.indent = 3
    return writer


def write_factory(writer: Writer, name: str, before: list[str], lines: list[str], *, opened: bool) -> None:
    """A factory: its own lines are `before`, those of the entry `lines`. `opened`: every decision needs a context."""
    begun, context = ("[input, *b]", "q") if opened else ("None", "(q := q or [input, *b])")
    with writer.block(f"def {factory_name(name)}(b):"):
        for line in before:
            writer.line(line.replace(LAZY, "None"))
        with writer.block("def entry(input=U):"):
            writer.line(f"q = {begun}")
            _write_guarded(writer, [line.replace(LAZY, context) for line in lines])
        with writer.block("def decided(input, q):"):
            _write_guarded(writer, [line.replace(LAZY, "q") for line in lines])
        writer.line("return entry, decided")


def _write_guarded(writer: Writer, lines: list[str]) -> None:
    """Lines that decide. Every exception in them becomes a `PolicyError`."""
    writer.line("try:")
    writer.lines += lines
    writer.line("except PolicyError: raise")
    writer.line("except Exception as e: raise failure(e) from e")


class DataInvariants:
    """Values that are the same in every decision over the same data: `lines` compute them before the first one."""

    def __init__(self, names: Writer) -> None:
        self.lines: list[str] = []
        self._names = names
        self._known: dict[object, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known.values()

    def name(self, key: object, value: str) -> str:
        """The name of a value that is always the same; equal keys are for equal values."""
        name = self._known.get(key)
        if name is None:
            name = self._known[key] = self._names.name("v")
            self.lines.append(f"{name} = {value}")
        return name


class EntryAccess(Access):
    """The way in which an entry reaches its context and the documents, and returns its value to the caller."""

    def __init__(self, invariants: DataInvariants) -> None:
        super().__init__()
        self.invariants = invariants
        self.opened = False
        """True if every decision needs a context."""
        self.fresh: dict[str, str] = {}
        """Variables for new collections, and the conditions under which nothing in these must be copied."""

    def context(self, fn: FunctionFrame) -> str:
        if fn.context == "q":
            self.opened = True
        return fn.context

    def rare_context(self, fn: FunctionFrame) -> str:
        return LAZY if fn.context == "q" else fn.context

    def begin_local(self) -> None:
        self.opened = True  # a local function cannot make the context of the one around it

    # ---- base data

    def root(self, fn: FunctionFrame, root: str) -> str:
        if fn.context != "q":
            return super().root(fn, root)
        return "input" if root == "input" else self.invariants.name("data", f"b[{DATA - 1}]")

    def step(self, fn: FunctionFrame, value: str, step: Term, member: str, base: bool) -> str:
        if base and value in self.invariants and isinstance(step, nodes.Scalar) and isinstance(step.value, str):
            return self.invariants.name((value, step.value), member)
        return super().step(fn, value, step, member, base)

    def contains(self, fn: FunctionFrame, item: str, collection: str) -> str:
        if collection not in self.invariants:
            return super().contains(fn, item, collection)
        cell = self.invariants.name(("texts", collection), f"texts({collection})")
        usual = f"listed_late({fn.rare}, {item}, {collection}, {cell})"
        return f"{item} in t if (t := {cell}[0]) is not None and {item}.__class__ is str else {usual}"

    # ---- loops

    # Loops inside of a loop are charged, so the outermost need not be charged if it is short.

    def members(self, fn: FunctionFrame, collection: str) -> str:
        if fn.loops or fn.context != "q":
            return super().members(fn, collection)
        few = f"{collection}.__class__ is list and len({collection}) <= {MOST_UNCHARGED}"
        return f"{collection} if {few} else members({fn.rare}, {collection})"

    def joined(self, fn: FunctionFrame, collection: str, join: Join) -> str:
        if fn.loops or collection not in self.invariants:
            return super().joined(fn, collection, join)
        cell = self.invariants.name(("table", collection, join.name), f"tabled(b, {collection}, {join.name})")
        keys = tuple_of(join.keys)
        quick = " and ".join([f"(t := {cell}[0]) is not None", *(f"{key}.__class__ is str" for key in join.keys)])
        found = f"w if len(w := t.get({keys}, ())) <= {MOST_UNCHARGED} else members({fn.rare}, w)"
        return f"({found}) if {quick} else joined_late({fn.rare}, {collection}, {join.name}, {keys}, {cell})"

    # ---- the value

    def made(self, fn: FunctionFrame, name: str, term: Term) -> None:
        # Nothing else refers to a new collection, so the caller can have it if nothing in it must be copied.
        match term:
            case nodes.Object(pairs) if len(pairs) <= FEW and all(_is_short(key) for key, _ in pairs):
                values = [value for _, value in pairs]
            case nodes.Array(items) if len(items) <= FEW:
                values = list(items)
            case _:
                return
        if all(isinstance(value, nodes.Var) or _is_short(value) for value in values):
            variables = [fn.env[value.name] for value in values if isinstance(value, nodes.Var)]
            if variables:  # without any it is a constant, which all decisions share
                self.fresh[name] = " and ".join([IS_SHORT.format(name=name) for name in variables])

    def give(self, fn: FunctionFrame, value: str) -> None:
        if value in self.fresh:
            fn.line(f"if {self.fresh[value]}: return {value}")
        self.copy(fn, value)

    def give_set(self, fn: FunctionFrame) -> None:
        fn.line("r = listing(c)")
        fn.line(f"return {self.exported(fn, 'Set.of(c)')} if r is None else r")

    def copy(self, fn: FunctionFrame, value: str) -> None:
        """Return a copy of a value to the caller."""
        if value in ("True", "False", "U"):
            fn.line(f"return {value}")
        else:
            fn.line(f"c = {self.small_copy(value)}")
            fn.line(f"return {self.exported(fn, value)} if c is None else c")

    def small_copy(self, value: str) -> str:
        """The expression for a copy of a small value, or None."""
        return f"shallow({value})"

    def exported(self, fn: FunctionFrame, value: str) -> str:
        """The expression for a copy of any value."""
        return f"export({value}, {fn.rare})"


def _is_short(term: Term) -> bool:
    """True if a term is a text that needs no copy."""
    return isinstance(term, nodes.Scalar) and isinstance(term.value, str) and bool(shallow(term.value))
