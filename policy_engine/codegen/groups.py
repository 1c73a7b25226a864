"""From a group of rules to Python functions: its whole document, and lookups of one part of it.

A complete rule and a function give one value, a set its members, an object what its rules define below the group's
path. A *lookup* knows the first steps of the path: rules whose heads cannot match are left out, and only the part at
that path is built. Functions take the context `q` first; a lookup then the known steps, a rule's function its
operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from policy_engine.codegen.body import BodyWriter
from policy_engine.codegen.comprehensions import Action
from policy_engine.codegen.context import DATA, INDEXES, MASKED
from policy_engine.codegen.index import Index
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Clause, Group, Kind, Rule, Tree, dotted
from policy_engine.compiler.recursion import compatible, rule_terms
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import equal

if TYPE_CHECKING:
    from policy_engine.codegen.unit import Unit

COMPLETE_CONFLICT = "complete rules must not produce multiple outputs"
FUNCTION_CONFLICT = "functions must not produce multiple outputs for same inputs"


MANY = 64
"""Rules in one Python function. CPython's memory use for one huge function is out of proportion."""


def write_group(unit: Unit, writer: Writer, group: Group) -> None:
    """The function for a group's whole document, or for calls of it."""
    params = [f"a{i}" for i in range(group.arity)] if group.kind is Kind.FUNCTION else []
    with writer.block(f"def {unit.function_name(group)}({', '.join(['q', *params])}):"):
        unit.begin_function(writer)
        if group.kind is Kind.FUNCTION:
            if _calls_functions(group):
                writer.line("charge(q, 1)")  # loops charge the rest; this is what ends calls that double
            GroupWriter(unit, writer, group).one_value(group.rules, params, FUNCTION_CONFLICT)
            return
        _write_mask(unit, writer, group)
        group_writer = GroupWriter(unit, writer, group, unit.slot(group))
        if unit.is_fixed(group):
            group_writer.look_for_kept()
        if group.kind is Kind.COMPLETE:
            group_writer.one_value(group.rules, [], COMPLETE_CONFLICT)
        else:
            group_writer.collection(group.rules, ())


def write_lookup(unit: Unit, writer: Writer, group: Group, name: str, pattern: tuple[Term | None, ...]) -> None:
    """The function for the part of a group's document at some known steps.

    `pattern` has a constant for each step that every caller knows, None for those that are parameters.
    """
    params = [f"a{i}" for i, step in enumerate(pattern) if step is None]
    with writer.block(f"def {name}({', '.join(['q', *params])}):"):
        unit.begin_function(writer)
        known = [f"a{i}" if step is None else unit.operand(step) for i, step in enumerate(pattern)]
        _write_mask(unit, writer, group, known)
        slot = unit.new_slot()
        key = "(" + "".join(f"frozen(q, {param}), " for param in params) + ")"
        writer.line(f"m = q[{slot}]")
        if unit.is_fixed(group):
            place = (group.number, *(None if step is None else constant_value(step) for step in pattern))
            writer.line(f"if m is NC: m = q[{slot}] = kept(q[{INDEXES}], {unit.constants.named('j', place, place)})")
        else:
            writer.line(f"if m is NC: m = q[{slot}] = {{}}")
        writer.line(f"k = {key}")
        writer.line("r = m.get(k, NC)")
        writer.line("if r is not NC: return r")
        rules = [rule for rule in group.rules if _can_match(rule, pattern)]
        GroupWriter(unit, writer, group, keyed=True).collection(rules, tuple(known))


WIDE = 64
"""Children of a place that are worth code of their own."""


def write_extent(unit: Unit, writer: Writer, tree: Tree) -> None:
    """The function for a whole place in the tree of virtual documents: what rules say, over the base document."""
    with writer.block(f"def e{tree.number}(q):"):
        if tree.group is not None or unit.is_replaced(tree.path) or len(tree.children) > WIDE:
            writer.line(f"return extent(q, {unit.node_name(tree)})")
            return
        writer.line(f"r = base_at(q[{DATA}], {unit.constants.named('p', tree.path, tree.path)})")
        writer.line("if r is U: r = {}")
        writer.line("elif r.__class__ is not dict: return r")
        writer.line("else: r = copied(q, r)")
        for name, child in tree.children.items():
            if child.group is not None and child.group.kind is Kind.FUNCTION:
                continue
            if child.group is not None:
                writer.line(f"v = q[{unit.slot(child.group)}]")
                writer.line(f"if v is NC: v = {unit.function_name(child.group)}(q)")
            else:
                writer.line(f"v = {unit.extent_name(child)}(q)")
            writer.line(f"if v is not U: r[{unit.constants.value(name)}] = v")
        writer.line("return r")


def _can_match(rule: Rule, pattern: tuple[Term | None, ...]) -> bool:
    head = _head(rule)
    steps = tuple(step if step is not None else nodes.Var("$") for step in pattern)
    return compatible(head, steps)


def _write_mask(unit: Unit, writer: Writer, group: Group, known: list[str] | None = None) -> None:
    """Where some `with` replaces the document, look whether this context does."""
    if not unit.is_masked(group):
        return
    number = unit.node_number(group)
    path = unit.constants.named("p", group.path, group.path)
    value = f"base_at(q[{DATA}], {path})"
    for step in known or ():
        value = f"step(q, {value}, {step})"
    writer.line(f"if {number} in q[{MASKED}]: return {value}")


class GroupWriter(BodyWriter):
    """Writes the body of one group's function."""

    def __init__(
        self, unit: Unit, writer: Writer, group: Group, slot: int | None = None, *, keyed: bool = False
    ) -> None:
        super().__init__(unit, writer)
        self.group = group
        self.slot = slot
        self.keyed = keyed
        self.loops = int(keyed or group.kind is Kind.FUNCTION)
        self.alone = False
        """Whether one body is all there is to a value."""
        self.keeps = False
        """Whether the value is kept with the data; `d` is then where."""

    def look_for_kept(self) -> None:
        """Return what an earlier decision found, if it did."""
        self.keeps = True
        self.writer.line(f"d = q[{INDEXES}]")
        with self.writer.block("if d is not None:"):
            self.writer.line(f"r = d.get({self.group.number}, NC)")
            with self.writer.block("if r is not NC:"):
                self.writer.line(f"q[{self.slot}] = r")
                self.writer.line("return r")

    def give(self, value: str) -> None:
        """Return a value from the function, remembered where it has a place to be."""
        if self.keyed:
            self.writer.line(f"m[k] = {value}")
        elif self.slot is not None:
            self.writer.line(f"q[{self.slot}] = {value}")
            if self.keeps:
                self.writer.line(f"if d is not None: d[{self.group.number}] = {value}")
        self.writer.line(f"return {value}")

    # ---- one value

    def one_value(self, rules: list[Rule], params: list[str], conflict: str) -> None:
        """A complete rule's or function's value: what all its rules that apply agree on, else the default."""
        index = self.unit.index_of(self.group, rules)
        if index is not None or len(rules) > MANY:
            self._one_of_many(rules, params, conflict, index)
        elif _same_constant(rules):
            for rule in rules:
                clause = rule.clauses[0]
                action = Action(lambda clause=clause: self.give(self._value(clause)), True)  # type: ignore[misc]
                self._clause(rule, clause, params, action)
        else:
            self.writer.line("r = NC")
            self.alone = len(rules) == 1 and len(rules[0].clauses) == 1
            for rule in rules:
                self._chain(rule, params, conflict)
            if rules:
                self.writer.line("if r is not NC:")
                self.writer.indent += 1
                self.give("r")
                self.writer.indent -= 1
        default = self.group.defaults[0] if self.group.defaults else None
        if default is None:
            self.give("U")
            return
        clause = default.clauses[0]
        self._clause(default, clause, [], Action(lambda: self.give(self._value(clause)), True))
        if clause.body:
            self.give("U")

    def _one_of_many(self, rules: list[Rule], params: list[str], conflict: str, index: Index | None) -> None:
        """Like `one_value`, for rules that an index chooses from, or many: each is a function for a value or NC."""

        def write(writer: Writer, rule: Rule) -> None:
            GroupWriter(self.unit, writer, self.group).one_rule(rule, params, conflict)

        table, rest = self.unit.dispatch(self.group, params, rules, write, index)
        chosen = self._look_up(index, params, table, rest)
        call = f"f({', '.join([self.ctx, *params])})"
        if _same_constant(rules):
            value = self._value(rules[0].clauses[0])
            with self.writer.block(f"for f in {chosen}:"):
                self.writer.line(f"r = {call}")
                with self.writer.block("if r is not NC:"):
                    self.give(value if value == "True" else "r")  # two equal numbers may have different texts
            return
        loc, text = self.unit.constants.loc(self.group.loc), self.unit.constants.value(conflict)
        self.writer.line("r = NC")
        with self.writer.block(f"for f in {chosen}:"):
            self.writer.line(f"v = {call}")
            self.writer.line(f"if v is not NC: r = agree({self.rare}, r, v, {loc}, {text})")
        with self.writer.block("if r is not NC:"):
            self.give("r")

    def one_rule(self, rule: Rule, params: list[str], conflict: str) -> None:
        """One rule's value, or NC."""
        clause = rule.clauses[0]
        if len(rule.clauses) == 1 and clause.value is not None and constant_value(clause.value) is not None:
            self._clause(rule, clause, params, Action(lambda: self.give(self._value(clause)), True))
            self.writer.line("return NC")
            return
        self.writer.line("r = NC")
        self._chain(rule, params, conflict)
        self.writer.line("return r")

    def _look_up(self, index: Index | None, params: list[str], table: str, rest: str) -> str:
        """The functions of the rules that may apply."""
        if index is None:
            return rest
        if isinstance(index.place, int):
            place = params[index.place]
        else:
            steps = tuple([nodes.Scalar(step) for step in index.place])
            place = self.side(nodes.Ref(nodes.Var("input"), steps))
        chosen = self.writer.name("f")
        found = f"{table}.get({place}, {rest})"
        if index.lengths:
            lengths = self.unit.constants.named("i", index.lengths, index.lengths)
            found = f"by_beginning({table}, {place}, {lengths}, {rest})"
        self.writer.line(f"if {place}.__class__ is str: {chosen} = {found}")
        with self.writer.block("else:"):
            self.writer.line(f"known({place})")
            self.writer.line(f"{chosen} = {f'{rest} if {place} is U else {table}[None]' if index.lengths else rest}")
        return chosen

    def _value(self, clause: Clause) -> str:
        assert clause.value is not None
        return self.named(self.operand(clause.value))

    def _chain(self, rule: Rule, params: list[str], conflict: str) -> None:
        """A rule and its `else` parts: the first that applies counts, its value must agree with other rules'."""
        loc = self.unit.constants.loc(rule.loc)
        text = self.unit.constants.value(conflict)
        if len(rule.clauses) == 1:
            self._agreeing(rule, rule.clauses[0], params, "r", loc, text)
            return
        chosen = self.writer.name("r")
        self.writer.line(f"{chosen} = NC")
        for number, clause in enumerate(rule.clauses):
            if number:
                self.writer.line(f"if {chosen} is NC:")
                self.writer.indent += 1
            self._agreeing(rule, clause, params, chosen, loc, text)
            if number:
                self.writer.indent -= 1
        self.writer.line(f"if {chosen} is not NC: r = agree({self.rare}, r, {chosen}, {loc}, {text})")

    def _agreeing(self, rule: Rule, clause: Clause, params: list[str], target: str, loc: str, text: str) -> None:
        """Run one body and merge its values into `target`. A constant value needs one solution only."""
        assert clause.value is not None
        if constant_value(clause.value) is not None:
            flag = self.writer.name("n")
            self.writer.line(f"{flag} = False")

            def found() -> None:
                self._agree(target, self._value(clause), loc, text)
                self.writer.line(f"{flag} = True")

            self._clause(rule, clause, params, Action(found, True, flag, (target, flag)))
            return

        def merged() -> None:
            value = self._value(clause)
            if self.alone and not self.frames[-1].opened:
                self.give(value)  # nothing iterates, so there is no other value to agree with
                return
            self._agree(target, value, loc, text)

        self._clause(rule, clause, params, Action(merged, False, "", (target,)))

    def _agree(self, target: str, value: str, loc: str, text: str) -> None:
        self.writer.line(
            f"{target} = {value} if {target} is NC else agree({self.rare}, {target}, {value}, {loc}, {text})"
        )

    def _clause(self, rule: Rule, clause: Clause, params: list[str], action: Action) -> None:
        """One body, run with the function's operands matched against the rule's arguments."""
        self._explain(rule, clause, action)
        self.solutions(clause.body, action, tuple(zip(rule.args or (), params, strict=False)))

    def _explain(self, rule: Rule, clause: Clause, action: Action) -> None:
        """In the traced build: note that a rule has given a value."""
        if not self.unit.trace:
            return
        write = action.write
        note = self.unit.constants.value(f"{dotted(rule.path)} at {clause.loc}")

        def noted() -> None:
            self.writer.line(f"run_of(q).fire({note})")
            self.unit.gave(self.writer, clause.loc)
            write()

        action.write = noted

    # ---- collections

    def collection(self, rules: list[Rule], known: tuple[str, ...]) -> None:
        """A set's or object's document, or the part of it at the known steps."""
        if known and all(len(_head(rule)) == len(known) for rule in rules):
            self._one_part(rules, known)
        elif self.group.kind is Kind.SET:
            self.writer.line("c = {}")
            self._members(rules, known, self.unit.index_of(self.group, rules))
            self.writer.line("r = Set.of(c)")
        else:
            self.writer.line("c = Partial()")
            self._members(rules, known, None)
            self.writer.line("r = finish(c)")
            for step in known:
                self.writer.line(f"r = step({self.ctx}, r, {step})")
        self.give("r")

    def _members(self, rules: list[Rule], known: tuple[str, ...], index: Index | None) -> None:
        """Collect in `c` what the rules define: one by one, or by functions that an index chooses from, or of many."""
        if known or (index is None and len(rules) <= MANY):
            for rule in rules:
                self._collect(rule, known, self._add)
            return

        def write(writer: Writer, rule: Rule) -> None:
            rule_writer = GroupWriter(self.unit, writer, self.group)
            rule_writer._collect(rule, (), rule_writer._add)

        table, rest = self.unit.dispatch(self.group, ["c"], rules, write, index)
        chosen = self._look_up(index, [], table, rest)
        with self.writer.block(f"for f in {chosen}:"):
            self.writer.line(f"f({self.ctx}, c)")

    def _one_part(self, rules: list[Rule], known: tuple[str, ...]) -> None:
        """Every rule defines just the thing asked for: a member, or the value at a key."""
        self.writer.line("r = NC")
        for rule in rules:
            self._collect(rule, known, lambda rule: self._add_part(rule, known[-1]), assigns=("r",))
        self.writer.line("if r is NC: r = U")
        self.give("r")

    def _add_part(self, rule: Rule, last: str) -> None:
        """A value at the last step, or that step itself: a member has the text that it is asked for with."""
        value = self._value(rule.clauses[0]) if rule.key is None else last
        loc, text = self.unit.constants.loc(rule.loc), self.unit.constants.value("object keys must be unique")
        self.writer.line(f"r = agree({self.ctx}, r, {value}, {loc}, {text})")

    def _collect(
        self, rule: Rule, known: tuple[str, ...], write: Callable[[Rule], None], assigns: tuple[str, ...] = ()
    ) -> None:
        demands = tuple(zip(_head(rule), known, strict=False))
        action = Action(lambda: write(rule), False, "", assigns)
        self._explain(rule, rule.clauses[0], action)
        before = [demand for demand in demands if _is_pattern(demand[0])]
        after = [demand for demand in demands if not _is_pattern(demand[0])]
        self.solutions(rule.clauses[0].body, action, before, after)

    def _add(self, rule: Rule) -> None:
        """Add to `c`: a member of a set, or what is at a path of an object."""
        if not rule.suffix:
            assert rule.key is not None
            self.writer.line(f"c.setdefault({self.key(rule.key)})")
            return
        loc = self.unit.constants.loc(rule.loc)
        steps = [self.operand(step) for step in rule.suffix]
        if rule.key is not None:
            self.writer.line(f"put_member({self.ctx}, c, {self.tuple_of(steps)}, {self.operand(rule.key)}, {loc})")
        else:
            self.writer.line(f"put_path({self.ctx}, c, {self.tuple_of(steps)}, {self._value(rule.clauses[0])}, {loc})")


def _calls_functions(group: Group) -> bool:
    """Whether a function calls another function of the policies."""
    return any(
        isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Ref)
        for rule in group.rules
        for term in rule_terms(rule)
    )


def _is_pattern(term: Term) -> bool:
    """Whether a value can be matched against a head term before the body has bound its variables."""
    match term:
        case nodes.Scalar() | nodes.Var():
            return True
        case nodes.Array(items):
            return all(map(_is_pattern, items))
        case nodes.Object(pairs):
            return all(isinstance(key, nodes.Scalar) and _is_pattern(value) for key, value in pairs)
        case _:
            return False


def _head(rule: Rule) -> tuple[Term, ...]:
    """The steps below the group's path that a rule defines, a set's member included."""
    return (*rule.suffix, *([rule.key] if rule.key is not None else []))


def _same_constant(rules: list[Rule]) -> bool:
    """Whether every rule gives the same constant and none has an `else`: then the first solution decides."""
    values = [constant_value(rule.clauses[0].value) if rule.clauses[0].value is not None else None for rule in rules]
    first = values[0] if values else None
    return first is not None and all(
        value is not None and equal(value[0], first[0]) and len(rule.clauses) == 1
        for value, rule in zip(values, rules, strict=True)
    )
