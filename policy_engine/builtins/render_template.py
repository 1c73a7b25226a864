"""`strings.render_template`: a text from a Go template and an object.

The syntax is in `template_parser`. Numbers of the object are what Go calls `json.Number`, a kind of string: they keep
their text, and `eq .n 1` is an error, because 1 is no string. What is missing or null is written `<undefined>`.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus

from policy_engine import types as t
from policy_engine.builtins import goformat, gotext
from policy_engine.builtins.formatting import format_text
from policy_engine.builtins.goformat import JsonNumber, Spec
from policy_engine.builtins.operands import NUMBERS, charge_text, object_, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.builtins.template_parser import (
    Branch,
    Command,
    Fields,
    Function,
    Literal,
    Node,
    Operand,
    Output,
    Pipe,
    TemplateError,
    parse,
)
from policy_engine.errors import BuiltinError
from policy_engine.values import Set, Value, foreign, number_text, sorted_items

_NAME: Final = "strings.render_template"


def render(ctx: Context, template: Value, variables: Value) -> str:
    text = string(template, _NAME, 1)
    data = object_(variables, _NAME, 2)
    try:
        evaluation = _Evaluation(ctx, text, _go_value(data))
        evaluation.run(_parsed(text))
    except TemplateError as error:
        raise BuiltinError(f"{_NAME}: {error}") from None
    return "".join(evaluation.pieces).replace("<no value>", "<undefined>")


@functools.lru_cache(maxsize=128)
def _parsed(text: str) -> tuple[Node, ...]:
    return parse(text)


def _go_value(value: Value) -> Any:
    """The data as a template sees it. Sets, and keys that are no strings, are refused as they are by OPA."""
    if value.__class__ is str or value is None or value.__class__ is bool:
        return value
    if value.__class__ is list:
        return [_go_value(item) for item in value]
    if value.__class__ is dict:
        if any(key.__class__ is not str for key in value):
            raise TemplateError("an object with keys that are no strings cannot be used in a template")
        return {key: _go_value(item) for key, item in sorted_items(value)}
    if value.__class__ is Set:
        raise TemplateError("a set cannot be used in a template, make it an array")
    if value.__class__ not in NUMBERS or value != value:
        foreign(value)
    return JsonNumber(number_text(value))


class _Break(Exception):
    """`{{break}}`"""


class _Continue(Exception):
    """`{{continue}}`"""


class _Evaluation:
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
            elif isinstance(node, Output):
                value = self._pipe(node.pipe)
                if not node.pipe.names:
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
        charge_text(self._ctx, len(text))
        self.pieces.append(text)

    def _branch(self, node: Branch) -> None:
        if node.kind == "range":
            self._range(node)
            return
        value = self._pipe(node.pipe)
        if _truth(value):
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
            self._fail(node.pipe.commands[0], f"range can't iterate over {_shown(value)}")
        depth, dot, empty = len(self._scope), self._dot, True
        for key, item in items:
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
        if isinstance(first, Function):
            return self._call(command, first.name, rest, piped)
        if rest or piped is not _NOTHING:
            self._fail(command, f"can't give argument to non-function {first.text}")
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
                if _truth(value) is (name == "or"):
                    break
            return value
        arguments = [None if value is _MISSING else value for value in (*map(self._value, operands), *last)]
        least, most, function = _FUNCTIONS[name]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            wanted = f"at least {least}" if most is None else str(least)
            self._fail(command, f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
        try:
            if name == "printf":
                return format_text(self._ctx, str(arguments[0]), arguments[1:])
            return function(*arguments)
        except TemplateError as error:
            self._fail(command, f"error calling {name}: {error}")

    def _value(self, operand: Operand) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Function):
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
        if value is None:
            self._fail(operand, f"nil pointer evaluating interface {{}}.{name}")
        self._fail(operand, f"can't evaluate field {name} in type interface {{}}")

    def _fail(self, node: Command | Operand, why: str) -> NoReturn:
        line = self._source.count("\n", 0, node.at) + 1
        before = self._source[self._source.rfind("\n", 0, node.at) + 1 : node.at]
        shown = node.text if len(node.text) <= 20 else f"{node.text[:20]}..."
        raise TemplateError(
            f'template: template:{line}:{len(gotext.utf8(before))}: executing "template" at <{shown}>: {why}'
        )


_NOTHING: Final = object()
"""What the first command of a pipeline is given."""

_MISSING: Final = object()
"""What a key has that is not there. Unlike null, it has fields: they are missing too. Functions see it as nil."""


def _printable(value: Any) -> str:
    return "<no value>" if value is None or value is _MISSING else _shown(value)


def _shown(value: Any) -> str:
    return goformat.format_value(Spec(), "v", value)


def _type_name(value: Any) -> str:
    # Numbers of a template are `int`, where those of a format string are `int64`.
    return "int" if value.__class__ is int else goformat.type_name(value)


def _truth(value: Any) -> bool:
    return value is not _MISSING and bool(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _print(*values: Any) -> str:
    pieces: list[str] = []
    for index, value in enumerate(values):
        if index and not _is_text(value) and not _is_text(values[index - 1]):
            pieces.append(" ")
        pieces.append(_shown(value))
    return "".join(pieces)


def _println(*values: Any) -> str:
    return " ".join(map(_shown, values)) + "\n"


def _index(value: Any, *keys: Any) -> Any:
    if value is None:
        raise TemplateError("index of untyped nil")
    for key in keys:
        if isinstance(value, dict):
            if key.__class__ is not str:
                raise TemplateError(f"value has type {_type_name(key)}; should be string")
            value = value.get(key)
        elif isinstance(value, (list, str)):
            if key.__class__ is not int:
                raise TemplateError(f"cannot index slice/array with type {_type_name(key)}")
            sequence = gotext.utf8(value) if isinstance(value, str) else value
            if not 0 <= key < len(sequence):
                raise TemplateError(f"index out of range: {key}")
            value = sequence[key]
        else:
            raise TemplateError(
                "index of untyped nil" if value is None else f"can't index item of type {_type_name(value)}"
            )
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (list, str)):
        raise TemplateError(f"can't slice item of type {_type_name(value)}")
    sequence = gotext.utf8(value) if isinstance(value, str) else value
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(sequence)
    for bound in (start, end):
        if bound.__class__ is not int or not 0 <= bound <= len(sequence):
            raise TemplateError(f"index out of range: {_shown(bound)}")
    if start > end:
        raise TemplateError(f"invalid slice index: {start} > {end}")
    part = sequence[start:end]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(gotext.utf8(value))
    if isinstance(value, (list, dict)):
        return len(value)
    raise TemplateError("len of nil pointer" if value is None else f"len of type {_type_name(value)}")


def _kind(value: Any) -> type:
    return str if isinstance(value, str) else value.__class__


def _eq(first: Any, *others: Any) -> bool:
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
        elif isinstance(first, (list, dict)) or isinstance(other, (list, dict)):
            raise TemplateError("non-comparable type")
        elif _kind(first) is not _kind(other):
            raise TemplateError(f"incompatible types for comparison: {_type_name(first)} and {_type_name(other)}")
        elif first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    for value in (first, second):
        if not isinstance(value, (int, float, str)) or isinstance(value, bool):
            raise TemplateError("invalid type for comparison")
    if _kind(first) is not _kind(second):
        raise TemplateError("incompatible types for comparison")
    return first < second  # type: ignore[no-any-return]


def _print_for_escaping(*values: Any) -> str:
    return _print(*("<no value>" if value is None else value for value in values))


def _html(*values: Any) -> str:
    return (
        html.escape(_print_for_escaping(*values), quote=True)
        .replace("&quot;", "&#34;")
        .replace("&#x27;", "&#39;")
        .replace("\0", "\ufffd")
    )


def _js(*values: Any) -> str:
    return "".join(_js_character(char) for char in _print_for_escaping(*values))


def _js_character(char: str) -> str:
    if char in "\\'\"":
        return f"\\{char}"
    if char in "<>&=" or char < " " or not char.isprintable():
        return f"\\u{ord(char):04X}"
    return char


def _urlquery(*values: Any) -> str:
    return quote_plus(gotext.utf8(_print_for_escaping(*values)))


_FUNCTIONS: Final[dict[str, tuple[int, int | None, Callable[..., Any]]]] = {
    "and": (1, None, _print),
    "eq": (2, None, _eq),
    "ge": (2, 2, lambda first, second: not _less(first, second)),
    "gt": (2, 2, lambda first, second: _less(second, first)),
    "html": (0, None, _html),
    "index": (1, None, _index),
    "js": (0, None, _js),
    "le": (2, 2, lambda first, second: not _less(second, first)),
    "len": (1, 1, _len),
    "lt": (2, 2, _less),
    "ne": (2, 2, lambda first, second: not _eq(first, second)),
    "or": (1, None, _print),
    "not": (1, 1, lambda value: not _truth(value)),
    "print": (0, None, _print),
    "printf": (1, None, _print),
    "println": (0, None, _println),
    "slice": (1, 3, _slice),
    "urlquery": (0, None, _urlquery),
}
"""By name: the least and the most arguments, and what they become. (`and`, `or` and `printf` are done in `_call`.)"""

BUILTINS: Final = (Builtin(_NAME, t.Function((t.STRING, t.object_(t.STRING, t.ANY)), t.STRING), render, context=True),)
