"""The static type checker (OPA: v1/ast/check.go): refuses what can be seen to be ill-typed without any input.

algebra.py     unions, and what a reference takes out of a type
unify.py       which types fit each other; what that says about variables
documents.py   the types of documents below `data`, and of `input`
scope.py       the types of a body's variables; the type of a term
references.py  whether a reference can have a value
bodies.py      the expressions of a body: calls, equalities, comprehensions, `with`
rules.py       the stage: rules in the order of their dependencies
messages.py    types and errors as text
"""
