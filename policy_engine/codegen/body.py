"""From a body in normal form to statements: nested loops, conditions that leave them, an action innermost.

A body becomes a block that runs once (`while True: … break`, which costs nothing) with `for` loops nested in it. A
condition that fails leaves to the next iteration (`continue`) or out of the block (`break`): the current `fail`
statement. Loops never close before their body ends, so everything after a loop stands inside it.

CPython allows 20 nested blocks in one function. Before that limit the rest of a body moves into a local function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from policy_engine.codegen.comprehensions import Action, Comprehensions
from policy_engine.codegen.context import CODE
from policy_engine.codegen.lookahead import Loop, fixed_refs
from policy_engine.compiler.calls import constant_path
from policy_engine.compiler.program import dotted
from policy_engine.compiler.terms import COMPREHENSIONS, DocumentValue, FunctionValue, bodies, builtin_name, same_key
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term

MAX_DEPTH = 14
"""Nested blocks in one Python function before the rest moves into another one."""


MOST_HOISTED = 8
"""References that are read before a loop for those in it."""

Demand = tuple[Term, str]
"""A term, and the Python name of the value that it must equal."""


@dataclass(slots=True)
class _Open:
    """What a body has opened and must close: loops, and local functions with the name to call."""

    kind: str
    name: str
    depth: int


@dataclass(slots=True)
class _Frame:
    """One body being written."""

    action: Action
    opened: list[_Open] = field(default_factory=list)


class BodyWriter(Comprehensions):
    """Writes bodies into one Python function."""

    rest: Body | None = None
    """The expressions after the one being written, where they are evaluated in the same context."""

    def solutions(
        self, body: Body, action: Action, before: Sequence[Demand] = (), after: Sequence[Demand] = ()
    ) -> None:
        """Write a block that runs `action` at the solutions of `body`. Variables it binds are unknown after it.

        `before` are patterns to match before the body, `after` terms to compare when it has bound their variables.
        """
        if self.depth >= MAX_DEPTH:
            with self.kept():
                name = self._begin_function((*action.assigns,))
                depth, self.depth = self.depth, 0
                self.solutions(body, action, before, after)
            self.writer.indent -= 1
            self.depth = depth
            self.writer.line(f"{name}()")
            return
        frame = _Frame(action)
        self.frames.append(frame)
        with self.kept(), self.writer.block("while True:"):
            self.depth += 1
            self.fail = "break"
            for term, value in before:
                self.match(term, value)
            for number, expr in enumerate(body):
                self.rest = body[number + 1 :]
                self.expr(expr)
            for term, value in after:
                self.compare(value, term)
            action.write()
            innermost = frame.opened[-1].kind if frame.opened else "block"
            if innermost == "function":
                self.writer.line("return NC")
            elif action.flag and innermost == "loop":
                self.writer.line("break")
            self._close(frame)
            if frame.opened or action.flag or not action.stop:
                self.writer.line("break")
            self.depth -= 1
        self.frames.pop()

    def _close(self, frame: _Frame) -> None:
        """End what the body opened, inside out; a flag that is set leads out of every loop."""
        action = frame.action
        for number in range(len(frame.opened) - 1, -1, -1):
            item = frame.opened[number]
            outer = frame.opened[number - 1].kind if number else "block"
            self.writer.indent -= 1
            self.depth = item.depth
            if item.kind == "function":
                result = self.writer.name("z")
                self.writer.line(f"{result} = {item.name}()")
                if action.stop and not action.flag:
                    self.writer.line(f"if {result} is not NC: return {result}")
            if action.flag and outer != "block":
                self.writer.line(f"if {action.flag}: {'break' if outer == 'loop' else 'return NC'}")
            if outer == "function":
                self.writer.line("return NC")

    def loop(self, header: str) -> None:
        """Open a `for`; what follows in this body stands inside."""
        frame = self.frames[-1]
        self._hoist(self.rest or ())
        if self.depth >= MAX_DEPTH:
            self._spill(frame)
        self.before = (*self.before, self.writer.loop(header))
        self.loops += 1
        frame.opened.append(_Open("loop", "", self.depth))
        self.writer.indent += 1
        self.depth += 1
        self.fail = "continue"

    def _hoist(self, body: Body) -> None:
        """Read before a loop what its body, which follows, would read each time: constant paths in input and base data.

        Reading has no effect and no errors, so it does not matter that it may turn out not to be needed.
        """
        for ref in islice(fixed_refs(body), MOST_HOISTED):
            assert isinstance(ref.head, nodes.Var)
            if ref.head.name == "input" or self.unit.program.tree.is_base(ref.path):
                self.ref(ref.head, ref.path)

    def _spill(self, frame: _Frame) -> None:
        """Move the rest of the body into a local function. It returns NC unless the action returned a value."""
        depth = self.depth
        frame.opened.append(_Open("function", self._begin_function(()), depth))
        self.depth = 0
        self.fail = "return NC"

    def _begin_function(self, assigns: tuple[str, ...]) -> str:
        name = self.writer.name("h")
        self.writer.line(f"def {name}():")
        self.writer.indent += 1
        self.before = ()  # what is written there is no variable of this function
        rebound = dict.fromkeys((*assigns, *(item for outer in self.frames for item in outer.action.assigns)))
        if rebound:
            self.writer.line(f"nonlocal {', '.join(rebound)}")
        return name

    # ---- expressions

    def expr(self, expr: Expr) -> None:
        """Write one expression: what follows runs once for each of its solutions."""
        self.writer.place = expr.loc
        self.unit.reached(self.writer, expr.loc)
        if not expr.withs:
            self._what(expr)
            self._written(expr)
            return
        outer = self.context
        self.context = self._with(expr.withs)
        self.rest = None  # it is evaluated in another context
        self._what(expr)
        self.context = outer
        self._written(expr)

    def _written(self, expr: Expr) -> None:
        if self.unit.trace and expr.loc.row:
            self.writer.line(f"h[{self.unit.place(expr.loc)}] = 1")

    def looked_ahead(self, loop: Loop, value: str) -> None:
        """A join leaves out members for which the loop's own expression succeeds, unless it has the equality itself."""
        if self.unit.trace and isinstance(loop.other, nodes.Var) and not self._is_ready(loop.other):
            place = self.unit.place(self.writer.place)
            self.writer.line(f"if is_collection({value}) and {value}: h[{place}] = 1")

    def _what(self, expr: Expr) -> None:
        if expr.negated:
            self._fail_if(self.exists((Expr(expr.what, loc=expr.loc),)))
            return
        match expr.what:
            case nodes.Negation() as what:
                for body in bodies(what):
                    self._fail_if(self.exists(body))
            case nodes.Conjunction() as what:
                for body in bodies(what):
                    self._fail_if("not " + self.exists(body))
            case nodes.Disjunction() as what:
                self._disjunction(tuple(bodies(what)))
            case nodes.Every():
                self._every(expr.what)
            case nodes.Call(nodes.Var("eq"), (left, right)):
                self.unify(left, right)
            case nodes.Call():
                self._call_statement(expr.what)
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("declarations are gone after the names stage")
            case term:
                value = self.side(term)
                self._fail_if(f"{value} is not True and falsy({value})")

    def _fail_if(self, condition: str) -> None:
        self.writer.line(f"if {condition}: {self.fail}")

    def exists(self, body: Body) -> str:
        """Write a search for one solution; the result is the variable that says whether there is one."""
        flag = self.writer.name("n")
        self.writer.line(f"{flag} = False")
        self.solutions(body, Action(lambda: self.writer.line(f"{flag} = True"), True, flag, (flag,)))
        return flag

    def _disjunction(self, operands: Sequence[Body]) -> None:
        flag = self.writer.name("n")
        self.writer.line(f"{flag} = False")
        action = Action(lambda: self.writer.line(f"{flag} = True"), True, flag, (flag,))
        for number, operand in enumerate(operands):
            if number:
                self.writer.line(f"if not {flag}:")
                self.writer.indent += 1
            self.solutions(operand, action)
            if number:
                self.writer.indent -= 1
        self._fail_if(f"not {flag}")

    def _every(self, every: nodes.Every) -> None:
        """`every` holds unless some member has no solution of the body."""
        source = self.side(every.domain)
        self._fail_if(f"not is_collection({source})")
        holds, value = self.writer.name("n"), self.writer.name("v")
        self.writer.line(f"{holds} = True")
        header = f"for {value} in {self.over_members(source)}:"
        with self.kept():
            if every.key is not None:
                key = self.env[every.key.name] = self.writer.name("v")
                header = f"for {key}, {value} in items({self.ctx}, {source}):"
            self._hoist(every.body)
            self.env[every.value.name] = value
            self.before = (*self.before, self.writer.loop(header))
            self.writer.indent += 1
            self.depth += 1
            self.loops += 1
            found = self.exists(every.body)
            self.writer.line(f"if not {found}:")
            self.writer.line(f" {holds} = False")
            self.writer.line(" break")
            self.writer.indent -= 1
            self.depth -= 1
        self._fail_if(f"not {holds}")

    # ---- calls

    def _call_statement(self, call: nodes.Call) -> None:
        name = builtin_name(call)
        arity = self.unit.arity(call)
        if name is not None and self.unit.program.builtins[name].relation:
            output = call.args[arity] if len(call.args) > arity else None
            self._relation(call, output)
            return
        if len(call.args) == arity and self.operator(call):
            return
        result = self.call_value(nodes.Call(call.operator, call.args[:arity], loc=call.loc))
        if len(call.args) > arity:
            self._fail_if(f"{result} is U")
            self.match(call.args[arity], result)
        else:
            self._fail_if(f"{result} is not True and falsy({result})")

    def _relation(self, call: nodes.Call, output: Term | None) -> None:
        """`walk(x, [path, value])`: a loop over what the builtin yields."""
        args = call.args[: self.unit.arity(call)]
        item = self.writer.name("v")
        match output:
            case nodes.Array((nodes.Var() as path, node)) if path.is_wildcard and path.name not in self.env:
                if builtin_name(call) == "walk" and "walk" not in self.unit.mock_slots:
                    self.env[path.name] = "None"
                    self.loop(f"for {item} in walk_values(run_of({self.ctx}), {self.operand(args[0])}):")
                    self.match(node, item)
                    return
        result = self.call_value(nodes.Call(call.operator, args, loc=call.loc))
        self._fail_if(f"{result} is U")
        self.loop(f"for {item} in {result}:")
        if output is not None:
            self.match(output, item)

    # ---- unification

    def unify(self, a: Term, b: Term) -> None:
        """`a = b`: bind what is unbound, compare what is not."""
        if self.is_open(b) and not self.is_open(a):
            a, b = b, a
        if not self.is_open(a):
            if isinstance(a, (nodes.Scalar, *COMPREHENSIONS)):
                a, b = b, a
            value = self._looking_ahead(a, b)
            if isinstance(b, COMPREHENSIONS) and value in self.maybe:
                self._fail_if(f"{value} is U")  # the comprehension, which may have errors, is not evaluated then
            self.compare(value, b)
            return
        if self.is_open(b) and isinstance(a, (nodes.Array, nodes.Object)) and type(a) is type(b):
            self._unify_patterns(a, b)
            return
        if (
            isinstance(b, nodes.Call)
            and (name := builtin_name(b)) is not None
            and self.unit.program.builtins[name].relation
        ):
            self._relation(b, a)
            return
        self.match(a, self._looking_ahead(b, a))

    def _looking_ahead(self, term: Term, other: Term) -> str:
        """The name of the value of one side of `term = other`; loops in it know what follows."""
        if isinstance(term, nodes.Ref) and self.rest is not None and self.unit.joins:
            self.pending = Loop(term, other, self.rest, exact=self.unit.trace)
        value = self.side(term)
        self.pending = None
        return value

    def _unify_patterns(self, a: Term, b: Term) -> None:
        """Two patterns with unbound variables on both sides, taken apart; in an order in which one side is known."""
        pairs = self._pairs(a, b)
        if pairs is None:
            self._give_up(a, b)
            return
        while pairs:
            ready = next((p for p in pairs if not (self.is_open(p[0]) and self.is_open(p[1]))), None)
            if ready is None:
                ready = next(
                    (p for p in pairs if type(p[0]) is type(p[1]) and not isinstance(p[0], nodes.Var)), pairs[0]
                )
            pairs.remove(ready)
            self.unify(*ready)

    def _pairs(self, a: Term, b: Term) -> list[tuple[Term, Term]] | None:
        if isinstance(a, nodes.Array) and isinstance(b, nodes.Array):
            return list(zip(a.items, b.items, strict=True)) if len(a.items) == len(b.items) else None
        assert isinstance(a, nodes.Object)
        assert isinstance(b, nodes.Object)
        if len(a.pairs) != len(b.pairs):
            return None
        found: list[tuple[Term, Term]] = []
        for key, value in a.pairs:
            match = next((other for other_key, other in b.pairs if same_key(other_key, key)), None)
            if match is None:
                return None
            found.append((value, match))
        return found

    def _give_up(self, *patterns: Term) -> None:
        """Go on never. What is written behind it may still mention the patterns' variables."""
        self.writer.line(f"if True: {self.fail}")
        for pattern in patterns:
            self.env.update(dict.fromkeys(self.unbound(pattern), "None"))

    def match(self, pattern: Term, value: str) -> None:
        """Match a value, which is no more undefined where it can be bound, against a pattern."""
        if not self.is_open(pattern):
            self.compare(value, pattern)
            return
        if value in ("None", "True", "False") and not isinstance(pattern, nodes.Var):
            self._give_up(pattern)  # Python would warn of members of such a constant
            return
        match pattern:
            case nodes.Var(name):
                self.env[name] = self.definite(value)
            case nodes.Array(items):
                self._expect(f"{value}.__class__ is not list or len({value}) != {len(items)}", value)
                for number, item in enumerate(items):
                    self._match_part(item, f"{value}[{number}]")
            case nodes.Object(pairs) if not any(self.is_open(key) for key, _ in pairs):
                self._expect(f"{value}.__class__ is not dict or len({value}) != {len(pairs)}", value)
                keys = [self.named(self.key(key)) for key, _ in pairs]
                if not all(isinstance(key, nodes.Scalar) for key, _ in pairs):
                    self._fail_if(f"len({{{', '.join(keys)}}}) != {len(keys)}")
                for key, (_, item) in zip(keys, pairs, strict=True):
                    part = self.writer.name("v")
                    self.writer.line(f"{part} = {value}.get({key}, U)")
                    self._fail_if(f"{part} is U")
                    self.match(item, part)
            case _:
                # Arguments may be so: the variables of sets and of keys are bound by what stands before, or never.
                self._give_up(pattern)

    def _match_part(self, pattern: Term, source: str) -> None:
        if isinstance(pattern, nodes.Var) and pattern.is_wildcard and pattern.name not in self.env:
            return
        part = self.writer.name("v")
        self.writer.line(f"{part} = {source}")
        self.match(pattern, part)

    def _expect(self, condition: str, value: str) -> None:
        self.writer.line(f"if {condition}:")
        self.writer.line(f" known({value})")
        self.writer.line(f" {self.fail}")

    # ---- `with`

    def _with(self, withs: tuple[nodes.With, ...]) -> str:
        """Write the contexts that `with` makes, one of another; the result is the innermost one's variable."""
        values = [
            None if isinstance(item.value, (FunctionValue, DocumentValue)) else self._defined(item.value)
            for item in withs
        ]
        context = self.ctx
        for item, value in zip(withs, values, strict=True):
            following = self.writer.name("q")
            self.writer.line(f"{following} = {self._replaced(context, item, value)}")
            context = following
        return context

    def _replaced(self, context: str, item: nodes.With, value: str | None) -> str:
        """An expression for the context that one `with` makes of another."""
        head = item.target.head if isinstance(item.target, nodes.Ref) else item.target
        assert isinstance(head, nodes.Var)
        names = constant_path(item.target)
        if names is None:
            return f"bad_path({self.unit.constants.loc(item.loc)})"
        name = head.name if head.name != "data" else dotted(names)
        if name in self.unit.mock_slots:
            function = f"constant({value})"
            if isinstance(item.value, FunctionValue):
                function = f"redirect({context}[{CODE}].fns[{self.unit.mock_slots[str(item.value.value)]}])"
            elif isinstance(item.value, DocumentValue):
                tree = self.unit.program.tree.find(item.value.path)
                assert tree is not None
                function = f"document({self.unit.node_name(tree)})"
            return f"with_function({context}, {self.unit.mock_slots[name]}, {function})"
        path = self.unit.constants.named("p", names, names)
        if head.name == "input":
            return f"with_input({context}, {path}, {value})"
        return f"with_data({context}, {path}, {value}, {self.unit.hidden(names)})"

    def _defined(self, term: Term) -> str:
        return self.definite(self.side(term))

    def definite(self, value: str) -> str:
        """Go on only if a value is defined."""
        if value in self.maybe:
            self._fail_if(f"{value} is U")
            self.maybe.discard(value)
        return value

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is bound inside is unknown after it."""
        state = dict(self.env), dict(self.refs), set(self.maybe), self.fail, self.loops, self.rest, self.before
        yield
        self.env, self.refs, self.maybe, self.fail, self.loops, self.rest, self.before = state
