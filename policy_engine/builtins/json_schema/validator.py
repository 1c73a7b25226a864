"""Validating JSON against a compiled JSON Schema, with the errors of OPA's gojsonschema in its order.

Every application of a schema to a value is charged, and they nest a limited number of levels: a schema may refer to
itself without ever going deeper into the value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from policy_engine.builtins import regex
from policy_engine.builtins.arithmetic import effort
from policy_engine.builtins.json_schema import formats
from policy_engine.builtins.json_schema.compiler import MAX_DEPTH, Schema
from policy_engine.builtins.json_schema.literals import canonical, decimal, is_integral, is_multiple, shown
from policy_engine.builtins.table import Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Number, Value

Errors = list[dict[str, Value]]

_ROOT: Final = "(Root)"


def validate(schema: Schema, document: Value, ctx: Context, name: str) -> Errors:
    """The errors of the document, none if it is valid. `name` is the builtin's, for error messages."""
    validator = _Validator(ctx, name)
    report = _Report(_ROOT, ctx)
    validator.apply(schema, document, report)
    return report.errors


@dataclass(slots=True)
class _Report:
    """Errors so far at a place in the document, and how close to valid it was.

    The score chooses between alternatives of which none fits: the errors of the closest are reported.
    """

    place: str
    ctx: Context
    errors: Errors = field(default_factory=list)
    score: int = 0

    def fail(self, kind: str, text: str) -> None:
        self.ctx.charge(64 + (len(self.place) + len(text)) // 2)
        self.errors.append({"desc": text, "error": f"{self.place}: {text}", "field": self.place, "type": kind})
        self.score -= 2

    def merge(self, other: _Report) -> None:
        self.errors += other.errors
        self.score += other.score

    def inner(self, step: str) -> str:
        return step if self.place == _ROOT else f"{self.place}.{step}"


class _Validator:
    def __init__(self, ctx: Context, name: str) -> None:
        self.ctx = ctx
        self.name = name
        self.depth = 0

    def result(self, schema: Schema, value: Value, place: str) -> _Report:
        """A report of its own."""
        report = _Report(place, self.ctx)
        self.apply(schema, value, report)
        return report

    def apply(self, schema: Schema, value: Value, report: _Report) -> None:
        """Add to a report."""
        self.ctx.charge(1)
        while schema.target is not None:
            schema = schema.target
        if schema.verdict is not None:
            if not schema.verdict:
                report.fail("false", "False always fails validation")
            return
        if self.depth == MAX_DEPTH:
            raise BuiltinError(f"{self.name}: schemas apply to more than {MAX_DEPTH} levels of each other")
        self.depth += 1
        if value.__class__ is Number:
            self.ctx.charge(effort(value))
        kind, accepted = _kinds(value)
        if schema.types and not accepted.intersection(schema.types):
            expected = schema.types[0] if len(schema.types) == 1 else f"[{','.join(schema.types)}]"
            report.fail("invalid_type", f"Invalid type. Expected: {expected}, given: {kind}")
        else:
            self.combinations(schema, value, report)
            if value.__class__ is dict:
                self.object(schema, value, report)
            elif value.__class__ is list:
                self.array(schema, value, report)
            elif "number" in accepted:
                _number(schema, value, report)
            self.literals(schema, value, report)
            if value.__class__ is str:
                self.string(schema, value, report)
            elif value.__class__ is dict:
                for name, inner in schema.properties.items():
                    if name in value:
                        self.into(inner, value[name], report, name)
            report.score += 1
        self.depth -= 1

    def into(self, schema: Schema, value: Value, report: _Report, step: str) -> None:
        """Add to a report what is found one step deeper."""
        report.merge(self.result(schema, value, report.inner(step)))

    def combinations(self, schema: Schema, value: Value, report: _Report) -> None:
        if schema.any_of:
            self.any_of(schema, value, report)
        if schema.one_of:
            self.one_of(schema, value, report)
        if schema.all_of:
            results = [self.result(inner, value, report.place) for inner in schema.all_of]
            for result in results:
                report.merge(result)
            if any(result.errors for result in results):
                report.fail("number_all_of", "Must validate all the schemas (allOf)")
        if schema.negated is not None and not self.result(schema.negated, value, report.place).errors:
            report.fail("number_not", "Must not validate the schema (not)")
        if value.__class__ is dict:
            self.dependencies(schema, value, report)
        if schema.condition is not None:
            self.condition(schema, schema.condition, value, report)
        report.score += 1

    def any_of(self, schema: Schema, value: Value, report: _Report) -> None:
        best: _Report | None = None
        for inner in schema.any_of:
            result = self.result(inner, value, report.place)
            if not result.errors:
                return
            if best is None or result.score > best.score:
                best = result
        report.fail("number_any_of", "Must validate at least one schema (anyOf)")
        if best is not None:
            report.merge(best)

    def one_of(self, schema: Schema, value: Value, report: _Report) -> None:
        results = [self.result(inner, value, report.place) for inner in schema.one_of]
        valid = sum(not result.errors for result in results)
        if valid != 1:
            report.fail("number_one_of", "Must validate one and only one schema (oneOf)")
            if valid == 0:
                report.merge(max(results, key=lambda result: result.score))

    def dependencies(self, schema: Schema, value: dict[str, Value], report: _Report) -> None:
        for name, needed in schema.dependencies.items():
            if name not in value:
                continue
            if isinstance(needed, Schema):
                self.apply(needed, value, report)
                continue
            for other in needed:
                if other not in value:
                    report.fail("missing_dependency", f"Has a dependency on {other}")

    def condition(self, schema: Schema, condition: Schema, value: Value, report: _Report) -> None:
        if not self.result(condition, value, report.place).errors:
            branch, kind, text = schema.consequence, "condition_then", 'Must validate "then" as "if" was valid'
        else:
            branch, kind, text = schema.alternative, "condition_else", 'Must validate "else" as "if" was not valid'
        if branch is not None:
            result = self.result(branch, value, report.place)
            if result.errors:
                report.fail(kind, text)
                report.merge(result)

    def literals(self, schema: Schema, value: Value, report: _Report) -> None:
        """Keywords for values of any type."""
        if schema.const is not None and canonical(value, self.ctx.charge) != schema.const:
            report.fail("const", f"{report.place} does not match: {schema.const}")
        if schema.enum is not None and canonical(value, self.ctx.charge) not in schema.enum:
            report.fail("enum", f"{report.place} must be one of the following: {', '.join(schema.enum)}")
        if schema.format and value.__class__ is str and not formats.matches(schema.format, value, self.ctx.charge):
            report.fail("format", f"Does not match format '{schema.format}'")
        report.score += 1

    def string(self, schema: Schema, value: str, report: _Report) -> None:
        sizes = schema.sizes
        if "minLength" in sizes and len(value) < sizes["minLength"]:
            text = f"String length must be greater than or equal to {sizes['minLength']}"
            report.fail("string_gte", text)
        if "maxLength" in sizes and len(value) > sizes["maxLength"]:
            report.fail("string_lte", f"String length must be less than or equal to {sizes['maxLength']}")
        if schema.pattern is not None and not regex.match_as(self.name, self.ctx, schema.pattern, value):
            report.fail("pattern", f"Does not match pattern '{schema.pattern}'")
        report.score += 1

    def array(self, schema: Schema, values: list[Value], report: _Report) -> None:
        if schema.each_item is not None:
            for index, value in enumerate(values):
                self.into(schema.each_item, value, report, str(index))
        elif schema.first_items:
            for index, (inner, value) in enumerate(zip(schema.first_items, values, strict=False)):
                self.into(inner, value, report, str(index))
            rest = range(len(schema.first_items), len(values))
            if isinstance(schema.additional_items, Schema):
                for index in rest:
                    self.into(schema.additional_items, values[index], report, str(index))
            elif rest and schema.additional_items is False:
                report.fail("array_no_additional_items", "No additional items allowed on array")
        sizes = schema.sizes
        if "minItems" in sizes and len(values) < sizes["minItems"]:
            report.fail("array_min_items", f"Array must have at least {sizes['minItems']} items")
        if "maxItems" in sizes and len(values) > sizes["maxItems"]:
            report.fail("array_max_items", f"Array must have at most {sizes['maxItems']} items")
        if schema.unique_items:
            self.unique(values, report)
        if schema.contains is not None:
            self.contains(schema.contains, values, report)
        report.score += 1

    def unique(self, values: list[Value], report: _Report) -> None:
        seen: dict[str, int] = {}
        for index, value in enumerate(values):
            text = canonical(value, self.ctx.charge)
            if text in seen:
                report.fail("unique", f"array items[{seen[text]},{index}] must be unique")
            seen[text] = index

    def contains(self, schema: Schema, values: list[Value], report: _Report) -> None:
        best: _Report | None = None
        for index, value in enumerate(values):
            result = self.result(schema, value, report.inner(str(index)))
            if not result.errors:
                return
            if best is None or result.score > best.score:
                best = result
        report.fail("contains", "At least one of the items must match")
        if best is not None:
            report.merge(best)

    def object(self, schema: Schema, value: dict[str, Value], report: _Report) -> None:
        """Keywords for objects but `properties`, whose errors come after those of `enum`."""
        sizes = schema.sizes
        if "minProperties" in sizes and len(value) < sizes["minProperties"]:
            report.fail("array_min_properties", f"Must have at least {sizes['minProperties']} properties")
        if "maxProperties" in sizes and len(value) > sizes["maxProperties"]:
            report.fail("array_max_properties", f"Must have at most {sizes['maxProperties']} properties")
        for name in schema.required:
            if name in value:
                report.score += 1
            else:
                report.fail("required", f"{name} is required")
        if schema.pattern_properties or schema.additional_properties is not None:
            for name, inner in value.items():
                self.additional(schema, name, inner, report)
        if schema.property_names is not None:
            for name in value:
                result = self.result(schema.property_names, name, report.place)
                if result.errors:
                    report.fail("invalid_property_name", f'Property name of "{name}" does not match')
                    report.merge(result)
        report.score += 1

    def additional(self, schema: Schema, name: str, value: Value, report: _Report) -> None:
        """One property and the patterns it matches; without one it is additional unless `properties` names it."""
        matched = False
        self.ctx.charge(8 * len(schema.pattern_properties))
        for pattern, inner in schema.pattern_properties.items():
            if regex.match_as(self.name, self.ctx, pattern, name):
                matched = True
                self.into(inner, value, report, name)
        if matched:
            report.score += 1
        elif name not in schema.properties:
            if isinstance(schema.additional_properties, Schema):
                self.into(schema.additional_properties, value, report, name)
            elif schema.additional_properties is False:
                report.fail("additional_property_not_allowed", f"Additional property {name} is not allowed")


def _kinds(value: Value) -> tuple[str, frozenset[str]]:
    """The type as messages name it, and the types that a value of it is accepted as."""
    cls = value.__class__
    if cls is dict or cls is list or cls is str or cls is bool or value is None:
        return _KINDS[cls]
    number = decimal(value)
    integral = number is not None and is_integral(number)
    return ("integer", _INTEGER) if integral else ("number", _NUMBER)


_NUMBER: Final = frozenset({"number"})
_INTEGER: Final = frozenset({"number", "integer"})
_KINDS: Final = {
    cls: (name, frozenset({name}))
    for cls, name in (
        (dict, "object"),
        (list, "array"),
        (str, "string"),
        (bool, "boolean"),
        (type(None), "null"),
    )
}


def _number(schema: Schema, value: Value, report: _Report) -> None:
    number = decimal(value)
    if number is not None:
        for keyword, (kind, text) in _BOUNDS.items():
            limit = schema.bounds.get(keyword)
            if limit is not None and not _within(keyword, number, limit):
                report.fail(kind, f"{text} {shown(limit)}")
    report.score += 1


def _within(keyword: str, number: Decimal, limit: Decimal) -> bool:
    if keyword == "multipleOf":
        return is_multiple(number, limit)
    if keyword == "maximum":
        return number <= limit
    if keyword == "exclusiveMaximum":
        return number < limit
    return number >= limit if keyword == "minimum" else number > limit


_BOUNDS: Final = {
    "multipleOf": ("multiple_of", "Must be a multiple of"),
    "maximum": ("number_lte", "Must be less than or equal to"),
    "exclusiveMaximum": ("number_lt", "Must be less than"),
    "minimum": ("number_gte", "Must be greater than or equal to"),
    "exclusiveMinimum": ("number_gt", "Must be greater than"),
}
