"""One text, read: `Reading.tree` is a module, a body or a term."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import brackets
from policy_engine.syntax.automaton import Automaton
from policy_engine.syntax.bodies import Surroundings
from policy_engine.syntax.lexer import NEVER, Lexer, fail
from policy_engine.syntax.nodes import Import, Module, Node, Package, Rule
from policy_engine.syntax.rules import Chain, RuleBuilder
from policy_engine.syntax.tables import table
from policy_engine.syntax.visitor import depth

MAX_DEPTH: Final = 250
"""The greatest depth of a tree. Code that reads one can recurse without reaching Python's own limit."""
NO_PACKAGE: Final = "a module begins with `package name`"
SECOND_PACKAGE: Final = "unexpected `package`: a module has one, at its beginning"
NODES_PER_BRACKET: Final = 4
"""At most so many nodes stand between two brackets, not counting infix operators (`(a and b or c)`)."""


class Reading:
    """Raises `PolicyError` and `Unexpected` for a text that cannot be read."""

    def __init__(self, source: str, file: str, start: str, pause: Callable[[], None] | None = None) -> None:
        self.file = file
        self.start = start
        """`module`, `query` or `value`: a start symbol of the grammar."""
        self._pause = pause
        """Called again and again while the tree is built, if it is given; what it raises ends that."""
        self.lexer = Lexer(source, file, query=start != "module")
        self.lexer.run()
        self.tokens = brackets.resolve(self.lexer)
        self.errors: list[PolicyError] = []
        """Errors of a text that can be read nevertheless: rules of Rego v0, packages in the wrong place."""
        self.compile_errors: list[PolicyError] = []
        """Errors that only OPA's compiler reports, of interest only if there are no `errors`."""

    def tree(self) -> Any:
        """A `Module`, a `Body` or a `Term`."""
        builder = RuleBuilder(self._surroundings())
        first = self.tokens[0].loc
        result = Automaton(table(), builder).run(self.tokens, self.start, self._pause)
        self.errors, self.compile_errors = builder.rule_errors, builder.compile_errors
        deepest = (self.lexer.deepest + 1) * (NODES_PER_BRACKET + builder.longest_chain)
        if self.start != "module":
            trees = result if self.start == "query" else (result,)
            _check_depth(trees, deepest)
            return tuple(result) if self.start == "query" else result
        module = self._module(result, first)
        _check_depth(module.rules, deepest)
        return module

    def _module(self, statements: list[Any], loc: Location) -> Module:
        package = Package(())
        imports: list[Import] = []
        rules: list[Rule] = []
        for number, statement in enumerate(statements):
            if isinstance(statement, list):
                rules.extend(statement)
            elif isinstance(statement, Import):
                imports.append(statement)
            elif isinstance(statement, Rule):
                rules.append(statement)
            elif isinstance(statement, Chain):
                rules.append(statement.rule)
            elif number == 0:
                package = statement
            else:
                self.errors.append(PolicyError(PARSE_ERROR, SECOND_PACKAGE, statement.loc))
        if not package.path:
            self.errors.append(PolicyError(PARSE_ERROR, NO_PACKAGE, loc))
        span = Location(self.file, *loc[1:3], *self.tokens[-1].loc[3:5])
        return Module(package, tuple(imports), tuple(rules), tuple(self.lexer.comments), loc=span)

    def _surroundings(self) -> Surroundings:
        lexer, tokens = self.lexer, self.tokens

        def position(index: int) -> tuple[int, int]:
            return tokens[index].loc[1:3] if index < len(tokens) else (NEVER, NEVER)

        curly = frozenset(
            tokens[index].loc[1:3]
            for index in lexer.braces
            if lexer.logical != NEVER and tokens[index].kind == "LBRACE"
        )
        return Surroundings(position(lexer.modern_not), position(lexer.logical), curly)


def _check_depth(trees: Iterable[Node], deepest: int) -> None:
    """Measures only where an upper bound leaves it open."""
    if deepest > MAX_DEPTH:
        for tree in trees:
            if depth(tree) > MAX_DEPTH:
                fail("nesting too deep", tree.loc, f"a tree may be {MAX_DEPTH} nodes deep; give parts of it names")
