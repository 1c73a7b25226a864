"""The syntax tree of a Rego module. Words are OPA's (v1/ast/policy.go, v1/ast/term.go).

One tree serves the parser, the printer and the compiler. Nodes are dataclasses; `loc` is metadata and takes
no part in equality. Sequences are tuples: a tree is not changed after it is made, a pass builds a new one.

The parser has done this already:
- `_` is a variable of its own each time: `Var("$0")`, `Var("$1")`, … numbered through the module.
- infix operators, `:=` and `=` are calls of the builtin they stand for (`a + b` is `Call("plus", (a, b), infix=True)`;
  names: assign eq equal neq lt lte gt gte plus minus mul div rem and or internal.member_2 internal.member_3); unary
  minus before a number literal is part of the number, before anything else it is `minus(0, x)`.
- `p if {…} {…}` is two rules; a rule without a body has the body `()`, which is always true.
- `set()` is `Set(())`; string escapes are resolved; a raw string is a `Scalar`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from policy_engine.location import NOWHERE, Location


@dataclass(slots=True)
class Node:
    """The fields that every node has."""

    loc: Location = field(default=NOWHERE, compare=False, repr=False, kw_only=True)


# ---- terms


@dataclass(slots=True)
class Scalar(Node):
    """A constant: None, bool, str, int, float or `values.Number`."""

    value: None | bool | str | int | float
    raw: bool = field(default=False, compare=False, kw_only=True)
    """Written as a raw string (`…`)."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scalar)
            and self.value.__class__ is other.value.__class__
            and repr(self.value) == repr(other.value)
        )


@dataclass(slots=True)
class Var(Node):
    """A variable. Names that start with `$` are wildcards, with `__local` the compiler's own."""

    name: str

    @property
    def is_wildcard(self) -> bool:
        return self.name.startswith("$")


@dataclass(slots=True)
class Ref(Node):
    """A reference: a `head` (a Var, a Call, a collection or a comprehension) and a path, which is never empty.

    `input.a[i]` is `Ref(Var("input"), (Scalar("a"), Var("i")))`. The operator of a call is a dotted name, not a Ref.
    """

    head: Term
    path: tuple[Term, ...]


@dataclass(slots=True)
class Collection(Node):
    """An array, an object or a set."""

    constant: bool = field(default=False, compare=False, repr=False, kw_only=True)
    """It consists of scalars alone: a pass need not look into it, and tests carry large fixtures. Set by the parser;
    False means unknown.
    """


@dataclass(slots=True)
class Array(Collection):
    items: tuple[Term, ...]


@dataclass(slots=True)
class Object(Collection):
    pairs: tuple[tuple[Term, Term], ...]


@dataclass(slots=True)
class Set(Collection):
    """Has the name of the value that it makes (`values.Set`), as each node of a collection has."""

    items: tuple[Term, ...]


@dataclass(slots=True)
class ArrayComprehension(Node):
    """`[term | body]`"""

    term: Term
    body: Body


@dataclass(slots=True)
class SetComprehension(Node):
    """`{term | body}`"""

    term: Term
    body: Body


@dataclass(slots=True)
class ObjectComprehension(Node):
    """`{key: value | body}`"""

    key: Term
    value: Term
    body: Body


@dataclass(slots=True)
class Call(Node):
    """A call. `operator` is the name as written: a Var (`f`), or a Ref of a Var and strings (`io.jwt.decode`).

    As the whole of an expression a call may have one argument more than its function: the output (`plus(1, 2, x)`).
    """

    operator: Var | Ref
    args: tuple[Term, ...]
    infix: bool = field(default=False, compare=False, kw_only=True)


@dataclass(slots=True)
class Template(Node):
    """A template string: its texts (escapes resolved) and expressions, in order."""

    parts: tuple[str | Expr, ...]
    raw: bool = field(default=False, compare=False, kw_only=True)


Term: TypeAlias = (
    Scalar
    | Var
    | Ref
    | Array
    | Object
    | Set
    | ArrayComprehension
    | SetComprehension
    | ObjectComprehension
    | Call
    | Template
)

# ---- bodies


@dataclass(slots=True)
class With(Node):
    """`with target as value`: `target` is a Ref or Var under `input` or `data`, or the name of a function."""

    target: Ref | Var
    value: Term


@dataclass(slots=True)
class SomeDecl(Node):
    """`some x, y`: declares variables."""

    symbols: tuple[Var, ...]


@dataclass(slots=True)
class SomeIn(Node):
    """`some x in xs`, `some k, v in xs`: `key` is None in the first form. Key and value may be any pattern."""

    key: Term | None
    value: Term
    collection: Term


@dataclass(slots=True)
class Every(Node):
    """`every x in xs {…}`, `every k, v in xs {…}`: the body holds for every member of the domain."""

    key: Var | None
    value: Var
    domain: Term
    body: Body


@dataclass(slots=True)
class Negation(Node):
    """`not` of `import future.keywords.not`: the body as a whole has no solution, hoisted parts included.

    An operand of `not`, `and` and `or` is a `Body` if it is written in braces: a scope of its own. Without braces it is
    an `Expr`, and binds no variables.
    """

    body: Body | Expr


@dataclass(slots=True)
class Conjunction(Node):
    """`a and b` (`import future.keywords.and`)."""

    operands: tuple[Body | Expr, ...]


@dataclass(slots=True)
class Disjunction(Node):
    """`a or b` (`import future.keywords.or`)."""

    operands: tuple[Body | Expr, ...]


@dataclass(slots=True)
class Expr(Node):
    """One literal of a body: its content, whether it is negated, and its `with` modifiers.

    `negated` is the classic `not` (operands are hoisted out of it, see the compiler's rewriting stage).
    """

    what: Term | SomeDecl | SomeIn | Every | Negation | Conjunction | Disjunction
    negated: bool = False
    withs: tuple[With, ...] = ()
    flat: bool = field(default=False, compare=False, repr=False, kw_only=True)
    """It contains no bodies, so that a pass need not look for them. The compiler sets it. False means unknown."""


Body: TypeAlias = tuple[Expr, ...]

# ---- rules and modules


@dataclass(slots=True)
class Head(Node):
    """A rule's head.

    `ref` is the name as written, a Var or a Ref of a Var and any terms (`p`, `a.b[x].c`). `args` is None unless the
    rule is a function. `key` is the member of `p contains key`. `value` is None where none is written (true is meant).
    `assign` says that `:=` was written, not `=`.

    | written | ref | args | key | value |
    |---|---|---|---|---|
    | `p := 1` | p | None | None | 1 |
    | `p contains x` | p | None | x | None |
    | `a.b[x] := y` | a.b[x] | None | None | y |
    | `f(x) := y` | f | (x,) | None | y |
    """

    ref: Var | Ref
    args: tuple[Term, ...] | None = None
    key: Term | None = None
    value: Term | None = None
    assign: bool = field(default=False, compare=False, kw_only=True)


@dataclass(slots=True)
class Rule(Node):
    """A rule: when the body has a solution, the head is part of the document. `else_` is tried when it has none.

    The head of an `else_` repeats the rule's ref and args, with a value of its own.
    """

    head: Head
    body: Body = ()
    else_: Rule | None = None
    default: bool = False


@dataclass(slots=True)
class Import(Node):
    """`import path as alias`. `path` starts with data, input, rego or future."""

    path: Ref | Var
    alias: str | None = None


@dataclass(slots=True)
class Package(Node):
    """The namespace of a module's documents: `package a.b["c"]` is `("a", "b", "c")`; `data` is not part of it."""

    path: tuple[str, ...]


@dataclass(slots=True)
class Comment(Node):
    """A comment; `text` is what follows the `#`."""

    text: str


@dataclass(slots=True)
class Module(Node):
    """One source file. `rules` and `imports` are in source order; `comments` too."""

    package: Package
    imports: tuple[Import, ...]
    rules: tuple[Rule, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False)
