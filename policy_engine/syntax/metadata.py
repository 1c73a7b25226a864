"""Metadata annotations: YAML in comments that start with `# METADATA` (OPA: docs/policy-language, "Metadata").

An annotation belongs to the statement after it: the package, or a rule. Its scope says what it speaks of (`rule`,
`document`, `package`, `subpackages`); without one it is the rule's, or the package's if that is what follows.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy_engine.builtins import goyaml
from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.syntax.nodes import Comment, Module, Package, Ref, Rule, Scalar, Var
from policy_engine.values import Value

SCOPES = {"rule", "document", "package", "subpackages"}
MEMBERS = {
    "authors", "compile", "custom", "description", "entrypoint", "organizations", "related_resources", "schemas",
    "scope", "title",
}  # fmt: skip


def read(module: Module, file: str) -> list[dict[str, Value]]:
    """Each annotation of a module: `path` (of the rule or package, below data), `location`, `annotations`.

    Raises `PolicyError` for a block that is not a YAML object, or has a scope that is none or has nothing to speak of.
    """
    found: list[dict[str, Value]] = []
    for block in _blocks(module.comments):
        content = _content(block)
        target = _target(module, block[-1].loc.row)
        if target is None:
            raise PolicyError(PARSE_ERROR, "annotation block is not followed by a package or rule", block[0].loc)
        # An entrypoint is a document, whichever of its rules says so.
        usual = "package" if isinstance(target, Package) else "document" if content.get("entrypoint") else "rule"
        scope = content.setdefault("scope", usual)
        if scope not in SCOPES:
            raise PolicyError(PARSE_ERROR, f"invalid annotation scope `{scope}`", block[0].loc)
        if isinstance(target, Package) != (scope in ("package", "subpackages")):
            raise PolicyError(
                PARSE_ERROR, f"annotation scope `{scope}` must be applied to another statement", block[0].loc
            )
        path = list(module.package.path)
        if isinstance(target, Rule):
            path += names(target)
        location = {"file": file, "row": target.loc.row, "col": target.loc.col}
        found.append({"path": path, "location": location, "annotations": content})
    return found


def _blocks(comments: tuple[Comment, ...]) -> Iterator[list[Comment]]:
    """The runs of comment lines that begin with `METADATA`."""
    block: list[Comment] = []
    for comment in comments:
        if comment.text.strip() == "METADATA":
            if block:
                yield block
            block = [comment]
        elif block and comment.loc.row == block[-1].loc.row + 1 and comment.loc.col == block[0].loc.col:
            block.append(comment)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _content(block: list[Comment]) -> dict[str, Value]:
    text = "\n".join(comment.text.removeprefix(" ") for comment in block[1:])
    try:
        content = goyaml.read(text)
    except goyaml.YAMLError as error:
        raise PolicyError(PARSE_ERROR, f"the annotation is not YAML: {error}", block[0].loc) from None
    if not isinstance(content, dict) or not content:
        raise PolicyError(PARSE_ERROR, "expected METADATA block, found whitespace", block[0].loc)
    content = {name: value for name, value in content.items() if name in MEMBERS}
    for name, read_entry in (("authors", _author), ("related_resources", _resource)):
        if isinstance(content.get(name), list):
            content[name] = [read_entry(item) for item in content[name]]
    return content


def _author(item: Value) -> Value:
    """`Jane Doe <jane@acme.example>` as an object; an object as it is."""
    if not isinstance(item, str):
        return item
    words = item.split()
    if words and words[-1].startswith("<") and words[-1].endswith(">"):
        email = {"email": words.pop()[1:-1]}
        return {**email, "name": " ".join(words)} if words else email
    return {"name": " ".join(words)}


def _resource(item: Value) -> Value:
    return {"ref": item} if isinstance(item, str) else item


def _target(module: Module, row: int) -> Package | Rule | None:
    """The first statement behind a line."""
    statements: tuple[Package | Rule, ...] = (module.package, *module.rules)
    behind = [item for item in statements if item.loc.row > row]
    return min(behind, key=lambda item: item.loc, default=None)


def names(rule: Rule) -> list[str]:
    """The constant parts of a rule's name."""
    ref = rule.head.ref
    if isinstance(ref, Var):
        return [ref.name]
    assert isinstance(ref, Ref)
    assert isinstance(ref.head, Var)
    return [ref.head.name, *(str(step.value) for step in ref.path if isinstance(step, Scalar))]
