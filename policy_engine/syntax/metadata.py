"""Metadata annotations: YAML in comments that start with `# METADATA` (OPA: docs/policy-language, "Metadata").

An annotation belongs to the statement after it: the package, or a rule. Its scope says what it speaks of (`rule`,
`document`, `package`, `subpackages`); without one it is the rule's, or the package's if that is what follows. What a
block says is read by metadata_fields.py.
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
from policy_engine.syntax.metadata_fields import Content, ContentError, SchemaOf
from policy_engine.syntax.nodes import Comment, Import, Module, Package, Rule, Scalar, Var
from policy_engine.values import Value, literal

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
    """What `rego.metadata.rule()` shows, the scope included."""
    schemas: list[SchemaOf]
    loc: Location

    def to_json(self) -> dict[str, Value]:
        """As `opa inspect` lists it."""
        location = {"file": self.target.file, "row": self.target.row, "col": self.target.col}
        return {"path": list(self.path), "location": location, "annotations": self.values}


def read(module: Module) -> list[Annotation]:
    """The annotations of a module, in order. Raises `PolicyError` with all that is wrong with them."""
    found: list[tuple[list[Comment], Content]] = []
    errors: list[PolicyError] = []
    for block in _blocks(module.comments):
        try:
            found.append((block, _content(block)))
        except PolicyError as error:
            errors.append(error)
    if errors:
        raise combine(errors)
    statements: list[Statement] = sorted((module.package, *module.imports, *module.rules), key=lambda item: item.loc)
    rows = [statement.loc.row for statement in statements]
    annotations: list[Annotation] = []
    for block, content in found:
        below = bisect.bisect_right(rows, block[0].loc.row)
        target = statements[below] if below < len(statements) else None
        try:
            annotations.append(_attached(module, target, content, block[0].loc))
        except PolicyError as error:
            errors.append(error)
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


_LINE: Final = re.compile(r"yaml:(?: unmarshal errors:\s*)? line ([0-9]+):")


def _content(block: list[Comment]) -> Content:
    first, *lines = block
    text = "".join(f"{comment.text.removeprefix(' ')}\n" for comment in lines)
    if not text.strip():
        raise PolicyError(PARSE_ERROR, "expected METADATA block, found whitespace", first.loc)
    try:
        return metadata_fields.read(text)
    except (ContentError, YAMLError) as error:
        if not str(error).startswith("yaml: "):
            raise PolicyError(PARSE_ERROR, str(error), first.loc) from None
        # OPA counts the lines of YAML from 1 and those of the block from 0: the place is one line too far down.
        named = _LINE.match(str(error))
        place = lines[min(int(named[1]), len(lines) - 1)] if named else lines[0]
        raise PolicyError(PARSE_ERROR, f"{error}{''.join(map(_hint, lines))}", place.loc) from None


def _hint(comment: Comment) -> str:
    """What is probably wrong with a line whose colon is followed by something else than a space."""
    marks: list[str] = []
    parts = comment.text.split(":")[1:]
    for number, part in enumerate(parts):
        if part[:1] in (" ", "\t") or (not part and number == len(parts) - 1):
            break
        marks.append(literal(part[:1] or "\ufffd", "'", ascii_only=True))
    if not marks:
        return ""
    return (
        f"\n  Hint: on line {comment.loc.row}, symbol(s) [{' '.join(marks)}] immediately following a key/value "
        "separator ':' is not a legal yaml space character"
    )


def _attached(module: Module, target: Statement | None, content: Content, loc: Location) -> Annotation:
    """The annotation of `target`, the first statement below the first line of its block."""
    match target:
        case Package():
            usual = "package"
        case Rule():
            usual = "document" if content.entrypoint else "rule"  # an entrypoint is a document, not one of its rules
        case _:
            usual = "" if target is None else "import"
    scope = content.scope or usual
    _check_scope(scope, target, content.entrypoint, loc)
    path = (*module.package.path, *(names(target) if isinstance(target, Rule) else ()))
    assert target is not None  # no scope fits nothing
    return Annotation(scope, path, target.loc, {**content.values, "scope": scope}, content.schemas, loc)


def _check_scope(scope: str, target: Statement | None, entrypoint: bool, loc: Location) -> None:
    scopes = (*RULE_SCOPES, *PACKAGE_SCOPES)
    if scope not in scopes:
        known = ", ".join(f"'{name}'" for name in scopes[:-1])
        text = f"invalid annotation scope '{scope}'. Use one of {known}, or '{scopes[-1]}'"
        raise PolicyError(PARSE_ERROR, text, loc)
    wanted, name = (Rule, "rule") if scope in RULE_SCOPES else (Package, "package")
    if not isinstance(target, wanted):
        found = "nothing" if target is None else type(target).__name__.lower()
        raise PolicyError(PARSE_ERROR, f"annotation scope '{scope}' must be applied to {name} (have {found})", loc)
    if entrypoint and scope not in ("document", "package"):
        text = f"annotation entrypoint applied to non-document or package scope '{scope}'"
        raise PolicyError(PARSE_ERROR, text, loc)


def names(rule: Rule) -> list[Value]:
    """The steps of a rule's name before the first that is no constant."""
    ref = rule.head.ref
    if isinstance(ref, Var):
        return [ref.name]
    assert isinstance(ref.head, Var)
    steps = itertools.takewhile(lambda step: isinstance(step, Scalar), ref.path)
    return [ref.head.name, *(step.value for step in steps if isinstance(step, Scalar))]
