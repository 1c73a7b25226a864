"""Random Rego programs: modules, data and an input that have a fair chance to mean something.

Programs are made for disagreement: few names, so that references meet; values that are equal in Python and not in Rego;
undefined parts everywhere; iteration over what may be an array, object, set or nothing. Values come from `input` and
`data` for the most part, because OPA's type checker refuses what it can see to be ill-typed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from tests.policy_engine.differential.program import Program

Item = TypeVar("Item")

SCALARS = ["null", "true", "false", "0", "1", "2", "1.0", "1.5", "-1", '"a"', '"b"', '""', '"1"']
KEYS = ["a", "b", "c"]
CALLS = {
    "count": 1, "sum": 1, "max": 1, "min": 1, "sort": 1, "is_number": 1, "is_string": 1, "is_array": 1, "type_name": 1,
    "to_number": 1, "lower": 1, "upper": 1, "startswith": 2, "contains": 2, "concat": 2, "array.concat": 2,
    "object.get": 3, "object.keys": 1, "union": 1, "json.marshal": 1, "array.reverse": 1, "product": 1, "is_set": 1,
}  # fmt: skip

ARGUMENTS = ["x", "x", "y", "1", '"a"', "true", "[x, y]", "[x, x]", '{"a": x}', "_", '["a", x]']


class Generator:
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rules: list[tuple[str, str]] = []
        """(name, kind) of the rules so far; a rule refers to earlier ones only, mostly."""
        self.functions: list[tuple[str, int]] = []
        self.logic = False
        self.negated = 0
        self.fresh = 0

    def program(self) -> Program:
        lines = ["package t", ""]
        self.logic = self.rng.random() < 0.25
        if self.logic:
            lines[1:1] = [f"import future.keywords.{word}" for word in ("and", "or", "not")]
        for number in range(self.rng.randint(2, 6)):
            lines += [*self._rule(number), ""]
        paths = [f"data.t.{name}" for name, _ in self.rules]
        other = (
            "package u\n\nq := 1 if input.a\n\nr contains x if some x in input.b\n\n"
            "s[k].m := v if some k, v in input\n\ns.a.n := 7\n\ns.a.l contains v if some v in input.b\n\n"
            "g(x) := [x, input.a]\n\nw.x.y := input.b\n"
        )
        paths += ["data.t"]
        return Program({"t.rego": "\n".join(lines), "u.rego": other}, self._data(), self._input(), paths)

    def _pick(self, items: Sequence[Item]) -> Item:
        return self.rng.choice(items)

    def _data(self) -> Any:
        kept = {"xs": [1, True, 1.5, [1, 2], [2, 2], {"a": 1}, "a"], "o": {"b": 1, "a": "2"}}
        data = {"d": self._value(3), "e": {key: self._value(2) for key in KEYS}, "u": {"base": self._value(1)}}
        return {**data, "k": kept}

    def _input(self) -> Any:
        """Mostly an object that the rules have something to say about."""
        if self._chance(0.25):
            return self._value(3)
        texts = ["a", "a", "b", "b", "", "1", 1, True, None]
        given = {
            "a": self._pick(texts) if self._chance(0.7) else self._value(2),
            "b": {"a": self._pick(texts), "b": self._value(2)} if self._chance(0.7) else self._value(2),
            "c": self._pick(texts) if self._chance(0.5) else self._value(2),
        }
        return {key: value for key, value in given.items() if self._chance(0.9)}

    def _value(self, depth: int) -> Any:
        roll = self.rng.random()
        if depth == 0 or roll < 0.3:
            return self._pick([None, True, False, 0, 1, 2, 1.5, -1, "a", "b", "", "1", 10])
        if roll < 0.6:
            return [self._value(depth - 1) for _ in range(self.rng.randint(0, 3))]
        return {key: self._value(depth - 1) for key in KEYS if self.rng.random() < 0.7}

    # ---- rules

    def _rule(self, number: int) -> list[str]:
        kind = self._pick(
            ["complete", "complete", "set", "object", "function", "else", "default", "deep", "mixed", "many", "chain"]
        )
        name = f"p{number}"
        lines: list[str] = []
        if kind == "many":
            return self._many(name)
        if kind == "mixed":
            return self._mixed(name)
        if kind == "chain":
            return self._chain(name)
        for _ in range(self.rng.randint(1, 2) if kind != "else" else 1):
            scope: list[str] = []
            if kind == "function":
                arity = next((n for f, n in self.functions if f == name), self.rng.randint(1, 2))
                args = [self._pick(ARGUMENTS) for _ in range(arity)]
                scope += [v for v in ("x", "y") if any(v in arg for arg in args)]
                body = self._body(scope, self.rng.randint(1, 2))
                lines.append(f"{name}({', '.join(args)}) := {self._term(scope, 1)} if {{ {body} }}")
                if (name, arity) not in self.functions:
                    self.functions.append((name, arity))
                continue
            body = self._body(scope, self.rng.randint(1, 3))
            value = self._term(scope, 1)
            if kind == "set":
                lines.append(f"{name} contains {value} if {{ {body} }}")
            elif kind == "object":
                lines.append(f"{name}[{self._key(scope)}] := {value} if {{ {body} }}")
            elif kind == "deep":
                lines.append(f"{name}[{self._key(scope)}].{self._pick(KEYS)} := {value} if {{ {body} }}")
            elif kind == "else":
                inner: list[str] = []
                other = self._body(inner, 1)
                lines.append(f"{name} := {value} if {{ {body} }} else := {self._term(inner, 1)} if {{ {other} }}")
            else:
                head = f"{name} := {value}" if self.rng.random() < 0.6 else name
                lines.append(f"{head} if {{ {body} }}")
        if kind == "default":
            lines.insert(0, f"default {name} := {self._pick(SCALARS)}")
        if kind != "function":
            self.rules.append((name, kind))
        return lines

    def _many(self, name: str) -> list[str]:
        """Enough rules that begin alike for an index: on a part of the input, or on an argument."""
        heads = {
            "value": f"{name} := {{value}} if {{{{ {{test}}; {{body}} }}}}",
            "true": f"{name} if {{{{ {{test}}; {{body}} }}}}",
            "set": f"{name} contains {{value}} if {{{{ {{test}}; {{body}} }}}}",
            "function": f"{name}({{arg}}) := {{value}} if {{{{ {{body}} }}}}",
            "pattern": f"{name}({{arg}}) := {{value}} if {{{{ {{test}}; {{body}} }}}} else := 9",
        }
        kind = self._pick(list(heads))
        place = self._pick(["input.a", "input.b.a", "input.c"])
        lines = [f"default {name} := {self._pick(SCALARS)}"] if kind in ("value", "true") and self._chance(0.4) else []
        for _ in range(self.rng.randint(2, 7)):
            text = self._pick(['"a"', '"b"', '""', '"1"', '"a"', "1", "true", "null"])
            tests = [
                f"{place} == {text}",
                f"{text} = {place}",
                f'{place} in {{{text}, "b"}}',
                f'{place} in ["a", {text}]',
                f"m := {place}; m == {text}",
                f"some m in [{text}]; m == {place}",
                f"not {place} == {text}",
                f"{place} == {text} with {place} as {text}",
                "true",
            ]
            test = self._pick(tests)
            scope: list[str] = []
            body = self._body(scope, 1) if self._chance(0.5) else "true"
            arg = self._pick([text, text, "x", "[_, x]"])
            value = self._pick(["true", '"a"', "1"]) if self._chance(0.7) else self._term(scope, 1)
            lines.append(heads[kind].format(test=test, body=body, value=value, arg=arg))
        if kind in ("function", "pattern"):
            self.functions.append((name, 1))
        else:
            self.rules.append((name, "complete"))
        return lines

    def _mixed(self, name: str) -> list[str]:
        """Rules for parts of one object, at various depths."""
        lines = []
        for _ in range(self.rng.randint(2, 4)):
            scope: list[str] = []
            body = self._body(scope, self.rng.randint(1, 2))
            keys = [self._key(scope) for _ in range(3)]
            a, b = self._pick(KEYS), self._pick(KEYS)
            heads = [
                f"[{keys[0]}]",
                f".{a}",
                f".{a}.{b}",
                f"[{keys[0]}].{b}",
                f"[{keys[0]}][{keys[1]}]",
                f".{a}[{keys[0]}]",
                f"[{keys[0]}][{keys[1]}].{b}",
                f"[1].{b}",
            ]
            head = self._pick(heads)
            value = self._term(scope, 1)
            verb = f" contains {value}" if self._chance(0.25) else f" := {value}"
            lines.append(f"{name}{head}{verb} if {{ {body} }}")
        if self._chance(0.15):
            lines.insert(0, f"default {name}.{self._pick(KEYS)} := {self._pick(SCALARS)}")
        self.rules.append((name, "object"))
        return lines

    def _chain(self, name: str) -> list[str]:
        """A rule or function with several `else`."""
        arg = self._pick(["", "(x)", "([x, _])"])
        outer = ["x"] if arg else []
        parts = []
        for _ in range(self.rng.randint(2, 4)):
            scope = list(outer)
            body = self._body(scope, 1)
            parts.append(f":= {self._term(scope, 1)} if {{ {body} }}")
        if arg:
            self.functions.append((name, 1))
        else:
            self.rules.append((name, "else"))
        return [f"{name}{arg} " + " else ".join(parts)]

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _key(self, scope: list[str]) -> str:
        return self._pick([*scope, *scope, '"a"', '"b"', "input.a", "1"])

    def _body(self, scope: list[str], length: int) -> str:
        literals = [self._literal(scope) for _ in range(length)]
        if self.rng.random() < 0.2:
            self.rng.shuffle(literals)
        return "; ".join(literals)

    def _literal(self, scope: list[str]) -> str:
        roll = self.rng.random()
        modifiers = ""
        if self.rng.random() < 0.06:
            modifiers = self._mock(scope)
        elif self.rng.random() < 0.12:
            modifiers = self._with(scope) + (self._with(scope) if self._chance(0.2) else "")
        if roll < 0.14:
            name = self._new()
            text = f"{name} := {self._term(scope, 2)}"
            scope.append(name)
            return text + modifiers
        if roll < 0.32:
            source = self._collection(scope)
            name = self._new()
            if self.rng.random() < 0.3:
                key = self._new()
                scope += [name, key]
                return f"some {key}, {name} in {source}"
            scope.append(name)
            if self._chance(0.25):
                shape = self._pick([f"[{name}, _]", f'{{"a": {name}}}', f"[{name}, {name}]"])
                return f"some {shape} in {self._pick(['input', 'data.e', 'data.k.xs', 'input.a'])}"
            return f"some {name} in {source}"
        if roll < 0.42:
            name = self._new()
            text = f"{self._ref(scope)}[{name}] = {self._term(scope, 1)}" if self.rng.random() < 0.3 else ""
            text = text or f"{self._pick(['input', 'data.e', self._ref(scope)])}[{name}]"
            scope.append(name)
            return text + modifiers
        if roll < 0.5:
            return self._every(scope)
        if roll < 0.68:
            self.negated += 1
            text = f"not {self._condition(scope)}{modifiers}"
            self.negated -= 1
            return text
        if roll < 0.7:
            return self._output(scope) + modifiers
        if roll < 0.75:
            name = self._new()
            pattern = self._pick(
                [f"[{name}, _]", f'{{"a": {name}}}', f"[{name}]", name, f"[{name}, {name}]", f'{{"a": _, "b": {name}}}']
            )
            text = f"{pattern} = {self._ref(scope) if pattern != name else self._term(scope, 2)}"
            scope.append(name)
            return text + modifiers
        return self._condition(scope) + modifiers

    def _with(self, scope: list[str]) -> str:
        rules = [f"data.t.{name}" for name, kind in self.rules if kind != "function"]
        target = self._pick(
            ["input", "input.a", "input.b.c", "data.d", "data.e.a", "data.u.q", "data.u", "data.u.w", *rules]
        )
        return f" with {target} as {self._term(scope, 1)}"

    def _mock(self, scope: list[str]) -> str:
        """Replace a function, by a value or by another function."""
        target = self._pick(["count", "data.u.g", "type_name", *(name for name, arity in self.functions if arity == 1)])
        names = ["upper", "data.u.g", *(name for name, arity in self.functions if arity == 1)]
        value = self._pick([self._term(scope, 0), self._pick(names)])
        return f" with {target} as {value}"

    def _output(self, scope: list[str]) -> str:
        """A call whose last operand takes the result, or a relation."""
        name = self._new()
        calls = [
            f"count({self._ref(scope)}, {name})",
            f"walk({self._ref(scope)}, [_, {name}])",
            f'walk({self._ref(scope)}, [["a"], {name}])',
            f'object.get({self._ref(scope)}, "a", 1, {name})',
            *(f"{function}({self._term(scope, 1)}, {name})" for function, arity in self.functions if arity == 1),
        ]
        call = self._pick(calls)
        scope.append(name)
        return str(call)

    def _every(self, scope: list[str]) -> str:
        name = self._new()
        inner = [*scope, name]
        return f"every {name} in {self._collection(scope)} {{ {name} != 7; {self._condition(inner)} }}"

    def _condition(self, scope: list[str]) -> str:
        roll = self.rng.random()
        if self.rng.random() < 0.1:
            return self._pick(
                ['input.a == "a"', '"b" == input.a', 'input.a in {"a", "b"}', 'input.b.a = "a"', 'input.a == "b"']
            )
        if self.logic and roll < 0.1:
            word = self._pick(["and", "or"])
            sides = [
                self._condition(scope) if self.rng.random() < 0.5 else f"{{ {self._body(list(scope), 2)} }}"
                for _ in "ab"
            ]
            return f"{sides[0]} {word} {sides[1]}"
        if roll < 0.35:
            operator = self._pick(["==", "!=", "<", "<=", ">", ">=", "="])
            return f"{self._ref(scope)} {operator} {self._term(scope, 1)}"
        if roll < 0.55:
            return self._ref(scope)
        if roll < 0.7:
            return f"{self._ref(scope)} in {self._collection(scope)}"
        return self._call(scope, 1)

    def _new(self) -> str:
        self.fresh += 1
        return f"v{self.fresh}"

    # ---- terms

    def _term(self, scope: list[str], depth: int) -> str:
        roll = self.rng.random()
        if scope and roll < 0.25:
            return self._pick(scope)
        if depth == 0 or roll < 0.4:
            return self._pick(SCALARS)
        if roll < 0.62:
            return self._ref(scope)
        if roll < 0.7:
            return self._call(scope, depth - 1)
        if roll < 0.76:
            items = [self._term(scope, depth - 1) for _ in range(self.rng.randint(0, 2))]
            return f"[{', '.join(items)}]"
        if roll < 0.8:
            return f'{{"a": {self._term(scope, depth - 1)}, {self._pick(["1", "input.b"])}: 2}}'
        if roll < 0.84:
            return f"{{{self._term(scope, depth - 1)}, {self._term(scope, depth - 1)}}}"
        if roll < 0.93:
            return self._comprehension(scope)
        if roll < 0.96:
            return f'$"<{{{self._term(scope, 0)}}}>"'
        operator = self._pick(["+", "-", "*", "/", "%", "|", "&"])
        return f"({self._ref(scope)} {operator} {self._ref(scope)})"

    def _comprehension(self, scope: list[str]) -> str:
        inner = list(scope)
        body = self._body(inner, self.rng.randint(1, 2))
        head = self._pick([name for name in inner if name not in scope] or inner or ["1"])
        form = self._pick(["[{0} | {1}]", "{{{0} | {1}}}", "{{{0}: 1 | {1}}}", '{{"k": {0} | {1}}}'])
        return str(form.format(head, body))

    def _call(self, scope: list[str], depth: int) -> str:
        if self.functions and self.rng.random() < 0.4:
            name, arity = self._pick(self.functions)
            return f"{name}({', '.join(self._term(scope, depth) for _ in range(arity))})"
        if self.rng.random() < 0.1:
            return f"data.u.g({self._ref(scope)})"
        name = self._pick(list(CALLS))
        if name in ("startswith", "contains", "concat", "array.concat", "object.get"):
            args = [self._ref(scope) for _ in range(CALLS[name])]
        else:
            args = [self._ref(scope)]
        return f"{name}({', '.join(args)})"

    def _collection(self, scope: list[str]) -> str:
        return self._pick(
            [self._ref(scope), self._ref(scope), "[1, true, 1.0]", '{"a", 1}', "data.k.xs", "data.k.o", *scope]
        )

    def _ref(self, scope: list[str]) -> str:
        roots = [
            "input",
            "input",
            "input",
            "data.d",
            "data.e",
            "data.k",
            *self._pick([["data.u", "data.u.s", "data.u.s"], [n for n, _ in self.rules], scope]),
        ]
        text = self._pick(roots)
        for _ in range(self.rng.randint(0 if text not in ("input",) else 1, 2)):
            step = self._pick([".a", ".b", ".c", "[0]", "[1]", '["a"]', "[_]", *[f"[{v}]" for v in scope]])
            if step == "[_]" and (self.negated or self.rng.random() < 0.6):
                step = ".a"
            text += step
        return str(text)
