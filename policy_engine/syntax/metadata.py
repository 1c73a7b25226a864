"""Metadata annotations: YAML in comments that start with `# METADATA` (OPA: docs/policy-language, "Metadata").

An annotation belongs to the statement after it: the package, or a rule. Its scope says what it speaks of (`rule`,
`document`, `package`, `subpackages`); without one it is the rule's, or the package's if that is what follows. How the
YAML is read is in `metadata_yaml`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policy_engine.builtins import uri
from policy_engine.builtins.goyaml import YAMLError
from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import parser
from policy_engine.syntax.metadata_yaml import Document
from policy_engine.syntax.nodes import Comment, Import, Module, Package, Ref, Rule, Scalar, Term, Var
from policy_engine.values import Value

SCOPES = ("rule", "document", "package", "subpackages")

_LINE = re.compile(r"yaml:(?: unmarshal errors:\s*)? ?line ([0-9]+):")


@dataclass(frozen=True, slots=True)
class Annotation:
    """`path` is that of the rule or package, below data; `target` the place of it, `loc` that of the annotation."""

    path: tuple[str, ...]
    scope: str
    content: dict[str, Value]
    target: Location
    loc: Location

    def document(self) -> dict[str, Value]:
        """The annotation as JSON, in the form of `opa inspect`."""
        location = {"file": self.target.file, "row": self.target.row, "col": self.target.col}
        return {"path": list(self.path), "location": location, "annotations": self.content}


def read(module: Module) -> list[Annotation]:
    """Each annotation of a module, in order.

    Raises `PolicyError` for a block that cannot be read, or has a scope that is none or has nothing to speak of.
    """
    found: list[Annotation] = []
    for block in _blocks(module.comments):
        content = _content(block)
        target = _target(module, block[0].loc.row)
        if target is None:
            raise PolicyError(PARSE_ERROR, "annotation block is not followed by a package or rule", block[0].loc)
        _set_scope(content, target, block[0])
        path = (*module.package.path, *(names(target) if isinstance(target, Rule) else ()))
        found.append(Annotation(path, content["scope"], content, target.loc, block[0].loc))
    return found


def _blocks(comments: tuple[Comment, ...]) -> Iterator[list[Comment]]:
    """The comments that begin with `METADATA`, each with those on the lines right below it; all of them unindented."""
    block: list[Comment] = []
    for comment in comments:
        starts = comment.loc.col == 1 and comment.text.strip().startswith("METADATA")
        if block and not starts and comment.loc.row == block[-1].loc.row + 1 and comment.loc.col == 1:
            block.append(comment)
            continue
        if block:
            yield block
        block = [comment] if starts else []
    if block:
        yield block


def _set_scope(content: dict[str, Any], target: Package | Import | Rule, start: Comment) -> None:
    if isinstance(target, Import):
        raise PolicyError(PARSE_ERROR, "invalid annotation scope `import`", start.loc, hint="put it above a rule")
    # An entrypoint is a document, whichever of its rules says so.
    usual = "package" if isinstance(target, Package) else "document" if content.get("entrypoint") else "rule"
    scope = content.setdefault("scope", usual)
    if scope not in SCOPES:
        raise PolicyError(PARSE_ERROR, f"invalid annotation scope `{scope}`", start.loc, hint=f"use one of {SCOPES}")
    if isinstance(target, Package) != (scope in ("package", "subpackages")):
        raise PolicyError(PARSE_ERROR, f"annotation scope `{scope}` must be applied to another statement", start.loc)
    if content.get("entrypoint") and scope not in ("document", "package"):
        raise PolicyError(PARSE_ERROR, f"annotation entrypoint applied to scope `{scope}`", start.loc)


def _content(block: list[Comment]) -> dict[str, Any]:
    text = "".join(comment.text.removeprefix(" ") + "\n" for comment in block[1:])
    if not text.strip():
        raise PolicyError(PARSE_ERROR, "expected METADATA block, found whitespace", block[0].loc)
    try:
        content = _fields(Document(text))
    except YAMLError as error:
        # OPA's way to count: line 1 of the YAML is the second line below `METADATA`, unless there is none.
        found = _LINE.match(str(error))
        lines = block[1:]
        near = lines[min(int(found[1]), len(lines) - 1)] if found else lines[0] if _is_syntax(error) else block[0]
        raise PolicyError(PARSE_ERROR, str(error), near.loc) from None
    return {name: value for name, value in content.items() if value}


def _is_syntax(error: YAMLError) -> bool:
    return str(error).startswith("yaml: ")


def _fields(document: Document) -> dict[str, Any]:
    """What an annotation says, its empty members included."""
    found = document.fields(document.root, "ast.rawAnnotation").get
    document.mapping(found("compile"))  # has to be a mapping, but says nothing to policies
    return {
        "scope": document.text(found("scope")),
        "title": document.text(found("title")),
        "entrypoint": document.flag(found("entrypoint")),
        "description": document.text(found("description")),
        "organizations": document.texts(found("organizations")),
        "related_resources": [_resource(item) for item in document.values(found("related_resources"))],
        "authors": [_author(item) for item in document.values(found("authors"))],
        "schemas": [_schema(item) for item in document.mappings(found("schemas"))],
        "custom": document.mapping(found("custom")),
        "labels": document.mapping(found("labels")),
    }


def _author(item: Value) -> Value:
    """`Jane Doe <jane@acme.example>` as an object; of an object its name and address."""
    if isinstance(item, dict):
        author = {"name": _text(item, "name"), "email": _text(item, "email")}
        if not any(author.values()):
            raise YAMLError("invalid author definition: `name` and/or `email` values required in object")
    elif isinstance(item, str):
        words = item.split()
        if not words:
            raise YAMLError("invalid author definition: author is an empty string")
        email = words.pop()[1:-1] if len(words[-1]) > 1 and words[-1][0] == "<" and words[-1][-1] == ">" else ""
        author = {"name": " ".join(words), "email": email}
    else:
        raise YAMLError("invalid author definition: invalid value type, must be string or map")
    return {name: value for name, value in author.items() if value}


def _resource(item: Value) -> Value:
    if isinstance(item, dict):
        ref, description = _text(item, "ref"), _text(item, "description")
    elif isinstance(item, str):
        ref, description = item, ""
    else:
        raise YAMLError("invalid related-resource definition: invalid value type, must be string or map")
    if not ref:
        raise YAMLError("invalid related-resource definition: a URL is required")
    return {"ref": _url(ref)} | ({"description": description} if description else {})


def _url(text: str) -> str:
    """A URL as Go writes it: what may not stand in its path is escaped."""
    try:
        parts = uri.split(text)
    except uri.URIError as error:
        raise YAMLError(f"invalid related-resource definition {text}: {error}") from None
    end = min((text.index(mark) for mark in "?#" if mark in text), default=len(text))
    before, behind = text[:end], text[end:]
    if not parts.raw_path:
        return text
    raw = parts.raw_path.encode("latin-1").decode("utf-8", "replace")
    return before.removesuffix(raw) + parts.escaped_path + behind


def _schema(item: Mapping[str, Any]) -> Value:
    """A document and its schema: a reference to one as its path, or the schema itself as `definition`."""
    path, schema = next(iter(item.items()), ("", None))
    where = _ref(path)
    if not where:
        raise YAMLError("invalid document reference")
    if isinstance(schema, dict):
        return {"path": where, "definition": schema}
    if not isinstance(schema, str):
        raise YAMLError(f'invalid schema declaration for path "{path}"')
    reference = _ref(schema)
    if not reference or reference[0] != "schema":
        raise YAMLError("invalid schema reference")
    return {"path": where, "schema": reference}


def _ref(text: str) -> list[Value]:
    """The parts of a constant reference; empty if the text is none."""
    try:
        term = parser.parse_term(text)
    except PolicyError:
        return []
    parts: tuple[Term, ...] = (term.head, *term.path) if isinstance(term, Ref) else (term,)
    if not isinstance(parts[0], Var):
        return []
    return [part.name if isinstance(part, Var) else part.value if isinstance(part, Scalar) else None for part in parts]


def _text(item: Mapping[str, Value], name: str) -> str:
    value = item.get(name)
    return value.strip() if isinstance(value, str) else ""


def _target(module: Module, row: int) -> Package | Import | Rule | None:
    """The first statement behind a line."""
    statements: tuple[Package | Import | Rule, ...] = (module.package, *module.imports, *module.rules)
    behind = [item for item in statements if item.loc.row > row]
    return min(behind, key=lambda item: item.loc, default=None)


def names(rule: Rule) -> list[str]:
    """The parts of a rule's name up to the first that is not constant."""
    ref = rule.head.ref
    if isinstance(ref, Var):
        return [ref.name]
    assert isinstance(ref, Ref)
    assert isinstance(ref.head, Var)
    constant = itertools.takewhile(lambda step: isinstance(step, Scalar), ref.path)
    return [ref.head.name, *(str(step.value) for step in constant if isinstance(step, Scalar))]
