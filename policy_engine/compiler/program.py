"""The compiler's output: a tree of rule groups, with every body in normal form.

A *group* is all rules with the same ground path (`data.authz.allow`). If the head is a reference with variables
(`a.b[x].c := y`), its ground part is the path and the rest is the rule's `suffix`. The tree of groups mirrors `data`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.generated_names import FreshNames
from policy_engine.compiler.typecheck.documents import DocumentNode, Documents
from policy_engine.errors import PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.metadata import Annotation
from policy_engine.types import Type
from policy_engine.values import freeze, thaw, to_term

Path = tuple[Any, ...]
"""A path below `data`; each step is a constant in frozen form, nearly always a string."""


@dataclass(slots=True, eq=False)
class Clause:
    """A body and its value: a rule or one of its `else` parts. `value` is None for a member of a set."""

    value: nodes.Term | None
    body: nodes.Body
    loc: Location = NOWHERE


@dataclass(slots=True, eq=False)
class NormalRule:
    """One rule in normal form. `clauses` is the rule itself and then its `else` parts, in order.

    `key` is the member term of `contains`. `args` is None unless the rule is a function: `f() := 1` is none.
    """

    path: Path
    suffix: tuple[nodes.Term, ...]
    args: tuple[nodes.Term, ...] | None
    key: nodes.Term | None
    clauses: list[Clause]
    default: bool
    loc: Location
    module: ModuleInfo


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """Rules that references to one place reach: all of the place, or those that match a constant step."""

    rules: tuple[NormalRule, ...]


_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def dotted(path: Path, root: str = "data") -> str:
    """A path as written in a policy. The text identifies the path, so that it can be a function's name."""
    steps = [
        f".{step}" if isinstance(step, str) and _NAME.fullmatch(step) else f"[{to_term(thaw(step))}]" for step in path
    ]
    return "".join((root, *steps))


class Kind(enum.Enum):
    """The kind of a group's document."""

    COMPLETE = "complete"
    SET = "set"
    OBJECT = "object"
    FUNCTION = "function"


@dataclass(slots=True, eq=False)
class RuleGroup:
    """All rules of one path. `number` is the group's position in the program.

    A complete rule or function has at most one default rule, a set or object none.
    """

    number: int
    path: Path
    kind: Kind
    rules: list[NormalRule] = field(default_factory=list)
    defaults: list[NormalRule] = field(default_factory=list)
    conflicts: bool = False
    """Its rules conflict, so nothing is known about the document."""

    @property
    def name(self) -> str:
        return dotted(self.path)

    @property
    def loc(self) -> Location:
        return min(rule.loc for rule in (*self.rules, *self.defaults))

    @property
    def arity(self) -> int:
        return len((*self.rules, *self.defaults)[0].args or ())

    @property
    def depth(self) -> int:
        """The number of path elements that its rules define below the group's path, a set's member included."""
        return max(len(rule.suffix) + (rule.key is not None) for rule in (*self.rules, *self.defaults))


@dataclass(slots=True, eq=False)
class Tree:
    """A node of `data`: a group, a package, or another inner node. `number` is its position in the tree."""

    path: Path
    number: int = -1
    group: RuleGroup | None = None
    children: dict[object, Tree] = field(default_factory=dict)

    def find(self, path: Path) -> Tree | None:
        """The node at `path` below this one."""
        node: Tree | None = self
        for step in path:
            node = node.children.get(step) if node is not None else None
        return node

    def is_base(self, path: tuple[nodes.Term, ...]) -> bool:
        """True if a reference's path below this node leads to base data only."""
        node: Tree | None = self
        for step in path:
            if node is None or node.group is not None or not isinstance(step, nodes.Scalar):
                break
            node = node.children.get(freeze(step.value))
        return node is None

    def groups(self) -> Iterator[RuleGroup]:
        """This node's group and all below it."""
        if self.group is not None:
            yield self.group
        for child in self.children.values():
            yield from child.groups()


@dataclass(slots=True, eq=False)
class ModuleInfo:
    """A module of the program. Its imports and rules are dropped once they are in groups."""

    file: str
    package: Path
    module: nodes.Module


@dataclass(slots=True, eq=False)
class Program:
    """A compiled set of modules before code generation."""

    modules: list[ModuleInfo]
    tree: Tree
    groups: list[RuleGroup]
    rules: list[NormalRule]
    names: FreshNames
    builtins: Mapping[str, Builtin]
    """The builtins these modules may use: the engine's, less what capabilities exclude, and the host's."""
    strict: bool = False
    """Reject unused names."""
    schemas: Mapping[str, Any] | None = None
    """JSON Schemas: `schema` is that of `input`, `schema.a.b` can be named by annotations."""
    annotations: list[Annotation] = field(default_factory=list)
    """The annotations of all modules. Filled first, because `rego.metadata` becomes a constant."""
    calls_documents: bool = False
    """True if a document is called as if it were a function."""
    mocked: set[str] = field(default_factory=set)
    """Names of functions (builtins by name, groups as `data.…`) that any `with` replaces."""
    functions: dict[str, RuleGroup] = field(default_factory=dict)
    """The functions of the policies by their full names."""
    masked: set[Path] = field(default_factory=set)
    """Paths of documents that any `with` replaces."""
    dependencies: dict[NormalRule, list[RuleSet]] = field(default_factory=dict)
    """The rules that each rule depends on. Filled by the recursion stage, like `ordered`."""
    ordered: list[tuple[NormalRule, Clause]] = field(default_factory=list)
    """All clauses with their rules, each after its dependencies."""
    unresolved: set[Clause] = field(default_factory=set)
    """Clauses whose names could not be resolved. Later stages skip them."""
    broken: set[Clause] = field(default_factory=set)
    """Clauses with an error. Their values may be anything."""
    documents: Documents = field(default_factory=lambda: Documents(DocumentNode()))
    """The types of the rules' documents, against which queries are checked."""
    types: dict[Clause, Type] = field(default_factory=dict)
    """The type of what each clause adds to the document at its rule's ground path. Filled by the type stage."""

    def valid_clauses(self, errors: list[PolicyError]) -> Iterator[tuple[NormalRule, Clause]]:
        """The clauses without errors. A clause is broken if `errors` grows while the caller looks at it."""
        return self._clauses(self.broken, errors)

    def resolved_clauses(self, errors: list[PolicyError]) -> Iterator[tuple[NormalRule, Clause]]:
        """The same, and the clauses with errors whose names are all known."""
        return self._clauses(self.unresolved, errors)

    def _clauses(self, left_out: set[Clause], errors: list[PolicyError]) -> Iterator[tuple[NormalRule, Clause]]:
        for rule in self.rules:
            for clause in rule.clauses:
                if clause not in left_out:
                    before = len(errors)
                    try:
                        yield rule, clause
                    finally:  # also if the caller leaves its loop here
                        if len(errors) > before:
                            self.broken.add(clause)
