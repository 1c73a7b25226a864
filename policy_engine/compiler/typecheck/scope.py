"""The types of a body's variables, and of terms in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policy_engine.compiler.terms import ROOTS
from policy_engine.compiler.typecheck import algebra
from policy_engine.compiler.typecheck.documents import Documents, along
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.types import ANY, BOOLEAN, NULL, NUMBER, STRING, UNKNOWN, ArrayType, ObjectType, SetType, Type


class TypeScope:
    """The types known in one body. The body of a comprehension has its own scope inside the outer one.

    `types` are those of the variables seen first in this body. `results` holds the types of the comprehensions that
    stand in the expression being checked, by identity.
    """

    __slots__ = ("body", "documents", "outer", "results", "types")

    def __init__(self, body: Body, documents: Documents, outer: TypeScope | None = None) -> None:
        self.body = body
        self.documents = documents
        self.outer = outer
        self.types: dict[str, Type] = {}
        self.results: dict[int, Type] = {}

    def over(self, documents: Documents) -> TypeScope:
        """This scope with other documents; it shares the variables."""
        scope = TypeScope(self.body, documents, self.outer)
        scope.types, scope.results = self.types, self.results
        return scope

    def find(self, name: str) -> Type:
        """The type of a variable."""
        scope: TypeScope | None = self
        while scope is not None:
            found = scope.types.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return UNKNOWN

    def bind(self, name: str, type_: Type) -> None:
        self.types[name] = type_

    def type_of(self, term: Term) -> Type:
        """The type of a term in normal form; comprehensions must have been checked."""
        if type(term) is nodes.Scalar:
            return of_scalar(term.value)
        if type(term) is nodes.Var:
            return self.documents.find(term.name, ()) if term.name in ROOTS else self.find(term.name)
        if type(term) is nodes.Ref and type(term.head) is nodes.Var:
            name = term.head.name
            return self.documents.find(name, term.path) if name in ROOTS else along(self.find(name), term.path)
        match term:
            case nodes.Scalar(value):
                return of_scalar(value)
            case nodes.Array(items):
                return ArrayType(tuple([self.type_of(item) for item in items]), None if items else ANY)
            case nodes.Set(items):
                found = algebra.union(self.type_of(item) for item in items)
                return SetType(ANY if found is UNKNOWN else found)
            case nodes.Object(pairs):
                return self._object(pairs)
            case _:
                return self.results.get(id(term), UNKNOWN)

    def _object(self, pairs: Iterable[tuple[Term, Term]]) -> ObjectType:
        static: dict[object, Type] = {}
        computed: list[tuple[Type, Type]] = []
        for key, value in pairs:
            constant = constant_value(key)
            if constant is not None:
                static[algebra.key_of(constant[0])] = self.type_of(value)
            else:
                computed.append((self.type_of(key), self.type_of(value)))
        rest = computed[0] if computed else None if static else (ANY, ANY)
        if len(computed) > 1:
            keys, values = zip(*computed, strict=True)
            rest = _any_of(keys), _any_of(values)
        return algebra.object_type(list(static.items()), rest)


def _any_of(types: Sequence[Type]) -> Type:
    """The union of types; any type if one of them is unknown."""
    return ANY if UNKNOWN in types else algebra.union(types)


def of_scalar(value: None | bool | str | float) -> Type:
    """The type of a constant."""
    cls = value.__class__
    if cls is str:
        return STRING
    if cls is bool:
        return BOOLEAN
    return NULL if value is None else NUMBER
