"""Stage: rules become groups, groups become the tree of virtual documents.

A group with variables in heads (`p[x].r := …`) owns everything below its path: rules with constant paths further down
(`p.a.r := 0`) join it with a suffix of constants, so that their values are merged and conflicts found in one place.
"""

from __future__ import annotations

from typing import Any

from policy_engine.compiler.generated_names import as_written
from policy_engine.compiler.program import Kind, NormalRule, Path, Program, RuleGroup, Tree, dotted
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_term
from policy_engine.syntax.printer import to_text
from policy_engine.values import order_key, thaw


def build(program: Program, errors: list[PolicyError]) -> None:
    """Fill `program.groups` and `program.tree`, and report rules that conflict."""
    written: dict[Path, list[NormalRule]] = {}
    for rule in program.rules:
        written.setdefault(rule.path, []).append(rule)
    conflicting: set[NormalRule] = set()
    for path, rules in written.items():
        if _check_kinds(path, rules, errors):
            conflicting.update(rules)
    conflicting.update(_check_overlaps(written, errors))
    _check_packages(program, written, errors)
    program.broken.update(clause for rule in conflicting for clause in rule.clauses)
    open_ended = {rule.path for rule in program.rules if rule.args is None and (rule.suffix or rule.key is not None)}
    by_path: dict[Path, list[NormalRule]] = {}
    for rule in program.rules:
        if rule.args is None:
            _move_up(rule, open_ended)
        by_path.setdefault(rule.path, []).append(rule)
    for info in program.modules:
        _node(program.tree, info.package)
    for path, rules in by_path.items():
        ordinary = [rule for rule in rules if not rule.default]
        # OPA ignores defaults of single members of an object.
        defaults = [rule for rule in rules if rule.default and not rule.suffix]
        group = RuleGroup(
            len(program.groups), path, _kind(rules[0]), ordinary, defaults, not conflicting.isdisjoint(rules)
        )
        program.groups.append(group)
        if group.kind is Kind.FUNCTION:
            program.functions[group.name] = group
        _node(program.tree, path).group = group
    for number, node in enumerate(_sorted(program.tree)):
        node.number = number


def _check_kinds(path: Path, rules: list[NormalRule], errors: list[PolicyError]) -> bool:
    """Report the first rule of a path that conflicts with an earlier one; true if there is one."""
    first = rules[0]
    for rule in rules:
        if _shape(rule) != _shape(first):
            kinds = f"{_described(rule)} here, {_described(first)} at {first.loc}"
            text = f"conflicting rules {_full_name(rule)} found: {kinds}"
            errors.append(PolicyError(TYPE_ERROR, text, rule.loc, hint="give one of them another name"))
            return True
    defaults = [rule for rule in rules if rule.default]
    if len(defaults) > 1:
        places = ", ".join(str(rule.loc) for rule in defaults)
        text = f"multiple default rules {dotted(path)} found at {places}"
        errors.append(PolicyError(TYPE_ERROR, text, defaults[1].loc, hint="keep one of them"))
        return True
    return False


def _shape(rule: NormalRule) -> tuple[object, ...]:
    """The properties that all rules of one path must share."""
    if rule.args is None:
        return _kind(rule), rule.key is not None
    return Kind.FUNCTION, len(rule.args), bool(rule.suffix)


def _described(rule: NormalRule) -> str:
    if rule.args is not None:
        if rule.suffix:
            return "an object of functions"
        return f"a function of {len(rule.args)} argument{'' if len(rule.args) == 1 else 's'}"
    if rule.key is not None:
        return "a set"
    return "an object" if rule.suffix else "a single value"


def _move_up(rule: NormalRule, open_ended: set[Path]) -> None:
    """Move a rule into the group of an open-ended rule above it."""
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
    """All nodes, with children in order: when a package is evaluated, its first failing rule gives the error."""
    found = [tree]
    for node in found:
        if len(node.children) > 1:
            node.children = dict(sorted(node.children.items(), key=lambda child: order_key(thaw(child[0]))))
        found.extend(node.children.values())
    return found


def _kind(rule: NormalRule) -> Kind:
    if rule.args is not None:
        return Kind.FUNCTION
    if rule.suffix:
        return Kind.OBJECT
    return Kind.SET if rule.key is not None else Kind.COMPLETE


def _check_overlaps(written: dict[Path, list[NormalRule]], errors: list[PolicyError]) -> list[NormalRule]:
    """Report rules inside of the value of another rule. Returns all rules involved.

    A head with variables defines an object, which may contain other rules but no functions.
    """
    closed = {path for path, rules in written.items() if any(not rule.suffix for rule in rules)}
    below: dict[Path, list[NormalRule]] = {}
    for path, rules in written.items():
        room = closed if rules[0].args is None else written
        above = next((path[:length] for length in range(len(path) - 1, 0, -1) if path[:length] in room), None)
        if above is not None:
            below.setdefault(above, []).extend(rules)
    for path, found in below.items():
        first = written[path][0]
        places: dict[str, Location] = {}
        for rule in sorted(found, key=_order):
            places.setdefault(_full_name(rule), rule.loc)
        inside = ", ".join(f"{name} at {loc}" for name, loc in places.items())
        text = f"rule {_full_name(first)} conflicts with rules inside of its value: {inside}"
        errors.append(PolicyError(TYPE_ERROR, text, first.loc, hint="give one of them another name"))
    return [rule for path, found in below.items() for rule in (*written[path], *found)]


def _check_packages(program: Program, written: dict[Path, list[NormalRule]], errors: list[PolicyError]) -> None:
    """Report packages with the path of a rule."""
    for info in program.modules:
        for rule in written.get(info.package, ()):
            if not rule.suffix:
                name = dotted(rule.path[len(rule.module.package) :], "").removeprefix(".")
                package = dotted(info.package, "").removeprefix(".")
                text = f"rule {name} conflicts with package {package} of {info.module.package.loc}"
                errors.append(PolicyError(TYPE_ERROR, text, rule.loc, hint="give one of the two another name"))


def _full_name(rule: NormalRule) -> str:
    """The full name of a rule, with its variables as written."""
    steps = tuple([constant_term(thaw(step), rule.loc) for step in rule.path])
    return to_text(nodes.Ref(nodes.Var("data"), (*steps, *map(as_written, rule.suffix))))


def _order(rule: NormalRule) -> tuple[Any, ...]:
    """Sort key: by name, in the order of values; heads with variables come last."""
    return (*((0, order_key(thaw(step))) for step in rule.path), *((1,) for _ in rule.suffix[:1]))
