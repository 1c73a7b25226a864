"""Rego source text to a syntax tree: `parse_module`, `parse_query`, `parse_term`.

    text ── lexer.py, brackets.py ──> tokens ── the table of grammar.lark (tables.py) ──> calls of `RuleBuilder`, nodes

`_Parser.run` is the LALR(1) automaton. It is ours and not Lark's because a word such as `if` or `or` is a keyword or a
name depending on the state, because errors are worded after OPA's, and because nothing of Lark has to be imported once
the table is cached. Whatever the text, the only exception that leaves here is `PolicyError`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from policy_engine.errors import PARSE_ERROR, PolicyError, combine
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import brackets, messages, retrace
from policy_engine.syntax.bodies import Surroundings
from policy_engine.syntax.lexer import NEVER, OPERAND_END, Lexer, Token, fail
from policy_engine.syntax.nodes import Body, Import, Module, Node, Package, Rule, Term
from policy_engine.syntax.rules import Chain, RuleBuilder
from policy_engine.syntax.tables import END, Table, table
from policy_engine.syntax.visitor import depth

MAX_DEPTH = 250
"""How many nodes may stand above each other. What reads a tree may then recurse without fear of Python's own limit."""
NODES_PER_BRACKET = 4
"""At most so many nodes stand between two brackets, not counting infix operators (`(a and b or c)`)."""


def parse_module(source: str, file: str = "", *, syntax_only: bool = False) -> Module:
    """The module that `source` is. With `syntax_only` also one of which only OPA's compiler says that it is none."""
    try:
        return _module(source, file, syntax_only)
    except PolicyError as error:
        if error.code != PARSE_ERROR:
            raise
        raise retrace.placed(error, source, file) from None


def parse_modules(sources: Mapping[str, str]) -> dict[str, Module]:
    """The modules that some files are. Raises `PolicyError` with the parse errors of all of them."""
    modules: dict[str, Module] = {}
    errors: list[PolicyError] = []
    for file, source in sources.items():
        try:
            modules[file] = parse_module(source, file)
        except PolicyError as error:
            errors.append(error)
    if errors:
        raise combine(errors)
    return modules


def _module(source: str, file: str, syntax_only: bool) -> Module:
    text = _Text(source, file, "module", syntax_only=syntax_only)
    first, *statements = text.result
    if not isinstance(first, Package):
        fail("package expected", text.tokens[0].loc, "a module begins with `package name`")
    if text.rule_errors:
        raise combine(text.rule_errors)
    imports: list[Import] = []
    rules: list[Rule] = []
    for statement in statements:
        if isinstance(statement, list):
            rules.extend(statement)
        elif isinstance(statement, Import):
            imports.append(statement)
        elif isinstance(statement, Rule):
            rules.append(statement)
        elif isinstance(statement, Chain):
            rules.append(statement.rule)
        else:
            fail("unexpected package", statement.loc, "a module has one package; put this into a file of its own")
    text.check_depth(rules)
    loc = Location(file, *first.loc[1:3], *text.tokens[-1].loc[3:5])
    return Module(first, tuple(imports), tuple(rules), tuple(text.comments), loc=loc)


def parse_query(source: str, file: str = "") -> Body:
    """The body that `source` is."""
    text = _Text(source, file, "query")
    text.check_depth(text.result)
    return tuple(text.result)


def parse_term(source: str) -> Term:
    """The one term that `source` is."""
    text = _Text(source, "", "value")
    text.check_depth([text.result])
    term: Term = text.result
    return term


class _Text:
    """One text, read. `result` is what the method of the start symbol returned."""

    def __init__(self, source: str, file: str, start: str, *, syntax_only: bool = False) -> None:
        lexer = Lexer(source, file, query=start != "module")
        lexer.run()
        self.tokens = brackets.resolve(lexer)
        if len(self.tokens) == 1:
            # OPA has no place for a module without a statement, only its file.
            fail(f"empty {start}", Location(file) if start == "module" else self.tokens[0].loc)
        self.comments = lexer.comments
        builder = RuleBuilder(_surroundings(lexer))
        try:
            self.result: Any = _Parser(table(), builder).run(self.tokens, start)
        except PolicyError as error:
            if not lexer.unclosed:
                raise
            raise PolicyError(error.code, error.message, error.location, hint=lexer.unclosed) from None
        self.rule_errors = builder.rule_errors
        if builder.compile_errors and not self.rule_errors and not syntax_only:
            raise combine(builder.compile_errors)
        self._deepest = (lexer.deepest + 1) * (NODES_PER_BRACKET + builder.longest_chain)

    def check_depth(self, trees: Iterable[Node]) -> None:
        """Measures only where an upper bound leaves it open."""
        if self._deepest > MAX_DEPTH:
            for tree in trees:
                if depth(tree) > MAX_DEPTH:
                    fail("nesting too deep", tree.loc, f"a tree may be {MAX_DEPTH} nodes deep; give parts of it names")


def _surroundings(lexer: Lexer) -> Surroundings:
    tokens = lexer.tokens

    def position(index: int) -> tuple[int, int]:
        return tokens[index].loc[1:3] if index < len(tokens) else (NEVER, NEVER)

    curly = frozenset(
        tokens[index].loc[1:3] for index in lexer.braces if lexer.logical != NEVER and tokens[index].kind == "LBRACE"
    )
    return Surroundings(position(lexer.modern_not), position(lexer.logical), curly)


_READ: Final = Token("", "", NOWHERE)
"""In the place of a token that is not needed any more."""

_shortcuts: defaultdict[int, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
"""What `_Parser._pass_on` has found. There is one table, so that all parsers share it."""


class _Parser:
    def __init__(self, table: Table, builder: RuleBuilder) -> None:
        self.actions = table.states
        self.starts = table.starts
        self.rules: list[tuple[str, int, Any]] = [
            (rule.symbol, rule.length, getattr(builder, rule.callback) if rule.callback else None)
            for rule in table.rules
        ]

    def run(self, tokens: list[Token], start: str) -> Any:
        actions, rules, shortcuts = self.actions, self.rules, _shortcuts
        states = [self.starts[start]]
        values: list[Any] = []
        # The tokens of whole statements are let go of: in a large module they take as much as its tree. The first
        # token is still asked for when all is read.
        statement = 3 if start == "module" else 0  # states, when the first token of one has been read
        kept = 1
        for position, token in enumerate(tokens):
            kind = token[0]
            while True:
                action = actions[states[-1]].get(kind)
                if action is None:
                    if kind[0] != "?":
                        raise messages.unexpected(tokens, position, partial(self._accepts, states))
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
        """The state behind a symbol, where rules that only pass it on are done: a lone term is a product, a sum, …"""
        state = self.actions[below][symbol]
        while (action := self.actions[state].get(kind, 0)) < 0:
            passed, length, callback = self.rules[~action]
            if length != 1 or callback is not None:
                break
            state = self.actions[below][passed]
        _shortcuts[below][symbol][kind] = state
        return state

    def _accepts(self, states: list[int], kind: str) -> bool:
        """Whether a token of this kind can come next."""
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
        """What a word is here that may be a keyword or a name, and a bracket behind such a word.

        OPA asks at the beginning of each literal and statement, and only there, whether a keyword touches `.` or `[`;
        anywhere, whether an imported `and` or `or` touches `(`.
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
            # Behind the value of a head OPA looks for a name again.
            return "NAME" if kind == "IF" and not self._accepts(states, "ASSIGN") else kind
        return "NAME" if begins else kind
