"""Finding the tests in modules, and rewriting the modules so that each test has a value of its own.

A test is a rule with a name that starts with `test_`; rules whose name starts with `todo_test_` are listed and skipped.
The name is the first such part of the rule's reference: `a.test_x` and `test_x[note]` are both tests. In the second
every member of the object is a separate case.

Two rewrites are made, on the syntax trees and as in OPA:

- Rules with the same name would be alternatives, and a passing one would hide a failing one. They are renamed from the
  second on: `test_x#01`, `test_x#02`.
- A failing case has no member in the test's object, so its name would be lost. Each parametrised rule gets a companion,
  a set of the names of all its cases: the rule's body up to the expression that binds the last variable of the name.

Not here: running tests (runner.py).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping

from policy_engine.location import Location
from policy_engine.syntax.nodes import (
    Array,
    Body,
    Call,
    Expr,
    Head,
    Module,
    Node,
    Ref,
    Rule,
    Scalar,
    SomeDecl,
    Term,
    Var,
)
from policy_engine.syntax.visitor import walk
from policy_engine.values import quote

PREFIX = "test_"
SKIPPED_PREFIX = "todo_test_"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Test:
    """One test rule. `path` is its path below `data`, `cases` that of its companion (empty without one)."""

    package: str
    name: str
    path: tuple[str, ...]
    location: Location
    skipped: bool = False
    parametrised: bool = False
    cases: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.package}.{self.name}"


def discover(
    modules: Mapping[str, Module], *, unnamed: Collection[Location] = ()
) -> tuple[dict[str, Module], list[Test]]:
    """The modules to compile for testing, and the tests in them in source order.

    Rules that contain one of the locations `unnamed` get no companion: their failing cases are not named.
    """
    seen: dict[tuple[str, ...], int] = {}
    rewritten: dict[str, Module] = {}
    tests: list[Test] = []
    for file, module in modules.items():
        rules: list[Rule] = []
        for rule in module.rules:
            parts = _test_name(rule)
            if not parts:
                rules.append(rule)
                continue
            path = (*module.package.path, *parts)
            count = seen.get(path, 0)
            seen[path] = count + 1
            if count:
                parts = (*parts[:-1], f"{parts[-1]}#{count:02}")
                path = (*module.package.path, *parts)
                rule = _renamed(rule, parts)
            key = _terms(rule.head.ref)[len(parts) :]
            companion = [_companion(rule, parts, key)] if key and not _contains(rule, unnamed) else []
            rules += [rule, *companion]
            tests.append(
                Test(
                    package=dotted(("data", *module.package.path)),
                    name=dotted(parts),
                    path=path,
                    location=rule.loc,
                    skipped=parts[-1].startswith(SKIPPED_PREFIX),
                    parametrised=bool(key),
                    cases=(*path[:-1], _companion_name(parts)) if companion else (),
                )
            )
        rewritten[file] = dataclasses.replace(module, rules=tuple(rules))
    return rewritten, tests


def _test_name(rule: Rule) -> tuple[str, ...]:
    """The parts of the rule's reference up to the one that makes it a test; empty if it is not a test.

    Functions are never tests, as nothing calls them. Neither are `default` rules, which belong to another rule.
    """
    if rule.head.args is not None or rule.default:
        return ()
    parts: list[str] = []
    for term in _terms(rule.head.ref):
        name = term.name if isinstance(term, Var) and not parts else term.value if isinstance(term, Scalar) else None
        if not isinstance(name, str):
            return ()
        parts.append(name)
        if name.startswith((PREFIX, SKIPPED_PREFIX)):
            return tuple(parts)
    return ()


def _contains(rule: Rule, places: Collection[Location]) -> bool:
    loc = rule.loc
    return any(place.file == loc.file and loc.row <= place.row <= loc.end_row for place in places)


def _terms(ref: Var | Ref) -> tuple[Term, ...]:
    return (ref.head, *ref.path) if isinstance(ref, Ref) else (ref,)


def _ref(parts: tuple[str, ...], rest: tuple[Term, ...], loc: Location) -> Var | Ref:
    path = (*(Scalar(part, loc=loc) for part in parts[1:]), *rest)
    head = Var(parts[0], loc=loc)
    return Ref(head, path, loc=loc) if path else head


def _renamed(rule: Rule, parts: tuple[str, ...]) -> Rule:
    ref = rule.head.ref
    head = dataclasses.replace(rule.head, ref=_ref(parts, _terms(ref)[len(parts) :], ref.loc))
    other = _renamed(rule.else_, parts) if rule.else_ else None
    return dataclasses.replace(rule, head=head, else_=other)


def _companion_name(parts: tuple[str, ...]) -> str:
    return f"{parts[-1]}#cases"  # no name in source text contains a `#`


def _companion(rule: Rule, parts: tuple[str, ...], key: tuple[Term, ...]) -> Rule:
    """The rule that collects the names of a parametrised test's cases."""
    ref = _ref((*parts[:-1], _companion_name(parts)), (), rule.loc)
    body = _until_bound(rule.body, {name for term in key for name in _variables(term)} - {"data", "input"})
    return Rule(Head(ref, key=Array(key, loc=rule.loc), loc=rule.head.loc), body, loc=rule.loc)


def _until_bound(body: Body, names: set[str]) -> Body:
    """The shortest prefix of `body` that mentions all of `names`, without calls of `print`.

    A declaration does not count as a mention: `some tc` binds nothing yet. A name that no expression mentions is not
    bound by the body (it is an import or a rule) and does not lengthen the prefix.
    """
    end = 0
    wanted = set(names)
    for index, expr in enumerate(body):
        if not isinstance(expr.what, SomeDecl) and not wanted.isdisjoint(mentioned := _variables(expr)):
            wanted -= mentioned
            end = index + 1
    kept = [expr for expr in body[:end] if not (isinstance(expr.what, Call) and expr.what.operator == Var("print"))]
    used = {name for expr in kept if not isinstance(expr.what, SomeDecl) for name in _variables(expr)}
    return tuple(_declaring_only(expr, used) for expr in kept)


def _declaring_only(expr: Expr, used: set[str]) -> Expr:
    """A declaration without the variables that `used` does not contain: declaring unused ones is an error."""
    if not isinstance(expr.what, SomeDecl):
        return expr
    symbols = tuple(symbol for symbol in expr.what.symbols if symbol.name in used)
    return dataclasses.replace(expr, what=dataclasses.replace(expr.what, symbols=symbols))


def _variables(node: Node) -> set[str]:
    """The names of all variables in a tree, including those inside closures."""
    return {found.name for found in walk(node) if isinstance(found, Var)}


def dotted(path: tuple[str, ...]) -> str:
    """A reference as text: `.part` if the part is a name, `["part"]` otherwise."""
    first, *rest = path
    return first + "".join(f".{part}" if _NAME.fullmatch(part) else f"[{quote(part)}]" for part in rest)
