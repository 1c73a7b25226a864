"""Random programs about names: whatever declares, binds, replaces or reads one, close together and a few names only.

Most of them are refused, for what declares a name, for what binds it or for its type, and the two have to agree on
which it is. Not one of the generators that take turns: ask for it with `--only names`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeVar

from tests.policy_engine.differential.program import Program

Item = TypeVar("Item")

VARIABLES: Final = ("x", "y", "v", "x", "_")
CONSTANTS: Final = ("1", "1.0", '"a"', "null", "false", "[]", "{}", "set()")
DOCUMENTS: Final = (
    "input", "input.a", "input.b", "data.d", "data.d.k", "data.u", "data.u.g", "data.u.h", "q", "q.a", "o", "s",
)  # fmt: skip
COLLECTIONS: Final = ("input", "data.d", "q", "input.a", "o", "s", "x", "data.u.h")
REFERENCES: Final = ("input[_]", "data.d[_]", "q[_].a", "input.a[_][x]", "o[x]", "s[x]")
BUILTINS: Final = ("count", "lower", "abs", "object.keys", "json.marshal", "is_array")
TARGETS: Final = ("input", "input.a", "data.d", "data.d.k", "data.u", "data.u.g", "q", "f", "lower", "count", "o", "s")
FUNCTIONS: Final = ("f(x) := x", "f(x) := [x]", "f(1) := 2\nf(x) := q")
RULES: Final = ('q := {"a": 1}', "q[x] := 1 if some x in input", "q := 1", "q.a := input.a", "q := [1, 1.0]")
OTHERS: Final = (
    "g(x) := x\nh := input.b",
    "g(x) := [x]\nh := {1: input.a}",
    "h := 1\ng(x) if x == 1",
)
INPUTS: Final = (
    {"a": [1, 2], "b": 1},
    {"a": "a"},
    {},
    {"a": {"k": 1}, "b": [1.5, "a", None]},
    {"a": [[1, 2], ["a", "b"]], "b": {"a": 1}},
)
DATA: Final = ({"k": [1, "a"]}, {"k": 1, "a": {"k": 2}}, [1, [2]])
DEPTH: Final = 2


class Names:
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.logic = rng.random() < 0.4

    def program(self) -> Program:
        count = self.rng.choice((1, 1, 2))
        lines = ["package t", "import future.keywords" if self.logic else ""]
        lines += [self._rule(number) for number in range(count)]
        lines += [self._pick(FUNCTIONS), self._pick(RULES)]
        lines += ['o[x].k := 1 if some x in [1, "a"]', "s contains x if some x in input.a"]
        modules = {"t.rego": "\n".join(lines), "u.rego": f"package u\n{self._pick(OTHERS)}"}
        paths = [*(f"data.t.p{number}" for number in range(count)), "data.t"]
        return Program(modules, {"d": self._pick(DATA)}, self._pick(INPUTS), paths)

    def _pick(self, items: tuple[Item, ...]) -> Item:
        return self.rng.choice(items)

    def _variable(self) -> str:
        return self._pick(VARIABLES)

    # ---- rules

    def _rule(self, number: int) -> str:
        name = f"p{number}"
        body = f" if {{ {self._body(DEPTH)} }}"
        value, key = self._term(1), self._term(1)
        return self._pick((
            f"{name} := {value}",
            f"{name} := {value}{body}",
            f"{name}{body}",
            f"{name} contains {key}{body}",
            f"{name}[{key}] := {value}{body}",
            f"{name}.a[{self._variable()}].b := {value}{body}",
            f"{name} := {value}{body} else := {key}",
            f"default {name} := 1\n{name} := {value}{body}",
        ))  # fmt: skip

    # ---- statements

    def _body(self, depth: int) -> str:
        return "; ".join([self._statement(depth) for _ in range(self._pick((1, 1, 2, 3)) if depth else 1)])

    def _statement(self, depth: int) -> str:
        inner = depth - 1
        a, b, x, y = self._term(inner), self._term(inner), self._variable(), self._variable()
        forms: list[Callable[[], str]] = [
            lambda: f"{x} := {a}",
            lambda: f"[{x}, {y}] := {a}",
            lambda: f"{x} = {a}",
            lambda: f"{a} = {b}",
            lambda: f"{a} {self._pick(('==', '!=', '<', 'in'))} {b}",
            lambda: f"some {x} in {a}",
            lambda: f"some {x}, {self._pick((y, self._term(0)))} in {a}",
            lambda: f"every {self._pick(('x', 'y', 'v'))} in {a} {{ {self._body(max(inner, 0))} }}",
            lambda: f"not {a}",
            lambda: f"not {a} {self._pick(('==', '=', '!='))} {b}",
            lambda: f"walk({a}, [{x}, {y}])",
            lambda: a,
        ]
        if self.logic:
            forms += [lambda: f"not {{ {self._body(max(inner, 0))} }}", lambda: self._operands(inner)] * 2
        if self.rng.random() < 0.05:
            return f"some {self._pick(('x', 'y', 'v'))}"
        return self.rng.choice(forms)() + self._withs(inner)

    def _operands(self, depth: int) -> str:
        left, right = (
            self._pick((f"{{ {self._body(max(depth, 0))} }}", self._term(depth), f"not {self._term(depth)}"))
            for _ in range(2)
        )
        return f"{left} {self._pick(('or', 'and'))} {right}"

    def _withs(self, depth: int) -> str:
        values = (self._term(depth), self._term(0), "data.u.g", "f", "lower", "q", "1")
        chosen = [f" with {self._pick(TARGETS)} as {self._pick(values)}" for _ in range(self._pick((0, 0, 0, 1, 1, 2)))]
        return "".join(chosen)

    # ---- terms

    def _term(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.25:
            return self._pick((*VARIABLES, *CONSTANTS, *DOCUMENTS))
        inner = depth - 1
        a, b = self._term(inner), self._term(inner)
        forms: tuple[Callable[[], str], ...] = (
            lambda: f"f({a})",
            lambda: f"data.u.g({a})",
            lambda: f"{self._pick(BUILTINS)}({a})",
            lambda: f"[{a}, {b}]",
            lambda: f"{{{a}, {b}}}",
            lambda: f"{{{a}: {b}}}",
            lambda: f"[{self._head()} | {self._body(inner)}]",
            lambda: f"{{{self._head()} | {self._body(inner)}}}",
            lambda: f"{{{self._head()}: {self._head()} | {self._body(inner)}}}",
            lambda: f'$"{{{a}}}b"',
            lambda: f"({a} {self._pick(('+', '-', '&', '|', '*', '==', '<', 'in'))} {b})",
            lambda: f"{self._pick(COLLECTIONS)}[{self._pick((a, self._variable()))}]",
            lambda: f"{self._pick(COLLECTIONS)}[{self._pick((a, self._variable()))}]",
            lambda: self._pick((*VARIABLES, *REFERENCES)),
        )
        return self._pick(forms)()

    def _head(self) -> str:
        x, y = self._variable(), self._variable()
        return self._pick((x, y, "1", f"[{x}, {y}]", f"f({x})"))
