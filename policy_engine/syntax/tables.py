"""The parse table: made by Lark from grammar.lark, kept on disk so that start-up does not make it again.

Making it costs about 120 ms (of which importing Lark is a quarter), reading it back 2 ms. What is kept is JSON: reading
it runs nothing. But whoever can write it decides how a policy is read, so it is believed only if this user wrote it:
the directory and the file must be his, and closed to everybody else, as judged by `fstat` on what was opened. Anything
amiss (foreign, corrupted, unwritable) means the table is made anew, silently; a cache is never a reason to fail.

The key in the file's name covers everything the table depends on: the grammar, Lark, Python and this format.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import stat
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
"""Raise it when `_make` writes something else from the same grammar."""

STARTS = ("module", "query", "term")
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
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text("utf-8")
    directory = _directory()
    name = f"rego-{_key(grammar)}.json"
    raw = _read(directory, name) if directory else None
    if raw is None:
        raw = _make(grammar)
        if directory:
            _write(directory, name, raw)
    return Table(raw["states"], [Rule(*rule) for rule in raw["rules"]], raw["starts"])


def _key(grammar: str) -> str:
    parts = (str(FORMAT), grammar, importlib.metadata.version("lark"), sys.version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


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
    lalr = data["parser"]["parser"]
    numbers = {state: number for number, state in enumerate(lalr["states"])}
    rules: dict[int, int] = {}
    written: list[tuple[str, int, str]] = []
    states = []
    for actions in lalr["states"].values():
        state = {}
        for token, (is_reduce, argument) in actions.items():
            if not is_reduce:
                action = numbers[argument]
            else:
                reference = argument["@"]
                if reference not in rules:
                    rules[reference] = len(written)
                    rule = memo[reference]
                    written.append((rule["origin"]["name"], len(rule["expansion"]), rule["alias"] or ""))
                action = ~rules[reference]
            state[lalr["tokens"][token]] = action
        states.append(state)
    for state in lalr["end_states"].values():
        states[numbers[state]][END] = 0  # any state to go to: the text is read
    starts = {name: numbers[state] for name, state in lalr["start_states"].items()}
    return {"states": states, "rules": written, "starts": starts}


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
        # Opened through the directory that was just judged: a path could lead elsewhere by now.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) and _own(status)):
                return None
            raw = json.loads(file.read())
        return raw if _well_formed(raw) else None
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(folder)


def _well_formed(raw: Any) -> bool:
    """A cut or half-overwritten file must not become a strange error later."""
    try:
        states, rules, starts = raw["states"], raw["rules"], raw["starts"]
        return (
            set(starts) == set(STARTS)
            and all(0 <= start < len(states) for start in starts.values())
            and all(len(rule) == 3 for rule in rules)
            and all(-len(rules) <= action < len(states) for state in states for action in state.values())
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _write(directory: Path, name: str, raw: dict[str, Any]) -> None:
    """Put the table there in one step: a reader finds the whole file or none."""
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(os.stat(directory, follow_symlinks=False)):
            return
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=name)  # made with mode 0600
        try:
            with open(handle, "w", encoding="ascii") as file:
                json.dump(raw, file, separators=(",", ":"))
            os.replace(temporary, Path(directory, name))
        except OSError:
            os.unlink(temporary)
            raise
