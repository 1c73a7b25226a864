"""Stage: rules become groups, groups become the tree of virtual documents.

Where a group has rules with variables in their heads (`p[x].r := …`), everything below its path belongs to it: ground
rules further down (`p.a.r := 0`) join it with a suffix of constants, so that one place merges them and sees conflicts.
"""

from __future__ import annotations

from policy_engine.compiler.program import Group, Kind, Path, Program, Rule, Tree, dotted
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.syntax.constants import constant_term
from policy_engine.values import thaw


def build(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.groups` and `program.tree`."""
    written: dict[Path, list[Rule]] = {}
    for rule in program.rules:
        written.setdefault(rule.path, []).append(rule)
    for path, rules in written.items():
        _check_kinds(path, rules, errors)
    _check_overlaps(program, written, errors)
    open_ended = {rule.path for rule in program.rules if rule.args is None and (rule.suffix or rule.key is not None)}
    by_path: dict[Path, list[Rule]] = {}
    for rule in program.rules:
        if rule.args is None:
            _move_up(rule, open_ended)
        by_path.setdefault(rule.path, []).append(rule)
    for info in program.modules:
        _node(program.tree, info.package)
    for path, rules in by_path.items():
        ordinary = [rule for rule in rules if not rule.default]
        # Of an object OPA never reads the defaults of single members.
        defaults = [rule for rule in rules if rule.default and not rule.suffix]
        group = Group(len(program.groups), path, _kind(rules[0]), ordinary, defaults)
        program.groups.append(group)
        if group.kind is Kind.FUNCTION:
            program.functions[group.name] = group
        _node(program.tree, path).group = group
    for number, node in enumerate(_walk(program.tree)):
        node.number = number


def _check_kinds(path: Path, rules: list[Rule], errors: list[PolicyError]) -> None:
    """Rules of one path that cannot stand beside each other are reported where the first one begins."""
    kinds = {_kind(rule) for rule in rules}
    members = {rule.key is not None for rule in rules}
    arities = {len(rule.args) for rule in rules if rule.args is not None}
    name = dotted(path)
    if len(kinds) > 1 or len(members) > 1 or len(arities) > 1:
        errors.append(PolicyError(TYPE_ERROR, f"conflicting rules {name} found", min(rule.loc for rule in rules)))
    defaults = [rule.loc for rule in rules if rule.default]
    errors.extend(PolicyError(TYPE_ERROR, f"multiple default rules {name} found", loc) for loc in defaults[1:])


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


def _kind(rule: Rule) -> Kind:
    if rule.args is not None:
        return Kind.FUNCTION
    if rule.suffix:
        return Kind.OBJECT
    return Kind.SET if rule.key is not None else Kind.COMPLETE


def _check_overlaps(program: Program, written: dict[Path, list[Rule]], errors: list[PolicyError]) -> None:
    """Report what lies below the path of a rule whose document cannot hold it.

    A head with variables makes an object, which has room for other rules but not for functions.
    """
    open_ended = {path for path, rules in written.items() if any(rule.suffix for rule in rules)}
    below: dict[Path, list[Path]] = {}
    for path, rules in written.items():
        for length in range(1, len(path)):
            above = path[:length]
            if above in written and (above not in open_ended or rules[0].args is not None):
                below.setdefault(above, []).append(path)
    for path, found in below.items():
        names = ", ".join(map(dotted, found))
        errors.append(PolicyError(TYPE_ERROR, f"rule {dotted(path)} conflicts with [{names}]", written[path][0].loc))
    for info in program.modules:
        if info.package in written and info.package not in open_ended:
            rule = written[info.package][0]
            text = f"package {dotted(info.package)} conflicts with the rule of that name at {rule.loc}"
            errors.append(PolicyError(TYPE_ERROR, text, info.module.package.loc))
