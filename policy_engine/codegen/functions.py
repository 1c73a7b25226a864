"""The functions of one namespace: compiled at once, or when they are first called; one of each kind (see shapes.py).

Of a large group that an index chooses from, a decision calls a rule or two: the others are worth no compiler time until
they are called. Until then their place is taken by a *stand-in*, an ordinary function that gets its own code when it is
called and then calls itself. Everything that refers to it, in whatever table, so refers to the real one from then on,
and a later call costs what any call costs. Any number of threads may call a stand-in.
"""

from __future__ import annotations

import itertools
import linecache
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final

from policy_engine.codegen.context import NC, Query
from policy_engine.codegen.shapes import Key, Pattern, Shape, pattern, shape_of
from policy_engine.values import Value

_numbers = itertools.count(1)
_PROCESS: Final = secrets.token_hex(4)
"""Part of the names of sources: code from a cache must not point at another process's source of the same number."""


Later = str | Callable[[], str | CodeType]
"""The source of one function, or what gives that or its code."""


class Functions:
    """What defines functions in a namespace. `sources` are those that have been compiled, by name, for tracebacks."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.sources: dict[str, str] = {}
        self.waiting: dict[str, Later] = {}
        """What each stand-in will be."""
        self._patterns: dict[Key, Pattern | None] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, forget, self.sources)

    def define(self, texts: list[str]) -> str:
        """Functions from their texts, which become one source. The result is its name."""
        name, codes = self._compile(texts)
        for code in codes:
            self.install(code.co_name, code)
        return name

    def install(self, name: str, code: CodeType) -> Callable[..., Any]:
        """A function from code that is there already."""
        function = self.namespace[name] = FunctionType(code, self.namespace, name)
        return function

    def stand_in(self, name: str, later: Later) -> Callable[..., Any]:
        """A function that is written and compiled when it is called."""
        self.waiting[name] = later
        function = self.install(name, _stand_in.__code__)
        assert isinstance(function, FunctionType)
        function.__kwdefaults__ = {"become": self._become, "name": name}
        return function

    def waiting_texts(self) -> Iterator[tuple[str, str]]:
        """The stand-ins that have a source, and what it is. Those that are to be written later are written now."""
        for name, later in [*self.waiting.items()]:
            text = later if isinstance(later, str) else later()
            if isinstance(text, str):
                yield name, text

    def _become(self, name: str) -> Callable[..., Any]:
        """Give a stand-in its code, unless another thread has done so while this one came here."""
        function: FunctionType = self.namespace[name]
        with self._lock:
            later = self.waiting.get(name)
            if later is not None:
                made = later if isinstance(later, str) else later()
                (code,) = self._compile([made])[1] if isinstance(made, str) else [made]
                function.__code__ = code
                function.__kwdefaults__ = None
                del self.waiting[name]
        return function

    def _compile(self, texts: list[str]) -> tuple[str, list[CodeType]]:
        """The name of the source that some functions are, and their codes."""
        source = "".join(texts)
        name = f"<policy {_PROCESS}.{next(_numbers)}>"
        self.sources[name] = source
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        new: dict[Key, Shape] = {}
        like: list[tuple[Shape, str, int]] = []
        compiled: list[str] = []  # the source, with nothing where a function is like one that was before it
        line = 1
        for text in texts:
            shape, lines = shape_of(text), text.count("\n")
            if shape.key in new or shape.key in self._patterns:
                like.append((shape, text, line))
                text = "\n" * lines
            else:
                new[shape.key] = shape
            compiled.append(text)
            line += lines
        codes = codes_of("".join(compiled), name) if new else []
        for shape, code in zip(new.values(), codes, strict=True):
            self._patterns[shape.key] = pattern(code, shape)
        for shape, text, line in like:
            known = self._patterns[shape.key]
            codes += (
                codes_of("\n" * (line - 1) + text, name) if known is None else [known.code(shape.names, name, line)]
            )
        return name, codes


def codes_of(source: str, name: str) -> list[CodeType]:
    """The codes of the functions in a source."""
    module = compile(source, name, "exec")
    return [item for item in module.co_consts if isinstance(item, CodeType)]


def _stand_in(*args: Any, become: Callable[[str], Callable[..., Any]], name: str) -> Any:
    """The code of every stand-in."""
    return become(name)(*args)


def forget(sources: dict[str, str], *names: str) -> None:
    """Let go of sources whose functions nobody can call any more; without names, of all of them."""
    for name in names or tuple(sources):
        linecache.cache.pop(name, None)
        sources.pop(name, None)


def remembered(namespace: dict[str, Any], name: str, slot: int) -> Callable[[Query], Value]:
    """A group's document, from its memo slot if it is there already."""
    function: Callable[[Query], Value] | None = None

    def rule(q: Query) -> Value:
        nonlocal function
        value = q[slot]
        if value is not NC:
            return value
        if function is None:
            function = namespace[name]
        return function(q)

    return rule


def late(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """A function that may not be compiled yet."""
    return lambda q, *args: namespace[name](q, *args)
