"""Rules whose documents depend on the base data alone. They are kept with the data's other tables.

    admins contains u if { some u, roles in data.roles; "admin" in roles }

reads no input, asks no other host and calls nothing that a `with` may replace. One decision computes it, later ones
look it up (`context.INDEXES`). If a `with` replaces data, there are no tables, and it is computed like any other rule.
"""

from __future__ import annotations

from collections.abc import Collection

from policy_engine.builtins import TABLE
from policy_engine.compiler import calls
from policy_engine.compiler.program import Kind, NormalRule, Program, RuleGroup, dotted
from policy_engine.compiler.recursion import dependencies, rule_terms
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value


class Fixed:
    """The fixed groups of a program. `replaced` are the functions that some `with` replaces."""

    def __init__(self, program: Program, replaced: Collection[str]) -> None:
        self._program = program
        self._replaced = replaced
        self._known: dict[NormalRule, bool] = {}

    def __contains__(self, group: RuleGroup) -> bool:
        """True if a group's document is fixed, and more than a constant."""
        return (
            group.kind is not Kind.FUNCTION
            and any(rule.clauses[0].body or not _is_constant(rule) for rule in group.rules)
            and all(map(self._rule, (*group.rules, *group.defaults)))
        )

    def _rule(self, rule: NormalRule) -> bool:
        # Chains of rules may be longer than Python's stack is deep; there are no cycles.
        pending = [rule]
        while pending:
            at = pending[-1]
            if at not in self._known:
                if not self._is_plain(at):
                    self._known[at] = False
                    continue
                needed = list(dependencies(self._program, at))
                unknown = [item for item in needed if item not in self._known]
                if unknown and all(self._known.get(item, True) for item in needed):
                    pending += unknown
                    continue
                self._known[at] = not unknown and all(self._known[item] for item in needed)
            pending.pop()
        return self._known[rule]

    def is_plain(self, name: str) -> bool:
        """True if a builtin always gives the same for the same operands, and has no effect."""
        builtin = self._program.builtins[name]
        usual = builtin is TABLE.get(name) and not builtin.nondeterministic and not builtin.effect
        return usual and name not in self._replaced

    def _is_plain(self, rule: NormalRule) -> bool:
        """True if the rule itself reads no input, and calls only functions that always give the same."""
        return all(map(self._is_plain_term, rule_terms(rule)))

    def _is_plain_term(self, term: nodes.Term) -> bool:
        match term:
            case nodes.Var(name):
                return name != "input"
            case nodes.Ref(nodes.Var(name)):
                return name != "input"
            case nodes.Call(nodes.Var(name)):
                return self.is_plain(name)
            case nodes.Call():
                group = calls.find_function(self._program, term)
                return group is not None and dotted(group.path) not in self._replaced
        return True


def _is_constant(rule: NormalRule) -> bool:
    value = rule.clauses[0].value
    return rule.key is None and value is not None and constant_value(value) is not None
