"""Metadata annotations: YAML in comments that start with `# METADATA` (OPA: docs/policy-language, "Metadata").

An annotation belongs to the statement after it: the package, or a rule. Its scope says what it speaks of (`rule`,
`document`, `package`, `subpackages`); without one it is the rule's, or the package's if that is what follows.
metadata_fields.py reads the content of a block.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from policy_engine.builtins.yaml.reader import YAMLError
from policy_engine.errors import PARSE_ERROR, PolicyError, combine
from policy_engine.location import Location
from policy_engine.syntax import metadata_fields
from policy_engine.syntax.metadata_fields import Content, SchemaOf
from policy_engine.syntax.nodes import Comment, Import, Module, Package, Rule, Scalar, Var
from policy_engine.values import Value

Statement: TypeAlias = Package | Import | Rule
PACKAGE_SCOPES: Final = ("package", "subpackages")
RULE_SCOPES: Final = ("rule", "document")


@dataclass(slots=True, eq=False)
class Annotation:
    """One block. `path` is that of the rule or package, below data; `target` where it stands, `loc` where the block."""

    scope: str
    path: tuple[Value, ...]
    target: Location
    values: dict[str, Value]
    """The value of `rego.metadata.rule()`, which includes the scope."""
    schemas: list[SchemaOf]
    loc: Location

    def to_json(self) -> dict[str, Value]:
        """As `opa inspect` lists it."""
        location = {"file": self.target.file, "row": self.target.row, "col": self.target.col}
        return {"path": list(self.path), "location": location, "annotations": self.values}


def read(module: Module) -> list[Annotation]:
    """The annotations of a module, in order. Raises `PolicyError` with all that is wrong with them."""
    statements: list[Statement] = sorted((module.package, *module.imports, *module.rules), key=lambda item: item.loc)
    rows = [statement.loc.row for statement in statements]
    annotations: list[Annotation] = []
    errors: list[PolicyError] = []
    for block in _blocks(module.comments):
        below = bisect.bisect_right(rows, block[0].loc.row)
        target = statements[below] if below < len(statements) else None
        try:
            content = _content(block)
        except YAMLError as error:
            errors.append(_not_yaml(error, block))
            continue
        scope, misplaced = _scope(target, content)
        found = [*content.errors, *([misplaced] if misplaced and not content.errors else [])]
        errors += [PolicyError(PARSE_ERROR, message, block[min(row, len(block) - 1)].loc) for row, message in found]
        if target is not None and not found:
            path = (*module.package.path, *(names(target) if isinstance(target, Rule) else ()))
            values: dict[str, Value] = {**content.values, "scope": scope}
            annotations.append(Annotation(scope, path, target.loc, values, content.schemas, block[0].loc))
    if errors:
        raise combine(errors)
    return annotations


def _blocks(comments: tuple[Comment, ...]) -> Iterator[list[Comment]]:
    """The runs of comments at the beginning of lines that a line with `METADATA` opens; another one ends them."""
    block: list[Comment] = []
    for comment in comments:
        begins = comment.loc.col == 1 and comment.text.strip().startswith("METADATA")
        if block and (begins or comment.loc.col != 1 or comment.loc.row != block[-1].loc.row + 1):
            yield block
            block = []
        if block or begins:
            block.append(comment)
    if block:
        yield block


def _content(block: list[Comment]) -> Content:
    text = "".join(f"{comment.text.removeprefix(' ')}\n" for comment in block[1:])
    if not text.strip():
        return Content("", False, [(0, "a block of metadata is YAML, and this one is empty")])
    return metadata_fields.read(text)


_NO_SPACE: Final = re.compile(r"\s*[\w-]+:[^\s/]")


def _not_yaml(error: YAMLError, block: list[Comment]) -> PolicyError:
    """The error for a block that is not YAML. `key:value` without a space fails in the next row only."""
    rows = [row for row in range(1, min(error.row + 1, len(block))) if _NO_SPACE.match(block[row].text)]
    if rows and error.message.startswith("mapping values"):
        return PolicyError(PARSE_ERROR, "a space is missing behind the `:`", block[rows[0]].loc)
    return PolicyError(PARSE_ERROR, f"not YAML: {error.message}", block[min(error.row, len(block) - 1)].loc)


def _scope(target: Statement | None, content: Content) -> tuple[str, tuple[int, str] | None]:
    """The scope of a block above `target`, and where and why it cannot have it."""
    usual = {Package: "package", Rule: "rule"}.get(type(target), "")
    # An entrypoint is a document, not one of its rules.
    scope = content.scope or ("document" if usual == "rule" and content.entrypoint else usual)
    scopes = (*RULE_SCOPES, *PACKAGE_SCOPES)
    wanted, name = (Rule, "a rule") if scope in RULE_SCOPES else (Package, "a package")
    row, message = content.rows.get("scope", 0), ""
    if not scope:
        message = (
            f"metadata stands above a package or a rule, and this block above {'an import' if target else 'nothing'}"
        )
    elif scope not in scopes:
        message = f"`{scope}` is not a scope; there are {', '.join(scopes)}"
    elif not isinstance(target, wanted):
        message = f"the scope `{scope}` is for {name}, and the block is not above one"
    elif content.entrypoint and scope not in ("document", "package"):
        row, message = content.rows["entrypoint"], f"an entrypoint is a document or a package, and not a `{scope}`"
    return scope, (row, message) if message else None


def names(rule: Rule) -> list[Value]:
    """The steps of a rule's name before the first that is no constant."""
    ref = rule.head.ref
    if isinstance(ref, Var):
        return [ref.name]
    assert isinstance(ref.head, Var)
    steps = itertools.takewhile(lambda step: isinstance(step, Scalar), ref.path)
    return [ref.head.name, *(step.value for step in steps if isinstance(step, Scalar))]
