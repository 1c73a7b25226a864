"""The static type checker (OPA: v1/ast/check.go).

algebra.py     unions, and the types of parts of values
unify.py       which types fit each other, and what a pattern learns from a type
documents.py   the types of documents below `data`, and of `input`
scope.py       the types of a body's variables; the type of a term
references.py  whether a reference can have a value
bodies.py      the expressions of a body: calls, equalities, comprehensions, `with`
rules.py       the stage: rules in the order of their dependencies
messages.py    types and errors as text
schemas.py     JSON Schemas as types
annotated.py   the schemas in annotations
type_budget.py the work limit of type checking
"""
