"""The content of a metadata block: the fields of annotations.

They are those of OPA's `rawAnnotation` (v1/ast/parser.go); other keys mean nothing. metadata_yaml.py reads
the YAML; metadata.py finds a block's place and the statement that it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from policy_engine.builtins import uri
from policy_engine.errors import PolicyError
from policy_engine.syntax import parser, printer
from policy_engine.syntax.metadata_yaml import Document
from policy_engine.syntax.nodes import Ref, Scalar, Term, Var
from policy_engine.values import Value

T = TypeVar("T")


class ContentError(ValueError):
    """A field that is no part of an annotation."""


@dataclass(slots=True)
class SchemaOf:
    """The claim that a document matches a schema, written in place or named below `schema`."""

    document: Term
    schema: Term | dict[str, Value]

    def to_json(self) -> Value:
        """As `rego.metadata.rule()` shows it."""
        shown = {"definition": self.schema} if isinstance(self.schema, dict) else {"schema": _steps(self.schema)}
        return {"path": _steps(self.document), **shown}


@dataclass(slots=True)
class Content:
    """The fields of one block. `values` are those that `rego.metadata.rule()` shows, but for the scope."""

    scope: str
    entrypoint: bool
    errors: list[tuple[int, str]]
    """The errors of the block, with the rows of its text. The first row is 1, and 0 is the block."""
    values: dict[str, Value] = field(default_factory=dict)
    schemas: list[SchemaOf] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    """The row of each field."""

    def checked(self, row: int, what: str, reader: Callable[[Any], T], item: Any) -> T | None:
        """The value that `reader` makes of an item; None if it fails."""
        try:
            return reader(item)
        except (ContentError, uri.URIError) as error:
            self.errors.append((row, f"invalid {what}: {error}"))
            return None


def read(text: str) -> Content:
    """The fields that the text of a block has. Raises `YAMLError`."""
    document = Document(text)
    found = document.fields(document.root, "an annotation")
    scope = document.text(found.get("scope"), "scope")
    content = Content(scope, document.flag(found.get("entrypoint"), "entrypoint"), document.errors)
    content.rows = {name: node.row for name, node in found.items()}
    values: dict[str, Value] = {name: document.text(found.get(name), name) for name in ("title", "description")}
    values["entrypoint"] = content.entrypoint
    organizations = document.items(found.get("organizations"), "organizations")
    values["organizations"] = [document.text(item, "an organization") for item in organizations if not item.is_null]
    values |= {name: document.mapping(found.get(name), name) for name in ("custom", "labels")}
    for name, one, part in (("related_resources", "related resource", _resource), ("authors", "author", _author)):
        values[name] = [
            content.checked(item.row, one, part, document.value(item)) for item in document.items(found.get(name), name)
        ]
    compile_ = document.mapping(found.get("compile"), "compile")
    content.checked(content.rows.get("compile", 0), "compile", _check_compile, compile_)
    for item in document.items(found.get("schemas"), "schemas"):
        schemas = document.mapping(item, "a schema")
        if not document.errors:
            content.schemas += content.checked(item.row, "schema", _schemas, schemas) or []
    values["schemas"] = [item.to_json() for item in content.schemas]
    content.values = {name: value for name, value in values.items() if value}
    return content


def _author(item: Any) -> Value:
    """`Jane Doe <jane@acme.example>` as an object; an object as it is."""
    if isinstance(item, dict):
        found = {"name": _trimmed(item, "name"), "email": _trimmed(item, "email")}
        if not any(found.values()):
            raise ContentError("it needs a `name` or an `email`")
    elif isinstance(item, str):
        words = item.split()
        if not words:
            raise ContentError("it is empty")
        email = words.pop()[1:-1] if words[-1][:1] == "<" and words[-1][-1:] == ">" else ""
        found = {"name": " ".join(words), "email": email}
    else:
        raise ContentError("it is neither a text nor a mapping")
    return {name: text for name, text in found.items() if text}


def _resource(item: Any) -> Value:
    if isinstance(item, dict):
        found = {"ref": _trimmed(item, "ref"), "description": _trimmed(item, "description")}
        if not found["ref"]:
            raise ContentError("it needs a `ref`")
    elif isinstance(item, str):
        found = {"ref": str(item)}
        if not item:
            raise ContentError("it is empty")
    else:
        raise ContentError("it is neither a text nor a mapping")
    uri.split(found["ref"])
    return {name: text for name, text in found.items() if text}


def _trimmed(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return value.strip() if value.__class__ is str else ""


def _check_compile(content: dict[str, Any]) -> None:
    """Check the instructions to a partial evaluator, although there is none here: texts must be references."""
    unknowns = content.get("unknowns")
    for text in unknowns if unknowns.__class__ is list else ():
        if text.__class__ is str and reference(text) is None:
            raise ContentError(f"`{text}` in `unknowns` is not a reference")
    rule = content.get("mask_rule")
    if rule.__class__ is str:
        term = _term(rule)
        if not isinstance(term, Var | Ref) and not (isinstance(term, Scalar) and isinstance(term.value, str)):
            raise ContentError(f"`{rule}` as `mask_rule` is not a reference")


def _schemas(item: dict[str, Any]) -> list[SchemaOf]:
    # OPA keeps one member of an entry that has several, now this one and now that.
    found = []
    for name, schema in item.items() or [("", None)]:
        document = reference(name)
        named = schema_name(schema) if isinstance(schema, str) else schema
        if document is None:
            raise ContentError(f"`{name}` is not a document such as `input.user`" if name else "it names no document")
        if named is None or not isinstance(named, dict | Term):
            raise ContentError(f"what `{name}` looks like is a schema, or the name of one, `schema.name`")
        found.append(SchemaOf(document, named))
    return found


def schema_name(text: str) -> Term | None:
    """The name of a schema that a text is: `schema`, or a reference below it."""
    term = _term(text)
    head = term.head if isinstance(term, Ref) else term
    return term if isinstance(head, Var) and head.name == "schema" else None


def reference(text: str) -> Term | None:
    """The reference that a text is. Only the roots are one when nothing follows them."""
    term = _term(text)
    if isinstance(term, Var):
        return term if term.name in ("data", "input") else None
    return term if isinstance(term, Ref) and isinstance(term.head, Var) else None


def _term(text: str) -> Term | None:
    try:
        return parser.parse_term(text)
    except PolicyError:
        return None


def _steps(term: Term) -> Value:
    """A reference as the list of its parts, each as text."""
    parts = [term.head, *term.path] if isinstance(term, Ref) else [term]
    return [
        part.value if isinstance(part, Scalar) and isinstance(part.value, str) else printer.to_text(part)
        for part in parts
    ]
