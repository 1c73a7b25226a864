"""The annotations of all modules: which of them apply to a rule, and the values of `rego.metadata.*`.

The chain of a rule goes outward: its own annotations, the document's, its package's, and those that enclosing packages
declare for their subpackages (OPA: docs/policy-reference/builtins/rego; v1/ast/annotations.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from policy_engine.compiler.program import ModuleInfo, Path, Program
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import metadata, nodes
from policy_engine.syntax.metadata import Annotation
from policy_engine.values import Value, freeze, to_term


def read(program: Program, errors: list[PolicyError]) -> None:
    """Stage: read all metadata blocks, used or not, as `opa check` does."""
    for info in program.modules:
        try:
            program.annotations += metadata.read(info.module)
        except PolicyError as error:
            errors.append(error)


def check(program: Program, errors: list[PolicyError]) -> None:
    """Stage: reject a second annotation of a document, a package, or its subpackages."""
    errors += Annotations(program).redeclared


class Annotations:
    """All annotations, by what they apply to."""

    def __init__(self, program: Program) -> None:
        self.redeclared: list[PolicyError] = []
        self._rules: dict[tuple[str, int, int], list[Annotation]] = {}
        self._packages: dict[Path, Annotation] = {}
        self._paths: dict[Path, Annotation] = {}
        """Annotations of documents and for subpackages; a path has at most one of the two."""
        for item in sorted(program.annotations, key=lambda item: item.loc):
            if item.scope == "rule":
                self._rules.setdefault(_place(item.target), []).append(item)
                continue
            found = self._packages if item.scope == "package" else self._paths
            first = found.setdefault(tuple(map(freeze, item.path)), item)
            if first is not item:
                text = f"{item.scope} annotation redeclared: {first.loc}"
                self.redeclared.append(PolicyError(TYPE_ERROR, text, item.loc, hint="say it in one place"))

    def own(self, loc: Location) -> Sequence[Annotation]:
        """The annotations of the rule at a place, in order."""
        return self._rules.get(_place(loc), ())

    def around(self, package: Path, path: Path) -> Iterator[Annotation]:
        """The annotations of a document, its package, and the enclosing packages, innermost first."""
        if path in self._paths:
            yield self._paths[path]
        if package in self._packages:
            yield self._packages[package]
        for length in range(len(package), 0, -1):
            if package[:length] in self._paths:
                yield self._paths[package[:length]]

    def rule(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """The value of `rego.metadata.rule()`: the first annotation of this rule, or an empty object."""
        own = self.own(rule.loc)
        return own[0].values if own else {}

    def chain(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """The value of `rego.metadata.chain()`: the rule, then all annotations that apply, innermost first."""
        path = [*info.package, *metadata.names(rule)]
        shown = _texts(path)
        own = [{"path": shown, "annotations": item.values} for item in reversed(self.own(rule.loc))]
        others = self.around(info.package, tuple(map(freeze, path)))
        around = [{"path": _texts(item.path), "annotations": item.values} for item in others]
        return [*(own or [{"path": shown}]), *around]


def _texts(path: Iterable[Value]) -> list[Value]:
    """A path as policies see it: only strings, so `p[1]` is `["p", "1"]`."""
    return [step if isinstance(step, str) else to_term(step) for step in path]


def _place(loc: Location) -> tuple[str, int, int]:
    return loc.file, loc.row, loc.col
