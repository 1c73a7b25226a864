"""From a body in normal form to statements: nested loops, conditions that leave them, an action innermost.

A body becomes a block that runs once (`while True: … break`, which costs nothing) with `for` loops nested in it. If
a condition fails, the current `fail` statement goes to the next iteration (`continue`) or leaves the block (`break`).
Loops do not close before their body ends, so everything after a loop stands inside it. If CPython allows no more
blocks, the rest of a body moves into a local function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policy_engine.codegen import frame as frames
from policy_engine.codegen.conditions import compare, compare_operand, give_up, match_pattern, operator
from policy_engine.codegen.context import CODE
from policy_engine.codegen.frame import Action, Frame, FunctionFrame, tuple_of
from policy_engine.codegen.lookahead import Loop
from policy_engine.codegen.refs import hoist, loop, value_of
from policy_engine.codegen.tables import table_keys
from policy_engine.codegen.terms import call_value, key, operand
from policy_engine.compiler.calls import constant_path
from policy_engine.compiler.program import dotted
from policy_engine.compiler.terms import COMPREHENSIONS, DocumentValue, FunctionValue, bodies, builtin_name, same_key
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term

Demand = tuple[Term, str]
"""A term, and the Python name of the value that it must equal."""


def solutions(
    fn: FunctionFrame, body: Body, action: Action, before: Sequence[Demand] = (), after: Sequence[Demand] = ()
) -> None:
    """Write a block that runs `action` at the solutions of `body`. The variables that it binds are unknown after it.

    `before` are patterns to match before the body, `after` operands to compare when the body has bound their variables.
    """
    if fn.depth >= frames.MAX_DEPTH:
        with fn.local(action.assigns) as name:
            solutions(fn, body, action, before, after)
        fn.line(f"{name}()")
        return
    frame = Frame(action)
    fn.frames.append(frame)
    with fn.kept(), fn.block("while True:"):
        fn.fail = "break"
        for term, value in before:
            match_pattern(fn, term, value)
        for number, expr in enumerate(body):
            fn.rest = body[number + 1 :]
            _expr(fn, expr)
        for term, value in after:
            compare_operand(fn, value, term)
        action.write()
        innermost = frame.opened[-1].kind if frame.opened else "block"
        if innermost == "function":
            fn.line("return NC")
        elif action.flag and innermost == "loop":
            fn.line("break")
        _close(fn, frame)
        if frame.opened or action.flag or not action.stop:
            fn.line("break")
    fn.frames.pop()


def _close(fn: FunctionFrame, frame: Frame) -> None:
    """End what a body has opened, from the inside out; a flag that is set leads out of every loop."""
    action = frame.action
    for number in range(len(frame.opened) - 1, -1, -1):
        item = frame.opened[number]
        outer = frame.opened[number - 1].kind if number else "block"
        fn.writer.indent -= 1
        fn.depth = item.depth
        if item.kind == "function":
            result = fn.name("z")
            fn.line(f"{result} = {item.name}()")
            if action.stop and not action.flag:
                fn.line(f"if {result} is not NC: return {result}")
        if action.flag and outer != "block":
            fn.line(f"if {action.flag}: {'break' if outer == 'loop' else 'return NC'}")
        if outer == "function":
            fn.line("return NC")


# ---- expressions


def _expr(fn: FunctionFrame, expr: Expr) -> None:
    """Write one expression: what follows runs once for each of its solutions."""
    fn.writer.place = expr.loc
    fn.observer.reached(fn.writer, expr.loc)
    fn.observer.binds(fn.writer, expr, fn.env, len(fn.frames))
    outer = fn.context
    if expr.withs:
        fn.context = _with(fn, expr.withs)
        fn.rest = None  # it is evaluated in another context
    _what(fn, expr)
    fn.context = outer
    fn.observer.succeeded(fn.writer, expr.loc)


def _what(fn: FunctionFrame, expr: Expr) -> None:
    if expr.negated:
        fn.fail_if(_exists(fn, (Expr(expr.what, loc=expr.loc),)))
        return
    match expr.what:
        case nodes.Negation() as what:
            for body in bodies(what):
                fn.fail_if(_exists(fn, body))
        case nodes.Conjunction() as what:
            for body in bodies(what):
                fn.fail_if("not " + _exists(fn, body))
        case nodes.Disjunction() as what:
            fn.fail_if("not " + _exists(fn, *bodies(what)))
        case nodes.Every() as what:
            _every(fn, what)
        case nodes.Call(nodes.Var("eq"), (left, right)):
            _unify(fn, left, right)
        case nodes.Call() as what:
            _call(fn, what)
        case nodes.SomeDecl() | nodes.SomeIn():
            raise AssertionError("declarations are gone after the names stage")
        case term:
            value = _side(fn, term)
            fn.fail_if(f"{value} is not True and falsy({value})")


def _exists(fn: FunctionFrame, *alternatives: Body) -> str:
    """Write a search for a solution of one of some bodies; the result is the variable that says if there is one."""
    flag = fn.name("n")
    fn.line(f"{flag} = False")
    action = Action(lambda: fn.line(f"{flag} = True"), True, flag, (flag,))
    for number, body in enumerate(alternatives):
        if number:
            fn.line(f"if not {flag}:")
        with fn.indented(number > 0):
            solutions(fn, body, action)
    return flag


def _every(fn: FunctionFrame, every: nodes.Every) -> None:
    """`every` holds unless some member has no solution of the body."""
    source = value_of(fn, every.domain)
    fn.fail_if(f"not is_collection({source})")
    holds, value = fn.name("n"), fn.name("v")
    fn.line(f"{holds} = True")
    header = f"for {value} in {fn.access.members(fn, source)}:"
    with fn.kept():
        if every.key is not None:
            name = fn.env[every.key.name] = fn.name("v")
            header = f"for {name}, {value} in items({fn.ctx}, {source}):"
        hoist(fn, every.body)
        fn.env[every.value.name] = value
        fn.enter_loop(header)
        found = _exists(fn, every.body)
        fn.line(f"if not {found}:")
        fn.line(f" {holds} = False")
        fn.line(" break")
        fn.leave_loop()
    fn.fail_if(f"not {holds}")


def _call(fn: FunctionFrame, call: nodes.Call) -> None:
    """A call that is a whole expression, perhaps with its result as one operand more."""
    arity = fn.names.arity(call)
    output = call.args[arity] if len(call.args) > arity else None
    if fn.names.is_relation(call):
        _relation(fn, call, output)
        return
    if output is None and operator(fn, call):
        return
    result = call_value(fn, nodes.Call(call.operator, call.args[:arity], loc=call.loc))
    fn.observer.saw(fn.writer, call, result)
    if output is not None:
        fn.fail_if(f"{result} is U")
        match_pattern(fn, output, result)
    else:
        fn.fail_if(f"{result} is not True and falsy({result})")


def _relation(fn: FunctionFrame, call: nodes.Call, output: Term | None) -> None:
    """`walk(x, [path, value])`: a loop over what the builtin yields."""
    args = call.args[: fn.names.arity(call)]
    item = fn.name("v")
    match output:
        case nodes.Array((nodes.Var() as path, node)) if path.is_wildcard and path.name not in fn.env:
            if builtin_name(call) == "walk" and "walk" not in fn.names.mock_slots:
                fn.env[path.name] = "None"
                loop(fn, f"for {item} in walk_values(run_of({fn.ctx}), {operand(fn, args[0])}):")
                match_pattern(fn, node, item)
                return
    result = call_value(fn, nodes.Call(call.operator, args, loc=call.loc))
    fn.fail_if(f"{result} is U")
    loop(fn, f"for {item} in {result}:")
    if output is not None:
        match_pattern(fn, output, item)


# ---- equality


def _side(fn: FunctionFrame, term: Term) -> str:
    """A side of `=` or a whole expression: the name of its value, which may be undefined."""
    value = _comprehension(fn, term) if isinstance(term, COMPREHENSIONS) else value_of(fn, term)
    fn.observer.saw(fn.writer, term, value)
    return value


def _unify(fn: FunctionFrame, a: Term, b: Term) -> None:
    """`a = b`: bind variables that are unbound, and compare all others."""
    if fn.is_open(b) and not fn.is_open(a):
        a, b = b, a
    if not fn.is_open(a):
        if isinstance(a, (nodes.Scalar, *COMPREHENSIONS)):
            a, b = b, a
        value = _looking_ahead(fn, a, b)
        if isinstance(b, COMPREHENSIONS) and value in fn.maybe:
            fn.fail_if(f"{value} is U")  # the comprehension, which may have errors, is not evaluated then
        compare(fn, value, _side(fn, b), b)
    elif fn.is_open(b) and isinstance(a, (nodes.Array, nodes.Object)) and type(a) is type(b):
        _unify_patterns(fn, a, b)
    elif isinstance(b, nodes.Call) and fn.names.is_relation(b):
        _relation(fn, b, a)
    else:
        match_pattern(fn, a, _looking_ahead(fn, b, a))


def _looking_ahead(fn: FunctionFrame, term: Term, other: Term) -> str:
    """The name of the value of one side of `term = other`; loops in it know what follows."""
    if isinstance(term, nodes.Ref) and fn.rest is not None and fn.observer.joins:
        fn.pending = Loop(term, other, fn.rest, exact=fn.observer.exact)
    value = _side(fn, term)
    fn.pending = None
    return value


def _unify_patterns(fn: FunctionFrame, a: Term, b: Term) -> None:
    """Two patterns with unbound variables on both sides: unify their parts, first those with one side known."""
    pairs = _pairs(a, b)
    if pairs is None:
        give_up(fn, a, b)
        return
    while pairs:
        ready = next((p for p in pairs if not (fn.is_open(p[0]) and fn.is_open(p[1]))), None)
        if ready is None:
            ready = next((p for p in pairs if type(p[0]) is type(p[1]) and not isinstance(p[0], nodes.Var)), pairs[0])
        pairs.remove(ready)
        _unify(fn, *ready)


def _pairs(a: Term, b: Term) -> list[tuple[Term, Term]] | None:
    """The pairs of members that must be equal for two collections to be so; None if they cannot be equal."""
    if isinstance(a, nodes.Array) and isinstance(b, nodes.Array):
        return list(zip(a.items, b.items, strict=True)) if len(a.items) == len(b.items) else None
    assert isinstance(a, nodes.Object)
    assert isinstance(b, nodes.Object)
    if len(a.pairs) != len(b.pairs):
        return None
    found: list[tuple[Term, Term]] = []
    for name, value in a.pairs:
        other = next((other for other_name, other in b.pairs if same_key(other_name, name)), None)
        if other is None:
            return None
        found.append((value, other))
    return found


# ---- comprehensions


def _comprehension(fn: FunctionFrame, term: Term) -> str:
    """A comprehension; the result is the name of its value."""
    result, target = fn.name("v"), fn.name("c")
    empty = "[]" if isinstance(term, nodes.ArrayComprehension) else "{}"
    keys = table_keys(fn, term)
    if keys:
        fn.tables += 1
        _from_table(fn, term, keys, target, empty)
        fn.tables -= 1
    else:
        fn.line(f"{target} = {empty}")
        _fill(fn, term, lambda: target)
    fn.line(f"{result} = {f'Set.of({target})' if isinstance(term, nodes.SetComprehension) else target}")
    return result


def _fill(fn: FunctionFrame, term: Term, target: Callable[[], str]) -> None:
    """Run a comprehension's body, and add each solution to the collection `target()`."""

    def add() -> None:
        match term:
            case nodes.ArrayComprehension(item):
                fn.line(f"{target()}.append({operand(fn, item)})")
            case nodes.SetComprehension(item):
                fn.line(f"{target()}.setdefault({key(fn, item)})")
            case nodes.ObjectComprehension(name, value):
                pair = f"{operand(fn, name)}, {operand(fn, value)}, {fn.names.constants.loc(term.loc)}"
                fn.line(f"put_pair({fn.ctx}, {target()}, {pair})")

    (body,) = bodies(term)
    solutions(fn, body, Action(add))


def _from_table(fn: FunctionFrame, term: Term, keys: tuple[str, ...], target: str, empty: str) -> None:
    """Look a comprehension's collection up in a table, if there is one (see tables.py)."""

    def place() -> str:
        return tuple_of([f"({key(fn, nodes.Var(name))})" for name in keys])

    table, made = fn.name("v"), fn.name("c")
    with fn.local(()) as fill:
        for name in keys:
            del fn.env[name]
        fn.line(f"{made} = {{}}")
        _fill(fn, term, lambda: f"{made}.setdefault({place()}, {empty})")
        fn.line(f"return {made}")
    fn.line(f"{table} = grouped({fn.ctx}, {fn.names.new_slot()}, {fill})")
    fn.line(f"{target} = {empty}")
    with fn.writer.block(f"if {table} is None:"):
        _fill(fn, term, lambda: target)
    fn.line(f"else: {target} = {table}.get({place()}, {target})")


# ---- `with`


def _with(fn: FunctionFrame, withs: tuple[nodes.With, ...]) -> str:
    """Write the contexts that `with` makes, one after the other; the result is the last one's variable."""
    values = [
        None if isinstance(item.value, (FunctionValue, DocumentValue)) else fn.definite(value_of(fn, item.value))
        for item in withs
    ]
    context = fn.ctx
    for item, value in zip(withs, values, strict=True):
        following = fn.name("q")
        fn.line(f"{following} = {_replaced(fn, context, item, value)}")
        context = following
    return context


def _replaced(fn: FunctionFrame, context: str, item: nodes.With, value: str | None) -> str:
    """An expression for the context that one `with` makes of another."""
    names, head = fn.names, item.target.head if isinstance(item.target, nodes.Ref) else item.target
    assert isinstance(head, nodes.Var)
    path = constant_path(item.target)
    if path is None:
        return f"bad_path({names.constants.loc(item.loc)})"
    name = head.name if head.name != "data" else dotted(path)
    if name in names.mock_slots:
        function = f"constant({value})"
        if isinstance(item.value, FunctionValue):
            function = f"redirect({context}[{CODE}].fns[{names.mock_slots[str(item.value.value)]}])"
        elif isinstance(item.value, DocumentValue):
            tree = names.program.tree.find(item.value.path)
            assert tree is not None
            function = f"document({names.place(tree)})"
        return f"with_function({context}, {names.mock_slots[name]}, {function})"
    if head.name == "input":
        return f"with_input({context}, {names.path(path)}, {value})"
    return f"with_data({context}, {names.path(path)}, {value}, {names.hidden(path)})"
