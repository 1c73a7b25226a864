"""What `rego.metadata.rule()` and `rego.metadata.chain()` stand for: constants, known when a policy is compiled.

The chain of a rule goes outward: its own annotations, the document's, its package's, and those that the packages around
declare for their subpackages (OPA: docs/policy-reference/builtins/rego; v1/ast/annotations.go).
"""

from __future__ import annotations

from policy_engine.compiler.program import ModuleInfo, Program
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import metadata, nodes
from policy_engine.syntax.metadata import Annotation
from policy_engine.values import Value


class Annotations:
    """The annotations of all modules, read when a policy first asks for them. Raises `PolicyError` for a bad block."""

    def __init__(self, program: Program) -> None:
        self._modules = program.modules
        self._found: list[Annotation] | None = None

    def _all(self) -> list[Annotation]:
        if self._found is None:
            self._found = [found for info in self._modules for found in metadata.read(info.module)]
            _check_declared_once(self._found)
        return self._found

    def rule(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """The annotations of just this rule, the first block if there are several; an empty object if it has none."""
        return next((found.content for found in self._own(info, rule)), {})

    def chain(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """Every annotation that speaks of this rule, the innermost first; the first entry is the rule in any case."""
        path = (*info.package, *metadata.names(rule))
        chain = [_entry(found) for found in reversed(self._own(info, rule))] or [{"path": list(path)}]
        chain += self._scoped("document", path)
        chain += self._scoped("package", info.package)
        for length in range(len(info.package), -1, -1):
            chain += self._scoped("subpackages", info.package[:length])
        return chain

    def _own(self, info: ModuleInfo, rule: nodes.Rule) -> list[Annotation]:
        """The blocks right above this rule, in source order."""
        here = [found for found in self._all() if found.scope == "rule" and found.loc.file == info.file]
        return [found for found in here if found.target == rule.loc]

    def _scoped(self, scope: str, path: tuple[str, ...]) -> list[dict[str, Value]]:
        return [_entry(found) for found in self._all() if found.scope == scope and found.path == path]


def _entry(found: Annotation) -> dict[str, Value]:
    return {"path": list(found.path), "annotations": found.content}


def _check_declared_once(all_: list[Annotation]) -> None:
    """What is said of a document or package is said in one place. Raises `PolicyError`."""
    first: dict[tuple[str, ...], Location] = {}
    for found in all_:
        other = found.loc if found.scope == "rule" else first.setdefault((found.scope, *found.path), found.loc)
        if other is not found.loc:
            text = f"{found.scope} annotation redeclared: {other}"
            raise PolicyError(TYPE_ERROR, text, found.loc, hint="say it in one place")
