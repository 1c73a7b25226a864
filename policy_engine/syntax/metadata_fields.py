"""What a metadata block says: the fields that annotations have.

They are those of OPA's `rawAnnotation` (v1/ast/parser.go); keys that are none of them mean nothing. What is wrong is
worded as OPA words it. How the YAML is read: metadata_yaml.py. Where a block stands, and what it is about: metadata.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from policy_engine.builtins import goformat, uri
from policy_engine.errors import PolicyError
from policy_engine.syntax import parser, printer
from policy_engine.syntax.metadata_yaml import Document
from policy_engine.syntax.nodes import Ref, Scalar, Term, Var
from policy_engine.values import Value, dumps


class ContentError(ValueError):
    """A block that is YAML, but no annotation."""


@dataclass(slots=True)
class SchemaOf:
    """That a document is as a schema says: one written in place, or one that a name below `schema` stands for."""

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
    values: dict[str, Value]
    schemas: list[SchemaOf] = field(default_factory=list)


def read(text: str) -> Content:
    """The fields that the text of a block has. Raises `YAMLError` and `ContentError`."""
    document = Document(text)
    found = document.fields(document.root, "ast.rawAnnotation")
    scope, entrypoint = document.text(found.get("scope")), document.flag(found.get("entrypoint"))
    values: dict[str, Value] = {
        "title": document.text(found.get("title")),
        "description": document.text(found.get("description")),
        "entrypoint": entrypoint,
        "organizations": document.texts(found.get("organizations")),
        "custom": document.mapping(found.get("custom")),
        "labels": document.mapping(found.get("labels")),
    }
    resources, authors = document.values(found.get("related_resources")), document.values(found.get("authors"))
    declared, compile_ = document.mappings(found.get("schemas")), document.mapping(found.get("compile"))
    document.check()
    values["related_resources"] = [_part("related-resource", item, _resource) for item in resources]
    _check_compile(compile_)
    schemas = [schema for item in declared for schema in _schemas_of(item)]
    values["schemas"] = [item.to_json() for item in schemas]
    values["authors"] = [_part("author", item, _author) for item in authors]
    return Content(scope, entrypoint, {name: value for name, value in values.items() if value}, schemas)


def _part(what: str, item: Any, reader: Callable[[Any], Value]) -> Value:
    try:
        return reader(item)
    except (ContentError, uri.URIError) as error:
        shown = goformat.format_value(goformat.Spec(), "s", item)
        raise ContentError(f"invalid {what} definition {shown}: {error}") from None


def _author(item: Any) -> Value:
    """`Jane Doe <jane@acme.example>` as an object; an object as it is."""
    if isinstance(item, dict):
        found = {"name": _trimmed(item, "name"), "email": _trimmed(item, "email")}
        if not any(found.values()):
            raise ContentError("'name' and/or 'email' values required in object")
    elif isinstance(item, str):
        words = item.split()
        if not words:
            raise ContentError("author is an empty string")
        email = words.pop()[1:-1] if words[-1][:1] == "<" and words[-1][-1:] == ">" else ""
        found = {"name": " ".join(words), "email": email}
    else:
        raise ContentError("invalid value type, must be string or map")
    return {name: text for name, text in found.items() if text}


def _resource(item: Any) -> Value:
    if isinstance(item, dict):
        found = {"ref": _trimmed(item, "ref"), "description": _trimmed(item, "description")}
        if not found["ref"]:
            raise ContentError("'ref' value required in object")
    elif isinstance(item, str):
        found = {"ref": str(item)}
        if not item:
            raise ContentError("ref URL may not be empty string")
    else:
        raise ContentError("invalid value type, must be string or map")
    return {name: text for name, text in {**found, "ref": _url(found["ref"])}.items() if text}


def _url(text: str) -> str:
    """A URL as Go writes it: what may not stand in its path is escaped."""
    parts = uri.split(text)
    if not parts.raw_path:
        return text
    end = min((text.index(mark) for mark in "?#" if mark in text), default=len(text))
    raw = parts.raw_path.encode("latin-1").decode("utf-8", "replace")
    return text[:end].removesuffix(raw) + parts.escaped_path + text[end:]


def _trimmed(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return value.strip() if value.__class__ is str else ""


def _check_compile(content: dict[str, Any]) -> None:
    """What tells a partial evaluator about a rule. There is none here, but what is no reference is an error."""
    unknowns = content.get("unknowns")
    for text in unknowns if unknowns.__class__ is list else ():
        if text.__class__ is str and reference(text) is None:
            raise ContentError(f"invalid unknowns element {dumps(text)}: it is not a reference")
    rule = content.get("mask_rule")
    if rule.__class__ is str:
        try:
            term = parser.parse_term(rule)
        except PolicyError as error:
            raise ContentError(f"invalid mask_rule annotation {dumps(rule)}: {error.message}") from None
        if not isinstance(term, Var | Ref) and not (isinstance(term, Scalar) and isinstance(term.value, str)):
            raise ContentError(f"invalid mask_rule annotation type {dumps(rule)}: string")


def _schemas_of(item: dict[str, Any]) -> Iterator[SchemaOf]:
    # OPA keeps one member of an entry that has several, now this one and now that.
    for name, schema in item.items() or [("", None)]:
        document = reference(name)
        if document is None:
            raise ContentError("invalid document reference")
        if isinstance(schema, dict):
            yield SchemaOf(document, schema)
        elif isinstance(schema, str):
            named = schema_name(schema)
            if named is None:
                raise ContentError("invalid schema reference")
            yield SchemaOf(document, named)
        else:
            raise ContentError(f"invalid schema declaration for path {dumps(name)}")


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
