"""The LALR(1) automaton that reads tokens by the table of grammar.lark and calls the methods of `RuleBuilder`.

It is ours and not Lark's because a word such as `if` or `or` is a keyword or a name depending on the state, and because
nothing of Lark has to be imported once the table is cached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from policy_engine.location import NOWHERE
from policy_engine.syntax.lexer import OPERAND_END, Token
from policy_engine.syntax.rules import RuleBuilder
from policy_engine.syntax.tables import END, Table

Accepts: TypeAlias = Callable[[str], bool]
"""Tells whether a token of some kind could come next."""


class Unexpected(Exception):
    """The token at `index` cannot stand where it stands; `accepts` tells what could have come instead."""

    def __init__(self, index: int, accepts: Accepts) -> None:
        super().__init__(index)
        self.index = index
        self.accepts = accepts


_READ: Final = Token("", "", NOWHERE)
"""Replaces a token that has been read."""

_BETWEEN_PAUSES: Final = 256
"""Tokens. Reading so many takes a few milliseconds."""

_shortcuts: defaultdict[int, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
"""The results of `Automaton._pass_on`. There is one table, so that all automata share it."""


def _pausing(tokens: Iterable[Token], pause: Callable[[], None]) -> Iterator[Token]:
    for position, token in enumerate(tokens):
        if position % _BETWEEN_PAUSES == 0:
            pause()
        yield token


class Automaton:
    def __init__(self, table: Table, builder: RuleBuilder) -> None:
        self.actions = table.states
        self.starts = table.starts
        self.rules: list[tuple[str, int, Any]] = [
            (rule.symbol, rule.length, getattr(builder, rule.callback) if rule.callback else None)
            for rule in table.rules
        ]

    def run(self, tokens: list[Token], start: str, pause: Callable[[], None] | None = None) -> Any:
        """The result of the method of the start symbol. Raises `Unexpected`, and whatever the builder's methods raise.

        `pause` is called every few hundred tokens, and may raise as well.
        """
        actions, rules, shortcuts = self.actions, self.rules, _shortcuts
        states = [self.starts[start]]
        values: list[Any] = []
        # The tokens of whole statements are dropped: in a large module they need as much memory as the tree.
        statement = 3 if start == "module" else 0  # the number of states when its first token has been read
        kept = 1
        for position, token in enumerate(tokens if pause is None else _pausing(tokens, pause)):
            kind = token[0]
            while True:
                action = actions[states[-1]].get(kind)
                if action is None:
                    if kind[0] != "?":
                        raise Unexpected(position, partial(self._accepts, states))
                    kind = self._meaning(tokens, position, states)
                elif action >= 0:
                    if kind == END:
                        return values[-1]
                    states.append(action)
                    values.append(token)
                    if len(states) == statement and position > kept:
                        tokens[kept : position - 1] = [_READ] * (position - 1 - kept)
                        kept = position - 1
                    break
                else:
                    symbol, length, callback = rules[~action]
                    if length == 1:
                        states.pop()
                        if callback is not None:
                            values[-1] = callback(values[-1])
                    elif length == 2:
                        del states[-2:]
                        last = values.pop()
                        values[-1] = callback(values[-1], last)
                    elif length:
                        arguments = values[-length:]
                        del values[-length:], states[-length:]
                        values.append(callback(*arguments))
                    else:
                        values.append(callback())
                    below = states[-1]
                    state = shortcuts[below][symbol].get(kind)
                    states.append(self._pass_on(below, symbol, kind) if state is None else state)
        raise AssertionError("the last token ends the text")

    def _pass_on(self, below: int, symbol: str, kind: str) -> int:
        """The state behind a symbol after all rules that only pass it on: a lone term is a product, a sum, …"""
        state = self.actions[below][symbol]
        while (action := self.actions[state].get(kind, 0)) < 0:
            passed, length, callback = self.rules[~action]
            if length != 1 or callback is not None:
                break
            state = self.actions[below][passed]
        _shortcuts[below][symbol][kind] = state
        return state

    def _accepts(self, states: list[int], kind: str) -> bool:
        """True if a token of this kind can come next."""
        states = states.copy()
        while True:
            action = self.actions[states[-1]].get(kind)
            if action is None or action >= 0:
                return action is not None
            symbol, length, _ = self.rules[~action]
            if length:
                del states[-length:]
            states.append(self.actions[states[-1]][symbol])

    def _meaning(self, tokens: list[Token], position: int, states: list[int]) -> str:
        """The kind of a word that can be a keyword or a name, and of a bracket behind such a word.

        For OPA a keyword that touches `.` or `[` is a name only at the beginning of a literal or statement; an imported
        `and` or `or` that touches `(` is one anywhere.
        """
        kind = tokens[position].kind[1:]
        after = tokens[position + 1].kind
        if kind in ("LSQB", "LPAR"):
            return kind + "_ADJ" if self._accepts(states, kind + "_ADJ") else kind
        before = tokens[position - 1].kind
        begins = before == "DEFAULT" or any(self._accepts(states, start) for start in ("SOME", "DEFAULT"))
        if kind in ("LAND", "LOR"):
            if after in ("FIELD", "?LSQB"):
                return "NAME" if begins or before in OPERAND_END else kind
            if self._accepts(states, kind) or self._accepts(states, "IF"):  # behind a head it would be its value's
                return kind
            return "NAME" if after == "?LPAR" or self._accepts(states, "DEFAULT") else kind
        if kind == "AS" and self._accepts(states, kind):
            return kind
        if after != "FIELD" and kind in ("IF", "CONTAINS") and self._accepts(states, kind):
            # Behind the value of a head OPA expects a name again.
            return "NAME" if kind == "IF" and not self._accepts(states, "ASSIGN") else kind
        return "NAME" if begins else kind
