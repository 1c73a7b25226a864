"""The schemas of documents: of `input` everywhere, and of other documents where annotations name them.

An annotation applies to a rule, a document, a package, or its subpackages; inner annotations win (OPA:
docs/policy-language, "Schemas"; getRuleAnnotation and override in v1/ast/check.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policy_engine.builtins.json_schema.references import SchemaError
from policy_engine.compiler.annotations import Annotations
from policy_engine.compiler.program import Clause, NormalRule, Program, dotted
from policy_engine.compiler.typecheck import algebra, schemas
from policy_engine.compiler.typecheck.documents import DocumentNode, Documents
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.syntax import metadata_fields, nodes, printer
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.metadata import Annotation
from policy_engine.syntax.nodes import Term
from policy_engine.types import ANY, ObjectType, Type, unfolded
from policy_engine.values import Value, freeze

_INPUT = "schema"
"""The schema of `input` in every rule. Others are named below it (`schema.a.b`) and used by annotations."""


@dataclass(slots=True, eq=False)
class _Declaration:
    """The schema of a document. `name` is the schema's path, None if the schema is written in place."""

    head: str
    path: tuple[Term, ...]
    schema: Value
    name: tuple[object, ...] | None


def read(program: Program, errors: list[PolicyError]) -> None:
    """Stage: check the names of the given schemas and read the schema of `input`.

    Other schemas are read when an annotation names them.
    """
    for text in program.schemas or ():
        if metadata_fields.schema_name(text) is None:
            hint = 'name them "schema", which is the one of input, or "schema.<name>"'
            errors.append(PolicyError(COMPILE_ERROR, f"invalid schema reference: {text}", hint=hint))
    if program.schemas is not None and _INPUT in program.schemas:
        try:
            program.documents.layers[0].put(("input",), schemas.type_of(program.schemas[_INPUT]))
        except SchemaError as error:
            errors.append(PolicyError(TYPE_ERROR, str(error)))


class Schemas:
    """The schemas that annotations declare for rules. Each is read once, when it is used."""

    def __init__(self, program: Program) -> None:
        self._named = None if program.schemas is None else _by_path(program.schemas)
        self._types: dict[int, Type | str] = {}
        """The types of schemas, or the text of their errors, by identity."""
        self._declared: dict[int, list[_Declaration]] = {}
        self._layers: dict[tuple[int, ...], DocumentNode] = {}
        self._annotations = Annotations(program)
        self._annotated = any(item.schemas for item in program.annotations)

    def over(self, documents: Documents, rule: NormalRule, clause: Clause, errors: list[PolicyError]) -> Documents:
        """The documents, with the types that the annotations of a rule declare. An `else` has no annotations."""
        if not self._annotated:
            return documents
        found = [*self._annotations.around(rule.module.package, rule.path)][::-1]
        if clause is rule.clauses[0]:
            found += self._annotations.own(rule.loc)
        declarations = [declaration for item in found for declaration in self._declarations(item)]
        if not declarations:
            return documents
        key = tuple(map(id, declarations))
        if key in self._layers:
            return documents.under(self._layers[key])
        before = len(errors)
        layer = DocumentNode()
        result = documents.under(layer)
        for declaration in declarations:
            text = self._declare(layer, result, declaration)
            if text:
                errors.append(PolicyError(TYPE_ERROR, text, clause.loc))
        if len(errors) == before and all(item.head == "input" for item in declarations):
            self._layers[key] = layer  # documents of rules can have changed for the next rule
        return result

    def _declarations(self, annotation: Annotation) -> list[_Declaration]:
        found = self._declared.get(id(annotation))
        if found is None:
            found = self._declared[id(annotation)] = []
            for item in annotation.schemas:
                head, path = _steps(item.document)
                if isinstance(item.schema, dict):
                    found.append(_Declaration(head, path, item.schema, None))
                elif self._named is not None:  # without given schemas, names are ignored
                    name = _name(item.schema)
                    found.append(_Declaration(head, path, self._named.get(name), name))
        return found

    def _declare(self, layer: DocumentNode, documents: Documents, declaration: _Declaration) -> str:
        """Put a declared type into a layer of documents. Returns the text of an error, or ""."""
        if declaration.name is not None and declaration.name not in (self._named or ()):
            return f"undefined schema: {dotted(declaration.name, _INPUT)}"
        type_ = self._type(declaration.schema)
        if isinstance(type_, str):
            return type_
        path: list[object] = [declaration.head]
        for step in declaration.path:
            constant = constant_value(step)
            if constant is None:
                return f"error getting key from value: {_no_key(step)}"
            path.append(freeze(constant[0]))
        # Packages stay open: other rules can lie beside the declared document.
        leaf = documents.packages(tuple(path)) + 1
        if leaf < len(path):
            type_ = _override(documents.find(declaration.head, declaration.path[: leaf - 1]), path[leaf:], type_)
        layer.put(tuple(path[:leaf]), type_)
        return ""

    def _type(self, schema: Value) -> Type | str:
        found = self._types.get(id(schema))
        if found is None:
            try:
                found = schemas.type_of(schema)
            except SchemaError as error:
                found = str(error)
            self._types[id(schema)] = found
        return found


def _override(whole: Type, keys: list[object], type_: Type) -> Type:
    """A type with another type at a path below it."""
    if not keys:
        return type_
    whole = unfolded(whole)
    if not isinstance(whole, ObjectType):
        whole = ObjectType((), (ANY, ANY))
    key, *below = keys
    properties = dict(whole.static)
    inner = properties.get(key, ObjectType((), whole.dynamic))
    properties[key] = _override(inner, below, type_)
    return algebra.object_type(list(properties.items()), whole.dynamic)


def _by_path(given: Mapping[str, Value]) -> dict[tuple[object, ...], Value]:
    """Schemas by the paths of their names."""
    terms = {text: metadata_fields.schema_name(text) for text in given}
    return {_name(term): given[text] for text, term in terms.items() if term is not None}


def _steps(reference: Term) -> tuple[str, tuple[Term, ...]]:
    """The root and the steps of a reference."""
    head, path = (reference.head, reference.path) if isinstance(reference, nodes.Ref) else (reference, ())
    assert isinstance(head, nodes.Var)
    return head.name, path


def _name(reference: Term) -> tuple[object, ...]:
    """The path of a schema's name; None for a step that is not constant."""
    constants = [constant_value(step) for step in _steps(reference)[1]]
    return tuple([freeze(constant[0]) if constant else constant for constant in constants])


def _no_key(step: Term) -> str:
    """The error text for a step that is not constant."""
    if isinstance(step, nodes.Ref):
        return f"illegal value: {printer.to_text(step)}"
    return f"{step.__class__.__name__.lower()} requires evaluation"
