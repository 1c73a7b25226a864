"""The function that a caller calls: an entrypoint's rules with the beginning and the end of a decision around them.

For most small policies making a context, calling the rule's function and copying its answer cost more than the rules.
Here they are one function. It makes a context when something first needs one, remembers nothing that nobody can ask
for again, reads base data at constant paths once for all decisions, and gives small answers away as they are:

    def o7(b):                   # b: all of a context but its input
     v1 = b[0].get(k1, U) …      # what of the data does not change
     def entry(input=U, *, q=None):
      …
     return entry

It may be given a context: `decide` makes one with a clock, a seed and limits of its own, and finds there afterwards
what is to be recorded. Other rules call the group's own function, which says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from policy_engine.codegen import joins
from policy_engine.codegen.context import DATA, NC, SMALL, Query, U
from policy_engine.codegen.export import FEW, SHORT, WORD, Export, export, listing, shallow
from policy_engine.codegen.groups import COMPLETE_CONFLICT, GroupWriter
from policy_engine.codegen.refs import Join
from policy_engine.codegen.runtime import PLAIN
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Group, Kind, Rule
from policy_engine.errors import EVAL_CANCEL_ERROR, EVAL_INTERNAL_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term
from policy_engine.values import CONTAINERS, Set, Value

if TYPE_CHECKING:
    from policy_engine.codegen.unit import Unit

MOST_LINES: Final = 200
"""Lines of a function that is worth having twice. In a longer one its beginning and end are a small part."""

MOST_UNCHARGED: Final = 16
"""Members of a collection that are looped over without a charge."""

MOST_TEXTS: Final = 4096
"""Members of a list in base data that are put into a set before the first decision asks."""

LAZY: Final = "?q"
"""Stands for the context in expressions that few decisions evaluate, until it is known whether all need one."""


IS_SHORT: Final = (
    f"({{name}}.__class__ is str and len({{name}}) <= {SHORT} and {{name}}.isascii() "
    f"or {{name}}.__class__ is int and -{WORD} < {{name}} < {WORD})"
)
"""The condition that a value is a scalar which `shallow` would take as it is; singletons are rare enough not to be."""


def is_short(term: Term) -> bool:
    """Whether a term is a constant that `shallow` would take as it is."""
    return isinstance(term, nodes.Scalar) and isinstance(term.value, str) and bool(shallow(term.value))


def name_of(name: str) -> str:
    """The name of the function that makes the entry for what a function says: a group's, `g7`, or a place's, `e7`."""
    return ("o" if name[0] == "g" else "u") + name[1:]


def opener_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """What makes the entry for what a function says, given that; None if it has none."""
    found: Callable[..., Any] | None = function.__globals__.get(name_of(function.__name__))
    return found


def write_entry(unit: Unit, writer: Writer, group: Group) -> None:
    """The function that makes the entry for a complete rule, a set or an object; none if that is too long."""
    rules = deciding()
    always = Always(rules)
    entry = EntryWriter(unit, rules, group, always)
    entry.all_rules()
    if len(rules.lines) > MOST_LINES:
        return
    context = "q" if entry.opened else "(q := q or [input, *b])"
    lines = [line.replace(LAZY, context) for line in rules.lines]
    write_opener(writer, unit.function_name(group), always.lines, lines, opened=entry.opened)


def deciding() -> Writer:
    """A writer for the lines that decide."""
    writer = Writer()
    writer.indent = 3
    return writer


def write_opener(writer: Writer, name: str, before: list[str], lines: list[str], *, opened: bool) -> None:
    """A function that computes what is always the same and gives a function that decides.

    `before` are the lines of the first, and `lines` those of the second, which begins with a context if it is `opened`.
    """
    with writer.block(f"def {name_of(name)}(b):"):
        for line in before:
            writer.line(line.replace(LAZY, "None"))
        with writer.block("def entry(input=U, *, q=None):"):
            if opened:
                writer.line("if q is None: q = [input, *b]")
            writer.line("try:")
            writer.lines += lines
            writer.line("except PolicyError: raise")
            writer.line("except Exception as e: raise failure(e) from e")
        writer.line("return entry")


class Always:
    """What is the same in every decision over the same data: `lines` compute it before the first one."""

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


class EntryWriter(GroupWriter):
    """Writes a group's rules into the function that a caller calls."""

    def __init__(self, unit: Unit, writer: Writer, group: Group, always: Always) -> None:
        super().__init__(unit, writer, group)
        self.always = always
        self.opened = False
        """Whether every decision needs a context."""
        self._fresh: dict[str, str] = {}
        """Names of collections that are made here, and the conditions under which nothing in them must be copied."""

    def all_rules(self) -> None:
        if self.group.kind is Kind.COMPLETE:
            self.one_value(self.group.rules, [], COMPLETE_CONFLICT)
        else:
            self.collection(self.group.rules, ())

    @property
    def ctx(self) -> str:
        if self.context == "q":
            self.opened = True
        return self.context

    @property
    def rare(self) -> str:
        return LAZY if self.context == "q" else self.context

    def _begin_function(self, assigns: tuple[str, ...]) -> str:
        self.opened = True  # a local function cannot make the context of the one around it
        return super()._begin_function(assigns)

    def give(self, value: str) -> None:
        if value in ("True", "False", "U"):
            self.writer.line(f"return {value}")
        else:
            if value in self._fresh:
                self.writer.line(f"if {self._fresh[value]}: return {value}")
            self.writer.line(f"c = shallow({value})")
            self.writer.line(f"return export({value}, {self.rare}) if c is None else c")

    def side(self, term: Term) -> str:
        name = super().side(term)
        match term:
            case nodes.Object(pairs) if len(pairs) <= FEW and all(is_short(key) for key, _ in pairs):
                values = [value for _, value in pairs]
            case nodes.Array(items) if len(items) <= FEW:
                values = list(items)
            case _:
                return name
        # Nobody else has what is made here, so it is given away itself if there is nothing to copy in it.
        if all(isinstance(value, nodes.Var) or is_short(value) for value in values):
            variables = [self.env[value.name] for value in values if isinstance(value, nodes.Var)]
            if variables:  # without any it is a constant, which everybody has
                self._fresh[name] = " and ".join([IS_SHORT.format(name=name) for name in variables])
        return name

    def collection(self, rules: list[Rule], known: tuple[str, ...]) -> None:
        if self.group.kind is not Kind.SET:
            super().collection(rules, known)
            return
        self.writer.line("c = {}")
        self._members(rules, known, self.unit.index_of(self.group, rules))
        self.writer.line("r = listing(c)")
        self.writer.line(f"return export(Set.of(c), {self.rare}) if r is None else r")

    # ---- what the data says

    def root(self, root: str) -> str:
        if self.context != "q":
            return super().root(root)
        return "input" if root == "input" else self.always.name("data", f"b[{DATA - 1}]")

    def step_from(self, value: str, step: Term, element: str, base: bool) -> str:
        if base and value in self.always and isinstance(step, nodes.Scalar) and isinstance(step.value, str):
            return self.always.name((value, element), self.member(value, step, element, base))
        return super().step_from(value, step, element, base)

    def contains(self, item: str, collection: str) -> str:
        if collection not in self.always:
            return super().contains(item, collection)
        cell = self.always.name(("texts", collection), f"texts({collection})")
        usual = f"listed_late({self.rare}, {item}, {collection}, {cell})"
        return f"{item} in t if (t := {cell}[0]) is not None and {item}.__class__ is str else {usual}"

    # ---- loops

    # What is in a loop is charged by itself, so that a short one around all others need not be.

    def over_members(self, collection: str) -> str:
        if self.loops or self.context != "q":
            return super().over_members(collection)
        few = f"{collection}.__class__ is list and len({collection}) <= {MOST_UNCHARGED}"
        return f"{collection} if {few} else members({self.rare}, {collection})"

    def over_joined(self, collection: str, join: Join) -> str:
        if self.loops or collection not in self.always:
            return super().over_joined(collection, join)
        cell = self.always.name(("table", collection, join.name), f"tabled(b, {collection}, {join.name})")
        keys = self.tuple_of(join.keys)
        quick = " and ".join([f"(t := {cell}[0]) is not None", *(f"{key}.__class__ is str" for key in join.keys)])
        found = f"w if len(w := t.get({keys}, ())) <= {MOST_UNCHARGED} else members({self.rare}, w)"
        return f"({found}) if {quick} else joined_late({self.rare}, {collection}, {join.name}, {keys}, {cell})"


# ---- what the function uses


def texts(collection: Value) -> joins.Cell:
    """A cell for the strings in a collection of base data, which are in it now if they are few, and only scalars."""
    cls = collection.__class__
    if cls is dict:
        collection = list(collection.values())
    elif cls is Set:
        collection = collection.sorted() if len(collection) <= MOST_TEXTS else ()
    few = collection.__class__ is list and len(collection) <= MOST_TEXTS
    if not few or not all(item.__class__ in PLAIN for item in collection):
        return [None]
    return [frozenset([item for item in collection if item.__class__ is str])]


def tabled(begun: list[Any], collection: Value, join: joins.Join) -> joins.Cell:
    """A cell for the table of a collection in base data, which is in it now if the collection is short."""
    short = collection.__class__ in CONTAINERS and joins.FEWEST <= len(collection) <= joins.SEARCHED  # type: ignore[arg-type]
    return [joins.table([U, *begun], collection, join, 0) if short else None]


def exported(q: Query, place: int, value: Value) -> Value:
    """A fresh JSON value of one of a package's rules; undefined stays as it is. Raises `PolicyError`."""
    if value is U:
        return value
    export = q[place]
    if export is NC:
        export = q[place] = Export(q, SMALL)  # the small values of the others are not counted
    return export.value(value)


def failure(error: Exception) -> PolicyError:
    """What a caller sees of an exception in generated code. Whatever happens there ends in a `PolicyError`."""
    if isinstance(error, RecursionError):
        return PolicyError(EVAL_CANCEL_ERROR, "rules or values are nested too deeply")
    text = f"the engine failed ({type(error).__name__}: {error}): this is a defect of the engine"
    return PolicyError(EVAL_INTERNAL_ERROR, text)


EXPORTED: Final[dict[str, Any]] = {
    **joins.EXPORTED,
    "Exception": Exception,
    "PolicyError": PolicyError,
    "export": export,
    "exported": exported,
    "failure": failure,
    "listing": listing,
    "shallow": shallow,
    "tabled": tabled,
    "texts": texts,
}
"""Every name that generated code may use."""
