"""The functions of one namespace: compiled at once, or when they are first called; one of each kind (see shapes.py).

A decision calls a rule or two of a large group that an index chooses from. The others need not be compiled before they
are called. Until then a *stand-in* takes their place: an ordinary function that gets its real code when it is called,
and then calls itself. Every table that refers to the function keeps referring to it, and later calls cost what any call
costs. Any number of threads may call a stand-in.
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
from policy_engine.codegen.shapes import FunctionPattern, Key, Shape, pattern, shape_of
from policy_engine.values import Value

_numbers = itertools.count(1)
_PROCESS: Final = secrets.token_hex(4)
"""Part of the names of sources, so that code from a cache never points at a source of another process."""


Later = str | Callable[[], str | CodeType]
"""The source of one function, or a function that gives its source or its code."""


class Functions:
    """Defines functions in a namespace. `sources` has the compiled sources by name, for tracebacks."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.sources: dict[str, str] = {}
        self.waiting: dict[str, Later] = {}
        """The source or code of each stand-in."""
        self._patterns: dict[Key, FunctionPattern | None] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, forget, self.sources)

    def define(self, texts: list[str]) -> str:
        """Compile the texts of functions as one source. The result is the name of the source."""
        name, codes = self._compile(texts)
        for code in codes:
            self.install(code.co_name, code)
        return name

    def install(self, name: str, code: CodeType) -> Callable[..., Any]:
        """Define a function with given code."""
        function = self.namespace[name] = FunctionType(code, self.namespace, name)
        return function

    def stand_in(self, name: str, later: Later) -> Callable[..., Any]:
        """Define a function that is written and compiled when it is first called."""
        self.waiting[name] = later
        function = self.install(name, _stand_in.__code__)
        assert isinstance(function, FunctionType)
        function.__kwdefaults__ = {"become": self._become, "name": name}
        return function

    def waiting_texts(self) -> Iterator[tuple[str, str]]:
        """The stand-ins that have a source, with the source. Those that have not been written yet are written now."""
        for name, later in [*self.waiting.items()]:
            text = later if isinstance(later, str) else later()
            if isinstance(text, str):
                yield name, text

    def _become(self, name: str) -> Callable[..., Any]:
        """Give a stand-in its code, unless another thread was faster."""
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
        """The name of a new source made of some texts, and the codes of its functions."""
        source = "".join(texts)
        name = f"<policy {_PROCESS}.{next(_numbers)}>"
        self.sources[name] = source
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        new: dict[Key, Shape] = {}
        like: list[tuple[Shape, str, int]] = []
        compiled: list[str] = []  # the source, with empty lines for functions that are like an earlier one
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
    """Forget sources whose functions nobody can call any more; without names, all of them."""
    for name in names or tuple(sources):
        linecache.cache.pop(name, None)
        sources.pop(name, None)


def remembered(namespace: dict[str, Any], name: str, slot: int) -> Callable[[Query], Value]:
    """A function for a group's document that looks into its memo slot first."""
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
    """A function that calls one which may not be defined yet."""
    return lambda q, *args: namespace[name](q, *args)
