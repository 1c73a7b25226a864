"""Stage: rules become groups, groups become the tree of virtual documents.

Where a group has rules with variables in their heads (`p[x].r := …`), everything below its path belongs to it: ground
rules further down (`p.a.r := 0`) join it with a suffix of constants, so that one place merges them and sees conflicts.
"""

from __future__ import annotations

from typing import Any

from policy_engine.compiler.program import Group, Kind, Path, Program, Rule, Tree, dotted
from policy_engine.compiler.scopes import as_written
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_term
from policy_engine.syntax.printer import to_text
from policy_engine.values import order_key, thaw


def build(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.groups` and `program.tree`, and note what conflicts."""
    written: dict[Path, list[Rule]] = {}
    for rule in program.rules:
        written.setdefault(rule.path, []).append(rule)
    for path, rules in written.items():
        _check_kinds(path, rules, program.conflicts)
    _check_overlaps(program, written, program.conflicts)
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
    for number, node in enumerate(_sorted(program.tree)):
        node.number = number


def _check_kinds(path: Path, rules: list[Rule], errors: list[PolicyError]) -> None:
    """Rules of one path that cannot stand beside each other are reported where the first one begins."""
    kinds = {_kind(rule) for rule in rules}
    members = {rule.key is not None for rule in rules}
    arities = {(len(rule.args), bool(rule.suffix)) for rule in rules if rule.args is not None}
    if len(kinds) > 1 or len(members) > 1 or len(arities) > 1:
        first = min(rules, key=lambda rule: (len(rule.module.package), rule.loc))  # OPA comes to outer packages first
        errors.append(PolicyError(TYPE_ERROR, f"conflicting rules {_full_name(rules[-1])} found", first.loc))
        return
    defaults = [rule for rule in rules if rule.default]
    if len(defaults) > 1:
        places = ", ".join(str(rule.loc) for rule in defaults)
        text = f"multiple default rules {dotted(path)} found at {places}"
        errors.append(PolicyError(TYPE_ERROR, text, defaults[0].module.module.package.loc))


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


def _sorted(tree: Tree) -> list[Tree]:
    """All places, the children of each in order: the first of them that fails gives the error of a whole package."""
    found = [tree]
    for node in found:
        if len(node.children) > 1:
            node.children = dict(sorted(node.children.items(), key=lambda child: order_key(thaw(child[0]))))
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
    closed = {path for path, rules in written.items() if any(not rule.suffix for rule in rules)}
    below: dict[Path, list[Rule]] = {}
    for path, rules in written.items():
        room = closed if rules[0].args is None else written
        above = next((path[:length] for length in range(len(path) - 1, 0, -1) if path[:length] in room), None)
        if above is not None:
            below.setdefault(above, []).extend(rules)
    for path, found in below.items():
        first = written[path][0]
        lines = [f"rule {_full_name(first)} conflicts with:"]
        places: dict[str, Location] = {}
        for rule in sorted(found, key=_order):
            places.setdefault(_full_name(rule), rule.loc)
        lines += [f"rule {name} at {loc}" for name, loc in places.items()]
        errors.append(PolicyError(TYPE_ERROR, "\n  ".join(lines), first.loc))
    _check_packages(program, written, errors)


def _check_packages(program: Program, written: dict[Path, list[Rule]], errors: list[PolicyError]) -> None:
    """Report each package that has the path of a rule. OPA says so where the rule's own package is declared."""
    for info in program.modules:
        for rule in written.get(info.package, ()):
            if not rule.suffix:
                own = rule.module
                name = dotted(rule.path[len(own.package) :], "").removeprefix(".")
                package = dotted(info.package, "").removeprefix(".")
                text = f"package {package} conflicts with rule {name} defined at {rule.loc}"
                errors.append(PolicyError(TYPE_ERROR, text, own.module.package.loc))


def _full_name(rule: Rule) -> str:
    """The name of a rule as it is written, below data."""
    steps = tuple([constant_term(thaw(step), rule.loc) for step in rule.path])
    return to_text(nodes.Ref(nodes.Var("data"), (*steps, *map(as_written, rule.suffix))))


def _order(rule: Rule) -> tuple[Any, ...]:
    """By name, as values are ordered; what is no constant comes last."""
    return (*((0, order_key(thaw(step))) for step in rule.path), *((1,) for _ in rule.suffix[:1]))
