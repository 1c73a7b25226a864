"""Random programs about builtins: every deterministic one, with valid and invalid operands.

`builtins/` compares each builtin on its own. Here it is a part of a policy: in heads, bodies, comprehensions, `every`,
`not`, `else`, as an operand of another call, as what a `with` replaces and as what it puts there. Operands are
constants, parts of `input` and `data`, variables of loops, arguments of functions; so the compiler sees the type of
some of them.
"""

from __future__ import annotations

import random
from typing import Any

from policy_engine import types
from policy_engine.builtins import TABLE
from policy_engine.types import ANY, BOOLEAN, NUMBER, STRING, Any_, ArrayType, ObjectType, ScalarType, Type, unnamed
from policy_engine.values import Set, Value
from tests.oracle import rego_source
from tests.policy_engine.differential.operands import OPERANDS, arguments
from tests.policy_engine.differential.program import Program

NAMES = sorted(OPERANDS)
BY_ARITY = {
    arity: [name for name in NAMES if len(OPERANDS[name]) == arity and not TABLE[name].relation]
    for arity in (1, 2, 3, 4)
}
"""Builtins that may replace another one. A relation may not: in OPA the call then has many results."""
MOCKED = ("http.send", "time.now_ns", "net.lookup_ip_addr", "rand.intn", "uuid.rfc4122", "opa.runtime")
"""Nondeterministic builtins, which are only targets of `with`."""
MOCK_CALLS = (
    "http.send({})",
    "time.now_ns()",
    'net.lookup_ip_addr("a")',
    'rand.intn("a", 3)',
    'uuid.rfc4122("a")',
    "opa.runtime()",
)


class Calls:
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.input: dict[str, Value] = {"s": "a"}
        self.data: dict[str, Value] = {"n": 1}
        self.functions: list[str] = []
        """The names of functions of one argument."""
        self.fresh = 0

    def program(self) -> Program:
        lines = ["package t", ""]
        names = [f"p{number}" for number in range(self.rng.randint(2, 5))]
        for name in names:
            lines += [*self._rule(name), ""]
        return Program(
            {"t.rego": "\n".join(lines)},
            {"base": self.data},
            self.input,
            [f"data.t.{name}" for name in names] + ["data.t"],
        )

    def _pick(self, items: Any) -> Any:
        return self.rng.choice(items)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _new(self, prefix: str = "v") -> str:
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    # ---- calls

    def _operand(self, value: Value, type_: Type = ANY) -> str:
        """A constant, or a reference to the value in a document, whose type the compiler does not know."""
        roll = self.rng.random()
        if roll < (0.4 if _fits(value, type_) else 0.02) or _has_sets(value):
            return rego_source(value)
        name = self._new("k")
        if roll < 0.8:
            self.input[name] = value
            return f"input.{name}"
        self.data[name] = value
        return f"data.base.{name}"

    def _call(self, name: str = "", depth: int = 1) -> str:
        name = name or self._pick(NAMES)
        declared = TABLE[name].decl.args
        args = [self._operand(value, declared[number]) for number, value in enumerate(arguments(name, self.rng))]
        number = self.rng.randrange(len(args))
        if self._chance(0.06):
            args[number] = self._pick(["input.nowhere", "data.base.nowhere", "input", "data.base"])
        elif depth and self._chance(0.2) and name != "regex.template_match":  # its templates: see operands.py
            args[number] = self._call(self._pick(RESULTS[_sort(declared[number])]), depth - 1)
        return self._text(name, args)

    def _text(self, name: str, args: list[str]) -> str:
        symbol = TABLE[name].infix
        if symbol and len(args) == 2 and self._chance(0.7):
            return f"({args[0]} {symbol} {args[1]})"
        if TABLE[name].relation:
            return f"[out | {name}({', '.join(args)}, out)]"
        return f"{name}({', '.join(args)})"

    def _loop(self, name: str) -> tuple[str, str]:
        """A call on a variable, and the values that the variable has, valid and not."""
        examples = [arguments(name, self.rng) for _ in range(3)]
        varies = self.rng.randrange(len(examples[0]))
        var = self._new()
        declared = TABLE[name].decl.args
        args = [var if at == varies else self._operand(value, declared[at]) for at, value in enumerate(examples[0])]
        values: Value = [example[varies] for example in examples]
        if self._chance(0.3):
            values = dict(zip("abc", values, strict=True))
        elif self._chance(0.2):
            values = Set(values)
        fit = all(_fits(example[varies], declared[varies]) for example in examples)
        return f"some {var} in {self._operand(values, ANY if fit else types.UNKNOWN)}", self._text(name, args)

    # ---- rules

    def _rule(self, name: str) -> list[str]:
        forms = [
            self._plain, self._plain, self._condition, self._each, self._each, self._function, self._else, self._with,
            self._with, self._output, self._every, self._keyed, self._mocks,
        ]  # fmt: skip
        return list(self._pick(forms)(name))

    def _plain(self, name: str) -> list[str]:
        call = self._call()
        forms = [
            f"{name} := {call}",
            f"{name} := y if y := {call}",
            f"{name} := y if {{ y := {call}; y != {self._pick(['null', 'false', '0', '[]'])} }}",
            f"{name} := [{call}, type_name({self._call()})]",
            f'{name} := $"{{{call}}}"',
            f'{name} := $"<{{{call}}}> {{{self._call()}}}"',
            f"{name}[{call}] := 1",
            f"{name} contains {call}",
            f"{name} := {{{call}: {self._call(depth=0)}}}",
            f"{name} := count({call})",
            f"{name} := object.get({{1: 2}}, {call}, {self._call(depth=0)})",
            f"default {name} := 0\n{name} := {call}",
        ]
        return [self._pick(forms)]

    def _condition(self, name: str) -> list[str]:
        call, other = self._call(), self._call()
        forms = [
            f"{name} if {call}",
            f"{name} if not {call}",
            f"{name} if not {call} == {other}",
            f"{name} if {call} == {other}",
            f"{name} if {call} < {other}",
            f"{name} if {{ not not_{name} }}\nnot_{name} if {call}",
            f"{name} if {call} in [{other}, 1, true]",
            f"{name} := 1 if {call} else := 2 if not {other} else := 3",
            f'{name} if {{ print({call}, {other}); trace("x") }}',
            f"{name} if is_string({call})",
            f"{name} if {{ {call}; {other} }}",
        ]
        return [self._pick(forms)]

    def _each(self, name: str) -> list[str]:
        loop, call = self._loop(self._pick(NAMES))
        forms = [
            f"{name} contains {call} if {loop}",
            f"{name} := [y | {loop}; y := {call}]",
            f"{name} := {{y | {loop}; y := {call}}}",
            f"{name} := {{{call}: 1 | {loop}}}",
            f"{name} := {{k: {call} | {loop.replace('some ', 'some k, ')}}}",
            f"{name} := [1 | {loop}; not {call}]",
            f"{name} := [[y | y := {call}] | {loop}]",
            f"{name} if {{ {loop}; {call} }}",
            f"{name} := count([1 | {loop}; {call} == {self._call()}])",
        ]
        return [self._pick(forms)]

    def _keyed(self, name: str) -> list[str]:
        loop, call = self._loop(self._pick(NAMES))
        keyed = loop.replace("some ", "some k, ")
        forms = [
            f"{name}[k] := {call} if {keyed}",
            f"{name}.a[k] := {call} if {keyed}",
            f"{name}[k] contains {call} if {keyed}",
        ]
        return [self._pick(forms)]

    def _every(self, name: str) -> list[str]:
        loop, call = self._loop(self._pick(NAMES))
        return [f"{name} if {loop.replace('some', 'every')} {{ {self._pick(['', 'not '])}{call} }}"]

    def _function(self, name: str) -> list[str]:
        function = self._new("f")
        loop, call = self._loop(self._pick(NAMES))
        _, var, _, values = loop.split(" ", 3)
        head = self._pick(
            [f"{function}({var}) := {call}", f"{function}({var}) := y if y := {call}", f"{function}({var}) if {call}"]
        )
        head += self._pick(["", "", f"\ndefault {function}(_) := 7"])
        self.functions.append(function)
        used = self._pick(
            [
                f"{function}({self._call()})",
                f"[{function}(x) | some x in {values}]",
                f"[x | some x in {values}; not {function}(x)]",
            ]
        )
        return [head, f"{name} := {used}"]

    def _else(self, name: str) -> list[str]:
        return [f"{name} := {self._call()} if {self._call()} else := {self._call()} if {self._call()} else := 3"]

    def _output(self, name: str) -> list[str]:
        called = self._pick(NAMES)
        declared = TABLE[called].decl.args
        given = enumerate(arguments(called, self.rng))
        args = ", ".join([self._operand(value, declared[number]) for number, value in given])
        return [f"{name} := y if {called}({args}, {self._pick(['y', 'y', 'y', '[y, _]', '[_, y]'])})"]

    def _with(self, name: str) -> list[str]:
        call = self._call()
        called = self._pick(NAMES)
        arity = len(OPERANDS[called])
        replacing = [
            self._call(depth=0),
            rego_source(arguments(called, self.rng)[0]),
            self._pick(BY_ARITY.get(arity, NAMES)),
            self._pick(BY_ARITY.get(arity, NAMES)),
        ]
        if arity == 1 and self.functions:
            replacing += self.functions
        inner = self._call(called)
        forms = [
            f"{name} := y if y := {call} with input as {{}}",
            f"{name} := y if y := {call} with input.s as {self._call(depth=0)} with data.base.n as 2",
            f"{name} := y if y := {inner} with {called} as {self._pick(replacing)}",
            f"{name} := y if y := r_{name} with {called} as {self._pick(replacing)}\nr_{name} := {inner}",
            f"{name} if not {inner} with {called} as {self._pick(replacing)}",
            f"{name} := [y | y := r_{name} with {called} as {self._pick(replacing)}]\nr_{name} contains {inner}",
        ]
        return [self._pick(forms)]

    def _mocks(self, name: str) -> list[str]:
        number = self.rng.randrange(len(MOCKED))
        value = self._pick(['{"a": 1}', "1", '"x"', "[]", self._call(depth=0)])
        call = MOCK_CALLS[number]
        replaced = f"with {MOCKED[number]} as {value}"
        return [
            f"{name} := [y, z] if {{ y := {call} {replaced}; z := r_{name}(1) {replaced} }}",
            f"r_{name}(_) := {call}",
        ]


def _sort(type_: Type) -> type:
    """A rough kind of type, to choose calls as operands."""
    type_ = unnamed(type_)
    return type_.__class__ if not isinstance(type_, ScalarType) else {NUMBER: int, STRING: str}.get(type_, bool)


def _fits(value: Value, type_: Type) -> bool:
    type_ = unnamed(type_)
    if type_ is types.UNKNOWN:
        return False
    if isinstance(type_, Any_):
        return not type_.of or any(_fits(value, member) for member in type_.of)
    if isinstance(type_, ScalarType):
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return numeric if type_ == NUMBER else isinstance(value, {STRING: str, BOOLEAN: bool}.get(type_, type(None)))
    return isinstance(value, {ArrayType: list, ObjectType: dict}.get(type_.__class__, Set))


def _result(name: str) -> type:
    result = TABLE[name].decl.result
    assert result is not None
    return list if TABLE[name].relation else _sort(result)


RESULTS: dict[type, list[str]] = {
    sort: [name for name in NAMES if _result(name) in (sort, Any_)]
    for sort in (int, str, bool, ArrayType, ObjectType, types.SetType)
}
RESULTS[Any_] = NAMES
"""The kind of a call's result → the builtins."""


def _has_sets(value: Value) -> bool:
    if value.__class__ is Set:
        return True
    if value.__class__ is dict:
        return any(not isinstance(key, str) or _has_sets(item) for key, item in value.items())
    return value.__class__ is list and any(map(_has_sets, value))
