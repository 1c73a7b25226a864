"""JSON Schema documents as objects that can be validated against: drafts 4, 6 and 7, and a mixture of them.

Without a `$schema` that names one of the three, keywords of all of them count, as in OPA; so do keywords beside `$ref`
not. `references` finds the targets of references. Error texts are those of OPA's gojsonschema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NoReturn

from policy_engine.builtins import regex
from policy_engine.builtins.json_schema.literals import canonical, decimal
from policy_engine.builtins.json_schema.references import References, check_uri, fail
from policy_engine.values import Value

Json = dict[str, Value]

MAX_DEPTH: Final = 64
"""Of schemas in schemas; the validator counts the same."""

_DRAFT_URLS: Final = {f"http://json-schema.org/draft-0{draft}/schema": draft for draft in (4, 6, 7)}
_MIXED: Final = 99
_TYPES: Final = ("array", "boolean", "integer", "number", "null", "object", "string")
_SCHEMA, _SCHEMAS, _STRINGS = "Valid Schema", "Array Of Schemas", "string/Array Of Strings"


@dataclass(slots=True)
class Schema:
    """A schema, compiled. The limit of a keyword that the schema does not have is None or empty.

    `verdict` is all of a boolean schema, `target` all of a reference; `reference` is its text.
    """

    verdict: bool | None = None
    target: Schema | None = None
    reference: str = ""
    types: list[str] = field(default_factory=list)
    properties: dict[str, Schema] = field(default_factory=dict)
    pattern_properties: dict[str, Schema] = field(default_factory=dict)
    additional_properties: Schema | bool | None = None
    property_names: Schema | None = None
    dependencies: dict[str, list[str] | Schema] = field(default_factory=dict)
    each_item: Schema | None = None
    first_items: list[Schema] = field(default_factory=list)
    additional_items: Schema | bool | None = None
    contains: Schema | None = None
    unique_items: bool = False
    required: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """By keyword: minLength, maxLength, minItems, maxItems, minProperties, maxProperties."""
    bounds: dict[str, Decimal] = field(default_factory=dict)
    """By keyword: multipleOf, maximum, exclusiveMaximum, minimum, exclusiveMinimum; never one with its exclusive."""
    pattern: str | None = None
    format: str = ""
    const: str | None = None
    enum: dict[str, None] | None = None
    one_of: list[Schema] = field(default_factory=list)
    any_of: list[Schema] = field(default_factory=list)
    all_of: list[Schema] = field(default_factory=list)
    negated: Schema | None = None
    condition: Schema | None = None
    consequence: Schema | None = None
    alternative: Schema | None = None


def compile_schema(document: Value, charge: Callable[[int], None], *, validates: bool = True) -> Schema:
    """`document` is JSON that nothing else holds parts of: its objects are told apart by identity.

    Unless it `validates` values, a `pattern` of it may be any text: many schemas have patterns of JavaScript.
    """
    return _Compiler(document, charge, validates).root()


def _invalid(expected: str, keyword: str) -> NoReturn:
    fail(f"Invalid type. Expected: {expected}, given: {keyword}")


def _text(document: Json, keyword: str) -> str | None:
    value = document.get(keyword)
    if keyword in document and value.__class__ is not str:
        _invalid("string", keyword)
    return value


def _list(document: Json, keyword: str) -> list[Value]:
    value = document.get(keyword, [])
    if value.__class__ is not list:
        fail(f"{keyword} must be of an array")
    return value


class _Compiler:
    """One document. Schemas that references lead to are compiled once, by the reference, so they may contain it."""

    def __init__(self, document: Value, charge: Callable[[int], None], validates: bool) -> None:
        self.document = document
        self.charge = charge
        self.validates = validates
        self.draft = _draft(document)
        self.places = References(document, charge)
        self.references: dict[str, Schema] = {}
        self.depth = 0

    def root(self) -> Schema:
        schema = self.schema(self.document)
        self.check_reference_chains()
        return schema

    def check_reference_chains(self) -> None:
        for reference, schema in self.references.items():
            seen = set()
            while schema.target is not None:
                if id(schema) in seen:
                    fail(f"Reference {reference or '#'} leads to itself")
                seen.add(id(schema))
                schema = schema.target

    def schema(self, document: Value) -> Schema:
        if document.__class__ is bool and self.draft >= 6:
            return Schema(verdict=document)
        if document.__class__ is not dict:
            fail("Expected: Valid Schema, given: Invalid JSON")
        if self.depth == MAX_DEPTH:
            fail(f"schemas are nested more than {MAX_DEPTH} levels deep")
        self.charge(1)
        self.depth += 1
        schema = Schema()
        self.identity(document)
        self.definitions(document)
        for keyword in ("title", "description"):
            _text(document, keyword)
        reference = _text(document, "$ref")
        if reference is not None:
            schema.target, schema.reference = self.referenced(reference, document), reference
        else:
            for compile_keywords in _KEYWORDS:
                compile_keywords(self, document, schema)
        self.depth -= 1
        return schema

    def child(self, document: Value, message: str) -> Schema:
        """A schema where a wrong type has an own message."""
        if document.__class__ is not dict and document.__class__ is not bool:
            fail(message)
        return self.schema(document)

    def identity(self, document: Json) -> None:
        keyword = "id" if self.draft == 4 or (self.draft == _MIXED and "id" in document) else "$id"
        own = _text(document, keyword)
        if own is not None:
            check_uri(own)

    def definitions(self, document: Json) -> None:
        """They are compiled to be checked; what refers to them compiles its own."""
        definitions = document.get("definitions", {})
        wrong = f"Invalid type. Expected: {_SCHEMAS}, given: definitions"
        if definitions.__class__ is not dict:
            fail(wrong)
        for definition in definitions.values():
            self.child(definition, wrong)

    def referenced(self, reference: str, document: Json) -> Schema:
        target = self.places.resolve(reference, document)
        known = self.references.get(target)
        if known is not None:
            return known
        # Registered before it is filled in, so that it may refer to itself.
        schema = self.references[target] = Schema()
        schema.target = self.child(self.places.find(target), "Valid Schema must be of type object")
        return schema

    def types(self, document: Json, schema: Schema) -> None:
        given = document.get("type", [])
        for name in given if given.__class__ is list else [given]:
            if name.__class__ is not str:
                _invalid("type", _STRINGS)
            if name not in _TYPES:
                known = " ".join(_TYPES)
                fail(f"has a primitive type that is NOT VALID -- given: /{name}/ Expected valid values are:[{known}]")
            if name in schema.types:
                fail(f"{name} type is duplicated")
            schema.types.append(name)

    def object_keywords(self, document: Json, schema: Schema) -> None:
        properties = document.get("properties", {})
        if properties.__class__ is not dict:
            fail("Properties must be of type object")
        schema.properties = {name: self.schema(value) for name, value in properties.items()}
        schema.additional_properties = self.additional(document, "additionalProperties")
        patterns = document.get("patternProperties", {})
        if patterns.__class__ is not dict:
            _invalid(_SCHEMA, "patternProperties")
        for pattern, value in patterns.items():
            if not regex.is_pattern(pattern, self.charge):
                fail(f"Invalid regex pattern '{pattern}'")
            schema.pattern_properties[pattern] = self.schema(value)
        if "propertyNames" in document and self.draft >= 6:
            wrong = f"Invalid type. Expected: {_SCHEMA}, given: patternProperties"
            schema.property_names = self.child(document["propertyNames"], wrong)
        self.dependencies(document, schema)

    def additional(self, document: Json, keyword: str) -> Schema | bool | None:
        value = document.get(keyword)
        if keyword not in document or value.__class__ is bool:
            return value
        return self.child(value, f"Invalid type. Expected: boolean/{_SCHEMA}, given: {keyword}")

    def dependencies(self, document: Json, schema: Schema) -> None:
        dependencies = document.get("dependencies", {})
        if dependencies.__class__ is not dict:
            fail("dependencies must be of type object")
        wrong = "Dependency must be of type Schema Or Array Of Strings"
        for name, value in dependencies.items():
            if value.__class__ is not list:
                schema.dependencies[name] = self.child(value, wrong)
            elif any(other.__class__ is not str for other in value):
                fail(wrong)
            else:
                schema.dependencies[name] = value

    def items(self, document: Json, schema: Schema) -> None:
        wrong = f"Invalid type. Expected: {_SCHEMA}/{_SCHEMAS}, given: items"
        items = document.get("items")
        if items.__class__ is list:
            schema.first_items = [self.child(item, wrong) for item in items]
        elif "items" in document:
            schema.each_item = self.child(items, wrong)
        schema.additional_items = self.additional(document, "additionalItems")

    def bounds(self, document: Json, schema: Schema) -> None:
        if "multipleOf" in document:
            number = decimal(document["multipleOf"])
            if number is None:
                _invalid("Number", "multipleOf")
            if number <= 0:
                fail("multipleOf must be strictly greater than 0")
            schema.bounds["multipleOf"] = number
        for keyword, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if keyword in document:
                number = decimal(document[keyword])
                if number is None:
                    fail(f"{keyword} must be of a Number")
                schema.bounds[keyword] = number
            if exclusive in document:
                self.exclusive_bound(document[exclusive], keyword, exclusive, schema.bounds)

    def exclusive_bound(self, value: Value, keyword: str, exclusive: str, bounds: dict[str, Decimal]) -> None:
        """In draft 4 a boolean that says how the bound is meant, later a bound of its own."""
        if value.__class__ is bool and self.draft in (4, _MIXED):
            if keyword not in bounds:
                fail(f"{exclusive} cannot be used without {keyword}")
            if value:
                bounds[exclusive] = bounds.pop(keyword)
            return
        number = None if self.draft == 4 else decimal(value)
        if number is None:
            _invalid({4: "boolean", _MIXED: "boolean/number"}.get(self.draft, "number"), exclusive)
        bounds[exclusive] = number

    def string_keywords(self, document: Json, schema: Schema) -> None:
        _sizes(document, schema, "minLength", "maxLength")
        schema.pattern = _text(document, "pattern")
        if self.validates and schema.pattern is not None and not regex.is_pattern(schema.pattern, self.charge):
            fail("pattern must be a valid regex")
        schema.format = _text(document, "format") or ""

    def counts(self, document: Json, schema: Schema) -> None:
        _sizes(document, schema, "minProperties", "maxProperties")
        schema.required = _list(document, "required")
        self.charge(len(schema.required))
        if any(name.__class__ is not str for name in schema.required):
            _invalid("string", "required")
        if len({*schema.required}) < len(schema.required):
            fail("required items must be unique")
        _sizes(document, schema, "minItems", "maxItems", ordered=False)
        unique = document.get("uniqueItems", False)
        if unique.__class__ is not bool:
            fail("uniqueItems must be of a boolean")
        schema.unique_items = unique
        if "contains" in document and self.draft >= 6:
            schema.contains = self.schema(document["contains"])

    def values(self, document: Json, schema: Schema) -> None:
        if "const" in document and self.draft >= 6:
            schema.const = canonical(document["const"], self.charge)
        if "enum" in document:
            values = _list(document, "enum")
            schema.enum = {canonical(value, self.charge): None for value in values}
            if len(schema.enum) < len(values):
                fail("enum items must be unique")

    def combinations(self, document: Json, schema: Schema) -> None:
        schema.one_of = [self.schema(value) for value in _list(document, "oneOf")]
        schema.any_of = [self.schema(value) for value in _list(document, "anyOf")]
        schema.all_of = [self.schema(value) for value in _list(document, "allOf")]
        schema.negated = self.part(document, "not")
        if self.draft >= 7:
            schema.condition = self.part(document, "if")
            schema.consequence = self.part(document, "then")
            schema.alternative = self.part(document, "else")

    def part(self, document: Json, keyword: str) -> Schema | None:
        return self.child(document[keyword], f"{keyword} must be of an object") if keyword in document else None


_KEYWORDS: Final = (
    _Compiler.types,
    _Compiler.object_keywords,
    _Compiler.items,
    _Compiler.bounds,
    _Compiler.string_keywords,
    _Compiler.counts,
    _Compiler.values,
    _Compiler.combinations,
)
"""In the order in which the first error is the one that is reported."""


def _draft(document: Value) -> int:
    if document.__class__ is bool:
        return _MIXED
    if document.__class__ is not dict:
        fail("schema is invalid")
    named = document.get("$schema", "")
    if named.__class__ is not str:
        fail("$schema must be of type string")
    check_uri(named)
    return _DRAFT_URLS.get(named.removesuffix("#"), _MIXED)


def _sizes(document: Json, schema: Schema, smallest: str, largest: str, *, ordered: bool = True) -> None:
    for keyword in (smallest, largest):
        value = document.get(keyword, 0)
        if value.__class__ is not int or value.bit_length() > 63:
            fail(f"{keyword} must be of an integer")
        if value < 0:
            fail(f"{keyword} must be greater than or equal to 0")
        if keyword in document:
            schema.sizes[keyword] = value
    if ordered and schema.sizes.get(smallest, 0) > schema.sizes.get(largest, schema.sizes.get(smallest, 0)):
        fail(f"{smallest} cannot be greater than {largest}")
