"""The syntax of Go's text/template: text, actions, and the tree that `evaluator` evaluates.

All of the language but `define`, `template` and `block`, which give templates names: here is only ever one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

from policy_engine.values import quote


class TemplateError(Exception):
    """A template or its data is wrong. The message does not name the builtin."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: int, float, str, bool, or None for `nil`."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Fields:
    """`.a.b`, `$x.a`, `(…).a`: a start (None: the dot; a variable's name; a pipeline) and the names behind it."""

    start: None | str | Pipe
    names: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class TemplateFunction:
    name: str
    at: int


Operand: TypeAlias = "Literal | Fields | TemplateFunction"


@dataclass(frozen=True, slots=True)
class Command:
    """A function and its arguments, or a single value."""

    operands: tuple[Operand, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each given the value of the one before; `names := …` or `name = …` (`assigns`) in front."""

    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    assigns: bool = False


@dataclass(frozen=True, slots=True)
class TemplateOutput:
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range` (`kind`)."""

    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Node: TypeAlias = "str | TemplateOutput | Branch | Jump"

FUNCTIONS: Final = frozenset(
    ("and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println",
     "slice", "urlquery")
)  # fmt: skip
"""All of Go's but `call`: data holds no functions."""

_DEEPEST: Final = 60
"""Levels of nesting; deeper templates are refused, because parser and evaluator recurse."""

_LONGEST: Final = 1000
"""Words and marks in an action."""

_UNWATCHED: Final = 256
"""Words and marks that are read between two looks at the clock."""

_ACTION: Final = re.compile(r"\{\{(?P<ltrim>-(?=[ \t\r\n]))?")
_COMMENT: Final = re.compile(r"(?:[ \t\r\n]+)?/\*.*?\*/(?P<rtrim>[ \t\r\n]+-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<end>-?\}\})
      | (?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)
      | (?P<char>'(?:\\.|[^'\\\n])+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]+)?))
      | (?P<field>\.\w+)
      | (?P<variable>\$\w*)
      | (?P<word>\w+)
      | (?P<mark>:=|=|\||\(|\)|,|\.)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class TemplateToken:
    kind: str
    text: str
    at: int
    after_space: bool


def parse(template: str, look_at_clock: Callable[[], None]) -> tuple[tuple[Node, ...], int]:
    """The tree of a template, and how many tokens it has. Raises `TemplateError`."""
    parser = Parser(template, look_at_clock)
    return parser.parse(), parser.tokens


class Parser:
    """One pass over a template. `_names` are the variables in scope."""

    def __init__(self, template: str, look_at_clock: Callable[[], None]) -> None:
        self.tokens = 0
        self._template = template
        self._look_at_clock = look_at_clock
        self._at = 0
        self._tokens: list[TemplateToken] = []
        self._names = ["$"]
        self._depth = 0
        self._loops = 0

    def parse(self) -> tuple[Node, ...]:
        nodes, stop = self._nodes()
        if stop:
            self._fail(f"unexpected {{{{{stop}}}}}")
        return nodes

    def _nodes(self) -> tuple[tuple[Node, ...], str]:
        """Nodes up to `end`, `else` or the end of the template; and which of them it was."""
        self._deeper()
        nodes: list[Node] = []
        stop = ""
        while not stop:
            text, more = self._text()
            if text:
                nodes.append(text)
            if not more:
                break
            word = self._tokens[0].text if self._tokens and self._tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                stop = word
            else:
                nodes.append(self._action(word))
        self._depth -= 1
        return tuple(nodes), stop

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail("nested too deeply")

    def _text(self) -> tuple[str, bool]:
        """Text up to the next action, whose tokens are read; False if there is none."""
        text = ""
        while True:
            found = _ACTION.search(self._template, self._at)
            piece = self._template[self._at : found.start() if found else len(self._template)]
            if found is None:
                self._at = len(self._template)
                return text + piece, False
            text += piece.rstrip(" \t\r\n") if found["ltrim"] else piece
            self._at = found.end()
            comment = _COMMENT.match(self._template, self._at)
            if comment is None:
                self._tokens = self._read_tokens()
                return text, True
            self._at = comment.end()
            self._skip_space(comment["rtrim"])

    def _read_tokens(self) -> list[TemplateToken]:
        tokens: list[TemplateToken] = []
        spaced = False
        while True:
            found = _TOKEN.match(self._template, self._at)
            if found is None:
                self._bad_character()
            self.tokens += 1
            if self.tokens % _UNWATCHED == 0:
                self._look_at_clock()
            if len(tokens) > _LONGEST:
                self._fail("an action is too long")
            kind, text = str(found.lastgroup), found[0]
            at, self._at = self._at, found.end()
            if kind == "end" and (text == "}}" or spaced):
                self._skip_space(text.removesuffix("}}"))
                return tokens
            if kind == "end":
                self._fail('unexpected "-" in operand')
            if kind != "space":
                tokens.append(TemplateToken(kind, text, at, spaced))
            spaced = kind == "space"

    def _bad_character(self) -> NoReturn:
        char = self._template[self._at : self._at + 1]
        if not char:
            self._fail("an action is not closed")
        self._fail("a string is not closed" if char in "\"'`" else f"unexpected {quote(char)} in an action")

    def _skip_space(self, trim: str | None) -> None:
        if trim:
            while self._template[self._at : self._at + 1] in (" ", "\t", "\r", "\n"):
                self._at += 1

    def _action(self, word: str) -> Node:
        if word in ("if", "with", "range"):
            self._tokens.pop(0)
            return self._branch(word)
        if word in ("break", "continue"):
            if not self._loops:
                self._fail(f"{{{{{word}}}}} outside {{{{range}}}}")
            return Jump(word)
        if word in ("define", "template", "block"):
            self._fail(f"`{word}` is not supported: put everything into one template")
        return TemplateOutput(self._whole_pipe("command"))

    def _branch(self, kind: str) -> Branch:
        outer = len(self._names)
        self._loops += kind == "range"
        pipe = self._whole_pipe(kind)
        body, stop = self._nodes()
        otherwise: tuple[Node, ...] = ()
        if stop == "else":
            word = self._tokens[1].text if len(self._tokens) > 1 else ""
            if word and word == kind != "range":
                # `else if` is an `if` inside `else`; they share one `end`.
                self._deeper()
                self._tokens = self._tokens[2:]
                otherwise, stop = (self._branch(kind),), "end"
                self._depth -= 1
            else:
                otherwise, stop = self._nodes()
        if stop != "end":
            self._fail(f"unexpected {{{{{stop}}}}}" if stop else "unexpected EOF")
        self._loops -= kind == "range"
        del self._names[outer:]
        return Branch(kind, pipe, body, otherwise)

    def _whole_pipe(self, where: str) -> Pipe:
        pipe = self._pipe(where, loop=where == "range")
        if self._tokens:
            self._fail(f"unexpected {quote(self._tokens[0].text)} in {where}")
        return pipe

    def _pipe(self, where: str, *, loop: bool = False) -> Pipe:
        names, assigns = self._declaration(loop)
        commands = [self._command(where)]
        while self._take("|"):
            command = self._command(where)
            commands.append(command)
            first = command.operands[0]
            if isinstance(first, Literal) or (isinstance(first, Fields) and (first.start, first.names) == (None, ())):
                self._fail(f"non executable command in pipeline stage {len(commands)}")
        return Pipe(tuple(commands), names, assigns)

    def _declaration(self, loop: bool) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and in a loop `$i, $x :=`."""
        texts = [token.text for token in self._tokens[:4]]
        for count, head in ((1, texts[1:2]), (2, texts[1:2] + texts[3:4] if loop else [])):
            names = texts[: 2 * count : 2]
            marks = head if count == 1 else head[1:] if head[:1] == [","] else []
            if marks in ([":="], ["="]) and all(name.startswith("$") for name in names):
                self._tokens = self._tokens[2 * count :]
                if marks == [":="]:
                    self._names += names
                return tuple(names), marks == ["="]
        return (), False

    def _command(self, where: str) -> Command:
        operands: list[Operand] = []
        at = self._tokens[0].at if self._tokens else self._at
        while self._tokens and (self._tokens[0].kind != "mark" or self._tokens[0].text not in ("|", ")")):
            operands.append(self._operand(where))
        if not operands:
            self._fail(f"missing value for {where}")
        return Command(tuple(operands), at)

    def _operand(self, where: str) -> Operand:
        token = self._tokens.pop(0)
        if token.kind == "string":
            return Literal(self._unquoted(token.text), token.at)
        if token.kind == "char":
            char = self._unquoted(f'"{token.text[1:-1]}"')
            if len(char) != 1:
                self._fail(f"malformed character constant: {token.text}")
            return Literal(ord(char), token.at)
        if token.kind == "number":
            return Literal(self._number(token.text), token.at)
        if token.kind == "word":
            if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text], token.at)
            if token.text not in FUNCTIONS:
                self._fail(f'function "{token.text}" not defined')
            return TemplateFunction(token.text, token.at)
        if token.text == "(":
            self._deeper()
            inner = self._pipe("parenthesized pipeline")
            if not self._take(")"):
                self._fail("unclosed left paren")
            self._depth -= 1
            return self._fields(inner, token.at, ())
        if token.kind == "variable":
            if token.text not in self._names:
                self._fail(f'undefined variable "{token.text}"')
            return self._fields(token.text, token.at, ())
        if token.kind == "field":
            return self._fields(None, token.at, (token.text[1:],))
        if token.text == ".":
            return Fields(None, (), token.at)
        self._fail(f"unexpected {quote(token.text)} in {where}")

    def _fields(self, start: None | str | Pipe, at: int, names: tuple[str, ...]) -> Fields:
        """The names that follow without a space."""
        while self._tokens and self._tokens[0].kind == "field" and not self._tokens[0].after_space:
            names = (*names, self._tokens.pop(0).text[1:])
        return Fields(start, names, at)

    def _take(self, mark: str) -> bool:
        if self._tokens and self._tokens[0].kind == "mark" and self._tokens[0].text == mark:
            self._tokens.pop(0)
            return True
        return False

    def _unquoted(self, text: str) -> str:
        if text[0] == "`":
            return text[1:-1]
        return _ESCAPE.sub(self._escape, text[1:-1])

    def _escape(self, found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code:
            return chr(int(code, 16))
        if found[4] not in _ESCAPES:
            self._fail("invalid syntax")
        return _ESCAPES[found[4]]

    def _number(self, text: str) -> int | float:
        try:
            return int(text, 0)
        except ValueError:
            pass
        try:
            value = float(text)
        except ValueError:
            self._fail(f"bad number syntax: {quote(text)}")
        return int(value) if value.is_integer() else value

    def _fail(self, why: str) -> NoReturn:
        raise TemplateError(f"line {line_at(self._template, self._at)}: {why}")


def line_at(template: str, at: int) -> int:
    return template.count("\n", 0, at) + 1


_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4})|(.))", re.DOTALL
)
_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
