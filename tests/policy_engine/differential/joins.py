"""Random programs about loops that equalities follow: for join indexes, `in` over base data and `walk`.

The collections are long enough for a table, and full of what a table could take for equal or different and should not:
`1` and `1.0`, `true` and `1`, `"0"` and `0`, null and no field at all, containers where a name is expected.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from policy_engine.values import Number, Value
from tests.policy_engine.differential.program import Program

Item = TypeVar("Item")

COMMON = ("u", "u", "v", "w", "", "0", "1", 0, 1, 1, 2)
ODD = (True, False, None, Number("1.0"), Number("1e0"), Number("-0"), 1.5, Number("1.50"), 2**70, Number(f"{2**70}.0"))
NESTED: tuple[Value, ...] = ([], {}, ["u"], {"a": "u"}, {"0": 1}, [1], [Number("1.0")])
FIELDS = ("a", "b", "c")
LONG = (16, 17, 24)


class Joins:
    """One program from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.fresh = 0

    def program(self) -> Program:
        data = {
            "rows": self._rows(), "named": self._named(), "words": self._words(), "pairs": self._pairs(),
            "tree": {"rows": self._rows(), "deep": {"named": self._named()}}, "none": [], "text": "u",
        }  # fmt: skip
        given = {
            "a": self._scalar(), "b": self._value(), "o": {"a": self._value(), "b": self._scalar()},
            "xs": self._rows(), "ys": self._rows(), "named": self._named(), "words": self._words()[:6], "0": "u",
        }  # fmt: skip
        for name in list(given):
            if self._chance(0.06):
                del given[name]
        names = [f"p{number}" for number in range(self.rng.randint(3, 6))]
        lines = ["package t", "", *HELPERS, ""]
        for name in names:
            lines += [*self._rule(name), ""]
        text = "\n".join(lines)
        if "with data.base" in text:
            text = text.replace('["0"]', "[0]")  # of texts as indexes of replaced data see policy-engine.md
        return Program({"t.rego": text}, {"base": data}, given, [f"data.t.{name}" for name in names])

    def _pick(self, items: Sequence[Item]) -> Item:
        return self.rng.choice(items)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _new(self, prefix: str) -> str:
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    # ---- documents

    def _scalar(self) -> Value:
        return self._pick(COMMON) if self._chance(0.7) else self._pick(ODD)

    def _value(self) -> Value:
        return self._scalar() if self._chance(0.85) else self._pick(NESTED)

    def _row(self, number: int) -> Value:
        if self._chance(0.1):
            return self._value()
        row: dict[str, Value] = {"id": number}
        for field in FIELDS:
            if self._chance(0.9):
                row[field] = self._value()
        row["in"] = {"a": self._value(), "0": self._scalar()} if self._chance(0.8) else [self._scalar(), self._scalar()]
        return row

    def _rows(self) -> list[Value]:
        return [self._row(number) for number in range(self._pick(LONG))]

    def _named(self) -> dict[str, Value]:
        names = [self._pick(["", "k", "0", "a"]) + str(number) for number in range(self._pick(LONG))]
        return {name: self._row(number) for number, name in enumerate(names)} | {"u": self._row(99), "1": self._value()}

    def _words(self) -> list[Value]:
        return [self._value() for _ in range(self._pick(LONG))]

    def _pairs(self) -> list[Value]:
        return [self._pick([[self._value(), number], [self._value()], self._value()]) for number in range(20)]

    # ---- rules

    def _rule(self, name: str) -> list[str]:
        forms: list[Callable[[str, str, str], list[str]]] = [
            lambda n, body, out: [f"{n} contains {out} if {{ {body} }}"],
            lambda n, body, out: [f"{n} contains {out} if {{ {body} }}"],
            lambda n, body, out: [f"{n} := [{out} | {body}]"],
            lambda n, body, out: [f"{n} := [{out} | {body}]"],
            lambda n, body, out: [f"{n} if {{ {body} }}"],
            lambda n, body, out: [f"{n} if not no_{n}", f"no_{n} if {{ {body} }}"],
            lambda n, body, out: [f"{n} := [[u, n] | some u in input.xs; n := [{out} | {body}]]"],
            lambda n, body, out: [f"{n} := [f_{n}(u) | some u in input.words]", f"f_{n}(u) := [{out} | {body}]"],
            lambda n, body, out: [f"{n} := [u | some u in input.words; not g_{n}(u)]", f"g_{n}(u) if {{ {body} }}"],
            lambda n, body, out: [f"{n} if every u in input.words {{ u != 7; {body} }}"],
            lambda n, body, out: [f"{n} := [x | x := r_{n} {self._with()}]", f"r_{n} contains {out} if {{ {body} }}"],
            lambda n, body, out: [f"{n} := [r_{n}, [x | x := r_{n} {self._with()}]]", f"r_{n} := [{out} | {body}]"],
            # Names only: of keys that have the same hash, OPA may keep two that are equal (`1.5`, `1.50`).
            lambda n, body, out: [f"{n} := {{k: v | some k, u in input.named; u != 7; v := [{out} | {body}]}}"],
        ]
        number = self.rng.randrange(len(forms))
        known = ["u"] if number in (6, 7, 8, 9, 12) else []
        body, outputs = self._body(known)
        return forms[number](name, body, f"[{', '.join(outputs)}]")

    def _with(self) -> str:
        return self._pick(
            [
                "with data.base.rows as input.xs",
                "with data.base.rows as data.base.tree.rows",
                "with data.base as {}",
                "with data.base.named as input.named with data.base.words as input.words",
                "with data.base.words as [1, true]",
                "with input.a as 1",
                'with input as {"a": "u", "words": [1.0], "xs": data.base.rows}',
                "with data.t.f as data.t.g",
                "with data.t.rows as data.base.rows",
                'with upper as "U"',
            ]
        )

    def _body(self, known: list[str]) -> tuple[str, list[str]]:
        literals: list[str] = []
        outputs: list[str] = []
        for _ in range(self._pick([1, 1, 1, 2])):
            loop, member, shown = self._loop(known)
            literals.append(loop)
            outputs += shown
            literals += [self._literal(member, known) for _ in range(self._pick([0, 1, 1, 1, 2, 3]))]
        if self._chance(0.04):
            self.rng.shuffle(literals)
        return "; ".join(literals), outputs

    def _collection(self) -> str:
        return self._pick(
            [
                "data.base.rows", "data.base.rows", "data.base.rows", "data.base.named", "data.base.words",
                "data.base.tree.rows", "data.base.tree.deep.named", "data.base.none", "data.base.text",
                "data.base.nowhere", "input.xs", "input.ys", "input.named", "rows", "as_set", "data.base.pairs",
                "data.base[input.o.b]", "f(data.base.rows)",
            ]
        )  # fmt: skip

    def _loop(self, known: list[str]) -> tuple[str, str, list[str]]:
        """A loop, what its members are called, and what to show of it."""
        source = self._collection()
        x, i = self._new("x"), self._new("i")
        key = self._key(known)
        roll = self.rng.randrange(13)
        if roll < 3:
            return f"some {x} in {source}", x, [x]
        if roll < 5:
            return f"some {i}, {x} in {source}", x, [i, x]
        if roll == 5 and source[:5] in ("data.", "input"):
            return f"{source}[{i}].{self._pick(FIELDS)} == {key}", f"{source}[{i}]", [i]
        if roll == 6 and source[:5] in ("data.", "input"):
            return f"{source}[_].{self._pick(FIELDS)} == {key}", "input.o", ["1"]
        if roll == 7 and source[:5] in ("data.", "input"):
            return f"{x} := {source}[{i}]", x, [i, x]
        if roll == 8:
            return f'some {{"a": {key}, "b": {x}}} in data.base.rows', x, [x]
        if roll == 9:
            return f"some [{x}, {i}] in data.base.pairs", x, [x, i]
        if roll == 10:
            return f"some [{key}, {x}] in data.base.pairs", x, [x]
        if roll == 11:
            path = self._pick(["_", "_", i, "[_]", '["a"]', "[_, _]", f"[{i}, _]", '["0"]', "[0]", "[1.0, _]"])
            shown = [x, i] if i in path else [x]
            return f"walk({self._pick(['input', 'data.base.tree', source])}, [{path}, {x}])", x, shown
        return f"{x} := {source}[{self._pick(KEYS)}]", x, [x]

    def _key(self, known: list[str]) -> str:
        return self._pick(
            [
                "input.a", "input.a", "input.b", "input.o.a", "input.nowhere", '"u"', "1", "1.0", "true", "null",
                "data.base.text", "data.base.rows[0].a", "input.words[0]", 'input["0"]', "input.xs[0].a",
                *known, *known, *(f"{name}.a" for name in known), *(f"{name}.in.a" for name in known),
            ]
        )  # fmt: skip

    def _literal(self, member: str, known: list[str]) -> str:
        field = self._pick([".a", ".a", ".b", ".c", ".in.a", '.in["0"]', "", '["a"]', ".in[0]", ".id"])
        part = f"{member}{field}"
        key = self._key(known)
        name = self._new("y")
        forms = [
            f"{part} == {key}", f"{part} == {key}", f"{part} == {key}", f"{key} == {part}", f"{part} = {key}",
            f"{name} := {part}; {name} == {key}", f"{name} = {part}; {key} = {name}", f"{part} > {key}",
            f"{part} != {key}", f"{part} in data.base.words", f"{key} in data.base.words", f"not {part} == {key}",
            f"not {part} in data.base.words", f"{part} == data.base.rows[_].a", f"{part} == {key} {self._with()}",
            f"upper({part}) == input.a", f"f({part}) == {key}", f"{part} == f({key})",
            f"{part} in {{{key}, 1}}", f"every e in input.words {{ e != {part} }}", f"{part} in data.base.named",
            f"{name} := data.base.words; {part} in {name}", f"count([1 | some z in data.base.rows; z.a == {part}]) > 0",
            f'startswith({part}, "u")', f"[{part}, {key}] == [{key}, {part}]", f"{{{part}}} == {{{key}}}",
        ]  # fmt: skip
        return self._pick(forms)


KEYS = ('"0"', "0", "input.a", '"u"', '"k1"', "1.0", "input.words[_]", "data.base.rows[_].a")

HELPERS = (
    "rows := data.base.tree.rows",
    "as_set contains x if some x in data.base.rows",
    "f(x) := x",
    "g(x) := [x, x]",
)
