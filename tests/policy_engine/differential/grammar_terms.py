"""Random terms in every notation, for grammar.py: numbers, strings, templates, collections, comprehensions, references.

A scope is the list of variables that are bound. A term that needs a body (a comprehension) gets it from `_body`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TypeVar

NUMBERS: Final = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "1.0",
    "1e2",
    "1E-2",
    "-0",
    "-0.0",
    "0.1",
    "1.50",
    "10e-1",
    "-2.5",
    "123456789012345678901234567890",
    "1e30",
    "0.30000000000000004",
]
STRINGS: Final = [
    '"a"',
    '"b"',
    '"c"',
    '"a"',
    '"b"',
    '""',
    '"é"',
    '"日本"',
    '"1"',
    '"😀"',
    "`a`",
    "`raw\\n`",
    '`a"b`',
    '"{x}"',
    '"\\u00e9"',
    '"\\n\\t\\""',
    '"\\ud83d\\ude00"',
    '"a\\/b"',
]
TEXTS: Final = ("", "x", " é ", r"\n", r"\{", "<", "%", r"\"")
RAW_TEXTS: Final = ("", "x", " é ", "\n", '"', r"\n")
OPERATORS: Final = ("+", "-", "*", "/", "%", "&", "|")
CALLS: Final = {
    "count": 1, "type_name": 1, "is_array": 1, "json.marshal": 1, "object.keys": 1, "sort": 1, "object.get": 3,
    "max": 1, "upper": 1,
    "array.concat": 2, "union": 1, "startswith": 2, "to_number": 1, "is_set": 1,
}  # fmt: skip
DOCUMENTS: Final = [
    "input",
    "input.a",
    "input.b",
    "input.n",
    "input.o",
    "input.o.a",
    "input.b",
    "input.o",
    "data.base",
    "data.base.xs",
    "data.base.o",
    "data.base.s",
    "data.lib.util.extra",
]

Item = TypeVar("Item")
Scope = list[str]


class Terms(ABC):
    """Terms of one module."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.values: list[str] = []
        """References to documents, as the module can write them."""
        self.functions: list[tuple[str, int]] = []
        """The functions that the module can call, with the number of arguments."""
        self.annotated = False
        self.fresh = 0

    @abstractmethod
    def body(self, scope: Scope, length: int) -> str:
        """Statements; the variables they bind are added to the scope."""

    def pick(self, items: Sequence[Item]) -> Item:
        return self.rng.choice(items)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def new(self) -> str:
        self.fresh += 1
        return f"{self.pick(['v', 'w_', 'X'])}{self.fresh}"

    # ---- terms

    def scalar(self) -> str:
        return str(self.pick([self.pick(NUMBERS), self.pick(STRINGS), self.pick(STRINGS), "true", "false", "null"]))

    def term(self, scope: Scope, depth: int = 2) -> str:
        if scope and self.chance(0.3):
            return str(self.pick(scope))
        if depth <= 0:
            return self.scalar() if self.chance(0.6) else self.ref(scope, 0)
        forms = [
            self.ref,
            self.ref,
            self.ref,
            self.collection,
            self.comprehension,
            self.call,
            self.call,
            self.operation,
        ]
        if self.annotated and self.chance(0.1):
            # Not where it could be negated: of `not rego.metadata.rule()` OPA makes a statement that always holds.
            return self.pick(["rego.metadata.rule()", "rego.metadata.chain()"])
        form = self.pick([*forms, self.template, self._scalar, self._scalar, self.indexed])
        return str(form(scope, depth - 1))

    def _scalar(self, scope: Scope, depth: int) -> str:
        return self.scalar()

    def collection(self, scope: Scope, depth: int) -> str:
        items = [self.term(scope, depth) for _ in range(self.rng.randint(0, 3))]
        match self.rng.randrange(4):
            case 0:
                return f"[{', '.join(items)}]"
            case 1:
                return f"{{{', '.join(items)}}}" if items else "set()"
            case 2:
                return self.pick(
                    [
                        "{{1}, {1, 2}}",
                        "{set(), {}}",
                        "[[], {}, set()]",
                        '{"a": {"b": [1, {2}]}}',
                        "{[1]: {null}}",
                        "{{1, 1.0}}",
                    ]
                )
            case _:
                return "{" + ", ".join(f"{self.key(scope, depth)}: {item}" for item in items) + "}"

    def key(self, scope: Scope, depth: int) -> str:
        """A key of an object: of any type, mostly a string."""
        plain = [self.pick(STRINGS), self.pick(STRINGS), self.scalar(), *scope, "input.a"]
        return str(self.pick([*plain, '["a", 1]', '{"a"}', "{}", '{"k": 1}'] if depth >= 0 else plain))

    def comprehension(self, scope: Scope, depth: int) -> str:
        inner = list(scope)
        body = self.body(inner, self.rng.randint(1, 2)) if depth else self._small_body(inner)
        head = self.pick([name for name in inner if name not in scope] or inner or ["1"])
        value = self.pick(
            [head, head, f"[{head}, 1]", f"({head} == 1)", f"count([{head}])", f'{{"k": {head}}}', f'$"{{{head}}}"']
        )
        match self.rng.randrange(4):
            case 0 | 1:
                return f"[{value} | {body}]"
            case 2:
                return f"{{{value} | {body}}}"
            case _:
                return f"{{{head}: {self.pick(['1', value])} | {body}}}"

    def _small_body(self, scope: Scope) -> str:
        name = self.new()
        source = self.ref(scope, 0)
        scope.append(name)
        return f"some {name} in {source}"

    def operation(self, scope: Scope, depth: int) -> str:
        a, b = self.ref(scope, depth), self.term(scope, depth)
        simple = ["input.n", "input.n", "data.base.o.a", "1e2", "2", a]
        forms = [
            f"({self.pick(simple)} {self.pick(OPERATORS[:5])} {self.pick(simple)})",
            f"({self.pick(simple)} + 1 * {self.pick(simple)} - 2.5)",
            f"-{self.pick(['input.n', *scope])}",
            f"({a} {self.pick(OPERATORS)} {a})",
            f"({a} == {b})",
            f"({a} in {self.pick(['[1, 2]', a, 'input.b'])})",
            f"({self.term(scope, 0)}, {b} in {self.pick(['[1, 2]', 'input.b', 'data.base.o'])})",
        ]
        return str(self.pick(forms))

    def template(self, scope: Scope, depth: int) -> str:
        if self.chance(0.3):
            inner = f"{{{self.ref(scope, 0)}}}"
            return f"$`{self.pick(RAW_TEXTS)}{inner}{self.pick(RAW_TEXTS)}`"
        parts = [f"{self.pick(TEXTS)}{{{self.term(scope, min(depth, 1))}}}" for _ in range(self.rng.randint(0, 2))]
        if self.chance(0.2):
            parts.append(f"{{input.a with input.a as {self.term(scope, 0)}}}")
        return '$"' + "".join(parts) + self.pick(TEXTS) + '"'

    def call(self, scope: Scope, depth: int) -> str:
        if self.functions and self.chance(0.6):
            name, arity = self.pick(self.functions)
            return f"{name}({', '.join(self.term(scope, depth) for _ in range(arity))})"
        name, arity = self.pick(list(CALLS.items()))
        return f"{name}({', '.join(self.ref(scope, depth) for _ in range(arity))})"

    def ref(self, scope: Scope, depth: int) -> str:
        """Mostly a document, or a part of it, found by constants, variables, other references and whole values."""
        if self.values and self.chance(0.35):
            head = self.pick(self.values)  # the compiler knows what its parts can be
            return head + self.pick(["", "", "", "", ".a", *(f"[{name}]" for name in scope), f"[{self.scalar()}]"])
        head = self.pick(DOCUMENTS)
        steps = [".a", ".b", "[0]", "[1]", '["a"]', '["é"]', "[input.a]", "[input.n]", *(f"[{name}]" for name in scope)]
        steps += ["[1.0]", "[true]", "[[1, 2]]", '[{"a": 1}]', "[{1}]"] if self.chance(0.2) else []
        if depth > 0:
            steps += [f"[{self.ref(scope, depth - 1)}]", f"[{self.call(scope, 0)}]", "[input.n - 1]", '[$"{input.a}"]']
        for _ in range(self.pick([0, 0, 1, 1, 2])):
            head += self.pick(steps)
        return str(head)

    def indexed(self, scope: Scope, depth: int) -> str:
        """A reference that does not begin with a variable."""
        heads = [
            "[1, 2, 3]",
            '{"a": 1, "b": [2]}',
            "[x | some x in input.b]",
            '{"k": input.o}',
            "{1, 2, 3}",
            '{x | some x in ["a", "b"]}',
            "{k: v | some k, v in input.b}",
        ]
        heads += [self.call(scope, depth) for _ in "ab"]
        step = self.pick([*scope, "0", "1", self.pick(STRINGS), "input.a"])
        return f"{self.pick(heads)}[{step}]{self.pick(['', '', '.b', '[0]'])}"
