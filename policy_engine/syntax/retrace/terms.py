"""Terms of a refused text, one attempt after the other.

Methods that read something return None when they fail. No tree is built: of a term only what decides on errors is kept.
"""

from __future__ import annotations

import re

from policy_engine.syntax.builder import OPERATORS, is_too_big
from policy_engine.syntax.retrace.collections import TEMPLATES, CollectionReader
from policy_engine.syntax.retrace.cursor import Failure, Mark, Read
from policy_engine.syntax.retrace.scanner import NAME, NUMBER, SPACE, STRING, Scanned

CONTROL = re.compile("[\0-\x1f]")
"""What no string holds that has escapes: it is read as JSON."""
OPERATOR_LEVELS = (("==", "!=", "<", ">", "<=", ">="), ("|",), ("&",), ("+", "-"), ("*", "/", "%"))
COLLECTIONS = ("var", "array", "object", "set", "arraycomprehension", "objectcomprehension", "setcomprehension", "call")
"""What a reference may begin with."""


class TermReader(CollectionReader):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.known: dict[tuple[int, str], tuple[Read | None, Mark, list[Failure]]] = {}
        """What has been read already, by place and kind of its first token: where that ended, and its errors."""

    # ---- operators

    def value(self, *, pairs: bool = True) -> Read | None:
        """A term with its operators; `pairs` allows `key, value in xs`, which cannot stand in a list."""
        left = self.relation()
        while left is not None:
            found = self._pair(left) if pairs and self.token.kind == "," else None
            if found is None:
                self.keyword_as_name()
                if self.token.kind == "in":
                    self.scan()
                    right = self.relation()
                    found = right and self._call("member_2", left, right)
            if found is None:
                break
            left = found
            if self.token.kind != "in":
                break
        return left

    def _pair(self, key: Read) -> Read | None:
        mark = self.mark()
        self.scan()
        value = self.relation()
        if value is not None and self.token.kind == "in":
            self.scan()
            collection = self.relation()
            if collection is not None:
                return self._call("member_3", key, value, collection)
        self.back(mark)
        return None

    def relation(self, lowest: int = 0) -> Read | None:
        """Operators of a level and the tighter ones. What lacks its right operand is as good as its left one."""
        left = self.term()
        if left is None:
            return None
        for level in range(len(OPERATOR_LEVELS) - 1, lowest - 1, -1):
            while self.token.kind in OPERATOR_LEVELS[level]:
                name = OPERATORS[self.token.kind]
                self.scan()
                right = self.relation(level + 1)
                if right is None:
                    break
                left = self._call(name, left, right)
        return left

    def _call(self, name: str, *operands: Read) -> Read:
        ground = all(operand.ground for operand in operands)
        return Read("call", operands[0].first, name, operands, ("call",), ground)

    # ---- one term

    def term(self) -> Read | None:
        place = self.token.start, self.token.kind
        known = self.known.get(place)
        if known is not None:
            term, mark, failures = known
            self.token, self.last_end = mark[:2]
            self.failures.extend(failures)
            return term
        before = len(self.failures)
        self.deeper()
        term = self._signed() if self.token.kind == "-" else self._finish(self._begin())
        self.depth -= 1
        self.known[place] = term, self.mark(), self.failures[before:]
        return term

    def _begin(self) -> Read | None:
        token = self.token
        kind = token.kind
        if kind in ("null", "true", "false"):
            return Read("null" if kind == "null" else "boolean", token)
        if kind in (".", NUMBER):
            return self._number(token)
        if kind == STRING:
            return self._string(token)
        if kind in TEMPLATES:
            return self.template()
        if kind in (NAME, "contains") or (kind in ("and", "or") and self.scanner.source.startswith("(", token.end)):
            return self.variable()
        if kind == "[":
            return self.array()
        if kind == "{":
            return self.curly()
        if kind == "(":
            self.scan()
            inner = self.value()
            if inner is not None and self.token.kind != ")":
                self.fail("non-terminated expression")
                return None
            return inner
        self.illegal()
        return None

    def variable(self) -> Read:
        token = self.token
        return Read("var", token, token.text, free=("var",), ground=False)

    def _string(self, token: Scanned) -> Read | None:
        text = token.text
        if text[0] == '"' and "\\" in text and CONTROL.search(text):
            self.fail(f"illegal string literal: {text}")
            return None
        return Read("string", token)

    def _signed(self) -> Read | None:
        first = self.token
        self.scan()
        if self.token.kind in (NAME, "contains"):
            operand = self.term()
            return operand and Read("call", first, "minus", (operand,), ("call",), operand.ground)
        if self.token.kind in (NUMBER, "."):
            return self._finish(self._number(first))
        self.illegal("expected number")
        return None

    def _number(self, first: Scanned) -> Read | None:
        point = self.token.kind == "."
        if point:
            self.scan()
            if self.token.kind != NUMBER:
                self.illegal("expected number")
                return None
        text = self.token.text
        if not point and text[0] == "0" and text[1:2].isdigit():
            self.illegal("expected number without leading zero")
            return None
        if is_too_big(("." if point else "") + text):
            self.fail("number too big")
            return None
        return Read("number", first)

    def _finish(self, head: Read | None) -> Read | None:
        if head is None:
            return None
        self.scan_space()
        if self.token.kind in ("(", ".", "["):
            return self.reference(head)
        if self.token.kind == SPACE:
            self.scan()
        if head.name in ("input", "data") and head.kind == "var":
            return Read("ref", head.first, head.name, free=("ref",))
        return head

    def reference(self, head: Read) -> Read | None:
        """What touches a term: its fields, its indices, and its calls."""
        if head.kind not in COLLECTIONS:
            self.fail(f"illegal ref (head cannot be {head.kind})", head.first)
        path: list[Read] = []
        while True:
            kind = self.token.kind
            if kind == "(":
                ref = Read("ref" if path else head.kind, head.first, head.name, tuple(path))
                return self._arguments(ref)
            if kind == ".":
                self.scan_space()
                if self.token.kind != NAME and not self.is_keyword():
                    self.illegal(f"expected {NAME}")
                    return None
                path.append(Read("string", self.token))
                self.scan_space()
            elif kind == "[":
                self.scan()
                index = self.value()
                if index is None:
                    return None
                if self.token.kind != "]":
                    self.illegal("expected [")
                    return None
                path.append(index)
                self.scan_space()
            else:
                if kind == SPACE:
                    self.scan()
                ground = all(step.ground for step in path)
                return Read("ref", head.first, head.name, tuple(path), ("ref",), ground, self.last_end)

    def _arguments(self, operator: Read) -> Read | None:
        self.scan()
        arguments = self.terms(")")
        if arguments is None:
            return None
        self.scan_space()
        call = Read("call", operator.first, "", (operator, *arguments), ("call",), all(a.ground for a in arguments))
        if operator.kind == "var" and operator.name == "set" and not arguments:
            call = Read("set", operator.first)
        if self.token.kind in (".", "["):
            return self.reference(call)
        if self.token.kind == SPACE:
            self.scan()
        return call
