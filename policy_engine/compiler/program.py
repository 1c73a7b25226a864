"""What the compiler makes of modules: a tree of rule groups, every body in normal form.

A *group* is all rules that share a ground path (`data.authz.allow`). Of a rule whose head is a reference with
variables (`a.b[x].c := y`) the ground part is the path and the rest the rule's `suffix`. Groups hang in a tree that
mirrors `data`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.generated_names import Names
from policy_engine.compiler.typecheck.documents import Documents, Node
from policy_engine.errors import PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.metadata import Annotation
from policy_engine.values import freeze, thaw, to_term

Path = tuple[Any, ...]
"""A path below `data`: each step the frozen form of a constant, nearly always a string."""


@dataclass(slots=True, eq=False)
class Clause:
    """A body and the value it gives: a rule, or one `else` of it. `value` is None for a member of a set."""

    value: nodes.Term | None
    body: nodes.Body
    loc: Location = NOWHERE


@dataclass(slots=True, eq=False)
class Rule:
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
class Bundle:
    """Rules that some references touch together: all of one place, or those that a constant step chooses."""

    rules: tuple[Rule, ...]


_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def dotted(path: Path, root: str = "data") -> str:
    """A path as people write it. Different paths have different texts, so that this can be a function's name."""
    steps = [
        f".{step}" if isinstance(step, str) and _NAME.fullmatch(step) else f"[{to_term(thaw(step))}]" for step in path
    ]
    return "".join((root, *steps))


class Kind(enum.Enum):
    """What a group's document is."""

    COMPLETE = "complete"
    SET = "set"
    OBJECT = "object"
    FUNCTION = "function"


@dataclass(slots=True, eq=False)
class Group:
    """All rules of one path. `number` is its place in the program; `defaults` is what gives the value of last resort.

    A complete rule or function has at most one default, a set or object none.
    """

    number: int
    path: Path
    kind: Kind
    rules: list[Rule] = field(default_factory=list)
    defaults: list[Rule] = field(default_factory=list)
    conflicts: bool = False
    """Its rules cannot stand beside each other, so that nothing follows from what they are."""

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
        """How many path elements below the group's own path its rules define, a set's member included."""
        return max(len(rule.suffix) + (rule.key is not None) for rule in (*self.rules, *self.defaults))


@dataclass(slots=True, eq=False)
class Tree:
    """A node of `data`: a group, or a package or other inner node. `number` is its place among the program's nodes."""

    path: Path
    number: int = -1
    group: Group | None = None
    children: dict[object, Tree] = field(default_factory=dict)

    def find(self, path: Path) -> Tree | None:
        """The node at `path` below this one."""
        node: Tree | None = self
        for step in path:
            node = node.children.get(step) if node is not None else None
        return node

    def is_base(self, path: tuple[nodes.Term, ...]) -> bool:
        """Whether no rule has a part in what a reference's path below this node leads to."""
        node: Tree | None = self
        for step in path:
            if node is None or node.group is not None or not isinstance(step, nodes.Scalar):
                break
            node = node.children.get(freeze(step.value))
        return node is None

    def groups(self) -> Iterator[Group]:
        """This node's group and all below it."""
        if self.group is not None:
            yield self.group
        for child in self.children.values():
            yield from child.groups()


@dataclass(slots=True, eq=False)
class ModuleInfo:
    """A module as the compiler keeps it. Its imports and rules are gone once they are in groups."""

    file: str
    package: Path
    module: nodes.Module


@dataclass(slots=True, eq=False)
class Program:
    """A compiled set of modules before code generation."""

    modules: list[ModuleInfo]
    tree: Tree
    groups: list[Group]
    rules: list[Rule]
    names: Names
    builtins: Mapping[str, Builtin]
    """The builtins these modules may use: the engine's, less what capabilities exclude, and the host's."""
    strict: bool = False
    """Report unused names too."""
    schemas: Mapping[str, Any] | None = None
    """What documents look like: `schema` is what `input` looks like, `schema.a.b` what annotations may name."""
    annotations: list[Annotation] = field(default_factory=list)
    """Those of all modules. Filled before anything else, so that rules can be made of what they say."""
    calls_documents: bool = False
    """A document is called somewhere as if it were a function."""
    mocked: set[str] = field(default_factory=set)
    """Names of functions (builtins by name, groups as `data.…`) that a `with` somewhere replaces."""
    functions: dict[str, Group] = field(default_factory=dict)
    """The functions of the policies by their full names."""
    masked: set[Path] = field(default_factory=set)
    """Paths of documents that a `with` somewhere replaces."""
    dependencies: dict[Rule, list[Bundle]] = field(default_factory=dict)
    """For each rule those that its document is made from. Filled when recursion is looked for, like `ordered`."""
    ordered: list[tuple[Rule, Clause]] = field(default_factory=list)
    """All clauses with their rules, each behind those that it depends on."""
    unresolved: set[Clause] = field(default_factory=set)
    """Clauses with names that mean nothing. No later stage looks at them, so that no error follows from another one."""
    broken: set[Clause] = field(default_factory=set)
    """Clauses with any error. Their values may be anything."""
    documents: Documents = field(default_factory=lambda: Documents(Node()))
    """The types of the rules' documents, for checking queries."""

    def sound(self, errors: list[PolicyError], *, resolved: bool = False) -> Iterator[tuple[Rule, Clause]]:
        """The clauses without errors. One that gets an error while it is looked at is broken from then on.

        `resolved`: those with errors too, if it is known what their names mean.
        """
        left_out = self.unresolved if resolved else self.broken
        for rule in self.rules:
            for clause in rule.clauses:
                if clause not in left_out:
                    before = len(errors)
                    yield rule, clause
                    if len(errors) > before:
                        self.broken.add(clause)
