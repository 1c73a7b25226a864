"""From comparisons to conditions: the common cases in place, everything else through a helper.

Strings compare with strings and integers with integers by Python's own operators, which agree with Rego there. Any
other pair goes to a function that knows Rego's order, and refuses what is no Rego value. An operand may be undefined
only in `compare`; those of operators are not.
"""

from __future__ import annotations

from typing import Final

from policy_engine.codegen.refs import Refs
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import Set

ORDER: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class Conditions(Refs):
    """Writes conditions: what follows runs only where they hold."""

    def compare(self, value: str, term: Term) -> None:
        """Go on only if a value, which may be undefined, equals a term without unbound variables."""
        other = self.side(term)
        differs = f"differs({self.rare}, {value}, {other})"
        if not isinstance(term, nodes.Scalar):
            strings = f"{value}.__class__ is str and {other}.__class__ is str"
            self._fail_if(f"({value} != {other}) if {strings} else {differs}")
        elif term.value is None or isinstance(term.value, bool):
            self._fail_if(f"{value} is not {other} and ({value} is U or {differs})")
        elif isinstance(term.value, (str, int)):
            kind = "str" if isinstance(term.value, str) else "int"
            self._fail_if(f"({value} != {other}) if {value}.__class__ is {kind} else {value} is U or {differs}")
        else:
            self._fail_if(differs)

    def operator(self, call: nodes.Call) -> bool:
        """Write a call of an operator as a condition; false if it is none of those that have a form of their own."""
        name = builtin_name(call)
        if name in self.unit.mock_slots:
            return False
        if name in ORDER:
            left, right = (self.named(self.operand(arg)) for arg in call.args)
            sign = ORDER[name]
            variables = [(arg, text) for arg, text in zip(call.args, (left, right), strict=True) if not _is_int(arg)]
            integers = " and ".join([f"{text}.__class__ is int" for _, text in variables]) or "True"
            order = f"order({self.rare}, {left}, {right}) {sign} 0"
            self._fail_if(f"not (({left} {sign} {right}) if {integers} else {order})")
            return True
        if name == "neq":
            left, right = (self.named(self.operand(arg)) for arg in call.args)
            unsure = [text for arg, text in zip(call.args, (left, right), strict=True) if not _is_text(arg)]
            strings = " and ".join([f"{text}.__class__ is str" for text in unsure]) or "True"
            self._fail_if(f"({left} == {right}) if {strings} else not differs({self.rare}, {left}, {right})")
            return True
        if name != "internal.member_2":
            return False
        if not self._one_of(*call.args):
            item, collection = (self.named(self.operand(arg)) for arg in call.args)
            self._fail_if(f"not ({self.contains(item, collection)})")
        return True

    def contains(self, item: str, collection: str) -> str:
        """The expression for `item in collection`."""
        test = "listed" if collection in self.from_base and self.context == "q" else "member"
        return f"{test}({self.ctx}, {item}, {collection})"

    def _one_of(self, item: Term, collection: Term) -> bool:
        """`item in {"a", "b"}`: only a string can be in a collection of strings."""
        members = constant_value(collection)
        if (
            members is None
            or members[0].__class__ not in (list, Set)
            or not all(isinstance(m, str) for m in members[0])
        ):
            return False
        texts = frozenset(members[0])
        value = self.named(self.operand(item))
        table = self.unit.constants.named("s", texts, texts)
        self.writer.line(f"if {value}.__class__ is not str or {value} not in {table}:")
        self.writer.line(f" known({value})")
        self.writer.line(f" {self.fail}")
        return True


def _is_text(term: Term) -> bool:
    return isinstance(term, nodes.Scalar) and term.value.__class__ is str


def _is_int(term: Term) -> bool:
    return isinstance(term, nodes.Scalar) and term.value.__class__ is int
