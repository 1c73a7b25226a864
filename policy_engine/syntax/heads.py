"""Facts that are calls of builtins, and no rules."""

from __future__ import annotations

from collections.abc import Container, Iterable

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.syntax.nodes import Rule
from policy_engine.syntax.printer import to_text


def builtin_facts(rules: Iterable[Rule], builtins: Container[str]) -> Iterable[PolicyError]:
    """An error for each rule without a body or value that looks like the call of a builtin (`count(1)`)."""
    for rule in rules:
        head = rule.head
        fact = head.args is not None and head.value is None and not rule.body and rule.else_ is None
        if fact and not rule.default and to_text(head.ref) in builtins:
            text = f"`{to_text(head)}` calls a builtin and is no rule: a rule has a value or a body"
            yield PolicyError(PARSE_ERROR, text, rule.loc)
