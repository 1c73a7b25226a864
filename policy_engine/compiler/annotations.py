"""What `rego.metadata.rule()` and `rego.metadata.chain()` stand for: constants, known when a policy is compiled.

The chain of a rule goes outward: its own annotations, the document's, its package's, and those that the packages around
declare for their subpackages (OPA: docs/policy-reference/builtins/rego; v1/ast/annotations.go).
"""

from __future__ import annotations

from typing import Any

from policy_engine.compiler.program import ModuleInfo, Program
from policy_engine.syntax import metadata, nodes
from policy_engine.values import Value


class Annotations:
    """The annotations of all modules, read when a policy first asks for them. Raises `PolicyError` for a bad block."""

    def __init__(self, program: Program) -> None:
        self._modules = program.modules
        self._found: list[tuple[str, dict[str, Any]]] | None = None

    def _all(self) -> list[tuple[str, dict[str, Any]]]:
        if self._found is None:
            self._found = [
                (info.file, item) for info in self._modules for item in metadata.read(info.module, info.file)
            ]
        return self._found

    def rule(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """The annotations of just this rule; an empty object if it has none."""
        for file, item in self._all():
            place = item["location"]
            here = (file, place["row"], place["col"]) == (info.file, rule.loc.row, rule.loc.col)
            if here and item["annotations"]["scope"] == "rule":
                return item["annotations"]
        return {}

    def chain(self, info: ModuleInfo, rule: nodes.Rule) -> Value:
        """Every annotation that speaks of this rule, the innermost first; the first entry is the rule in any case."""
        path = [*info.package, *metadata.names(rule)]
        own = self.rule(info, rule)
        chain: list[dict[str, Value]] = [{"path": path, "annotations": own} if own else {"path": path}]
        chain += self._scoped("document", path)
        chain += self._scoped("package", list(info.package))
        for length in range(len(info.package), -1, -1):
            chain += self._scoped("subpackages", list(info.package[:length]))
        return chain

    def _scoped(self, scope: str, path: list[str]) -> list[dict[str, Value]]:
        return [
            {"path": path, "annotations": item["annotations"]}
            for _, item in self._all()
            if item["annotations"]["scope"] == scope and item["path"] == path
        ]
