"""The inputs, data and nondeterministic builtins that a decision can depend on, found from the policies alone."""

from __future__ import annotations

from dataclasses import dataclass

from policy_engine.compiler import recursion
from policy_engine.compiler.program import NormalRule, Path, Program, dotted
from policy_engine.syntax import nodes


@dataclass(frozen=True, slots=True)
class Facts:
    """Dependencies of a decision. A path is a tuple of names; everything below it may be read. `()` is all of it.

    `rules` are the paths of the rules that may be evaluated.
    """

    input_paths: tuple[Path, ...]
    data_paths: tuple[Path, ...]
    nondeterministic: tuple[str, ...]
    rules: tuple[Path, ...]


def find(program: Program, path: Path) -> Facts:
    """The dependencies of a decision at a path below `data`."""
    seen: set[NormalRule] = set()
    pending = list(recursion.matching(program.tree, tuple([nodes.Scalar(step) for step in path])))
    inputs: set[Path] = set()
    data: set[Path] = {path}  # the document of a package contains the base data below its path
    volatile: set[str] = set()
    while pending:
        rule = pending.pop()
        if rule in seen:
            continue
        seen.add(rule)
        pending.extend(recursion.dependencies(program, rule))
        for term in recursion.rule_terms(rule):
            if isinstance(term, nodes.Var) and term.name == "input":
                inputs.add(())
            elif isinstance(term, nodes.Ref) and isinstance(term.head, nodes.Var):
                if term.head.name == "input":
                    inputs.add(_constant_prefix(term.path))
                elif term.head.name == "data":
                    data.add(_constant_prefix(term.path))
            elif isinstance(term, nodes.Call) and isinstance(term.operator, nodes.Var):
                builtin = program.builtins[term.operator.name]
                volatile |= {builtin.name} if builtin.nondeterministic else set()
    data = {item for item in data if not _is_rule(program, item)}
    rules = tuple(sorted({rule.path for rule in seen}, key=dotted))
    return Facts(_shortest(inputs), _shortest(data), tuple(sorted(volatile)), rules)


def _is_rule(program: Program, path: Path) -> bool:
    """True if a rule is at or above a path, so that no base data can be read there."""
    return any(
        (node := program.tree.find(path[:length])) is not None and node.group is not None
        for length in range(len(path) + 1)
    )


def _constant_prefix(path: tuple[nodes.Term, ...]) -> Path:
    names: list[str] = []
    for step in path:
        if not isinstance(step, nodes.Scalar) or not isinstance(step.value, str):
            break
        names.append(step.value)
    return tuple(names)


def _shortest(paths: set[Path]) -> tuple[Path, ...]:
    """The paths without those that have another one as a prefix."""
    return tuple(path for path in sorted(paths) if not any(path[:length] in paths for length in range(len(path))))
