"""Heads, rules, imports and packages: the other methods that the automaton calls (see builder.py)."""

from __future__ import annotations

from typing import NamedTuple

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.bodies import BodyBuilder, Surroundings
from policy_engine.syntax.builder import DOCUMENTS, Arguments, Part, span
from policy_engine.syntax.lexer import KEYWORDS, Token, fail
from policy_engine.syntax.nodes import (
    Array,
    ArrayComprehension,
    Body,
    Call,
    Expr,
    Head,
    Import,
    Object,
    ObjectComprehension,
    Package,
    Ref,
    Rule,
    Scalar,
    Set,
    SetComprehension,
    Template,
    Term,
    Var,
)
from policy_engine.syntax.printer import to_text

V0 = "Rego v1 has `if` before each body and `contains` in partial sets; `opa fmt --write --v0-v1` converts v0"
MAX_ELSE = 200
IMPORTABLE = ("and", "contains", "every", "if", "in", "not", "or")


class Name:
    """The name of a rule that is being read."""

    __slots__ = ("free", "loc", "parts", "variable")

    def __init__(self, token: Token) -> None:
        self.variable = Var(token.text, loc=token.loc)
        self.parts: list[Term] = []
        self.loc = token.loc
        self.free = False
        """White space follows the name: allowed only in a rule with a body."""

    def add(self, part: Part) -> None:
        self.parts.append(part.term)
        self.loc = span(self, part)

    def ref(self) -> Var | Ref:
        return Ref(self.variable, tuple(self.parts), loc=self.loc) if self.parts else self.variable


class HeadRead(NamedTuple):
    """A head. `free`: because of white space in it, the rule needs a body."""

    head: Head
    loc: Location
    free: bool = False


class Else(NamedTuple):
    """One `else`."""

    value: Term | None
    assign: bool
    body: Body
    loc: Location


class Chain:
    """A rule with its `else` branches; `last` is the latest of them."""

    __slots__ = ("last", "length", "others", "rule")

    def __init__(self, rules: list[Rule]) -> None:
        self.rule, *self.others = rules
        self.last = self.rule
        self.length = 0


class RuleBuilder(BodyBuilder):
    _last_head: Head
    _has_if = True
    """True if the current rule has an `if` before its first body: the other bodies then need none."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.rule_errors: list[PolicyError] = []
        """Errors of rules that can be read, but are no rules of Rego v1: a module of v0 has many."""

    # ---- heads

    def name(self, token: Token) -> Name:
        return Name(token)

    def name_free_field(self, token: Token, field: Token) -> Name:
        name = self.name_more(Name(token), self.field(field))
        name.free = True
        return name

    def name_free_index(self, token: Token, left: Token, term: Term, right: Token) -> Name:
        name = self.name_more(Name(token), self.index(left, term, right))
        name.free = True
        return name

    def name_more(self, name: Name, part: Part) -> Name:
        name.add(part)
        return name

    def parameters_free_none(self, left: Token, right: Token) -> Arguments:
        return self.arguments_none(left, right)

    def parameters_free(self, left: Token, terms: list[Term], right: Token) -> Arguments:
        return self.arguments(left, terms, right)

    def head(self, name: Name) -> HeadRead:
        return self._head(Head(name.ref(), loc=name.loc), name.free)

    def head_value(self, name: Name, assign: Token, value: Term) -> HeadRead:
        head = Head(name.ref(), value=value, assign=assign.kind == "ASSIGN", loc=span(name, value))
        return self._head(head, name.free)

    def head_contains(self, name: Name, _contains: Token, key: Term) -> HeadRead:
        return self._head(Head(name.ref(), key=key, loc=span(name, key)), False)

    def head_function(self, name: Name, arguments: Arguments) -> HeadRead:
        self._check_function(name, arguments)
        head = Head(name.ref(), arguments.terms, loc=span(name, arguments))
        return self._head(head, name.free or self._apart(name, arguments))

    def head_function_value(self, name: Name, arguments: Arguments, assign: Token, value: Term) -> HeadRead:
        self._check_function(name, arguments)
        loc = span(name, value)
        head = Head(name.ref(), arguments.terms, value=value, assign=assign.kind == "ASSIGN", loc=loc)
        return self._head(head, name.free or self._apart(name, arguments))

    def head_function_contains(self, _name: Name, _arguments: Arguments, word: Token, _value: Term) -> HeadRead:
        fail("unexpected `contains`: a function has one value", word.loc, "let it return a set, with `:=`")

    def _head(self, head: Head, free: bool) -> HeadRead:
        self._last_head = head
        return HeadRead(head, head.loc, free)

    def _check_function(self, name: Name, arguments: Arguments) -> None:
        if name.variable.name == "set" and not name.parts and not arguments.terms:
            fail("a rule cannot be named `set`: `set()` is the empty set", name.loc)

    def _apart(self, name: Name, arguments: Arguments) -> bool:
        apart = name.loc[3:5] != arguments.loc[1:3]
        if apart and name.parts:
            fail("unexpected space before `(`: it touches the name of a function", arguments.loc)
        return apart

    # ---- rules

    def fact(self, read: HeadRead) -> list[Rule]:
        """A head alone, which OPA reads as an expression that can be a rule."""
        head = read.head
        if read.free:
            fail("unexpected space behind the name of a rule: a `[` or `(` touches it", head.loc)
        if head.key is None and head.value is None:
            name = to_text(head.ref)
            if head.args is None:
                if member := _with_contains(head):
                    self._no_rule(f"`contains` is missing: `{member}`", head.loc, V0)
                else:
                    hint = "`name := value`, `name if condition` or `name contains member`"
                    self._no_rule(f"rule `{name}` has neither a value nor a body", head.loc, hint)
            elif not head.args:
                fail(
                    f"`{name}()` is no rule: a function has parameters and a value, a rule has no parentheses", head.loc
                )
        return [Rule(head, loc=head.loc)]

    def default(self, word: Token, read: HeadRead) -> Rule:
        head, loc = read.head, span(word, read)
        if head.key is not None or (head.value is None and element(head) is not None):
            fail("a default needs a value", loc, "`default name := constant`")
        if head.value is not None:
            self._check_constant(head.value)
        seen = set()
        for arg in head.args or ():
            if not isinstance(arg, Var) or arg.name in DOCUMENTS:
                fail(f"a default function takes variables, found `{to_text(arg)}`", arg.loc, "use a variable, or `_`")
            if arg.name in seen:
                fail(f"a default function cannot take `{arg.name}` twice", arg.loc)
            seen.add(arg.name)
        return Rule(head, default=True, loc=loc)

    def _check_constant(self, term: Term) -> None:
        """Refuse variables in a default value, except inside of comprehensions."""
        inner: tuple[Term, ...] = ()
        if isinstance(term, Var | Ref | Call):
            fail(
                f"a default is a constant, found `{to_text(term)}`",
                term.loc,
                "what is computed goes into a rule or an `else`",
            )
        elif isinstance(term, Array | Set):
            inner = term.items
        elif isinstance(term, Object):
            inner = tuple(item for pair in term.pairs for item in pair)
        elif isinstance(term, Template):
            inner = tuple(part.what for part in term.parts if isinstance(part, Expr))  # type: ignore[misc]
        for item in inner:
            self._check_constant(item)

    def rule(self, read: HeadRead, _if: Token, body: tuple[Body, Location]) -> list[Rule]:
        head = read.head
        self._has_if = True
        file, row, col, _, _ = head.loc
        return [Rule(head, body[0], loc=Location(file, row, col, body[1].end_row, body[1].end_col))]

    def body(self, left: Token, literals: list[Expr], right: Token) -> tuple[Body, Location]:
        return tuple(literals), span(left, right)

    def body_literal(self, literal: Expr) -> tuple[Body, Location]:
        return (literal,), literal.loc

    def again(self, left: Token) -> HeadRead:
        """`p if {…} {…}`: the second body has the same head. The head's wildcards are numbered before the body's."""
        head = self._last_head
        again = Head(head.ref, self._fresh(head.args), head.key, head.value, assign=head.assign, loc=head.loc)
        return HeadRead(again, left.loc)

    def rule_again(self, rules: list[Rule], again: HeadRead, literals: list[Expr], right: Token) -> list[Rule]:
        if not self._has_if:
            self._no_if(again.loc)
        rules.append(Rule(again.head, tuple(literals), loc=span(again, right)))
        return rules

    def _fresh(self, args: tuple[Term, ...] | None) -> tuple[Term, ...] | None:
        """The arguments of a head that is used again: each `_` in them is another variable."""
        if args is None:
            return None
        return tuple(
            Var(self.wildcard(), loc=arg.loc) if isinstance(arg, Var) and arg.is_wildcard else arg for arg in args
        )

    def otherwise(self, before: list[Rule] | Chain, part: Else) -> Chain:
        """Append an `else` to a rule, or to the last `else` of its chain."""
        chain = before if isinstance(before, Chain) else Chain(before)
        rule, last = chain.rule, chain.last
        if chain.others:
            fail("unexpected `else`: it cannot follow a second body", part.loc)
        if last is not rule and not last.body:
            fail("unexpected `else`: the one before it has no `if` and always holds", part.loc)
        head = rule.head
        if head.key is not None:
            fail("unexpected `else`: a rule with several members has no other branch", part.loc)
        if isinstance(head.ref, Ref):
            self._check_ground(head.ref, head, part)
        chain.length += 1
        if chain.length > MAX_ELSE:
            fail("too many `else` branches", part.loc, f"a rule may have {MAX_ELSE}; use several rules or an object")
        again = Head(head.ref, self._fresh(head.args), value=part.value, assign=part.assign, loc=part.loc)
        last.else_ = chain.last = Rule(again, part.body, loc=part.loc)
        rule.loc = span(rule, part)
        return chain

    def _check_ground(self, ref: Ref, head: Head, part: Else) -> None:
        """OPA allows `else` behind `p[1]` and `p.q[input.x]`, but not behind `p[x]` and `p[input.x]`."""
        if not all(map(is_ground, ref.path)):
            fail("unexpected `else`: the name of the rule contains a variable", part.loc)
        key = ref.path[0]
        is_ref = isinstance(key, Ref) or (isinstance(key, Var) and key.name in DOCUMENTS)
        if len(ref.path) == 1 and is_ref and head.args is None:
            fail("unexpected `else`: a rule with several members has no other branch", part.loc)

    def else_(self, word: Token, _if: Token, body: tuple[Body, Location]) -> Else:
        return Else(None, False, body[0], self._until(word, body[1]))

    def else_value(self, word: Token, assign: Token, value: Term) -> Else:
        return Else(value, assign.kind == "ASSIGN", (), span(word, value))

    def else_value_if(self, word: Token, assign: Token, value: Term, _if: Token, body: tuple[Body, Location]) -> Else:
        return Else(value, assign.kind == "ASSIGN", body[0], self._until(word, body[1]))

    def _until(self, word: Token, end: Location) -> Location:
        return Location(word.loc.file, word.loc.row, word.loc.col, end.end_row, end.end_col)

    # ---- version 0

    def rule_without_if(self, read: HeadRead, _left: Token, body: list[Expr], right: Token) -> list[Rule]:
        head = read.head
        self._has_if = False
        key = element(head)
        if head.key is None and head.value is None and key is not None:
            self._no_rule(f"`contains` and `if` are missing: `{_with_contains(head)} if {{ … }}`", head.loc, V0)
            head = Head(head.ref, key=key, loc=head.loc)  # as such it can have no `else`
        else:
            self._no_if(head.loc, f": `{to_text(head)} if {{ … }}`")
        return [Rule(head, tuple(body), loc=span(read, right))]

    def else_without_if(self, word: Token, _left: Token, body: list[Expr], right: Token) -> Else:
        self._no_if(word.loc)
        return Else(None, False, tuple(body), span(word, right))

    def else_value_without_if(
        self, word: Token, assign: Token, value: Term, _left: Token, body: list[Expr], right: Token
    ) -> Else:
        self._no_if(word.loc)
        return Else(value, assign.kind == "ASSIGN", tuple(body), span(word, right))

    def _no_if(self, loc: Location, example: str = "") -> None:
        self._no_rule(f"`if` is missing before the body{example}", loc, V0)

    def _no_rule(self, message: str, loc: Location, hint: str = "") -> None:
        if self.rule_errors and hint == V0:
            hint = ""  # the first error has it
        self.rule_errors.append(PolicyError(PARSE_ERROR, message, loc, hint=hint))

    # ---- packages and imports

    def package(self, word: Token, name: Token, path: list[Part]) -> Package:
        return Package((name.text, *self._strings(path)), loc=span(word, path[-1] if path else name))

    def _strings(self, path: list[Part]) -> list[str]:
        strings = []
        for part in path:
            if not (isinstance(part.term, Scalar) and isinstance(part.term.value, str)):
                fail(
                    f"a path consists of names, found `{to_text(part.term)}`",
                    part.term.loc,
                    'other names are `["odd-name"]`',
                )
            strings.append(part.term.value)
        return strings

    def import_(self, word: Token, name: Token, path: list[Part]) -> Import:
        imported = self._import(word, name, path, None, path[-1].loc if path else name.loc)
        last = path[-1].term.value if path else name.text  # type: ignore[union-attr]
        if last in KEYWORDS and name.text != "future":
            fail(
                f"an import cannot be named `{last}`, which is a keyword",
                imported.path.loc,
                "add `as` and another name",
            )
        return imported

    def import_as(self, word: Token, name: Token, path: list[Part], _as: Token, alias: Token) -> Import:
        if alias.text in DOCUMENTS:
            fail(f"an import cannot be named `{alias.text}`: that document would be hidden", alias.loc)
        return self._import(word, name, path, alias.text, alias.loc)

    def _import(self, word: Token, name: Token, path: list[Part], alias: str | None, end: Location) -> Import:
        strings = self._strings(path)
        loc = span(name, path[-1] if path else name)
        variable = Var(name.text, loc=name.loc)
        target = Ref(variable, tuple(part.term for part in path), loc=loc) if path else variable
        if name.text == "future":
            self._check_future(strings, path, alias, loc)
        elif name.text == "rego":
            self._check_rego(strings, path, alias, loc)
        elif name.text not in ("data", "input"):
            fail(f"an import begins with `data` or `input`: `import data.{'.'.join([name.text, *strings])}`", loc)
        return Import(target, alias, loc=self._until(word, end))

    def _check_future(self, strings: list[str], path: list[Part], alias: str | None, loc: Location) -> None:
        if strings[:1] != ["keywords"]:
            fail("the only import of this kind is `future.keywords`", loc)
        if alias is not None:
            fail("an import of `future.keywords` has no alias", loc)
        if len(strings) > 2 or (len(strings) == 2 and strings[1] not in IMPORTABLE):
            fail(f"`future.keywords` has only {', '.join(IMPORTABLE)}", loc)
        if not _is_dotted(path):
            fail("an import of keywords is written with points, `future.keywords.x`", loc)

    def _check_rego(self, strings: list[str], path: list[Part], alias: str | None, loc: Location) -> None:
        if strings not in (["v1"], ["v2"]):
            fail("the only imports of this kind are `rego.v1` and `rego.v2`", loc, "Rego v1 needs no import at all")
        if strings == ["v2"] and alias is not None:
            fail("an import of `rego.v2` has no alias", loc)
        if strings == ["v2"] and not _is_dotted(path):
            fail("an import of keywords is written with points, `rego.v2`", loc)


def _is_dotted(path: list[Part]) -> bool:
    """True if each part is a `.name`: the lexer recognises only those as imports that make words keywords."""
    return not any(
        part.loc.col == part.term.loc.col
        or part.term.raw  # type: ignore[union-attr]
        or part.loc.end_col != part.term.loc.end_col
        for part in path
    )


def element(head: Head) -> Term | None:
    """The `x` of `p[x]` and `p.x`, which without a value was an element of a partial set in version 0."""
    return head.ref.path[0] if head.args is None and isinstance(head.ref, Ref) and len(head.ref.path) == 1 else None


def _with_contains(head: Head) -> str:
    """`p[x]` as `p contains x`; "" for what is no element."""
    key = element(head)
    return f"{to_text(head.ref.head)} contains {to_text(key)}" if isinstance(head.ref, Ref) and key is not None else ""


def is_ground(term: Term) -> bool:
    """True if the term has a value before any variable is bound. (Only the path of a reference counts.)"""
    pending = [term]
    while pending:
        term = pending.pop()
        if isinstance(term, Var):
            if term.name not in DOCUMENTS:
                return False
        elif isinstance(term, ArrayComprehension | SetComprehension | ObjectComprehension):
            return False
        elif isinstance(term, Ref):
            pending.extend(term.path)
        elif isinstance(term, Array | Set):
            pending.extend(term.items)
        elif isinstance(term, Object):
            pending.extend(item for pair in term.pairs for item in pair)
        elif isinstance(term, Call):
            pending.extend(term.args)
    return True
