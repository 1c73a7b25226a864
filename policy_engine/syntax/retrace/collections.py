"""Arrays, objects, sets, comprehensions and template strings of a refused text.

OPA takes what is in brackets for a comprehension first, from a lone term and a `|` on, and goes back if a comma shows
that it is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_engine.syntax.retrace.cursor import Cursor, Mark, Read
from policy_engine.syntax.retrace.scanner import PART, PART_END, RAW_PART, RAW_PART_END, Scanned

TEMPLATES = (PART, PART_END, RAW_PART, RAW_PART_END)


class CollectionReader(Cursor):
    """What stands between the brackets is read by the classes that extend this one."""

    if TYPE_CHECKING:

        def term(self) -> Read | None: ...

        def value(self, *, pairs: bool = True) -> Read | None: ...

        def body(self, end: str) -> bool: ...

        def literal(self) -> Read | None: ...

    # ---- collections

    def _collection(self, kind: str, first: Scanned, items: list[Read] | None) -> Read | None:
        if items is None:
            return None
        free = tuple(kind for item in items for kind in item.free)
        return Read(kind, first, inner=tuple(items), free=free, ground=all(item.ground for item in items))

    def terms(self, end: str, items: list[Read] | None = None) -> list[Read] | None:
        """The rest of a list, up to `end`."""
        items = items or []
        while self.token.kind != end:
            term = self.value(pairs=False)
            if term is None:
                return None
            items.append(term)
            if not self._separator(end):
                return None
        return items

    def _separator(self, end: str) -> bool:
        if self.token.kind == ",":
            self.scan()
        elif self.token.kind != end:
            self.illegal(f'expected "," or "{end}"')
            return False
        return True

    def _comma_first(self) -> bool:
        if self.token.kind == ",":
            self.scan()
            return True
        return False

    def _comprehension(self, kind: str, first: Scanned, end: str) -> Read | None:
        self.scan()
        return Read(kind + "comprehension", first, ground=False) if self.body(end) else None

    def array(self) -> Read | None:
        first = self.token
        self.scan()
        if self.token.kind == "]":
            return Read("array", first)
        comma = self._comma_first()
        mark = self.mark()
        head = self.term()
        if head is None:
            return None
        if self.token.kind == "]":
            return self._collection("array", first, [head])
        if self.token.kind == ",":
            self.scan()
            return self._collection("array", first, self.terms("]", [head]))
        if self.token.kind == "|" and not comma:
            found = self._comprehension("array", first, "]")
            if found is not None or self.token.kind != ",":
                return found
        self.back(mark)
        return self._collection("array", first, self.terms("]"))

    def curly(self) -> Read | None:
        first = self.token
        self.scan()
        if self.token.kind == "}":
            return Read("object", first)
        comma = self._comma_first()
        mark = self.mark()
        head = self.term()
        if head is None:
            return None
        kind = self.token.kind
        if kind in ("}", ",") or (kind == "|" and not comma):
            return self._set(first, mark, head, comprehension=not comma)
        if kind == ":":
            return self._object(first, head, comprehension=not comma)
        self.back(mark)
        head = self.value(pairs=False)
        if head is None:
            return None
        if self.token.kind in ("}", ","):
            return self._set(first, mark, head, comprehension=False)
        if self.token.kind == ":":
            return self._object(first, head, comprehension=not comma)
        self.illegal("non-terminated set")
        return None

    def _set(self, first: Scanned, mark: Mark, head: Read, *, comprehension: bool) -> Read | None:
        if self.token.kind == "}":
            return self._collection("set", first, [head])
        if self.token.kind == ",":
            self.scan()
            return self._collection("set", first, self.terms("}", [head]))
        if comprehension:
            found = self._comprehension("set", first, "}")
            if found is not None or self.token.kind != ",":
                return found
        self.back(mark)
        return self._collection("set", first, self.terms("}"))

    def _object(self, first: Scanned, key: Read, *, comprehension: bool) -> Read | None:
        self.scan()
        mark = self.mark()
        value = self.term()
        if value is None:
            return None
        relation = True
        if comprehension:
            relation = self.token.kind not in ("}", ",")
            if self.token.kind in ("}", ",", "|"):
                found = self._object_rest(first, key, value, comprehension=True)
                if found is not None:
                    return found
        self.back(mark)
        if relation:
            value = self.value(pairs=False)
            if value is None:
                return None
            if self.token.kind in ("}", ","):
                return self._object_rest(first, key, value, comprehension=False)
        self.illegal("non-terminated object")
        return None

    def _object_rest(self, first: Scanned, key: Read, value: Read, *, comprehension: bool) -> Read | None:
        if self.token.kind == "|":
            if comprehension:
                return self._comprehension("object", first, "}")
            self.illegal("non-terminated object")
            return None
        items: list[Read] | None = [key, value]
        if self.token.kind == ",":
            self.scan()
            items = self._pairs([key, value])
        return self._collection("object", first, items)

    def _pairs(self, items: list[Read]) -> list[Read] | None:
        while self.token.kind != "}":
            key = self.value(pairs=False)
            if key is None:
                return None
            if self.token.kind != ":":
                self.illegal('expected ":"')
                return None
            self.scan()
            value = self.value(pairs=False)
            if value is None or not self._separator("}"):
                return None
            items += key, value
        return items

    # ---- template strings

    def template(self) -> Read | None:
        first = self.token
        quote = '"' if first.kind in (PART, PART_END) else "`"
        free: tuple[str, ...] = ()
        while self.token.kind not in (PART_END, RAW_PART_END):
            if self.token.kind not in TEMPLATES:
                self.fail("expected template-string part")
                return None
            self.scan()
            expression = self.token
            found = self.literal()
            if found is None:
                self.fail("invalid template-string expression")
                return None
            wrong = {
                "not": "negation ('not')", "eq": "unification ('=')", "assign": "assignment (':=')",
                "every": "'every'", "some": "'some'",
            }.get(found.kind)  # fmt: skip
            if wrong:
                self.fail(f"unexpected {wrong} in template-string expression", expression)
                return None
            free += found.free
            if self.token.kind != "}":
                self.fail("expected } to end template string expression")
                return None
            self._take(self.scanner.template(self.token.end, quote, self.token.end))
        return Read("templatestring", first, free=free)
