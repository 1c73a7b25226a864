"""Random typed Rego programs, so that most expressions have a value.

Most programs of `generator` fail somewhere; it tests refusals. Here rules depend on
each other under other inputs, functions and documents, in loops, comprehensions and partial objects; it finds values
that come from the wrong context or place. Types: `s` a string, `n` an integer, `S` a collection of strings.
"""

from __future__ import annotations

import random
from typing import Any

from tests.policy_engine.differential.program import Program

STRINGS = ["a", "b", "c", "1", ""]
TYPES = ["s", "s", "n"]
KINDS = ["value", "flag", "set", "object", "nested", "sets", "function", "chain", "many"]
KINDS += ["value", "object", "function", "many"]
Scope = list[tuple[str, str]]
"""Variables that are bound, with their types."""


class Meaningful:
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rules: list[tuple[str, str, str]] = []
        """Name, kind and type of the rules so far. The type of an object is that of its values; keys are strings."""
        self.fresh = 0

    def program(self) -> Program:
        lines = ["package t", ""]
        for number in range(self.rng.randint(3, 7)):
            lines += [*self._rule(f"p{number}"), ""]
        paths = [f"data.t.{name}" for name, kind, _ in self.rules if kind != "function"]
        base = {"name": self._string(), "names": self._strings(), "by": self._object(), "n": self.rng.randint(0, 2)}
        given = {
            "role": self._string(),
            "n": self.rng.randint(0, 2),
            "names": self._strings(),
            "by": self._object(),
            "flag": self._chance(0.5),
            "sub": {"role": self._string(), "rows": [{"k": self._string(), "n": self.rng.randint(0, 2)} for _ in "ab"]},
        }
        kept = {key: value for key, value in given.items() if self._chance(0.9)}
        return Program({"t.rego": "\n".join(lines)}, {"base": base}, kept, [*paths, "data.t"])

    # ---- choices

    def _pick(self, items: Any) -> Any:
        return self.rng.choice(items)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _string(self) -> str:
        return str(self._pick(STRINGS))

    def _strings(self) -> list[str]:
        return [self._string() for _ in range(self.rng.randint(0, 3))]

    def _object(self) -> dict[str, int]:
        return {self._string(): self.rng.randint(0, 2) for _ in range(3)}

    def _new(self) -> str:
        self.fresh += 1
        return f"v{self.fresh}"

    def _named(self, kinds: tuple[str, ...], type_: str = "") -> list[str]:
        return [name for name, kind, of in self.rules if kind in kinds and type_ in ("", of)]

    # ---- rules

    def _rule(self, name: str) -> list[str]:
        kind, type_ = self._pick(KINDS), self._pick(TYPES)
        if kind == "many":
            return self._many(name, type_)
        if kind == "chain":
            return self._chain(name, type_)
        lines = []
        for _ in range(self.rng.randint(1, 3)):
            scope: Scope = []
            head = name
            if kind == "function":
                head = f"{name}({self._argument(scope)})"
            body = self._body(scope, self.rng.randint(1, 3))
            value, key = self._expr(type_, scope, 2), self._key(scope)
            heads = {
                "value": f"{head} := {value}",
                "function": f"{head} := {value}",
                "flag": name,
                "set": f"{name} contains {value}",
                "object": f"{name}[{key}] := {value}",
                "nested": f"{name}[{key}][{self._key(scope)}] := {value}",
                "sets": f"{name}[{key}] contains {value}",
            }
            lines.append(f"{heads[kind]} if {{ {body} }}")
        if kind in ("value", "flag") and self._chance(0.3):
            lines.insert(0, f"default {name} := {'false' if kind == 'flag' else self._literal(type_)}")
        self.rules.append((name, kind, type_))
        return lines

    def _argument(self, scope: Scope) -> str:
        if self._chance(0.3):
            return f'"{self._string()}"'
        scope.append(("x", "s"))
        return "x"

    def _many(self, name: str, type_: str) -> list[str]:
        """Rules that an index tells apart."""
        kind = self._pick(["value", "flag", "set", "function"])
        place = self._pick(["input.role", "input.sub.role", "input.role"])
        lines = [f"default {name} := {self._literal(type_)}"] if kind == "value" and self._chance(0.4) else []
        for _ in range(self.rng.randint(6, 9)):
            scope: Scope = []
            argument = f"({self._argument(scope)})" if kind == "function" else ""
            text = f'"{self._string()}"'
            tests = [
                f"{place} == {text}",
                f"{text} == {place}",
                f'{place} in {{{text}, "c"}}',
                f'm := {place}; m in ["b", {text}]',
                f"m := {place}; m == {text}",
                f"not {place} == {text}",
                f"{place} != {text}",
                f"{place} == {text} with {place} as {text}",
                f"{place} == {text}; {place} == {text} with input.n as 1",
                self._condition(scope, 1),
            ]
            test = self._pick(tests)
            value = self._pick([self._literal(type_), self._literal(type_), self._expr(type_, scope, 1)])
            verb = {"flag": "", "set": f" contains {value}"}.get(kind, f" := {value}")
            more = f"; {self._condition(scope, 1)}" if self._chance(0.4) else ""
            other = f" else := {self._literal(type_)}" if kind in ("value", "function") and self._chance(0.15) else ""
            lines.append(f"{name}{argument}{verb} if {{ {test}{more} }}{other}")
        self.rules.append((name, kind, type_))
        return lines

    def _chain(self, name: str, type_: str) -> list[str]:
        kind = self._pick(["value", "function"])
        outer: Scope = []
        head = name if kind == "value" else f"{name}({self._argument(outer)})"
        parts = []
        for _ in range(self.rng.randint(2, 4)):
            scope = list(outer)
            body = self._body(scope, self.rng.randint(1, 2))
            parts.append(f":= {self._expr(type_, scope, 1)} if {{ {body} }}")
        self.rules.append((name, kind, type_))
        return [f"{head} " + " else ".join(parts)]

    # ---- bodies

    def _body(self, scope: Scope, length: int) -> str:
        return "; ".join(self._statement(scope) for _ in range(length))

    def _statement(self, scope: Scope) -> str:
        name, type_ = self._new(), self._pick(TYPES)
        forms = [
            "assign",
            "assign",
            "some",
            "some",
            "pairs",
            "pattern",
            "lookup",
            "condition",
            "condition",
            "condition",
        ]
        form = self._pick(forms)
        if form == "assign":
            text = f"{name} := {self._expr(type_, scope, 2)}{self._with(scope)}"
        elif form == "some":
            text, type_ = f"some {name} in {self._expr('S', scope, 1)}", "s"
        elif form == "pairs":
            key = self._new()
            text = f"some {key}, {name} in {self._pick(['input.by', 'data.base.by'])}"
            scope.append((key, "s"))
            type_ = "n"
        elif form == "pattern":
            text = f"[{name}, _] = [{self._expr(type_, scope, 1)}, {self._expr('n', scope, 1)}]"
        elif form == "lookup" and (objects := self._named(("object",), type_)):
            key = self._new()
            text = f"{self._pick(objects)}[{key}] = {name}{self._with(scope)}"
            scope.append((key, "s"))
        else:
            return self._condition(scope, 2) + self._with(scope)
        scope.append((name, type_))
        return text

    def _with(self, scope: Scope) -> str:
        if not self._chance(0.25):
            return ""
        choices = [("input.role", "s"), ("input.n", "n"), ("input.names", "S"), ("input.sub.role", "s")]
        choices += [("data.base.name", "s"), ("data.base.names", "S")]
        choices += [(f"data.t.{name}", of) for name, kind, of in self.rules if kind == "value"]
        functions = [(name, of) for name, kind, of in self.rules if kind == "function"]
        if functions and self._chance(0.3):
            name, of = self._pick(functions)
            same = self._named(("function",), of)
            return f" with {name} as {self._pick([self._expr(of, scope, 0), *same])}"
        target, of = self._pick(choices)
        more = self._with(scope) if self._chance(0.2) else ""
        return f" with {target} as {self._expr(of, scope, 1)}{more}"

    def _condition(self, scope: Scope, depth: int) -> str:
        forms = ["equal", "equal", "order", "in", "constant", "flag", "unequal"]
        form = self._pick(forms + (["not", "not", "every", "count"] if depth else []))
        type_ = self._pick(TYPES)
        match form:
            case "equal":
                return f"{self._expr(type_, scope, depth)} == {self._expr(type_, scope, 1)}"
            case "unequal":
                return f"{self._expr(type_, scope, depth)} != {self._expr(type_, scope, 0)}"
            case "order":
                operator = self._pick(["<", "<=", ">", ">="])
                return f"{self._expr(type_, scope, 1)} {operator} {self._expr(type_, scope, 0)}"
            case "in":
                return f"{self._expr('s', scope, 1)} in {self._expr('S', scope, 1)}"
            case "constant":
                return f'{self._expr("s", scope, 1)} in {{"a", "{self._string()}"}}'
            case "not":
                return f"not {self._condition(scope, 0)}"
            case "every":
                name = self._new()
                inner = f"{name} != {self._expr('s', scope, 0)}; {self._condition([*scope, (name, 's')], 0)}"
                return f"every {name} in {self._expr('S', scope, 1)} {{ {inner} }}"
            case "count":
                return f"count({self._expr('S', scope, 1)}) {self._pick(['>', '=='])} {self._pick('012')}"
            case _:
                return str(
                    self._pick([*self._named(("flag",)), "input.flag", "1 == 1"])
                )  # of `not true` OPA forgets the `not`

    # ---- expressions

    def _literal(self, type_: str) -> str:
        return f'"{self._string()}"' if type_ == "s" else str(self.rng.randint(0, 2))

    def _key(self, scope: Scope) -> str:
        bound = [name for name, of in scope if of == "s"]
        return str(self._pick([*bound, *bound, *bound, f'"{self._string()}"', "input.role"]))

    def _expr(self, type_: str, scope: Scope, depth: int) -> str:
        bound = [name for name, of in scope if of == type_]
        if bound and self._chance(0.4):
            return str(self._pick(bound))
        if type_ == "S":
            return self._collection(scope, depth)
        known = {
            "s": ["input.role", "input.sub.role", "data.base.name", "input.names[0]"],
            "n": ["input.n", "data.base.n"],
        }
        plain = [self._literal(type_), *known[type_], *self._named(("value",), type_), *self._named(("value",), type_)]
        if not depth or self._chance(0.4):
            return str(self._pick(plain))
        choices = list(plain)
        inner = depth - 1
        key = self._expr("s", scope, inner)
        choices += [f"{name}[{key}]" for name in self._named(("object",), type_)] * 2
        choices += [f"{name}[{key}][{self._key(scope)}]" for name in self._named(("nested",), type_)] * 2
        choices += [f"{name}({key})" for name in self._named(("function",), type_)] * 3
        if type_ == "s":
            choices += [f'concat("", [{key}, {self._expr("s", scope, inner)}])', f'$"{{{self._key(scope)}}}."']
            choices += [f"max([input.role | some _ in {self._collection(scope, inner)}])"]
        else:
            choices += [f"(input.n + {self._expr('n', scope, inner)})", f"count({self._collection(scope, inner)})"]
            choices += [f"input.by[{key}]", f"data.base.by[{key}]", "input.sub.rows[1].n"]
        return str(self._pick(choices))

    def _collection(self, scope: Scope, depth: int) -> str:
        plain = [
            "input.names",
            "data.base.names",
            '{"a", "b"}',
            *self._named(("set",), "s"),
            *self._named(("set",), "s"),
        ]
        if not depth or self._chance(0.5):
            return str(self._pick(plain))
        inner = list(scope)
        name = self._new()
        inner.append((name, "s"))
        value = self._expr("s", inner, 1)
        local = self._new()
        source = self._pick(["input.names", "data.base.names", "object.keys(input.by)"])
        tail = f"; {local} := {value}{self._with(inner)}; {self._condition([*inner, (local, 's')], 0)}"
        choices = [
            f"[{local} | some {name} in {source}{tail}]",
            f"{{{local} | some {name} in {source}{tail}}}",
            f"{{{name}: {local} | some {name} in {source}{tail}}}",
            *(f"{of}[{self._expr('s', scope, depth - 1)}]" for of in self._named(("sets",), "s")),
        ]
        return str(self._pick(choices))
