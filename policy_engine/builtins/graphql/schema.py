"""GraphQL schemas put together from definitions and extensions, and checked as gqlparser checks them.

Extensions may extend what is not defined. Which queries a schema allows is decided in `validation`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from policy_engine.builtins.graphql.parser import NULL, Document, GraphQLError, Tree
from policy_engine.builtins.graphql.schema_parser import parse_schema
from policy_engine.values import Charge, literal

_OUTPUT: Final = ("SCALAR", "OBJECT", "INTERFACE", "UNION", "ENUM")
_INPUT: Final = ("SCALAR", "ENUM", "INPUT_OBJECT")
_MERGED: Final = ("Directives", "Interfaces", "Fields", "Types", "EnumValues")

_BUILT_IN: Final = """
scalar Int scalar Float scalar String scalar Boolean scalar ID
directive @include(if: Boolean!) on FIELD | FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @skip(if: Boolean!) on FIELD | FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @defer(if: Boolean = true, label: String) on FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @deprecated(reason: String = "No longer supported")
  on FIELD_DEFINITION | ARGUMENT_DEFINITION | INPUT_FIELD_DEFINITION | ENUM_VALUE
directive @specifiedBy(url: String!) on SCALAR
directive @oneOf on INPUT_OBJECT
type __Schema {
  description: String types: [__Type!]! queryType: __Type! mutationType: __Type subscriptionType: __Type
  directives: [__Directive!]!
}
type __Type {
  kind: __TypeKind! name: String description: String specifiedByURL: String isOneOf: Boolean
  fields(includeDeprecated: Boolean = false): [__Field!] interfaces: [__Type!] possibleTypes: [__Type!]
  enumValues(includeDeprecated: Boolean = false): [__EnumValue!]
  inputFields(includeDeprecated: Boolean = false): [__InputValue!] ofType: __Type
}
type __Field {
  name: String! description: String args(includeDeprecated: Boolean = false): [__InputValue!]! type: __Type!
  isDeprecated: Boolean! deprecationReason: String
}
type __InputValue {
  name: String! description: String type: __Type! defaultValue: String isDeprecated: Boolean! deprecationReason: String
}
type __EnumValue { name: String! description: String isDeprecated: Boolean! deprecationReason: String }
type __Directive {
  name: String! description: String locations: [__DirectiveLocation!]!
  args(includeDeprecated: Boolean = false): [__InputValue!]! isRepeatable: Boolean!
}
enum __TypeKind { SCALAR OBJECT INTERFACE UNION ENUM INPUT_OBJECT LIST NON_NULL }
enum __DirectiveLocation {
  QUERY MUTATION SUBSCRIPTION FIELD FRAGMENT_DEFINITION FRAGMENT_SPREAD INLINE_FRAGMENT VARIABLE_DEFINITION SCHEMA
  SCALAR OBJECT FIELD_DEFINITION ARGUMENT_DEFINITION INTERFACE UNION ENUM ENUM_VALUE INPUT_OBJECT INPUT_FIELD_DEFINITION
}
"""
_STEPS: Final = 4
"""Steps for checking one part of a schema."""

_REDEFINABLE: Final = ("include", "skip", "deprecated", "specifiedBy", "defer", "oneOf")


@dataclass(slots=True)
class Schema:
    """Definitions by name, with their extensions in them; `roots` has the type of each operation there is."""

    types: dict[str, Tree] = field(default_factory=dict)
    directives: dict[str, Tree] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)


@functools.cache
def built_in() -> Tree:
    """What every schema has without defining it."""
    return parse_schema(_BUILT_IN).tree


def load_schema(document: Document, charge: Charge) -> Schema:
    """Raises `GraphQLError` for what is no schema."""
    return _Loader(document, charge).load()


class _Loader:
    def __init__(self, document: Document, charge: Charge) -> None:
        self.document = document
        self.charge = charge
        self.schema = Schema()
        self.origins: dict[int, Tree] = {}

    def load(self) -> Schema:
        tree, types = self.document.tree, self.schema.types
        for definition in (*built_in()["Definitions"], *tree.get("Definitions", [])):
            name = definition.get("Name", "")
            if name in types:
                self.fail(definition, f"Cannot redeclare type {name}.")
            types[name] = definition
        for extension in tree.get("Extensions", []):
            self.extend(extension)
        for directive in (*built_in()["Directives"], *tree.get("Directives", [])):
            name = directive.get("Name", "")
            if name in self.schema.directives and name not in _REDEFINABLE:
                self.fail(directive, f"Cannot redeclare directive {name}.")
            self.schema.directives[name] = directive
        self.find_roots()
        for _, definition in sorted(types.items()):
            self.check_definition(definition)
        for _, directive in sorted(self.schema.directives.items()):
            self.check_name(directive)
            self.check_arguments(directive.get("Arguments", []), directive.get("Name", ""))
        if not tree.get("Schema"):
            for operation in ("query", "mutation", "subscription"):
                if operation.title() in types:
                    self.schema.roots.setdefault(operation, operation.title())
        return self.schema

    def fail(self, node: Tree, text: str) -> NoReturn:
        origin = self.origins.get(id(node), node)
        position = self.document.position(origin)
        where = f"input:{position[0]}:{position[1]}" if position else "input"
        raise GraphQLError(f"Error in gqlparser SchemaDocument to Schema conversion: {where}: {text}")

    def extend(self, extension: Tree) -> None:
        """Replace a definition by one with the extension's parts; its positions stay those of the original."""
        name, kind = extension.get("Name", ""), extension.get("Kind", "")
        base = self.schema.types.get(name, {"Name": name, "Kind": kind})
        if base.get("Kind", "") != kind:
            text = f"Cannot extend type {name} because the base type is a {base.get('Kind', '')}, not {kind}."
            self.fail(extension, text)
        merged = {part: [*base.get(part, []), *extension.get(part, [])] for part in _MERGED}
        self.charge(1 + sum(map(len, merged.values())) // 8)
        made = {**base, **{part: values for part, values in merged.items() if values}}
        self.origins[id(made)] = self.origins.get(id(base), base if name in self.schema.types else extension)
        self.schema.types[name] = made

    def find_roots(self) -> None:
        definitions = self.document.tree.get("Schema", [])
        if len(definitions) > 1:
            text = "Cannot have multiple schema entry points, consider schema extensions instead."
            self.fail(definitions[1], text)
        for definition in (*definitions, *self.document.tree.get("SchemaExtension", [])):
            for root in definition.get("OperationTypes", []):
                operation, name = root.get("Operation", ""), root.get("Type", "")
                if name not in self.schema.types:
                    self.fail(root, f"Schema root {operation} refers to a type {name} that does not exist.")
                self.schema.roots[operation] = name
            self.check_directives(definition.get("Directives", []), "SCHEMA")

    def check_definition(self, definition: Tree) -> None:
        kind, name, fields = definition.get("Kind", ""), definition.get("Name", ""), definition.get("Fields", [])
        location = "INPUT_FIELD_DEFINITION" if kind == "INPUT_OBJECT" else "FIELD_DEFINITION"
        self.charge(_STEPS)
        for one in fields:
            self.charge(_STEPS)
            self.check_name(one)
            self.check_type(one)
            self.check_arguments(one.get("Arguments", []), None)
            self.check_directives(one.get("Directives", []), location)
        members = definition.get("Types", [])
        for member in members:
            if self.kind_of(definition, member) != "OBJECT":
                self.fail(definition, f"{kind} type {literal(member)} must be OBJECT.")
        if twice := _repeated(members):
            self.fail(definition, f"Union type {name} can only include type {twice[0]} once.")
        for interface in definition.get("Interfaces", []):
            self.check_implements(definition, interface)
        self.check_members(definition, kind, name)
        if twice := _repeated([one.get("Name", "") for one in fields]):
            self.fail(fields[twice[1]], f"Field {name}.{twice[0]} can only be defined once.")
        origin = self.origins.get(id(definition), definition)
        if all(origin is not known for known in built_in()["Definitions"]):
            self.check_name(definition)
        self.check_directives(definition.get("Directives", []), kind, repeatable=True)

    def check_members(self, definition: Tree, kind: str, name: str) -> None:
        fields = definition.get("Fields", [])
        if kind in ("OBJECT", "INTERFACE", "INPUT_OBJECT"):
            is_input = kind == "INPUT_OBJECT"
            if not fields:
                self.fail(definition, f"{kind} {name}: must define one or more {'input ' * is_input}fields.")
            allowed = _INPUT if is_input else _OUTPUT
            for one in fields:
                field_kind = self.schema.types[_named(one.get("Type", {}))].get("Kind", "")
                if field_kind not in allowed:
                    what = f"{field_kind} {one.get('Name', '')}" if is_input else f"{kind} {name}"
                    self.fail(one, f"{what}: field must be one of {', '.join(allowed)}.")
        elif kind == "ENUM":
            values = definition.get("EnumValues", [])
            if not values:
                self.fail(definition, f"{kind} {name}: must define one or more unique enum values.")
            names = [value.get("Name", "") for value in values]
            for word in names:
                if word in ("true", "false", "null"):
                    self.fail(definition, f"{kind} {name}: non-enum value {word}.")
            for value in values:
                self.check_directives(value.get("Directives", []), "ENUM_VALUE")
            if twice := _repeated(names):
                self.fail(values[twice[1]], f"Enum value {name}.{twice[0]} can only be defined once.")

    def check_name(self, node: Tree) -> None:
        name = node.get("Name", "")
        if name.startswith("__"):
            reserved = 'must not begin with "__", which is reserved by GraphQL introspection.'
            self.fail(node, f'Name "{name}" {reserved}')

    def check_type(self, node: Tree) -> None:
        type_ = node.get("Type", {})
        name = _named(type_)
        if name not in self.schema.types:
            self.fail(_innermost(type_), f"Undefined type {name}.")

    def kind_of(self, node: Tree, name: str) -> str:
        if name not in self.schema.types:
            self.fail(node, f"Undefined type {literal(name)}.")
        return str(self.schema.types[name].get("Kind", ""))

    def check_arguments(self, arguments: list[Tree], directive: str | None) -> None:
        """`directive` is the name of the one that has the arguments: it may not be used on them."""
        for argument in arguments:
            self.charge(_STEPS)
            self.check_name(argument)
            self.check_type(argument)
            type_ = argument["Type"]
            kind = self.schema.types[_named(type_)].get("Kind", "")
            if kind not in _INPUT:
                text = f"cannot use {_shown(type_)} as argument {argument.get('Name', '')} because"
                self.fail(argument, f"{text} {kind} is not a valid input type")
            self.check_directives(argument.get("Directives", []), "ARGUMENT_DEFINITION", directive)

    def check_directives(
        self, directives: list[Tree], location: str, inside: str | None = None, *, repeatable: bool = False
    ) -> None:
        """`inside` is the directive on whose arguments they are; `repeatable` lets each of them be used again."""
        used: set[str] = set()
        for directive in directives:
            self.charge(_STEPS)
            self.check_name(directive)
            name = directive.get("Name", "")
            if name == inside:
                self.fail(directive, f"Directive {name} cannot refer to itself.")
            if name not in self.schema.directives:
                self.fail(directive, f"Undefined directive {name}.")
            definition = self.schema.directives[name]
            if location not in definition.get("Locations", []):
                self.fail(directive, f"Directive {name} is not applicable on {location}.")
            if name in used and not repeatable and not definition.get("IsRepeatable"):
                self.fail(directive, f"The directive {name} can only be used once at this location.")
            used.add(name)
            self.check_values(directive, definition)

    def check_values(self, directive: Tree, definition: Tree) -> None:
        """That a directive has the arguments it needs, and no others; their types are not looked at."""
        known, given = _by_name(definition.get("Arguments", [])), _by_name(directive.get("Arguments", []))
        name = directive.get("Name", "")
        for argument in given:
            if argument not in known:
                self.fail(given[argument], f"Undefined argument {argument} for directive {name}.")
        for argument, declared in known.items():
            value: Tree = given.get(argument, {}).get("Value") or declared.get("DefaultValue") or {"Kind": NULL}
            if declared.get("Type", {}).get("NonNull") and value.get("Kind") == NULL:
                self.fail(directive, f"Argument {argument} for directive {name} cannot be null.")

    def check_implements(self, definition: Tree, interface: str) -> None:
        kind = self.kind_of(definition, interface)
        if kind != "INTERFACE":
            self.fail(definition, f"{literal(interface)} is a non interface type {kind}.")
        name, base = definition.get("Name", ""), self.schema.types[interface]
        begin = f"For {name} to implement {interface}"
        fields = _by_name(definition.get("Fields", []))
        for required in base.get("Fields", []):
            self.charge(_STEPS)
            field_name, type_ = required.get("Name", ""), required.get("Type", {})
            found = fields.get(field_name)
            if found is None:
                self.fail(definition, f"{begin} it must have a field called {field_name}.")
            if not self.fits(type_, found.get("Type", {})):
                self.fail(found, f"{begin} the field {field_name} must have type {_shown(type_)}.")
            self.check_same_arguments(begin, required, found)
        self.charge(len(fields) + len(base.get("Interfaces", [])) + len(definition.get("Interfaces", [])))
        missing = set(base.get("Interfaces", [])).difference(definition.get("Interfaces", []))
        for above in base.get("Interfaces", []) if missing else ():
            if above in missing:
                if above == name:
                    text = f"Type {name} cannot implement {interface} because it would create a circular reference."
                else:
                    text = f"Type {name} must implement {above} because it is implemented by {interface}."
                self.fail(definition, text)

    def check_same_arguments(self, begin: str, required: Tree, found: Tree) -> None:
        name, arguments = required.get("Name", ""), _by_name(found.get("Arguments", []))
        for argument in required.get("Arguments", []):
            own = arguments.get(argument.get("Name", ""))
            same = f"{begin} the field {name} must have the same arguments but"
            if own is None:
                self.fail(found, f"{same} it is missing {argument.get('Name', '')}.")
            if not _compatible(argument.get("Type", {}), own.get("Type", {})):
                self.fail(own, f"{same} {argument.get('Name', '')} has the wrong type.")
        known = _by_name(required.get("Arguments", []))
        for own in found.get("Arguments", []):
            if own.get("Name", "") not in known and own.get("Type", {}).get("NonNull") and "DefaultValue" not in own:
                more = f"any additional arguments on {name} must be optional or have a default value"
                self.fail(own, f"{begin} {more} but {own.get('Name', '')} is required.")

    def fits(self, required: Tree, actual: Tree) -> bool:
        """Whether a field of the actual type may implement one of the required type."""
        if required.get("NonNull") and not actual.get("NonNull"):
            return False
        if "Elem" in required:
            return "Elem" in actual and self.fits(required["Elem"], actual["Elem"])
        if "Elem" in actual:
            return False
        wanted, name = required.get("NamedType", ""), actual.get("NamedType", "")
        return wanted == name or self.is_possible(wanted, name)

    def is_possible(self, abstract: str, name: str) -> bool:
        """Whether a type is a member of a union or implements an interface."""
        members = self.schema.types.get(abstract, {}).get("Types", [])
        interfaces = self.schema.types.get(name, {}).get("Interfaces", [])
        self.charge((len(members) + len(interfaces)) // 8)
        return name in members or abstract in interfaces


def _named(type_: Tree) -> str:
    return str(_innermost(type_).get("NamedType", ""))


def _innermost(type_: Tree) -> Tree:
    while "Elem" in type_:
        type_ = type_["Elem"]
    return type_


def _shown(type_: Tree) -> str:
    text = f"[{_shown(type_['Elem'])}]" if "Elem" in type_ else type_.get("NamedType", "")
    return f"{text}!" if type_.get("NonNull") else text


def _compatible(required: Tree, actual: Tree) -> bool:
    """Whether what is accepted as the actual type may be given where the required type is."""
    if required.get("NamedType", "") != actual.get("NamedType", ""):
        return False
    if ("Elem" in required) != ("Elem" in actual):
        return False
    if "Elem" in required and not _compatible(required["Elem"], actual["Elem"]):
        return False
    return bool(required.get("NonNull")) or not actual.get("NonNull")


def _repeated(names: list[str]) -> tuple[str, int] | None:
    """The first name that was there before, and where it is again."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name in seen:
            return name, position
        seen.add(name)
    return None


def _by_name(nodes: Iterable[Tree]) -> dict[str, Tree]:
    """The first of each name."""
    found: dict[str, Tree] = {}
    for node in nodes:
        found.setdefault(node.get("Name", ""), node)
    return found
