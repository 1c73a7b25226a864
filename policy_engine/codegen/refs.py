"""From terms to expressions: constants, collections, calls, comprehensions, and references into input and data.

Writing a term may write statements first; the result is a Python name or constant. A name in `maybe` can be undefined.
A reference with unbound variables opens loops, so what follows runs once for each of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_engine.builtins import TABLE
from policy_engine.codegen import joins
from policy_engine.codegen.context import DATA, FNS, INPUT, RUN
from policy_engine.codegen.inline import in_place
from policy_engine.codegen.lookahead import Loop
from policy_engine.codegen.metering import First, callee
from policy_engine.codegen.writer import Place, Writer
from policy_engine.compiler.calls import constant_path
from policy_engine.compiler.program import Group, Kind, Path, Tree
from policy_engine.compiler.terms import COMPREHENSIONS, ROOTS, builtin_name, walk_terms
from policy_engine.errors import UNSAFE_VAR_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import freeze

DOCUMENTS: Final = nodes.Var("data")

if TYPE_CHECKING:
    from policy_engine.codegen.body import _Frame
    from policy_engine.codegen.unit import Unit


@dataclass(frozen=True, slots=True)
class Join:
    """How a loop uses a join index: the name of its `joins.Join`, where its tables are, what its keys are equal to."""

    name: str
    slot: str
    keys: list[str]


class Refs:
    """The state of one Python function that is being written, and how terms are written into it."""

    def __init__(self, unit: Unit, writer: Writer) -> None:
        self.unit = unit
        self.writer = writer
        self.env: dict[str, str] = {}
        """Rego variables that are bound, and the Python names they are bound to."""
        self.refs: dict[object, str] = {}
        """References that have been evaluated on the way here, so that they need not be again.

        A key is the root with the context it was read in, or the name of a value, and then the steps.
        """
        self.maybe: set[str] = set()
        self.context = "q"
        """The name of the context that terms are evaluated in."""
        self.fail = "return NC"
        self.depth = 0
        self.frames: list[_Frame] = []
        self.loops = 0
        """Loops around what is being written. More than none also where a function is called again and again."""
        self.before: tuple[Place, ...] = ()
        """The places before those loops of this function that are around what is being written, from the outermost."""
        self.from_base: set[str] = set()
        """Names of values that are base data as the context `q` has it, or undefined."""
        self.pending: Loop | None = None
        """The reference that is being written, where what comes after it is known."""

    if TYPE_CHECKING:

        def loop(self, header: str) -> None: ...

        def match(self, pattern: Term, value: str) -> None: ...

        def comprehension(self, term: Term) -> str: ...

        def looked_ahead(self, loop: Loop, value: str) -> None: ...

        def _fail_if(self, condition: str) -> None: ...

    @property
    def ctx(self) -> str:
        """The context, where it is always needed."""
        return self.context

    @property
    def rare(self) -> str:
        """The context in an expression that few decisions evaluate."""
        return self.context

    # ---- plain terms

    def is_open(self, term: Term) -> bool:
        """Whether a term is a pattern with variables that are not bound yet."""
        if isinstance(term, nodes.Var):
            return term.name not in self.env and term.name not in ROOTS
        return isinstance(term, (nodes.Array, nodes.Object, nodes.Set)) and bool(self.unbound(term))

    def unbound(self, term: Term) -> list[str]:
        """The variables in a term that are not bound yet."""
        return [item.name for item in walk_terms(term) if isinstance(item, nodes.Var) and item.name not in self.env]

    def operand(self, term: Term) -> str:
        """A term without refs in it: an expression for its value, which is defined."""
        if isinstance(term, nodes.Scalar):
            return self.unit.constants.value(term.value)
        if not isinstance(term, nodes.Var) and (found := constant_value(term)) is not None:
            return self.unit.constants.value(found[0])
        match term:
            case nodes.Var(name):
                if name not in self.env:
                    # The same gap, where there is no reading of it: refuse.
                    raise PolicyError(UNSAFE_VAR_ERROR, "var " + name.partition("'")[0] + " is unsafe", term.loc)
                return self.env[name]
            case nodes.Array(items):
                return "[" + ", ".join([self.operand(item) for item in items]) + "]"
            case nodes.Set(items):
                # Of two equal members the first counts, and OPA puts constants before variables.
                members = sorted(items, key=lambda item: not isinstance(item, nodes.Scalar))
                return f"new_set({', '.join([self.ctx, *(self.operand(item) for item in members)])})"
            case nodes.Object(pairs):
                # Of two equal keys the last counts, and OPA puts constant keys before variables.
                ordered = sorted(pairs, key=lambda pair: not isinstance(pair[0], nodes.Scalar))
                return "{" + ", ".join([f"{self.key(key)}: {self.operand(value)}" for key, value in ordered]) + "}"
            case _:
                raise AssertionError(f"no operand: {type(term).__name__}")

    def key(self, term: Term) -> str:
        """An expression for a term as an object's key."""
        if (found := constant_value(term)) is not None:
            frozen = freeze(found[0])
            return self.unit.constants.value(frozen)
        operand = self.operand(term)
        if not operand.isidentifier():
            return f"frozen({self.ctx}, {operand})"
        return f"{operand} if {operand}.__class__ is str else frozen({self.rare}, {operand})"

    def tuple_of(self, items: Sequence[str]) -> str:
        return "(" + "".join(f"{item}, " for item in items) + ")"

    def named(self, expression: str) -> str:
        """A Python name for an expression that is used more than once."""
        if expression.isidentifier():
            return expression
        name = self.writer.name("v")
        self.writer.line(f"{name} = {expression}")
        return name

    def side(self, term: Term) -> str:
        """A side of `=` or a whole expression: the name of its value, which may be undefined (see `maybe`)."""
        if isinstance(term, nodes.Ref):
            assert isinstance(term.head, nodes.Var)
            return self.ref(term.head, term.path)
        if isinstance(term, nodes.Var) and term.name in ROOTS:
            return self._maybe(self.root("input")) if term.name == "input" else self.virtual(self.unit.program.tree, ())
        if isinstance(term, nodes.Call):
            return self.call_value(term)
        if isinstance(term, COMPREHENSIONS):
            return self.comprehension(term)
        return self.named(self.operand(term))

    def _maybe(self, name: str) -> str:
        self.maybe.add(name)
        return name

    # ---- calls

    def call_value(self, call: nodes.Call) -> str:
        """The result of a call with exactly its operands; it may be undefined."""
        args = [self.named(self._argument(arg)) for arg in call.args]
        result = self._maybe(self.writer.name("v"))
        place = self._first_known(call, args)
        if place is None:
            self._call(result, call, args)
        else:
            # The loop would call it with the same operands each time.
            self.writer.insert(place, f"{result} = NC")
            with self.writer.block(f"if {result} is NC:"):
                self._call(result, call, args)
        return result

    def _first_known(self, call: nodes.Call, args: list[str]) -> Place | None:
        """Before which of the loops around a call its operands are known; None if in none, or if calls must show."""
        name = builtin_name(call)
        if self.unit.trace or not self.before:
            return None
        if self.unit.has_effect(name):
            return None
        if name is not None and in_place(name, call.args, args) is not None:
            return None  # what is done in place costs as little as remembering it
        if name is not None and self.unit.program.builtins[name].relation:
            return None  # what it yields can be looped over once
        return next((place for place in self.before if all(map(place.knows, (self.context, *args)))), None)

    def _call(self, result: str, call: nodes.Call, args: list[str]) -> None:
        """Write a call, whose result may be undefined."""
        name = builtin_name(call)
        if name is None:
            group = self.unit.group_of(call)
            if group.name in self.unit.mock_slots:
                # It may be a builtin that stands for the function.
                function = f"{self.ctx}[{FNS}][{self.unit.mock_slots[group.name]}]"
                self._try(result, f"{function}({', '.join([self.ctx, *args])})", call)
            else:
                function = self.unit.function_name(group)
                self.writer.line(f"{result} = {function}({', '.join([self.ctx, *args])})")
            return
        builtin = self.unit.program.builtins[name]
        fast = None
        if name in self.unit.mock_slots:
            function, args = f"{self.ctx}[{FNS}][{self.unit.mock_slots[name]}]", [self.ctx, *args]
        else:
            called, first = callee(builtin)
            function = self.unit.constants.named("b", name, called)
            fast = in_place(name, call.args, args) if builtin is TABLE.get(name) else None
            args = [*self._before(first, self.ctx if fast is None else self.rare), *args]
        value = f"{function}({', '.join(args)})"
        if fast is not None:
            value = f"{fast[0]} if {fast[1]} else {value}"
        self._try(result, value, call)
        if builtin.decl.result is None:
            self.writer.line(f"if {result} is None: {result} = True")

    def _try(self, result: str, value: str, call: nodes.Call) -> None:
        self.writer.line(f"try: {result} = {value}")
        failed = f"failed({self.rare}, e, {self.unit.constants.loc(call.loc)})"
        self.writer.line(f"except BuiltinError as e: {result} = {failed}")

    def _before(self, first: First, context: str) -> tuple[str, ...]:
        """What a builtin's function takes before the operands."""
        if first is First.RUN:
            return (f"{context}[{RUN}] or run_of({context})",)
        return (context,) if first is First.QUERY else ()

    def _argument(self, term: Term) -> str:
        if isinstance(term, nodes.Var) and term.name in ("input", "data"):
            raise AssertionError("documents are taken out of operands")
        return self.operand(term)

    # ---- references

    def root(self, root: str) -> str:
        """The input or data document of the current context."""
        key = (self.context, root)
        if key not in self.refs:
            self.refs[key] = self.writer.name("v")
            self.writer.line(f"{self.refs[key]} = {self.ctx}[{INPUT if root == 'input' else DATA}]")
        return self.refs[key]

    def ref(self, head: nodes.Var, path: tuple[Term, ...]) -> str:
        """A reference; loops over what its unbound variables range over."""
        if head.name == "data":
            return self._data(path)
        if head.name == "input":
            return self.steps(self.root("input"), path, (self.context, "input"))
        start = self.env.get(head.name)
        if start is None:
            # `f(v.a, xs[v])` passes OPA's safety check because xs[v] binds v; v.a before it is undefined.
            start = self._maybe(self.writer.name("v"))
            self.writer.line(f"{start} = U")
        return self.steps(start, path, (start,))

    def steps(self, start: str, path: Sequence[Term], key: tuple[object, ...] | None, base: bool = False) -> str:
        """Follow a path from a value. `key` identifies the value for later references, None if nothing does.

        `base` says that the value is base data, whose keys are all strings.
        """
        value = start
        for number, step in enumerate(path):
            if self.is_open(step):
                value = self._iterate(value, step, self._join(value, step, len(path) - number, base))
                key = (value,)
                continue
            element = self.operand(step)
            key = (*key, element) if key is not None and (element.isidentifier()) else None
            if key is not None and key in self.refs:
                value = self.refs[key]
                continue
            value = self._maybe(self.step_from(value, step, element, base))
            if key is not None:
                self.refs[key] = value
        if base and self.context == "q":
            self.from_base.add(value)
        return value

    def step_from(self, value: str, step: Term, element: str, base: bool) -> str:
        """Write one step of a path; the result is the name of what it leads to."""
        found = self.writer.name("v")
        self.writer.line(f"{found} = {self.member(value, step, element, base)}")
        return found

    def member(self, value: str, step: Term, element: str, base: bool) -> str:
        """The expression for one step."""
        function = "base_step" if base else "step"
        if isinstance(step, nodes.Scalar) and step.value.__class__ is int and step.value >= 0:
            usual = f"{value}.__class__ is list and len({value}) > {element}"
            return f"{value}[{element}] if {usual} else {function}({self.rare}, {value}, {element})"
        if isinstance(step, nodes.Scalar) and not isinstance(step.value, str):
            return f"{function}({self.ctx}, {value}, {element})"
        usual = f"{value}.__class__ is dict"
        if not isinstance(step, nodes.Scalar):
            usual += f" and {element}.__class__ is str"
        return f"{value}.get({element}, U) if {usual} else {function}({self.rare}, {value}, {element})"

    def over_members(self, collection: str) -> str:
        """The expression for what a loop over a collection's members is over."""
        return f"members({self.ctx}, {collection})"

    def over_joined(self, collection: str, join: Join) -> str:
        """The same for a loop with a join index."""
        return f"joined({self.ctx}, {collection}, {join.name}, {join.slot}, {self.tuple_of(join.keys)})"

    def _iterate(self, value: str, step: Term, join: Join | None) -> str:
        """Open a loop over a collection and match its keys; the result is the member. See `_join` for `join`."""
        member = self.writer.name("v")
        if isinstance(step, nodes.Var) and step.is_wildcard:
            self.env[step.name] = "None"  # nothing can refer to it
            self.loop(f"for {member} in {self.over_joined(value, join) if join else self.over_members(value)}:")
            return member
        key = self.writer.name("v")
        pairs = self.over_joined(value, join) if join else f"items({self.ctx}, {value})"
        self.loop(f"for {key}, {member} in {pairs}:")
        self.match(step, key)
        return member

    def _join(self, value: str, step: Term, left: int, base: bool) -> Join | None:
        """The join index for the loop over a step, `left` steps from its reference's end; or none.

        Worth it are base data, whose tables last, and loops that may run many times.
        """
        pending = self.pending
        if pending is None or not (base or self.loops):
            return None
        number = len(pending.ref.path) - left
        if number < 0 or pending.ref.path[number] is not step:
            return None
        equalities = pending.equalities(number, self._is_ready)
        if not equalities:
            return None
        self.looked_ahead(pending, value)
        pairs = not (isinstance(step, nodes.Var) and step.is_wildcard)
        join = joins.join(tuple([field for field, _ in equalities]), pairs)
        slot = "0" if base else str(self.unit.new_slot())
        name = self.unit.constants.named("j", join, join)
        return Join(name, slot, [self.side(term) for _, term in equalities])

    def _is_ready(self, term: Term) -> bool:
        """Whether a term can be evaluated now, without a loop or a rule."""
        match term:
            case nodes.Scalar():
                return True
            case nodes.Var(name):
                return name in self.env and not term.is_wildcard
            case nodes.Ref(nodes.Var(name), path):
                if not all(isinstance(step, nodes.Scalar) or self._is_ready(step) for step in path):
                    return False
                return name == "input" or name in self.env or (name == "data" and self.unit.program.tree.is_base(path))
            case _:
                return False

    def _data(self, path: tuple[Term, ...]) -> str:
        """A reference into data: walk the rules' tree as far as the path is constant."""
        node: Tree | None = self.unit.program.tree
        for number, step in enumerate(path):
            assert node is not None
            if node.group is not None:
                return self._group(node.group, path[number:])
            constant = constant_value(step)
            if constant is None:
                return self.virtual(node, path[number:])
            child = node.children.get(freeze(constant[0]))
            if child is None:
                names = constant_path(nodes.Ref(DOCUMENTS, path))
                if names is not None and self.unit.is_replaced_below(names):
                    return self._whole(names)
                key = (self.context, "data", *(self.operand(item) for item in path[:number]))
                return self.steps(self._base(path[:number]), path[number:], key, base=True)
            node = child
        assert node is not None
        if node.group is not None:
            return self._group(node.group, ())
        return self.virtual(node, ())

    def _whole(self, path: Path) -> str:
        """A base document of which some `with` replaces a part."""
        key = (self.context, "whole", *path)
        if key not in self.refs:
            self.refs[key] = self._maybe(self.writer.name("v"))
            name = self.unit.constants.named("p", path, path)
            self.writer.line(f"{self.refs[key]} = whole({self.ctx}, {name})")
        return self.refs[key]

    def _base(self, path: tuple[Term, ...]) -> str:
        return self.steps(self.root("data"), path, (self.context, "data"), base=True)

    def virtual(self, node: Tree, path: tuple[Term, ...]) -> str:
        """A reference that reaches a package or beyond: documents of rules and data, put together as needed."""
        if not path:
            value = self._maybe(self.writer.name("v"))
            self.writer.line(f"{value} = {self.unit.extent_name(node)}({self.ctx})")
            return value
        if self.is_open(path[0]) and not isinstance(path[0], nodes.Var):
            # A pattern of a collection is no name, so no document is meant, and none is evaluated.
            self._fail_if("True")
            self.env.update(dict.fromkeys(self.unbound(path[0]), "None"))
            return "U"
        name = self.unit.node_name(node)
        value = self.writer.name("v")
        self.writer.line(f"{value} = cursor({self.ctx}, {name})")
        for step in path:
            following = self._maybe(self.writer.name("v"))
            if self.is_open(step):
                key = self.writer.name("v")
                self.loop(f"for {key}, {following} in cursor_items({self.ctx}, {value}):")
                self.match(step, key)
            else:
                self.writer.line(f"{following} = cursor_step({self.ctx}, {value}, {self.operand(step)})")
            value = following
        result = self._maybe(self.writer.name("v"))
        self.writer.line(f"{result} = full({self.ctx}, {value})")
        return result

    def _group(self, group: Group, path: tuple[Term, ...]) -> str:
        """A reference to a rule's document, or to a part of it."""
        if group.kind is Kind.FUNCTION:
            result = self._maybe(self.writer.name("v"))
            self.writer.line(f"{result} = U")
            return result
        known = 0
        while known < min(group.depth, len(path)) and not self.is_open(path[known]):
            known += 1
        if known:
            args = [self.operand(step) for step in path[:known]]
            name, passed = self.unit.lookup_name(group, path[:known])
            result = self._maybe(self.writer.name("v"))
            self.writer.line(f"{result} = {name}({', '.join([self.ctx, *(args[i] for i in passed)])})")
            return self.steps(result, path[known:], None)
        key = (self.context, "group", group.number)
        if key not in self.refs:
            value = self._maybe(self.writer.name("v"))
            self.unit.asked.add(group)
            self.writer.line(f"{value} = {self.ctx}[{self.unit.slot(group)}]")
            self.writer.line(f"if {value} is NC: {value} = {self.unit.function_name(group)}({self.ctx})")
            self.refs[key] = value
        return self.steps(self.refs[key], path, key)
