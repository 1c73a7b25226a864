"""The parse table, which Lark makes from grammar.lark, and its cache on disk.

Making the table takes about 120 ms (a quarter of it for importing Lark), reading it from the cache 2 ms. The cache is
JSON, so that reading it executes nothing. But a changed table changes how policies are read: the file is private
(private_files.py). If it is foreign, damaged or cannot be written, the table is made again, silently.

The key in the file's name covers everything that the table depends on: the grammar, Lark, Python and the format.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from policy_engine import private_files

FORMAT = 2
"""Increment it when the output of `_make` for the same grammar changes."""

STARTS = ("module", "query", "value")
END = "$END"


class GrammarRule(NamedTuple):
    """One alternative of the grammar. `callback` is "" if the alternative passes on the value of its only symbol."""

    symbol: str
    length: int
    callback: str


class Table(NamedTuple):
    """`states[s]` maps a symbol to a state to go to (0 or more), or to `~r`, which means: reduce by `rules[r]`."""

    states: list[dict[str, int]]
    rules: list[GrammarRule]
    starts: dict[str, int]


@functools.cache
def table() -> Table:
    """The table, from the cache if it is there."""
    grammar = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    directory = _directory()
    name = f"rego-{_key(grammar)}.json"
    content = private_files.read(directory, name) if directory else None
    raw: dict[str, Any] = json.loads(content) if content is not None else _make(grammar)
    if content is None and directory:
        private_files.write(directory, name, json.dumps(raw, separators=(",", ":")).encode())
    return Table(raw["states"], [GrammarRule(*rule) for rule in raw["rules"]], raw["starts"])


def _key(grammar: str) -> str:
    # Lark's file instead of its version: importlib.metadata takes longer to import than the table to read.
    spec = find_spec("lark")
    lark = os.stat(spec.origin) if spec and spec.origin else None
    parts = (FORMAT, STARTS, grammar, sys.version, lark and (lark.st_mtime_ns, lark.st_size, lark.st_ino))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _make(grammar: str) -> dict[str, Any]:
    """The part of Lark's table that the automaton needs."""
    from lark import Lark
    from lark.grammar import Rule as LarkRule
    from lark.lexer import Lexer, TerminalDef

    class NoLexer(Lexer):
        """Only Lark's table is used; lexer.py makes the tokens."""

        def __init__(self, conf: object) -> None: ...

        def lex(self, lexer_state: Any, parser_state: Any) -> Any: ...

    lark = Lark(grammar, parser="lalr", lexer=NoLexer, start=list(STARTS))
    data, memo = lark.memo_serialize([TerminalDef, LarkRule])
    return _renumber(data["parser"]["parser"], memo)


def _renumber(lalr: dict[str, Any], memo: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """States and rules, numbered in a fixed order: Lark's own numbers differ from one run to the next."""
    symbols, found = lalr["tokens"], lalr["states"]
    order = [lalr["start_states"][name] for name in STARTS]
    numbers = {state: number for number, state in enumerate(order)}
    rules: dict[int, int] = {}
    states: list[dict[str, int]] = []
    for state in order:
        actions = {}
        for token in sorted(found[state], key=symbols.__getitem__):
            is_reduce, argument = found[state][token]
            if is_reduce:
                action = ~rules.setdefault(argument["@"], len(rules))
            else:
                if argument not in numbers:
                    numbers[argument] = len(order)
                    order.append(argument)
                action = numbers[argument]
            actions[symbols[token]] = action
        states.append(actions)
    for state in lalr["end_states"].values():
        states[numbers[state]][END] = 0  # any state to go to: the text is read
    written = [
        (rule["origin"]["name"], len(rule["expansion"]), rule["alias"] or "")
        for rule in (memo[number] for number in rules)
    ]
    return {"states": states, "rules": written, "starts": {name: number for number, name in enumerate(STARTS)}}


# ---- the cache


def _directory() -> Path | None:
    """`$XDG_CACHE_HOME/policy-engine` or `~/.cache/policy-engine`; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base, "policy-engine")
