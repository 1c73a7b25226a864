"""The parse table: made by Lark from grammar.lark, kept on disk so that start-up does not make it again.

Making it costs about 120 ms (of which importing Lark is a quarter), reading it back 2 ms. What is kept is JSON: reading
it runs nothing. But whoever can write it decides how a policy is read, so it is believed only if nobody but this user
can have written it: directory and file are his and not writable for others, as judged by `fstat` on what was opened.
Anything amiss (foreign, damaged, unwritable) means the table is made anew, silently; a cache is no reason to fail.

The key in the file's name covers all that the table depends on: the grammar, Lark, Python and the format.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
"""Raise it when `_make` writes something else for the same grammar."""

STARTS = ("module", "query", "value")
END = "$END"


class Rule(NamedTuple):
    """One alternative of the grammar. `callback` is "" where the value of its one symbol is passed on."""

    symbol: str
    length: int
    callback: str


class Table(NamedTuple):
    """`states[s]` maps a symbol to a state to go to (0 or more), or to `~r`, which means: reduce by `rules[r]`."""

    states: list[dict[str, int]]
    rules: list[Rule]
    starts: dict[str, int]


@functools.cache
def table() -> Table:
    """The table, from the cache or made anew."""
    grammar = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    directory = _directory()
    name = f"rego-{_key(grammar)}.json"
    raw = _read(directory, name) if directory else None
    if raw is None:
        raw = _make(grammar)
        if directory:
            _write(directory, name, raw)
    return Table(raw["states"], [Rule(*rule) for rule in raw["rules"]], raw["starts"])


def _key(grammar: str) -> str:
    # Lark's file instead of its version: importlib.metadata takes longer to import than the table to read.
    spec = find_spec("lark")
    lark = os.stat(spec.origin) if spec and spec.origin else None
    parts = (FORMAT, STARTS, grammar, sys.version, lark and (lark.st_mtime_ns, lark.st_size, lark.st_ino))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _make(grammar: str) -> dict[str, Any]:
    """Let Lark analyse the grammar, and keep of its table what `parser.parse` needs."""
    from lark import Lark
    from lark.grammar import Rule as LarkRule
    from lark.lexer import Lexer, TerminalDef

    class NoLexer(Lexer):
        """Lark is only asked for the table; lexer.py makes the tokens."""

        def __init__(self, conf: object) -> None: ...

        def lex(self, lexer_state: Any, parser_state: Any) -> Any: ...

    lark = Lark(grammar, parser="lalr", lexer=NoLexer, start=list(STARTS))
    data, memo = lark.memo_serialize([TerminalDef, LarkRule])
    return _renumber(data["parser"]["parser"], memo)


def _renumber(lalr: dict[str, Any], memo: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """States and rules in the order in which they are met. Lark's own numbers differ from one run to the next."""
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


def _own(status: os.stat_result) -> bool:
    """Nobody but this user (and root) can have written it."""
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(directory: Path, name: str) -> dict[str, Any] | None:
    """The cached table, or None if there is none to be trusted."""
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _own(os.fstat(folder)):
            return None
        # Opened through the directory that was just judged: its path could lead elsewhere by now.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would wait for its writer
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) and _own(status)):
                return None
            digest, _, content = file.read().partition(b"\n")
    except OSError:
        return None
    finally:
        os.close(folder)
    if digest != _digest(content):
        return None
    raw: dict[str, Any] = json.loads(content)
    return raw


def _digest(content: bytes) -> bytes:
    """Not against an attacker, who could compute it too: against a file that was cut or damaged."""
    return hashlib.sha256(content).hexdigest().encode()


def _write(directory: Path, name: str, raw: dict[str, Any]) -> None:
    """Put the table there in one step: a reader finds the whole file or none."""
    content = json.dumps(raw, separators=(",", ":")).encode()
    temporary = directory / f"{name}.{os.getpid()}"
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(os.stat(directory, follow_symlinks=False)):
            return
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(_digest(content) + b"\n" + content)
            os.replace(temporary, directory / name)
        except OSError:
            os.unlink(temporary)
            raise
