"""Random modules with type errors: constants where other types are required.

Most of a module is well typed. Types flow through everything that carries them: rules and functions, references with
constants and variables, patterns, comprehensions, `every`, `with`. Every statement has its own line, so that the rules
with errors can be removed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

SCALARS = ['"a"', '"b"', '"key"', "1", "2", "0", "1.5", "true", "false", "null"]
"""No negative number: at the beginning of a line it would be subtracted from the line before."""
KEYS = ["a", "b", "key"]
OPERATORS = ["+", "-", "*", "/", "%", "|", "&"]
COMPARISONS = ["==", "!=", "<", ">=", "="]
CALLS = {
    "count": "c", "sum": "a", "max": "c", "sort": "a", "is_string": "v", "to_number": "s", "upper": "s", "abs": "n",
    "union": "t", "startswith": "ss", "concat": "sa", "split": "ss", "array.concat": "aa", "object.get": "ovv",
    "object.keys": "o", "json.marshal": "v", "array.slice": "ann", "object.union": "oo", "intersection": "t",
    "sprintf": "sa", "format_int": "nn", "numbers.range": "nn", "trim": "ss", "bits.and": "nn", "time.date": "n",
    "walk": "v", "object.remove": "oc", "glob.match": "sas", "regex.split": "ss", "json.patch": "va", "type_name": "v",
    "array.reverse": "a", "indexof": "ss", "substring": "snn", "json.unmarshal": "s", "object.filter": "oc",
}  # fmt: skip
"""The kinds of the operands: string, number, array, object, sets of sets, collection, any value."""
OTHER = 'package u\nr := {"a": [1, "x"], "b": {"key": true}}\n'
"""The module that the made ones refer to."""
KINDS = ["complete", "complete", "set", "object", "function", "else", "default", "deep", "deepset", "ground"]


class IllTyped:
    """One module from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rules: list[str] = []
        """Names are always written in full: of several references to one short name OPA reports the last one's row."""
        self.functions: list[tuple[str, int]] = []
        self.fresh = 0
        self.keywords: list[str] = []
        self.wrong = rng.choice([0.02, 0.1, 0.3])
        """The share of terms that need not fit."""

    def module(self) -> str:
        self.keywords = [word for word in ("not", "and", "or") if self.rng.random() < 0.15]
        lines = ["package t", *(f"import future.keywords.{word}" for word in self.keywords)]
        for number in range(self._pick([1, 2, 2, 3, 5])):
            lines += self._rule(number)
        return "\n".join(lines) + "\n"

    def _pick(self, items: Any) -> Any:
        return self.rng.choice(items)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _new(self) -> str:
        self.fresh += 1
        return f"v{self.fresh}"

    # ---- rules

    def _rule(self, number: int) -> list[str]:
        name, kind = f"p{number}", self._pick(KINDS)
        lines: list[str] = []
        if kind == "default":
            lines.append(f"default {name} := {self._constant(2)}")
        arity = self.rng.randint(1, 2)
        for _ in range(self.rng.randint(1, 2)):
            scope: list[str] = []
            args = [self._argument(scope) for _ in range(arity)] if kind == "function" else []
            body = self._body(scope, self.rng.randint(0, 2))
            value = self._term(scope, 2)
            key, other = self._key(scope), self._key(scope)
            heads: dict[str, str] = {
                "set": f"{name} contains {value}",
                "object": f"{name}[{key}] := {value}",
                "deep": f"{name}[{key}].{self._pick(KEYS)} := {value}",
                "deepset": f"{name}[{key}][{other}] contains {value}",
                "ground": f"{name}.{self._pick(KEYS)} := {value}",
                "function": f"{name}({', '.join(args)}) := {value}",
            }
            lines += [f"{heads.get(kind, f'{name} := {value}')} if {{", *body, "}"]
            if kind == "else":
                inner: list[str] = []
                lines[-1] = "} else := " + self._term(inner, 1) + " if {"
                lines += [*self._body(inner, 1), "}"]
        if kind == "function":
            self.functions.append((name, arity))
        else:
            self.rules.append(f"data.t.{name}")
        return lines

    def _argument(self, scope: list[str]) -> str:
        if self._chance(0.2):
            return str(self._pick(["_", '"a"', "1"]))
        name = self._new()
        scope.append(name)
        if self._chance(0.3):
            other = self._new()
            scope.append(other)
            return str(
                self._pick([f"[{name}, {other}]", f'{{"a": {name}, "b": {other}}}', f'[{name}, {{"a": {other}}}]'])
            )
        return name

    def _key(self, scope: list[str]) -> str:
        return str(self._pick([*scope, *scope, *scope, '"a"', "1", "input.k", "[1, 2]"]))

    def _body(self, scope: list[str], length: int) -> list[str]:
        lines = ["true"]
        for _ in range(length):
            lines += self._literal(scope)
        return lines

    # ---- literals

    def _literal(self, scope: list[str]) -> list[str]:
        choices: list[Callable[[list[str]], list[str]]] = [
            self._assignment, self._assignment, self._assignment, self._comparison, self._comparison, self._reference,
            self._membership, self._every, self._pattern, self._call_statement, self._block, self._output,
            *([self._braces] if self.keywords else []),
        ]  # fmt: skip
        value = self._term(scope, 1)
        lines = self._pick(choices)(scope)
        if self._chance(0.12) and len(lines) == 1 and not lines[0].startswith("some"):
            lines[0] += f" with {self._target()} as {value}" if self._chance(0.7) else self._mock()
        return list(lines)

    def _target(self) -> str:
        return str(self._pick(["input", "input.x", "data.base", "data.u.r", "data.u", *self.rules, *self.rules]))

    def _mock(self) -> str:
        """A function that is replaced, by a value or another function."""
        functions = [(f"data.t.{name}", arity) for name, arity in self.functions]
        target, arity = self._pick([("count", 1), ("startswith", 2), *functions, *functions])
        others = [name for name, number in [("upper", 1), ("split", 2), *functions] if number == arity]
        return f" with {target} as {self._pick([self._pick(SCALARS), '[1]', *others])}"

    def _braces(self, scope: list[str]) -> list[str]:
        """A body in braces, under a new keyword."""
        inner = list(scope)
        body = ["true", *self._literal(inner)]
        form = self._pick(self.keywords)
        tail = {"not": [], "and": ["} and {", "true"], "or": ["} or {", *self._literal(list(scope))]}[form]
        return ["not {" if form == "not" else "{", *body, *tail, "}"]

    def _assignment(self, scope: list[str]) -> list[str]:
        name = self._new()
        line = f"{name} := {self._term(scope, 2)}"
        scope.append(name)
        return [line]

    def _comparison(self, scope: list[str]) -> list[str]:
        mark = "not " if self._chance(0.2) else ""
        one = self._term(scope, 1)
        other = (
            self._term(scope, 1) if self._chance(self.wrong) else self._pick([one, "input.x", "data.base.a", *scope])
        )
        return [f"{mark}{one} {self._pick(COMPARISONS)} {other}"]

    def _reference(self, scope: list[str]) -> list[str]:
        ref = self._ref(scope)
        if self._chance(0.4):
            name = self._new()
            line = f"{ref}[{name}]" + (f" = {self._term(scope, 1)}" if self._chance(0.5) else "")
            scope.append(name)
            return [f"some {name}", line][0 if self._chance(0.5) else 1 :]
        return [("not " if self._chance(0.2) else "") + ref]

    def _membership(self, scope: list[str]) -> list[str]:
        name, source = self._new(), self._term(scope, 1)
        if self._chance(0.3):
            return [f"{self._term(scope, 1)} in {source}"]
        if self._chance(0.3):
            key = self._new()
            line = f"some {key}, {name} in {source}"
            scope += [name, key]
        else:
            line = f"some {self._pick([name, name, f'[{name}, _]'])} in {source}"
            scope.append(name)
        return [line]

    def _every(self, scope: list[str]) -> list[str]:
        name = self._new()
        head = f"every {name} in {self._term(scope, 1)} {{"
        inner = [*scope, name]
        return [head, f"{name} != 77", *self._literal(inner), "}"]

    def _block(self, scope: list[str]) -> list[str]:
        return ["every _ in [1] {", *self._literal(list(scope)), "}"]

    def _pattern(self, scope: list[str]) -> list[str]:
        a, b = self._new(), self._new()
        one, two = self._term(scope, 1), self._term(scope, 1)
        pattern, matching = self._pick(
            [
                (f"[{a}, {b}]", f"[{one}, {two}]"),
                (f"[{a}, [{b}]]", f"[{one}, [{two}]]"),
                (f"[{a}, {b}, {a}]", f"[{one}, {two}, {one}]"),
                (f'{{"a": {a}, "b": {b}}}', f'{{"a": {one}, "b": {two}}}'),
                (f'{{"a": [{a}, {b}]}}', f'{{"a": [{one}, {two}]}}'),
            ]
        )
        source = self._pick([matching, self._ref(scope), *scope])
        sides = [pattern, source] if self._chance(0.8) else [source, pattern]
        scope += [a, b]
        return [" = ".join(sides)]

    def _call_statement(self, scope: list[str]) -> list[str]:
        return [("not " if self._chance(0.2) else "") + self._call(scope, 1)]

    def _output(self, scope: list[str]) -> list[str]:
        name = self._new()
        call = self._call(scope, 1)
        scope.append(name)
        return [f"{call[:-1]}, {name})" if not call.endswith("()") else f"{name} := 1"]

    # ---- terms

    def _term(self, scope: list[str], depth: int) -> str:
        roll = self.rng.random()
        if scope and roll < 0.3:
            return str(self._pick(scope))
        if roll < 0.42 or depth == 0:
            return str(self._pick(SCALARS))
        if roll < 0.62:
            return self._ref(scope)
        if roll < 0.68:
            return self._call(scope, depth - 1)
        if roll < 0.74:
            return f"({self._number(scope)} {self._pick(OPERATORS)} {self._number(scope)})"
        if roll < 0.86:
            return self._collection(lambda: self._term(scope, depth - 1))
        if roll < 0.96:
            return self._comprehension(scope)
        return f'$"<{{{self._pick(["1", "input.x", "true", *scope])}}}>"'

    def _number(self, scope: list[str]) -> str:
        """A term that mostly is a number."""
        if scope and self._chance(0.3):
            return str(self._pick(scope))
        return self._term(scope, 0) if self._chance(self.wrong) else str(self._pick(["1", "2", "-1", "1.5", "input.n"]))

    def _constant(self, depth: int) -> str:
        if depth == 0 or self._chance(0.4):
            return str(self._pick(SCALARS))
        return self._collection(lambda: self._constant(depth - 1))

    def _collection(self, item: Callable[[], str]) -> str:
        form = self.rng.randrange(5)
        if form < 2:
            return "[" + ", ".join(item() for _ in range(self.rng.randint(0, 3))) + "]"
        if form == 2:
            return "{" + ", ".join(item() for _ in range(self.rng.randint(1, 2))) + "}"
        if form == 3:
            keys = self.rng.sample(['"a"', '"b"', '"key"', "1", "true", "null", "[1]"], self.rng.randint(0, 3))
            return "{" + ", ".join(f"{key}: {item()}" for key in keys) + "}"
        return f'{{"a": {item()}, "b": {item()}}}'

    def _comprehension(self, scope: list[str]) -> str:
        inner = list(scope)
        body = [line for _ in range(self.rng.randint(1, 2)) for line in self._literal(inner)]
        head = self._pick([name for name in inner if name not in scope] or inner or ["1"])
        form = self._pick(
            ["[{0} | {1}]", "{{{0} | {1}}}", "{{{0}: 1 | {1}}}", '{{"k": {0} | {1}}}', "[[{0}, 1] | {1}]"]
        )
        return str(form.format(head, self._one_line(body)))

    @staticmethod
    def _one_line(lines: list[str]) -> str:
        text = "; ".join(lines)
        return text.replace("{; ", "{ ").replace("; }", " }")

    def _call(self, scope: list[str], depth: int) -> str:
        if self.functions and self._chance(0.5):
            name, arity = self._pick(self.functions)
            kinds = "v" * arity
        else:
            name, kinds = self._pick(list(CALLS.items()))
        return f"{name}({', '.join(self._operand(kind, scope, depth) for kind in kinds)})"

    def _operand(self, kind: str, scope: list[str], depth: int) -> str:
        """A term of a kind, most of the time."""
        if self._chance(self.wrong) or kind == "v":
            return self._term(scope, depth)
        if self._chance(0.35):
            return str(self._pick([*scope, "input.x", "data.base.a"]))
        fitting: dict[str, list[str]] = {
            "s": ['"a"', "upper(input.x)", '$"{input.x}"', 'lower("B")'],
            "n": ["1", "2", "count(input.x)", "(1 + 2)"],
            "a": ["[1, 2]", "[]", '["a"]', "[x | x := input.a[_]]", "numbers.range(1, 2)"],
            "o": ["{}", '{"a": 1}', '{"a": {"b": 2}, "b": "c"}', "{x: 1 | x := input.a[_]}", "{input.k: 1}"],
            "t": ["{{1}}", "set()", '{{"a", 1}, {2}}', "{x | x := {input.a[_]}}"],
            "c": ["[1]", '{"a": 1}', '{"a", 1}', '"a"'],
        }
        return str(self._pick(fitting[kind]))

    def _ref(self, scope: list[str]) -> str:
        roots = ["input", "data.base", "data.u.r", *scope, *scope, *self.rules, *self.rules, *self.rules]
        text = str(self._pick(roots))
        for _ in range(self.rng.randint(1 if text == "input" else 0, 2)):
            text += self._pick(
                [".a", ".b", ".key", "[0]", "[1]", '["a"]', "[_]", "[true]", *(f"[{v}]" for v in scope), "[[1]]"]
            )
        return text
