"""From a group of rules to Python functions: its whole document, and lookups of one part of it.

A complete rule and a function give one value, a set its members, an object what its rules define below the group's
path. A *lookup* knows the first steps of the path: rules whose heads cannot match are left out, and only the part at
that path is built. Functions take the context `q` first; a lookup then the known steps, a rule's function its
operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from policy_engine.codegen.body import solutions
from policy_engine.codegen.context import DATA, INDEXES, MASKED
from policy_engine.codegen.frame import Access, Action, FunctionFrame, tuple_of
from policy_engine.codegen.index import Index
from policy_engine.codegen.names import Lookup, Names, RuleFunction
from policy_engine.codegen.refs import value_of
from policy_engine.codegen.terms import key, named_operand, operand
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Clause, Kind, NormalRule, RuleGroup, Tree
from policy_engine.compiler.recursion import compatible, rule_terms
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import equal

MANY = 64
"""The most rules in one Python function. CPython's memory use for one huge function is out of proportion."""

WIDE = 64
"""The most children of a place for which code is written."""


def write_group(names: Names, writer: Writer, group: RuleGroup) -> None:
    """The function for a group's whole document, or for calls of it."""
    params = _params(group)
    with writer.block(f"def {names.function(group)}({', '.join(['q', *params])}):"):
        names.observer.begin(writer)
        if group.kind is Kind.FUNCTION:
            if _calls_functions(group):
                writer.line("charge(q, 1)")  # loops charge the rest; this is what ends calls that double
            one_value(FunctionFrame(names, writer, repeated=True), group, params)
            return
        _write_mask(names, writer, group, [])
        place = f"[{names.slot(group)}]"
        if not names.is_fixed(group):
            document(FunctionFrame(names, writer, Access(f"q{place} = {{0}}")), group)
            return
        writer.line(f"d = q[{INDEXES}]")
        with writer.block("if d is not None:"):
            writer.line(f"r = d.get({group.number}, NC)")
            with writer.block("if r is not NC:"):
                writer.line("if r.__class__ is Kept: r = found(q, r)")
                writer.line(f"q{place} = r")
                writer.line("return r")
        with _making(names, writer, f"p{place} = {{0}}", f"keep(p, q, d, {group.number}, {{0}})") as fn:
            document(fn, group)


def write_rule(names: Names, writer: Writer, needed: RuleFunction) -> None:
    """The function for one rule. It returns the rule's value or NC, or adds members to the collection `c`."""
    group, rule = needed.group, names.undecided(needed)
    is_one = group.kind in (Kind.COMPLETE, Kind.FUNCTION)
    params = _params(group) if is_one else ["c"]
    with writer.block(f"def {needed.name}({', '.join(['q', *params])}):"):
        names.observer.begin(writer)
        fn = FunctionFrame(names, writer, repeated=group.kind is Kind.FUNCTION)
        if not is_one:
            _collect(fn, rule, [], lambda: _add(fn, rule))
            return
        clause = rule.clauses[0]
        if len(rule.clauses) == 1 and _is_constant(clause):
            _clause(fn, rule, clause, params, Action(lambda: fn.give(_value(fn, clause)), True))
            writer.line("return NC")
        else:
            writer.line("r = NC")
            _chain(fn, group, rule, params)
            writer.line("return r")


def write_lookup(names: Names, writer: Writer, needed: Lookup) -> None:
    """The function for the part of a group's document at some known steps."""
    group, name, pattern = needed
    params = [f"a{i}" for i, step in enumerate(pattern) if step is None]
    with writer.block(f"def {name}({', '.join(['q', *params])}):"):
        names.observer.begin(writer)
        known = [f"a{i}" if step is None else names.constant(step) for i, step in enumerate(pattern)]
        _write_mask(names, writer, group, known)
        slot = names.new_slot()
        writer.line(f"m = q[{slot}]")
        writer.line(f"if m is NC: m = q[{slot}] = {{}}")
        writer.line(f"k = {tuple_of([f'frozen(q, {param})' for param in params])}")
        writer.line("r = m.get(k, NC)")
        writer.line("if r is not NC: return r")
        rules = [rule for rule in group.rules if _can_match(rule, pattern)]
        if not names.is_fixed(group):
            _part(FunctionFrame(names, writer, Access("m[k] = {0}"), repeated=True), group, rules, known)
            return
        place = (group.number, *(None if step is None else constant_value(step) for step in pattern))
        writer.line(f"d = parts(q[{INDEXES}], {names.constants.named('j', place, place)})")
        with writer.block("if d is not None:"):
            writer.line("r = d.get(k)")
            with writer.block("if r is not None:"):
                writer.line("r = m[k] = found(q, r)")
                writer.line("return r")
        with _making(names, writer, "m[k] = {0}", "keep_part(p, q, d, k, {0})") as fn:
            fn.loops = 1
            _part(fn, group, rules, known)


@contextmanager
def _making(names: Names, writer: Writer, remember: str, keep: str) -> Iterator[FunctionFrame]:
    """The lines around those that make a fixed document, which is kept in `d`, in a context of its own (see `kept`)."""
    writer.line("p = q")
    writer.line("if d is not None: q = aside(q)")
    with writer.block("try:"):
        fn = FunctionFrame(names, writer, Access(remember, f"if d is not None: {keep}"))
        fn.depth = 1
        yield fn
    with writer.block("except PolicyError:"):
        writer.line("if d is not None: not_made(p, q)")
        writer.line("raise")


def write_extent(names: Names, writer: Writer, tree: Tree) -> None:
    """The function for the whole document at a place: the documents of rules, put over the base document."""
    with writer.block(f"def {names.extent(tree)}(q):"):
        if tree.group is not None or names.is_replaced(tree.path) or len(tree.children) > WIDE:
            writer.line(f"return extent(q, {names.place(tree)})")
            return
        writer.line(f"r = base_at(q[{DATA}], {names.path(tree.path)})")
        writer.line("if r is U: r = {}")
        writer.line("elif r.__class__ is not dict: return r")
        writer.line("else: r = copied(q, r)")
        for name, child in tree.children.items():
            if child.group is not None and child.group.kind is Kind.FUNCTION:
                continue
            if child.group is not None:
                writer.line(f"v = q[{names.slot(child.group)}]")
                writer.line(f"if v is NC: v = {names.function(child.group)}(q)")
            else:
                writer.line(f"v = {names.extent(child)}(q)")
            writer.line(f"if v is not U: r[{names.constants.value(name)}] = v")
        writer.line("return r")


def _params(group: RuleGroup) -> list[str]:
    return [f"a{i}" for i in range(group.arity)] if group.kind is Kind.FUNCTION else []


def _write_mask(names: Names, writer: Writer, group: RuleGroup, known: list[str]) -> None:
    """If some `with` replaces the document, return the replacement in a context that has one."""
    if names.is_masked(group):
        value = f"base_at(q[{DATA}], {names.path(group.path)})"
        for step in known:
            value = f"step(q, {value}, {step})"
        writer.line(f"if {names.number(group)} in q[{MASKED}]: return {value}")


# ---- one value


def document(fn: FunctionFrame, group: RuleGroup) -> None:
    """The whole document of a complete rule, a set or an object."""
    if group.kind is Kind.COMPLETE:
        one_value(fn, group, [])
    elif group.kind is Kind.SET:
        fn.line("c = {}")
        _members(fn, group, fn.names.index(group))
        fn.access.give_set(fn)
    else:
        fn.line("c = Partial()")
        _members(fn, group, None)
        fn.line("r = finish(c)")
        fn.give("r")


def one_value(fn: FunctionFrame, group: RuleGroup, params: list[str]) -> None:
    """A complete rule's or function's value: the one on which all rules that apply agree, else the default."""
    rules, index = group.rules, fn.names.index(group)
    if index is not None or len(rules) > MANY:
        _one_of_many(fn, group, params, index)
    elif _same_constant(rules):
        for rule in rules:
            clause = rule.clauses[0]
            action = Action(lambda clause=clause: fn.give(_value(fn, clause)), True)  # type: ignore[misc]
            _clause(fn, rule, clause, params, action)
    else:
        fn.line("r = NC")
        for rule in rules:
            _chain(fn, group, rule, params, alone=len(rules) == 1)
        if rules:
            with fn.writer.block("if r is not NC:"):
                fn.give("r")
    if not group.defaults:
        fn.give("U")
        return
    default = group.defaults[0]
    clause = default.clauses[0]
    _clause(fn, default, clause, [], Action(lambda: fn.give(_value(fn, clause)), True))
    if clause.body:
        fn.give("U")


def _one_of_many(fn: FunctionFrame, group: RuleGroup, params: list[str], index: Index | None) -> None:
    """The value of many rules, or of those that an index chooses. Each is a function that returns a value or NC."""
    chosen = _choose(fn, group, params, index)
    call = f"f({', '.join([fn.ctx, *params])})"
    if _same_constant(group.rules):
        value = _value(fn, group.rules[0].clauses[0])
        with fn.writer.block(f"for f in {chosen}:"):
            fn.line(f"r = {call}")
            with fn.writer.block("if r is not NC:"):
                fn.give(value if value == "True" else "r")  # two equal numbers may have different texts
        return
    fn.line("r = NC")
    with fn.writer.block(f"for f in {chosen}:"):
        fn.line(f"v = {call}")
        fn.line(f"if v is not NC: r = agree({fn.rare}, r, v, {_conflict(fn, group, group.loc)})")
    with fn.writer.block("if r is not NC:"):
        fn.give("r")


def _choose(fn: FunctionFrame, group: RuleGroup, params: list[str], index: Index | None) -> str:
    """The functions of the rules that may apply."""
    table, rest = fn.names.dispatch(group, index)
    if index is None:
        return rest
    if isinstance(index.place, int):
        place = params[index.place]
    else:
        place = value_of(fn, nodes.Ref(nodes.Var("input"), tuple([nodes.Scalar(step) for step in index.place])))
    chosen = fn.name("f")
    found = f"{table}.get({place}, {rest})"
    if index.lengths:
        lengths = fn.names.constants.named("i", index.lengths, index.lengths)
        found = f"by_beginning({table}, {place}, {lengths}, {rest})"
    fn.line(f"if {place}.__class__ is str: {chosen} = {found}")
    with fn.writer.block("else:"):
        fn.line(f"known({place})")
        fn.line(f"{chosen} = {f'{rest} if {place} is U else {table}[None]' if index.lengths else rest}")
    return chosen


def _value(fn: FunctionFrame, clause: Clause) -> str:
    assert clause.value is not None
    return named_operand(fn, clause.value)


def _conflict(fn: FunctionFrame, group: RuleGroup, loc: Location) -> str:
    """The place and the message of the error for two different values."""
    text = "complete rules must not produce multiple outputs"
    if group.kind is Kind.FUNCTION:
        text = "functions must not produce multiple outputs for same inputs"
    return f"{fn.names.constants.loc(loc)}, {fn.names.constants.value(text)}"


def _chain(fn: FunctionFrame, group: RuleGroup, rule: NormalRule, params: list[str], *, alone: bool = False) -> None:
    """A rule and its `else` parts: the value of the first that applies must agree with that of other rules in `r`.

    `alone`: there is no other rule.
    """
    conflict = _conflict(fn, group, rule.loc)
    if len(rule.clauses) == 1:
        _agreeing(fn, rule, rule.clauses[0], params, "r", conflict, alone=alone)
        return
    chosen = fn.name("r")
    fn.line(f"{chosen} = NC")
    for number, clause in enumerate(rule.clauses):
        if number:
            fn.line(f"if {chosen} is NC:")
        with fn.indented(number > 0):
            _agreeing(fn, rule, clause, params, chosen, conflict)
    fn.line(f"if {chosen} is not NC: r = agree({fn.rare}, r, {chosen}, {conflict})")


def _agreeing(
    fn: FunctionFrame,
    rule: NormalRule,
    clause: Clause,
    params: list[str],
    target: str,
    conflict: str,
    *,
    alone: bool = False,
) -> None:
    """Run one body and merge its values into `target`. A constant value needs one solution only."""

    def merge() -> None:
        value = _value(fn, clause)
        if alone and not flag and not fn.frames[-1].opened:
            fn.give(value)  # without iteration there is no other value to agree with
            return
        fn.line(f"{target} = {value} if {target} is NC else agree({fn.rare}, {target}, {value}, {conflict})")
        if flag:
            fn.line(f"{flag} = True")

    flag = ""
    if _is_constant(clause):
        flag = fn.name("n")
        fn.line(f"{flag} = False")
    assigns = (target, flag) if flag else (target,)
    _clause(fn, rule, clause, params, Action(merge, bool(flag), flag, assigns))


def _clause(fn: FunctionFrame, rule: NormalRule, clause: Clause, params: list[str], action: Action) -> None:
    """One body, run with the function's operands matched against the rule's arguments."""
    _observe(fn, rule, clause, action)
    solutions(fn, clause.body, action, tuple(zip(rule.args or (), params, strict=False)))


def _observe(fn: FunctionFrame, rule: NormalRule, clause: Clause, action: Action) -> None:
    """Tell the observer that a rule is tried, and what it gives."""
    fn.observer.tries(fn.writer, clause)
    write = action.write

    def value() -> str:
        return _value(fn, clause) if rule.key is None else named_operand(fn, rule.key)

    def observed() -> None:
        fn.observer.gave(fn.writer, rule, clause, value)
        write()

    action.write = observed


# ---- collections


def _members(fn: FunctionFrame, group: RuleGroup, index: Index | None) -> None:
    """Collect in `c` what the rules define. Many rules are functions, from which an index may choose."""
    if index is None and len(group.rules) <= MANY:
        for rule in group.rules:
            _collect(fn, rule, [], lambda rule=rule: _add(fn, rule))  # type: ignore[misc]
        return
    with fn.writer.block(f"for f in {_choose(fn, group, [], index)}:"):
        fn.line(f"f({fn.ctx}, c)")


def _part(fn: FunctionFrame, group: RuleGroup, rules: list[NormalRule], known: list[str]) -> None:
    """The part of a set's or object's document at the known steps."""
    if all(len(_head(rule)) == len(known) for rule in rules):
        fn.line("r = NC")
        for rule in rules:
            _collect(fn, rule, known, lambda rule=rule: _add_part(fn, rule, known[-1]), assigns=("r",))  # type: ignore[misc]
        fn.line("if r is NC: r = U")
    else:
        fn.line("c = Partial()")
        for rule in rules:
            _collect(fn, rule, known, lambda rule=rule: _add(fn, rule))  # type: ignore[misc]
        fn.line("r = finish(c)")
        for step in known:
            fn.line(f"r = step({fn.ctx}, r, {step})")
    fn.give("r")


def _add_part(fn: FunctionFrame, rule: NormalRule, last: str) -> None:
    """Give the value at the last step. A member of a set is that step itself, with the text of the step."""
    value = _value(fn, rule.clauses[0]) if rule.key is None else last
    loc, text = fn.names.constants.loc(rule.loc), fn.names.constants.value("object keys must be unique")
    fn.line(f"r = agree({fn.ctx}, r, {value}, {loc}, {text})")


def _collect(
    fn: FunctionFrame, rule: NormalRule, known: list[str], write: Callable[[], None], assigns: tuple[str, ...] = ()
) -> None:
    """Run the body of a rule of a set or an object, at the known steps of its head."""
    demands = tuple(zip(_head(rule), known, strict=False))
    action = Action(write, False, "", assigns)
    _observe(fn, rule, rule.clauses[0], action)
    before = [demand for demand in demands if _is_pattern(demand[0])]
    after = [demand for demand in demands if not _is_pattern(demand[0])]
    solutions(fn, rule.clauses[0].body, action, before, after)


def _add(fn: FunctionFrame, rule: NormalRule) -> None:
    """Add to `c`: a member of a set, or what is at a path of an object."""
    if not rule.suffix:
        assert rule.key is not None
        fn.line(f"c.setdefault({key(fn, rule.key)})")
        return
    loc = fn.names.constants.loc(rule.loc)
    steps = tuple_of([operand(fn, step) for step in rule.suffix])
    if rule.key is not None:
        fn.line(f"put_member({fn.ctx}, c, {steps}, {operand(fn, rule.key)}, {loc})")
    else:
        fn.line(f"put_path({fn.ctx}, c, {steps}, {_value(fn, rule.clauses[0])}, {loc})")


# ---- properties of rules


def _calls_functions(group: RuleGroup) -> bool:
    """True if a function calls another function of the policies."""
    return any(
        isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Ref)
        for rule in group.rules
        for term in rule_terms(rule)
    )


def _is_constant(clause: Clause) -> bool:
    return clause.value is not None and constant_value(clause.value) is not None


def _is_pattern(term: Term) -> bool:
    """True if a value can be matched against a head term before the body has bound its variables."""
    match term:
        case nodes.Scalar() | nodes.Var():
            return True
        case nodes.Array(items):
            return all(map(_is_pattern, items))
        case nodes.Object(pairs):
            return all(isinstance(name, nodes.Scalar) and _is_pattern(value) for name, value in pairs)
        case _:
            return False


def _head(rule: NormalRule) -> tuple[Term, ...]:
    """The steps below the group's path that a rule defines, a set's member included."""
    return (*rule.suffix, *([rule.key] if rule.key is not None else []))


def _can_match(rule: NormalRule, pattern: tuple[Term | None, ...]) -> bool:
    steps = tuple(step if step is not None else nodes.Var("$") for step in pattern)
    return compatible(_head(rule), steps)


def _same_constant(rules: list[NormalRule]) -> bool:
    """True if every rule gives the same constant and none has an `else`: then the first solution decides."""
    values = [constant_value(rule.clauses[0].value) if rule.clauses[0].value is not None else None for rule in rules]
    first = values[0] if values else None
    return first is not None and all(
        value is not None and equal(value[0], first[0]) and len(rule.clauses) == 1
        for value, rule in zip(values, rules, strict=True)
    )
