"""The state of one Python function that is being written: what is known at this point, and which loops are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from policy_engine.codegen.context import DATA, INPUT
from policy_engine.codegen.lookahead import Loop
from policy_engine.codegen.names import Names
from policy_engine.codegen.writer import Place, Writer
from policy_engine.compiler.terms import ROOTS, walk_terms
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Term

MAX_DEPTH = 14
"""The most nested blocks in one Python function; the rest moves into a local function. CPython allows 20."""


@dataclass(slots=True)
class Action:
    """The code that runs at each solution of a body: `write` writes it.

    `stop` says that one solution is enough; `flag` is then the variable that tells whether there was one, or "" if the
    action returns from the function. `assigns` are the variables that the action rebinds.
    """

    write: Callable[[], None]
    stop: bool = False
    flag: str = ""
    assigns: tuple[str, ...] = ()


@dataclass(slots=True)
class Opened:
    """A loop ("loop"), or a local function ("function") of a name, that a body has opened and must close."""

    kind: str
    name: str
    depth: int


@dataclass(slots=True)
class Frame:
    """One body that is being written."""

    action: Action
    opened: list[Opened] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Join:
    """A loop's use of a join index: the name of its `joins.Join`, the slot of its tables, and the names of its keys."""

    name: str
    slot: str
    keys: list[str]


class Access:
    """The way in which an ordinary function reaches its context and the documents, and returns its value."""

    def __init__(self, *remember: str) -> None:
        """`remember` are lines that store the value `{0}` where the next call finds it."""
        self._remember = remember

    def context(self, fn: FunctionFrame) -> str:
        """The context, where it is always needed."""
        return fn.context

    def rare_context(self, fn: FunctionFrame) -> str:
        """The context in an expression that few decisions evaluate."""
        return fn.context

    def begin_local(self) -> None:
        """A local function begins."""

    def root(self, fn: FunctionFrame, root: str) -> str:
        """The input or data document of the current context."""
        key = (fn.context, root)
        if key not in fn.refs:
            fn.refs[key] = fn.new(f"{fn.ctx}[{INPUT if root == 'input' else DATA}]")
        return fn.refs[key]

    def step(self, fn: FunctionFrame, value: str, step: Term, member: str, base: bool) -> str:
        """The name of the member at one step, given its expression. `base`: the value is base data."""
        return fn.new(member)

    def members(self, fn: FunctionFrame, collection: str) -> str:
        """The expression that a loop over a collection's members iterates over."""
        return f"members({fn.ctx}, {collection})"

    def joined(self, fn: FunctionFrame, collection: str, join: Join) -> str:
        """The expression that a loop with a join index iterates over."""
        return f"joined({fn.ctx}, {collection}, {join.name}, {join.slot}, {tuple_of(join.keys)})"

    def contains(self, fn: FunctionFrame, item: str, collection: str) -> str:
        """The expression for `item in collection`."""
        test = "listed" if collection in fn.from_base and fn.context == "q" else "member"
        return f"{test}({fn.ctx}, {item}, {collection})"

    def made(self, fn: FunctionFrame, name: str, term: Term) -> None:
        """A variable has got the value of a term."""

    def give(self, fn: FunctionFrame, value: str) -> None:
        """Return a value from the function."""
        for line in self._remember:
            fn.line(line.format(value))
        fn.line(f"return {value}")

    def give_set(self, fn: FunctionFrame) -> None:
        """Return the set whose members are in `c`."""
        fn.line("r = Set.of(c)")
        self.give(fn, "r")


class FunctionFrame:
    """The knowledge at one point of a Python function. `repeated`: it is called many times, as if in a loop."""

    def __init__(self, names: Names, writer: Writer, access: Access | None = None, *, repeated: bool = False) -> None:
        self.names = names
        self.writer = writer
        self.access = access or Access()
        self.observer = names.observer
        self.line = writer.line
        self.name = writer.name
        self.env: dict[str, str] = {}
        """Rego variables that are bound, and the Python names they are bound to."""
        self.refs: dict[object, str] = {}
        """The names of references that have been evaluated already.

        A key is the root and the context it was read in, or the name of a value, and then the steps.
        """
        self.maybe: set[str] = set()
        """Names of values that may be undefined."""
        self.from_base: set[str] = set()
        """Names of values that are base data as the context `q` has it, or undefined."""
        self.context = "q"
        """The name of the context that terms are evaluated in."""
        self.fail = "return NC"
        """The statement for where a condition does not hold."""
        self.depth = 0
        """Nested blocks around what is being written."""
        self.frames: list[Frame] = []
        """The bodies around it, innermost last."""
        self.loops = int(repeated)
        """Loops around it."""
        self.before: tuple[Place, ...] = ()
        """The places before those loops of this function, from the outermost."""
        self.tables = 0
        """Tables of comprehensions around it: every one of them writes its body twice."""
        self.rest: Body | None = None
        """The expressions after the one being written, where they are evaluated in the same context."""
        self.pending: Loop | None = None
        """The reference that is being written, where what comes after it is known."""

    @property
    def ctx(self) -> str:
        """The context, where it is always needed."""
        return self.access.context(self)

    @property
    def rare(self) -> str:
        """The context in an expression that few decisions evaluate."""
        return self.access.rare_context(self)

    def named(self, expression: str) -> str:
        """A Python name for an expression that is used more than once."""
        return expression if expression.isidentifier() else self.new(expression)

    def new(self, expression: str) -> str:
        """A new variable with the value of an expression."""
        name = self.name("v")
        self.line(f"{name} = {expression}")
        return name

    def new_maybe(self, expression: str) -> str:
        """The same, where the value may be undefined."""
        return self.maybe_undefined(self.new(expression))

    def maybe_undefined(self, name: str) -> str:
        self.maybe.add(name)
        return name

    def definite(self, value: str) -> str:
        """Go on only if a value is defined."""
        if value in self.maybe:
            self.fail_if(f"{value} is U")
            self.maybe.discard(value)
        return value

    def fail_if(self, condition: str) -> None:
        self.line(f"if {condition}: {self.fail}")

    def give(self, value: str) -> None:
        """Return a value from the function."""
        self.access.give(self, value)

    # ---- variables

    def is_open(self, term: Term) -> bool:
        """True if a term is a pattern with variables that are not bound yet."""
        if isinstance(term, nodes.Var):
            return term.name not in self.env and term.name not in ROOTS
        return isinstance(term, (nodes.Array, nodes.Object, nodes.Set)) and bool(self.unbound(term))

    def unbound(self, term: Term) -> list[str]:
        """The variables in a term that are not bound yet."""
        return [item.name for item in walk_terms(term) if isinstance(item, nodes.Var) and item.name not in self.env]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Variables that are bound inside are unknown afterwards."""
        state = dict(self.env), dict(self.refs), set(self.maybe), self.fail, self.loops, self.rest, self.before
        yield
        self.env, self.refs, self.maybe, self.fail, self.loops, self.rest, self.before = state

    # ---- blocks

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """A block of Python that bodies may be in."""
        with self.writer.block(header):
            self.depth += 1
            yield
            self.depth -= 1

    @contextmanager
    def indented(self, condition: bool = True) -> Iterator[None]:
        """One level more of indentation, if a condition holds."""
        self.writer.indent += condition
        yield
        self.writer.indent -= condition

    def enter_loop(self, header: str) -> None:
        """Write the first line of a `for`."""
        self.before = (*self.before, self.writer.loop(header))
        self.loops += 1
        self.writer.indent += 1
        self.depth += 1

    def leave_loop(self) -> None:
        self.writer.indent -= 1
        self.depth -= 1

    def open_loop(self, header: str) -> None:
        """Open a `for` in the innermost body: what follows in this body stands inside."""
        opened = self.frames[-1].opened
        if self.depth >= MAX_DEPTH:
            # The rest of the body moves into a local function. It returns NC unless the action returned a value.
            depth = self.depth
            opened.append(Opened("function", self.begin_local(()), depth))
            self.fail = "return NC"
            self.depth = 0
        opened.append(Opened("loop", "", self.depth))
        self.enter_loop(header)
        self.fail = "continue"

    def begin_local(self, assigns: tuple[str, ...]) -> str:
        """Begin a local function that rebinds some variables, and what the actions of the bodies around it do."""
        self.access.begin_local()
        name = self.name("h")
        self.line(f"def {name}():")
        self.writer.indent += 1
        self.before = ()  # a variable that is assigned there would not be local here
        rebound = dict.fromkeys((*assigns, *(item for outer in self.frames for item in outer.action.assigns)))
        if rebound:
            self.line(f"nonlocal {', '.join(rebound)}")
        return name

    @contextmanager
    def local(self, assigns: tuple[str, ...]) -> Iterator[str]:
        """A local function without parameters. It knows the variables that are known here; the result is its name."""
        with self.kept():
            name = self.begin_local(assigns)
            depth, self.depth = self.depth, 0
            yield name
        self.writer.indent -= 1
        self.depth = depth


def tuple_of(items: list[str]) -> str:
    """An expression for a tuple."""
    return "(" + "".join(f"{item}, " for item in items) + ")"
