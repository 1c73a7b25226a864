"""The global names of a module, and checks of its imports."""

from __future__ import annotations

from collections.abc import Iterable

from policy_engine.compiler.program import ModuleInfo
from policy_engine.compiler.terms import ROOTS
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term
from policy_engine.syntax.printer import to_text


def global_names(info: ModuleInfo, rules: Iterable[str]) -> dict[str, Term]:
    """The rules of a module's package and its imports by name. An import hides a rule of the same name."""
    table: dict[str, Term] = {}
    for name in rules:
        steps = tuple([nodes.Scalar(step) for step in (*info.package, name)])
        table[name] = nodes.Ref(nodes.Var("data"), steps)
    for item in info.module.imports:
        if _root(item) in ROOTS:  # rego.v1 and future.keywords only affect the parser
            table[_name(item)] = item.path
    return table


def unused(info: ModuleInfo, used: set[str]) -> Iterable[PolicyError]:
    """An error for each unused import."""
    for item in info.module.imports:
        if _root(item) in ROOTS and _name(item) not in used:
            yield PolicyError(COMPILE_ERROR, f"{to_text(item)} unused", item.loc, hint="remove it")


def duplicates(info: ModuleInfo) -> Iterable[PolicyError]:
    """An error for each import whose name an earlier import has; imports for the parser count as well."""
    first: dict[str, nodes.Import] = {}
    for item in info.module.imports:
        earlier = first.setdefault(_name(item), item)
        if earlier is not item:
            text = f"import must not shadow {to_text(earlier)} of row {earlier.loc.row}"
            yield PolicyError(COMPILE_ERROR, text, item.loc, hint="give one of the two another name: `as …`")


def shadowing_rules(info: ModuleInfo) -> Iterable[PolicyError]:
    """An error for each rule named `input` or `data`."""
    for rule in info.module.rules:
        if (name := rule_name(rule)) in ROOTS:
            yield PolicyError(COMPILE_ERROR, f"rules must not shadow {name}", rule.loc, hint="choose another name")


def rule_name(rule: nodes.Rule) -> str:
    """The first part of a rule's name."""
    ref = rule.head.ref
    head = ref if isinstance(ref, nodes.Var) else ref.head
    assert isinstance(head, nodes.Var)
    return head.name


def _root(item: nodes.Import) -> str:
    head = item.path if isinstance(item.path, nodes.Var) else item.path.head
    assert isinstance(head, nodes.Var)
    return head.name


def _name(item: nodes.Import) -> str:
    if item.alias is not None:
        return item.alias
    path = item.path
    if isinstance(path, nodes.Ref) and isinstance(path.path[-1], nodes.Scalar):
        return str(path.path[-1].value)
    return _root(item)
