"""Packages, imports and rules of a refused text, and what makes a module of them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from policy_engine.syntax.lexer import FUTURE_KEYWORDS, KEYWORDS
from policy_engine.syntax.retrace.bodies import LOGICAL, BodyReader
from policy_engine.syntax.retrace.cursor import Failure, Read
from policy_engine.syntax.retrace.scanner import EOF, NAME, SPACE, STRING, Scanned
from policy_engine.syntax.rules import IMPORTABLE

FIELD: Final = re.compile(r'"[A-Za-z_][A-Za-z_\d]*"')
"""A step of a reference that can be written with a point."""
SINCE_V1 = ("in", "every", "contains", "if")
"""Words that are no keywords in the path of an import."""
ROOTS = ("data", "future", "input", "rego")


class _Head(NamedTuple):
    """The head of a rule."""

    first: Scanned
    ref: Read
    arguments: tuple[Read, ...] | None
    value: Read | None = None
    key: bool = False

    @property
    def is_partial_set(self) -> bool:
        """`p[x]` without a value: of version 0."""
        return len(self.ref.inner) == 1 and self.arguments is None and self.value is None and not self.key


class StatementReader(BodyReader):
    """Statements. `_module_failures` are what OPA finds when all of them can be read."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._body_failures: list[Failure] = []
        self._rule_failures: list[Failure] = []

    def module(self) -> list[Failure]:
        first = self.token
        while self.token.kind != EOF:
            statement = self.token
            self.scanner.forget()
            self.known.clear()
            kind = self._statement()
            if not kind:
                break
            if statement is first:
                # Whatever else the first statement is, it is not asked whether it can be a rule.
                self._rule_failures.clear()
                self._body_failures = [] if kind == "package" else [Failure("package expected", first)]
            elif kind == "package":
                self._body_failures.append(Failure("unexpected package", statement))
        return self.failures or self._body_failures + self._rule_failures

    def _statement(self) -> str:
        """What could be read, of the four things that a statement may be; "" if nothing."""
        first, mark = self.token, self.mark()
        if first.kind in ("package", "import"):
            if self._package() if first.kind == "package" else self._import():
                return first.kind
            if self.failures:
                return ""
            self.back(mark)
        if self._rules():
            return "rule"
        if self.failures:
            return ""
        self.back(mark)
        body = self.query(EOF)
        if body is None:
            return ""
        self._rule_from(body, first)
        return "body"

    # ---- packages and imports

    def _word(self, word: str) -> bool:
        """Step over `package` or `import`; not if it begins a reference."""
        if self.token.kind != word:
            return False
        self.scan_space()
        if self.token.kind in (".", "["):
            return False
        if self.token.kind == SPACE:
            self.scan()
        if self.token.kind != NAME and not self.is_keyword():
            self.illegal()
            return False
        self.token = self.token._replace(kind=NAME)
        return True

    def _package(self) -> bool:
        if not self._word("package"):
            return False
        path = self.term()
        if path is None:
            if not self.failures:
                self.fail("expected path")
            return False
        if path.kind not in ("var", "ref"):
            self.illegal()
            return False
        if not path.name:
            self.fail("unexpected call token: expecting var", path.first)
            return False
        return self._are_strings(path)

    def _are_strings(self, path: Read) -> bool:
        for step in path.inner:
            if step.kind != "string":
                self.fail(f"unexpected {step.kind} token: expecting string", step.first)
                return False
        return True

    def _import(self) -> bool:
        if not self._word("import"):
            return False
        keywords = self.keywords
        self.keywords = keywords - {*SINCE_V1, *FUTURE_KEYWORDS}
        self.known.clear()
        path = self.term()
        self.keywords = keywords
        self.known.clear()
        if path is None or path.kind not in ("var", "ref"):
            self.fail("expected path")
            return False
        if not self._are_strings(path):
            return False
        if path.name not in ROOTS:
            roots = ", ".join(ROOTS)
            message = f"unexpected import path, must begin with one of: {{{roots}}}, got: {path.name}"
            self.fail(message, path.first)
            return False
        aliased = self.token.kind == "as"
        if aliased:
            self.scan()
            if self.token.kind != NAME:
                self.illegal("expected var")
                return False
            alias = self.term()
            if alias is None or alias.kind != "var":
                self.illegal("expected var")
                return False
        else:
            last = path.inner[-1].first if path.inner else path.first
            if last.text.strip('"`') in KEYWORDS and path.name != "future":
                self.fail(f"unexpected import path, must not end with a keyword, got: {last.text}", last)
        names = [path.name, *(step.first.text.strip('"`') for step in path.inner)]
        if path.name == "rego" and names != ["rego", "v1"]:
            self.fail(f"invalid import `{'.'.join(names)}`, must be `rego.v1`", path.first)
        if path.name == "future":
            self._future(names[1:], path.first, aliased=aliased)
        return True

    def _future(self, path: list[str], first: Scanned, *, aliased: bool) -> None:
        """The words that `import future.keywords` makes keywords of, from here on."""
        names = path[1:2] or IMPORTABLE
        if path[:1] != ["keywords"]:
            self.fail("invalid import, must be `future.keywords`", first)
        elif aliased:
            self.fail("`future` imports cannot be aliased", first)
        elif not set(names) <= set(IMPORTABLE):
            self.fail(f"unexpected keyword, must be one of [{' '.join(IMPORTABLE)}]", first)
        else:
            self.modern_not = self.modern_not or "not" in names
            self.keywords |= {name for name in names if name in LOGICAL}
            self.known.clear()

    # ---- rules

    def _rules(self) -> bool:
        first = self.token
        self.keyword_as_name()
        default = self.token.kind == "default"
        if default:
            self.scan()
            self.keyword_as_name()
        if self.token.kind != NAME:
            return False
        head = self._head(default)
        if head is None:
            return False
        if default:
            return self._default(first, head)
        failures = len(self._rule_failures)
        if not self._rule_behind(head, first):
            del self._rule_failures[failures:]
            return False
        return True

    def _rule_behind(self, head: _Head, first: Scanned) -> bool:
        """The bodies behind a head."""
        self._check_name(head.ref)
        mark = self.mark()
        has_if = self.token.kind == "if"
        if has_if:
            self.scan()
            mark = self.mark()
            literal = self.literal()
            if literal is None and mark.token.kind != "{":
                return False
            if literal is None or literal.kind == "set":
                self.back(mark)
                if not self.braces():
                    return False
        elif self.token.kind == "{":
            if not self.braces():
                return False
            self._check(head, first)
        else:
            return head.key
        if self.token.kind == "else" and not self.keyword_as_name():
            return self._else_follows(head)
        while self.token.kind == "{":
            if not has_if:
                self._no_if(head, self.token)
            if not self.braces():
                return False
        return True

    def _else_follows(self, head: _Head) -> bool:
        if head.ref.inner and not head.ref.ground:
            self.fail("else keyword cannot be used on rules with variables in head")
            return False
        key_is_ref = len(head.ref.inner) == 1 and head.ref.inner[0].kind == "ref" and head.arguments is None
        if head.key or key_is_ref:
            self.fail("else keyword cannot be used on multi-value rules")
            return False
        more: bool | None = True
        while more and self.token.kind == "else":
            more = self._else(head)
        if more is not None and self.token.kind == "{":
            self.fail("expected else keyword")
            return False
        return more is not None

    def _else(self, head: _Head) -> bool | None:
        """Whether one more `else` may follow."""
        word = self.token
        self.scan()
        if self.token.kind in (":=", "="):
            self.scan()
            if self.value() is None:
                return None
            if self.token.kind not in ("{", "if"):
                return False
        elif self.token.kind not in ("{", "if"):
            self.illegal("expected else value term or rule body")
            return None
        if self.token.kind == "if":
            self.scan()
        else:
            self._no_if(head, word)
        if self.token.kind == EOF:
            self.illegal("rule body expected")
            return None
        read = self.braces() if self.token.kind == "{" else self.literal()
        return True if read is not None else None

    def _head(self, default: bool) -> _Head | None:
        first = self.token
        read = self._name()
        if read is None:
            self.illegal("expected rule head name")
            return None
        arguments = None
        if read.kind == "call":
            read, *rest = read.inner
            arguments = tuple(rest)
        elif read.kind not in ("var", "ref"):
            return None
        head = _Head(first, read, arguments)
        name = self._text(read)
        kind = self.token.kind
        if kind == "contains":
            if arguments is not None:
                note = f"the contains keyword can only be used with multi-value rule definitions (e.g., {name}"
                self.illegal(note + " contains <VALUE> { ... })")
            self.scan()
            if self.value() is None:
                self.illegal(f"expected rule key term (e.g., {name} contains <VALUE> {{ ... }})")
            return head._replace(key=True)
        if kind not in (":=", "="):
            return head
        self.scan()
        value = self.value()
        if value is None:
            self.illegal(self._value_note(head, name, kind, default))
        return head._replace(value=value)

    def _value_note(self, head: _Head, name: str, kind: str, default: bool) -> str:
        if kind == "=":
            return f"expected rule value term (e.g., {name}[<nil>] = <VALUE> {{ ... }})"
        if head.arguments:
            return f"expected function value term (e.g., {name}(...) := <VALUE> {{ ... }})"
        if default:
            return f"expected default rule value term (e.g., default {name} := <VALUE>)"
        return f"expected rule value term (e.g., {name} := <VALUE> {{ ... }})"

    def _name(self) -> Read | None:
        variable = self.variable()
        self.scan_space()
        if self.token.kind in ("+", "-", "*", "/", "%", "&", "|", "==", "!=", ">", ">=", "<", "<="):
            self.illegal()
        elif self.token.kind == SPACE:
            self.scan()
        if self.token.kind in ("(", ".", "["):
            return self.reference(variable)
        return variable

    def _text(self, name: Read) -> str:
        steps = []
        for step in name.inner:
            text = step.first.text if step.kind != "string" or step.first.kind == STRING else f'"{step.first.text}"'
            steps.append(f".{text[1:-1]}" if FIELD.fullmatch(text) else f"[{text}]")
        return name.first.text + "".join(steps)

    def _default(self, first: Scanned, head: _Head) -> bool:
        if head.key or (head.value is None and len(head.ref.inner) == 1 and head.arguments is None):
            self.fail("illegal default rule (must have a value)", first)
            return False
        free = head.value.free if head.value else ()
        for kind in free:
            self.fail(f"illegal default rule (value cannot contain {kind})", first)
        if free:
            return False
        seen = set()
        before = len(self.failures)
        for argument in head.arguments or ():
            if argument.kind != "var":
                self.fail(f"illegal default rule (arguments cannot contain {argument.kind})", first)
            elif argument.name in seen and argument.name != "_":
                self.fail(f"illegal default rule (arguments cannot be repeated {argument.name})", first)
            seen.add(argument.name)
        return len(self.failures) == before

    # ---- what is read, but no rule of Rego v1

    def _check(self, head: _Head, first: Scanned) -> None:
        """A rule with a body and without `if`."""
        self._no_if(head, first)
        if head.is_partial_set:
            self._rule_failures.append(Failure("`contains` keyword is required for partial set rules", first))

    def _check_name(self, name: Read) -> None:
        if len(name.inner) < 2 and name.first.text in KEYWORDS:
            self._rule_failures.append(Failure(f"{name.first.text} keyword cannot be used for rule name", name.first))

    def _no_if(self, head: _Head, first: Scanned) -> None:
        kind = "rule" if head.arguments is None else "function"
        self._rule_failures.append(Failure(f"`if` keyword is required before {kind} body", first))

    def _rule_from(self, body: list[Read], first: Scanned) -> None:
        """An expression in the place of a rule: some can be one."""
        message = self._no_rule(body)
        if message:
            self._body_failures.append(Failure(message, first))

    def _no_rule(self, body: list[Read]) -> str:
        read, *more = body
        if more:
            return "multiple expressions cannot be used for rule head"
        kinds = {
            "with": "expressions using with keyword", "not": "negated expressions", "some": "'some' declarations",
            "somevars": "'some' declarations", "every": "expression", "logical": "expression", "group": "expression",
            "block": "expression",
        }  # fmt: skip
        if read.kind in kinds:
            return f"{kinds[read.kind]} cannot be used for rule head"
        if read.kind in ("assign", "eq"):
            left = read.inner[0]
            if left.kind == "var":
                self._check_name(left)
            if left.kind == "ref" and not left.name:
                return f"invalid rule head: {self.scanner.source[left.first.start : left.end]}"
            return "" if left.kind in ("var", "ref", "call") else f"{left.kind} cannot be used for rule name"
        if read.kind == "call":
            if read.name:
                return "rule name conflicts with built-in function"
            return "" if len(read.inner) > 1 else "rule argument list must take at least one argument"
        if read.kind != "ref":
            return f"{read.kind} cannot be used for rule name"
        if not read.inner:
            return "refs cannot be used for rule head"
        if not read.name:
            return f"invalid rule head: {self.scanner.source[read.first.start : read.end]}"
        if len(read.inner) == 1:
            self._check_name(read)
            self._rule_failures.append(Failure("`contains` keyword is required for partial set rules", read.first))
        else:
            message = "rule must have value assignment and/or body declaration"
            self._rule_failures.append(Failure(message, read.first))
        return ""
