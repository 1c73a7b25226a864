"""Stage: rules become groups, groups become the tree of virtual documents.

Where a group has rules with variables in their heads (`p[x].r := …`), everything below its path belongs to it: ground
rules further down (`p.a.r := 0`) join it with a suffix of constants, so that one place merges them and sees conflicts.
"""

from __future__ import annotations

import itertools

from policy_engine.compiler.program import Group, Kind, Path, Program, Rule, Tree, dotted
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.syntax.constants import constant_term
from policy_engine.values import thaw


def build(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.groups` and `program.tree`."""
    open_ended = {rule.path for rule in program.rules if rule.args is None and (rule.suffix or rule.key is not None)}
    by_path: dict[Path, list[Rule]] = {}
    for rule in program.rules:
        if rule.args is None:
            _move_up(rule, open_ended)
        by_path.setdefault(rule.path, []).append(rule)
    for info in program.modules:
        _node(program.tree, info.package)
    for path, rules in by_path.items():
        group = _group(len(program.groups), path, rules, errors)
        program.groups.append(group)
        node = _node(program.tree, path)
        node.group = group
    _check_overlaps(program.tree, errors)
    for number, node in enumerate(_walk(program.tree)):
        node.number = number


def _move_up(rule: Rule, open_ended: set[Path]) -> None:
    """Make a rule below an open-ended one part of that one's group."""
    for length in range(1, len(rule.path)):
        if rule.path[:length] in open_ended:
            below = tuple([constant_term(thaw(step), rule.loc) for step in rule.path[length:]])
            rule.path, rule.suffix = rule.path[:length], (*below, *rule.suffix)
            return


def _node(tree: Tree, path: Path) -> Tree:
    for length, step in enumerate(path, 1):
        tree = tree.children.setdefault(step, Tree(path[:length]))
    return tree


def _walk(tree: Tree) -> list[Tree]:
    found = [tree]
    for node in found:
        found.extend(node.children.values())
    return found


def _group(number: int, path: Path, rules: list[Rule], errors: list[PolicyError]) -> Group:
    """One group. Rules that cannot stand beside each other are reported where the first one begins."""
    kinds = {_kind(rule) for rule in rules}
    arities = {len(rule.args) for rule in rules if rule.args is not None}
    name = dotted(path)
    if len(kinds) > 1 or len(arities) > 1:
        errors.append(PolicyError(TYPE_ERROR, f"conflicting rules {name} found", min(rule.loc for rule in rules)))
    defaults = [rule for rule in rules if rule.default]
    for earlier, later in itertools.pairwise(defaults):
        if earlier.suffix == later.suffix:
            errors.append(PolicyError(TYPE_ERROR, f"multiple default rules {name} found", later.loc))
    ordinary = [rule for rule in rules if not rule.default]
    return Group(number, path, _kind(rules[0]), ordinary, defaults)


def _kind(rule: Rule) -> Kind:
    if rule.args is not None:
        return Kind.FUNCTION
    if rule.suffix:
        return Kind.OBJECT
    return Kind.SET if rule.key is not None else Kind.COMPLETE


def _check_overlaps(tree: Tree, errors: list[PolicyError]) -> None:
    """Report a complete rule, set or function with rules below its path."""
    for node in _walk(tree):
        if node.group is None or not node.children:
            continue
        for child in node.children.values():
            for group in child.groups():
                if node.group.kind is Kind.FUNCTION or group.kind is Kind.FUNCTION:
                    continue
                text = f"rule {node.group.name} conflicts with [{group.name}]"
                errors.append(PolicyError(TYPE_ERROR, text, node.group.loc))
                break
