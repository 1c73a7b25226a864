"""Random programs that use the whole grammar: every form of module, rule and statement. Terms: grammar_terms.py.

It has everything that `generator` and `meaningful` never write: packages that import each other by name and alias,
declared variables, patterns within patterns on both sides, references that begin with a call or a collection, keys of
any type, numbers and strings in every notation, raw and template strings, annotations and the builtins that read them,
operands of `and`, `or` and `not` with and without braces. A test counts that no class of node and no state of its
fields is left out. Modules have an order, and refer to earlier ones only.
"""

from __future__ import annotations

import random
from typing import Any, Final

from tests.policy_engine.differential.grammar_terms import CALLS, Scope, Terms
from tests.policy_engine.differential.program import Program

COMPARISONS: Final = ("==", "==", "!=", "<", "<=", ">", ">=", "=")
ANNOTATIONS: Final = (
    "# METADATA\n# title: one\n# custom:\n#   level: 1\n",
    "# METADATA\n# scope: rule\n# description: |\n#   two\n#   lines\n",
    "# METADATA\n# scope: document\n# authors:\n# - A <a@b.c>\n# entrypoint: true\n",
    "# a comment\n",
)
PACKAGE_ANNOTATIONS: Final = (
    "# METADATA\n# title: package\n# organizations: [x]\n",
    "# METADATA\n# scope: subpackages\n# related_resources:\n# - https://a.b\n",
)
KEYWORDS: Final = ("and", "or", "not")


class Grammar(Terms):
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.keywords: list[str] = []
        self.exported: dict[str, tuple[list[str], list[tuple[str, int]]]] = {}
        """Package → the names of its rules and functions."""
        self.rules = 0

    def program(self) -> Program:
        packages = [
            self.pick(["lib.util", 'lib["u-1"].x', "lib.util"]),
            self.pick(["t.sub", 't.sub["a b"]', "t.sub.c"]),
            "t",
        ]
        modules = {f"m{number}.rego": self._module(package, number + 1) for number, package in enumerate(packages)}
        if self.chance(0.3):
            modules["again.rego"] = self._module("t", 1)
        base = {"xs": self._json(2), "o": {"a": 1, "b": [True, None], "é": 2.5}, "s": "a"}
        paths = [f"data.{package}.{name}" for package, (names, _) in self.exported.items() for name in names]
        paths += ["data.t", f"data.{packages[0]}", "data"]
        return Program(
            modules, {"base": base, "lib": {"util": {"extra": [1, "a"]}}}, self._input(), list(dict.fromkeys(paths))
        )

    def _json(self, depth: int) -> Any:
        if depth == 0 or self.chance(0.2):
            return self.pick([None, True, False, 0, 1, 2, 2.5, "a", "b", "é", ""])
        if self.chance(0.5):
            return [self._json(depth - 1) for _ in range(self.rng.randint(0, 3))]
        return {key: self._json(depth - 1) for key in ("a", "b", "é") if self.chance(0.7)}

    def _input(self) -> Any:
        if self.chance(0.1):
            return self._json(2)
        nested = {"a": [1, {"b": "x", "c": [2, 3]}], "b": 1}
        given = {"a": self.pick(["a", "b", 1]), "b": self._json(2), "n": self.pick([1, 2, 0.5]), "o": nested}
        return {**given, "o": self._json(3)} if self.chance(0.3) else given

    # ---- modules

    def _module(self, package: str, rules: int) -> str:
        self.values, self.functions = [], []
        self.keywords = [word for word in KEYWORDS if self.chance(0.3)]
        self.annotated = self.chance(0.3)
        imports = [f"import future.keywords.{word}" for word in self.keywords]
        imports += self.pick(
            [[], [], [], ["import rego.v1"], ["import future.keywords.in", "import future.keywords.every"]]
        )
        for number, other in enumerate(self.exported):
            if other != package:
                imports += self._import(other, f"i{number}")
        if self.chance(0.3):
            chosen = self.pick(
                [
                    ("import input.a as ia", "ia"),
                    ("import input as whole", "whole.b"),
                    ("import input.o", "o"),
                    ("import data.base", "base.xs"),
                ]
            )
            imports.append(chosen[0])
            self.values.append(chosen[1])
        known, functions = self.exported.setdefault(package, ([], []))
        self.values += known
        lines = []
        for _ in range(rules):
            name = f"p{self.rules}"
            self.rules += 1
            kind = self.pick(
                ["value", "value", "set", "object", "deep", "function", "function", "else", "default", "constant"]
            )
            lines.append(self.pick(ANNOTATIONS) if self.annotated else "")
            lines += getattr(self, f"_{kind}")(name)
            if kind != "function":
                known.append(name)
                self.values.append(name)
            else:
                functions.append(self.functions[-1])
        head = (self.pick(PACKAGE_ANNOTATIONS) if self.annotated and self.chance(0.5) else "") + f"package {package}"
        return "\n".join([head, "", *imports, "", *lines])

    def _import(self, package: str, alias: str) -> list[str]:
        """Lets the module use another package: by its full name, the last part of it, an alias, or one rule of it."""
        names, functions = self.exported[package]
        last = package.split(".")[-1]
        path, lines = f"data.{package}", []
        match self.rng.randrange(4):
            case 0 if last.isidentifier():
                lines, path = [f"import {path}"], last
            case 1:
                lines, path = [f"import {path} as {alias}"], alias
            case 2 if names:
                self.values.append(alias)
                return [f"import {path}.{names[0]} as {alias}"]
        self.values += [f"{path}.{name}" for name in names]
        self.functions += [(f"{path}.{name}", arity) for name, arity in functions]
        return lines

    # ---- rules

    def _constant(self, name: str) -> list[str]:
        value = self.term([], 2)
        forms = [
            f"{name} := {value}",
            f"{name} = {value}",
            f"{name} contains {value}",
            f"{name}[{self.scalar()}] := {value}",
            f"{name}.a.b := {value}",
            f"{name} := 1 if true",
        ]
        return [str(self.pick(forms))]

    def _value(self, name: str) -> list[str]:
        scope: Scope = []
        body = self._block(scope)
        head = self.pick(
            [f"{name} := {self.term(scope)}", f"{name} := {self.term(scope)}", name, f"{name} = {self.term(scope, 1)}"]
        )
        return [f"{head} if {body}"]

    def _set(self, name: str) -> list[str]:
        return [f"{name} contains {self.term(scope)} if {body}" for scope, body in self._bodies()]

    def _object(self, name: str) -> list[str]:
        return [
            f"{name}[{self.key(scope, 0)}] {self.pick([':=', ':=', '='])} {self.term(scope)} if {body}"
            for scope, body in self._bodies()
        ]

    def _deep(self, name: str) -> list[str]:
        lines = []
        for scope, body in self._bodies():
            key = self.key(scope, 0)
            head = self.pick(
                [".a.b", f"[{key}].c", f".a[{key}]", f"[{key}][{self.key(scope, 0)}]", f'["é"].a[{key}]', ".if.x"]
            )
            verb = self.pick([f" := {self.term(scope)}", f" contains {self.term(scope)}", ""])
            lines.append(f"{name}{head}{verb} if {body}")
        return lines

    def _bodies(self) -> list[tuple[Scope, str]]:
        made = []
        for _ in range(self.rng.randint(1, 2)):
            scope: Scope = []
            made.append((scope, self._block(scope)))
        return made

    def _function(self, name: str) -> list[str]:
        arity = self.pick([1, 1, 1, 2, 3])
        lines = []
        for _ in range(self.rng.randint(1, 2)):
            scope: Scope = []
            args = ", ".join(self._pattern(scope, 1) for _ in range(arity))
            body = self._block(scope)
            value = self.pick([f" := {self.term(scope)}", f" := {self.term(scope)}", f" = {self.term(scope, 1)}", ""])
            lines.append(f"{name}({args}){value} if {body}{self._otherwise(scope) if self.chance(0.2) else ''}")
        if self.chance(0.3):
            lines.append(f"default {name}({', '.join('_' * arity)}) := {self.scalar()}")
        self.functions.append((name, arity))
        return lines

    def _else(self, name: str) -> list[str]:
        scope: Scope = []
        return [
            f"{name} := {self.term([])} if {self._block(scope)}"
            + "".join(self._otherwise([]) for _ in range(self.rng.randint(1, 3)))
        ]

    def _otherwise(self, outer: Scope) -> str:
        inner = [name for name in outer if f"{name}" in ("x", "y")]
        body = self._block(inner)
        return f"\nelse := {self.term(inner)} if {body}" if self.chance(0.8) else f"\nelse if {body}"

    def _default(self, name: str) -> list[str]:
        default = self.pick([self.scalar(), "[1, {2}]", '{"a": {}}', "[x | some x in [1]]", "set()"])
        return [f"default {name} := {default}", *self._value(name)]

    # ---- bodies

    def _block(self, scope: Scope) -> str:
        """A rule's body: in braces, on one line or on many, or a single statement without."""
        length = self.rng.randint(1, 3)
        if length == 1 and self.chance(0.4):
            condition = self._condition(scope, 1)
            if not condition.startswith("{"):  # a body
                return condition
        return f"{{ {self.body(scope, length)} }}"

    def body(self, scope: Scope, length: int) -> str:
        text = self._statement(scope)
        for _ in range(length - 1):
            statement = self._statement(scope)
            # At the beginning of a line some characters would continue the line before.
            text += ("\n\t" if self.chance(0.3) and statement[0].isalpha() else "; ") + statement
        return text

    def _statement(self, scope: Scope) -> str:
        forms = [
            self._assignment, self._assignment, self._unification, self._declaration, self._membership,
            self._membership, self._pairs,
            self._walk, self._every, self._print, self._plain, self._plain, self._plain, self._lookup,
        ]  # fmt: skip
        before = list(scope)
        return str(self.pick(forms)(scope)) + (self._with(before) if self.chance(0.15) else "")

    def _plain(self, scope: Scope) -> str:
        return self._condition(scope, 2)

    def _assignment(self, scope: Scope) -> str:
        value = self.term(scope)
        if self.chance(0.2):
            a, b = self.new(), self.new()
            text = self.pick(
                [
                    f"[{a}, {b}] := [{value}, 1]",
                    f'{{"a": {a}, "b": {b}}} := {{"a": {value}, "b": 2}}',
                    f"[{a}, [{b}, _]] := [1, [{value}, 2]]",
                ]
            )
            scope += [a, b]
            return str(text)
        name = self.new()
        scope.append(name)
        return f"{name} := {value}"

    def _unification(self, scope: Scope) -> str:
        a, b = self.new(), self.new()
        value, other = self.term(scope, 1), self.term(scope, 1)
        forms = [
            f"[{a}, {b}] = [{value}, {other}]",
            f'[{a}, 1, {{"k": {b}}}] = [{value}, 1, {{"k": {other}}}]',
            f'{{"a": [_, {{"b": {a}, "c": [{b}, _]}}], "b": _}} = input.o',
            f"[{a}, [{b}, {a}]] = [{value}, [{other}, {value}]]",
            f"[{a}, {value}] = [{other}, {b}]",
            f"{value} = {a}; {b} = [{a}, _] ; [_, _] = {b}",
        ]
        text = self.pick(forms[:5])
        scope += [a, b]
        return str(text)

    def _declaration(self, scope: Scope) -> str:
        a, b = self.new(), self.new()
        source = self.ref(scope, 1)
        text = self.pick(
            [
                f"some {a}, {b}; {source}[{a}] = {b}",
                f"some {a}, {b}; {b} = {source}[{a}]",
                f"some {b}, {a}; [{a}, {b}] = [{source}, 1]",
            ]
        )
        scope += [a, b]
        return str(text)

    def _membership(self, scope: Scope) -> str:
        source = self.pick(
            [self.ref(scope, 1), self.term(scope, 1), "input.b", "input.o.a", "data.base.xs", "[[1, 2], [3, 4]]"]
        )
        return f"some {self._pattern(scope, 1 if source.startswith(('input', 'data.base', '[[')) else 0)} in {source}"

    def _pattern(self, scope: Scope, depth: int) -> str:
        """A variable, mostly, or a shape with variables and constants in it."""
        name = self.new()
        if depth == 0 or self.chance(0.6):
            if self.chance(0.15):
                return "_"
            scope.append(name)
            return name
        if self.chance(0.2):
            return self.scalar()
        a, b = self._pattern(scope, depth - 1), self._pattern(scope, depth - 1)
        return str(
            self.pick([f"[{a}, {b}]", f'{{"a": {a}, "b": {b}}}', f"[{a}, [{b}]]", f'{{"a": {a}, "b": [{b}, _]}}'])
        )

    def _pairs(self, scope: Scope) -> str:
        source = self.pick([self.ref(scope, 1), "input.b", "data.base.o", "input.o"])
        key, value = self._pattern(scope, 0), self._pattern(scope, 1)
        return f"some {key}, {value} in {source}"

    def _lookup(self, scope: Scope) -> str:
        source, name = self.ref(scope, 1), self.new()
        text = self.pick(
            [f"{source}[{name}]", f"{source}[_][{name}]", f"{name} = {source}[_]", f"{source}[[{name}, _]]"]
        )
        scope.append(name)
        return str(text)

    def _walk(self, scope: Scope) -> str:
        a, b = self.new(), self.new()
        source = self.ref(scope, 0)
        text = self.pick(
            [
                f"walk({source}, [{a}, {b}])",
                f'walk({source}, [["a", {a}], {b}])',
                f"[{a}, {b}] = walk({source})",
                f"walk({source}, [{a}, {b}]); count({a}) == 1",
            ]
        )
        scope += [a, b]
        return str(text)

    def _print(self, scope: Scope) -> str:
        printed = ", ".join(self.term(scope, 1) for _ in range(self.rng.randint(0, 2)))
        return f"print({printed}); {self._condition(scope, 0)}"

    def _every(self, scope: Scope) -> str:
        key, value = self.new(), self.new()
        source = self.pick([self.ref(scope, 1), "input.b", "[1, 2]", "data.base.o"])
        if self.chance(0.5):
            inner = [*scope, value]
            used = self.pick([value, f"{value} != 7", f"is_number({value})"])
            return f"every {value} in {source} {{ {used}; {self.body(inner, 1)} }}"
        return f"every {key}, {value} in {source} {{ [{key}, {value}] != {self.term([*scope, key, value], 1)} }}"

    def _with(self, scope: Scope) -> str:
        targets = [
            "input",
            "input.a",
            "input.o.a",
            'input["é"]',
            "data.base",
            "data.base.o.a",
            "data.new.x",
            *self.values,
        ]
        targets += [name for name, _ in self.functions]
        one = f" with {self.pick(targets)} as {self.term(scope, 1)}"
        if self.chance(0.1):
            one = (
                f" with {self.pick(list(CALLS))} as {self.pick([self.scalar(), *(name for name, _ in self.functions)])}"
            )
        return one + self._with(scope) if self.chance(0.2) else one

    def _condition(self, scope: Scope, depth: int) -> str:
        if self.keywords and self.chance(0.35):
            return self._logical(scope, depth)
        a, b = self.term(scope, depth - 1), self.term(scope, 1)
        forms = [
            f"{a} {self.pick(COMPARISONS)} {b}",
            f"{a} {self.pick(COMPARISONS)} {a}",
            f"{self.ref(scope, 1)} {self.pick(COMPARISONS[:2])} {self.scalar()}",
            f"{b} in {self.pick([self.ref(scope, 1), '[1, 2]', 'data.base.xs'])}",
            f"{self.scalar()}, {b} in {self.ref(scope, 1)}",
            f"not {self.ref(scope, 1)}",
            f"not {self.ref(scope, 1)} {self.pick(COMPARISONS)} {b}",
            f"not {self.call(scope, 1)}",
            self.ref(scope, 1),
            self.call(scope, 1),
            self.call(scope, 1),
            f"{self.call(scope, 0)}{self._with(scope)}",
            self.pick([self.template(scope, 0), "true", "[]", "{1}", '"x"', "[x | some x in [1]]", "1", "null"]),
        ]
        text = str(self.pick(forms))
        return f"({text})" if text.startswith("{") else text

    def _logical(self, scope: Scope, depth: int) -> str:
        word = self.pick(self.keywords)

        def operand() -> str:
            roll = self.rng.random()
            if roll < 0.4:
                return f"{{ {self.body(list(scope), self.rng.randint(1, 2))} }}"
            text = self._condition(scope, 0)
            if (" with " in text or text.startswith(("not ", "("))) and roll < 0.95:
                text = self.pick([f"{self.ref(scope, 1)} == {self.scalar()}", self.call(scope, 0), self.ref(scope, 1)])
            return f"({text})" if roll < 0.6 or text.startswith("{") else text

        if word == "not":
            return f"not {operand()}"
        text = f" {word} ".join(operand() for _ in range(self.pick([2, 2, 3])))
        return f"({text}){self._with(scope)}" if self.chance(0.2) else text
