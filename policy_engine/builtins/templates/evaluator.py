"""Evaluation of Go templates: the tree of `parser` over data, written to a text.

Data is str, bool, None, list, dict and `JsonNumber`; constants of the template are int and float besides. The
functions are in `functions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from policy_engine.builtins.formatting import format_text
from policy_engine.builtins.measured import text_size
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Context
from policy_engine.builtins.templates.functions import FUNCTIONS, shown, truth
from policy_engine.builtins.templates.parser import (
    Branch,
    Command,
    Fields,
    Literal,
    Node,
    Operand,
    Pipe,
    TemplateError,
    TemplateFunction,
    TemplateOutput,
    line_at,
    parse,
)

__all__ = ["TemplateError", "render"]


def render(ctx: Context, template: str, data: Any) -> str:
    """The template's text. Raises `TemplateError`."""
    if len(template) > _SHORT:
        ctx.charge(len(template) // 4)

    def parsed(text: str) -> tuple[tuple[Node, ...], int]:
        nodes, tokens = parse(text, ctx.look_at_clock)
        return nodes, 4 * tokens

    evaluation = Evaluation(ctx, template, data)
    evaluation.run(_KNOWN.get(ctx, template, parsed))
    # OPA says undefined for Go's `no value`.
    return "".join(evaluation.pieces).replace("<no value>", "<undefined>")


_SHORT: Final = 64
_KNOWN: Final[Remembered[str, tuple[Node, ...]]] = Remembered(128)

_NOTHING: Final = object()
"""The argument of the first command of a pipeline."""

_MISSING: Final = object()
"""The value of a missing key. Unlike null, it has fields: they are missing too. Functions see it as nil."""


def _is_true(value: Any) -> bool:
    return value is not _MISSING and truth(value)


def _printable(value: Any) -> str:
    return "<no value>" if value is None or value is _MISSING else shown(value)


_WRITING: Final = frozenset(("html", "js", "print", "println", "urlquery"))
"""Functions whose results are as long as their operands, or a few times as long."""


def _size(value: Any) -> int:
    """Steps for writing a value."""
    if isinstance(value, str):
        return 1 + text_size(value)
    if isinstance(value, list):
        return 1 + sum(map(_size, value))
    return 1 + sum(map(_size, value)) + sum(map(_size, value.values())) if isinstance(value, dict) else 1


class _Break(Exception):
    """`{{break}}`"""


class _Continue(Exception):
    """`{{continue}}`"""


class Evaluation:
    """One rendering. `_scope` holds the variables, the innermost last; a name may stand there more than once."""

    def __init__(self, ctx: Context, source: str, data: Any) -> None:
        self.pieces: list[str] = []
        self._ctx = ctx
        self._source = source
        self._scope: list[tuple[str, Any]] = [("$", data)]
        self._dot = data

    def run(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._ctx.charge(1)
            if isinstance(node, str):
                self._write(node)
            elif isinstance(node, TemplateOutput):
                value = self._pipe(node.pipe)
                if not node.pipe.names:
                    if value.__class__ is list or value.__class__ is dict:
                        self._ctx.charge(_size(value))
                    self._write(_printable(value))
            elif isinstance(node, Branch):
                depth, dot = len(self._scope), self._dot
                try:
                    self._branch(node)
                finally:
                    del self._scope[depth:]
                    self._dot = dot
            else:
                raise _Break if node.kind == "break" else _Continue

    def _write(self, text: str) -> None:
        self._ctx.charge(text_size(text))
        self.pieces.append(text)

    def _branch(self, node: Branch) -> None:
        if node.kind == "range":
            self._range(node)
            return
        value = self._pipe(node.pipe)
        if _is_true(value):
            if node.kind == "with":
                self._dot = value
            self.run(node.body)
        else:
            self.run(node.otherwise)

    def _range(self, node: Branch) -> None:
        value = self._pipe(Pipe(node.pipe.commands))
        items: Iterable[tuple[Any, Any]]
        if isinstance(value, list):
            items = enumerate(value)
        elif isinstance(value, dict):
            items = value.items()
        elif value.__class__ is int:
            if len(node.pipe.names) == 2:
                self._fail(node.pipe.commands[0], f"can't use {value} to iterate over more than one variable")
            items = ((number, number) for number in range(value))
        elif value is None or value is _MISSING:
            items = ()
        else:
            self._fail(node.pipe.commands[0], f"range can't iterate over {shown(value)}")
        depth, dot, empty = len(self._scope), self._dot, True
        for key, item in items:
            # Here too, because a body may be empty.
            self._ctx.charge(1)
            empty = False
            del self._scope[depth:]
            names = node.pipe.names
            self._scope += zip(names, (key, item) if len(names) == 2 else (item,), strict=False)
            self._dot = item
            try:
                self.run(node.body)
            except _Continue:
                continue
            except _Break:
                break
        del self._scope[depth:]
        self._dot = dot
        if empty:
            self.run(node.otherwise)

    def _pipe(self, pipe: Pipe) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, value)
        for name in pipe.names:
            if pipe.assigns:
                places = [place for place, (known, _) in enumerate(self._scope) if known == name]
                if not places:
                    self._fail(pipe.commands[-1].operands[-1], f"undefined variable: {name}")
                self._scope[places[-1]] = (name, value)
            else:
                self._scope.append((name, value))
        return value

    def _command(self, command: Command, piped: Any) -> Any:
        first, *rest = command.operands
        if isinstance(first, TemplateFunction):
            return self._call(command, first.name, rest, piped)
        if rest or piped is not _NOTHING:
            self._fail(command, "an operand that is no function has arguments")
        if isinstance(first, Literal) and first.value is None:
            self._fail(command, "nil is not a command")
        return self._value(first)

    def _call(self, command: Command, name: str, operands: Sequence[Operand], piped: Any) -> Any:
        last = () if piped is _NOTHING else (piped,)
        if name in ("and", "or") and (operands or last):
            # They look at no more operands than they must.
            value: Any = None
            for index in range(len(operands) + len(last)):
                value = self._value(operands[index]) if index < len(operands) else piped
                if _is_true(value) is (name == "or"):
                    break
            return value
        arguments = [None if value is _MISSING else value for value in (*map(self._value, operands), *last)]
        least, most, function = FUNCTIONS[name]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            wanted = f"at least {least}" if most is None else str(least)
            self._fail(command, f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
        try:
            if name == "printf":
                return format_text(self._ctx, str(arguments[0]), arguments[1:])
            if name in _WRITING:
                self._ctx.charge(sum(map(_size, arguments)))
            return function(*arguments)
        except TemplateError as error:
            self._fail(command, f"error calling {name}: {error}")

    def _value(self, operand: Operand) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, TemplateFunction):
            return self._call(Command((operand,), operand.at), operand.name, (), _NOTHING)
        if operand.start is None:
            value = self._dot
        elif isinstance(operand.start, Pipe):
            value = self._pipe(operand.start)
        else:
            known = [value for name, value in self._scope if name == operand.start]
            if not known:
                self._fail(operand, f"undefined variable: {operand.start}")
            value = known[-1]
        for name in operand.names:
            value = self._field(operand, value, name)
        return value

    def _field(self, operand: Fields, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return value.get(name, _MISSING)
        if value is _MISSING:
            return value
        self._fail(operand, f"no field `{name}` of {'null' if value is None else 'a value that is no object'}")

    def _fail(self, node: Command | Operand, why: str) -> NoReturn:
        raise TemplateError(f"line {line_at(self._source, node.at)}: {why}")
