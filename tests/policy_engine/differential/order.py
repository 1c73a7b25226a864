"""Proves that a difference is only about order: in another order of the same program the two agree.

Rego leaves open in which order the statements of a body, the rules of a document and the operands of a call are
evaluated, and what need not be evaluated at all. So whether an evaluation error surfaces before a result makes it
unnecessary is open, too, and so is which of two equal values of a rule, `1` and `1.0`, is the first one. `proof` writes
the program in other ways that mean the same (`rewritten`), until one of the two sides says about it what the other side
says about the original. If none does, nothing is explained.

These are rewritten, each at random: the order of statements, rules and modules, of operands of `and`, `or` and `==`;
calls inside of a statement become statements of their own, and so have a place in that order, and so do operands of
`and` that bind nothing; a constant that a rule gives becomes a variable, so that the search for solutions does not end
early, and terms taken out of a statement are evaluated to their end before it; a statement that may select rules by an
index gets a `with` that replaces nothing, which no index looks at, and under which OPA has forgotten what a function
gave for 1 when it is called with 1.0.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from policy_engine.builtins import TABLE
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.builder import is_infix
from policy_engine.syntax.nodes import Body, Expr, Module, Node, Rule, Term
from policy_engine.syntax.parser import parse_module
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import transform, walk
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import Difference, Engine, Opa, generated_with
from tests.policy_engine.differential.program import Program

ATTEMPTS: Final = 100
"""Programs that are tried for one proof; each is asked of both sides."""

_CLOSURES: Final = (nodes.ArrayComprehension, nodes.SetComprehension, nodes.ObjectComprehension)
INDEXES: Final = (6, 2, 10**9)
"""An index as usual, wherever there can be one, and nowhere."""

_TRUE: Final = Expr(nodes.Scalar(True))


def proof(program: Program, difference: Difference, oracle: Oracle, attempts: int = ATTEMPTS) -> Program | None:
    """A program that means the same as `program` and on which one side says what the other says about `program`."""
    if not difference.about_order:
        return None
    path, strict = difference.path, difference.strict
    modules = {name: parse_module(source, name) for name, source in program.modules.items()}
    for number in range(attempts):
        with generated_with(fewest=INDEXES[number % 3]):
            variant = program if number < 3 else rewritten(program, modules, random.Random(number))
            engine = Engine(variant)
            first = _parts(program, modules, path, random.Random(number)) if number % 2 else []
            if not engine.codes:
                said = [engine.outcome(strict, path, first)]
                if difference.builds:
                    said += [build[path] for build in engine.builds(strict) if path in build]
                if difference.opa in said and (number or not difference.builds):
                    return variant
        if number and not difference.builds and Opa.outcome(variant, oracle, path, first) == difference.engine:
            return variant
    return None


def _parts(program: Program, modules: dict[str, Module], path: str, rng: random.Random) -> list[str]:
    """The documents that a document is made of or needs, in any order: asked for first, they are evaluated first."""
    needed = _needed(modules, path.split(".")[-1])
    parts = [
        other
        for other in program.paths
        if other != path and (other.startswith(f"{path}.") or path == "data" or other.split(".")[-1] in needed)
    ]
    rng.shuffle(parts)
    return parts


def _needed(modules: dict[str, Module], name: str) -> set[str]:
    """The names that the rules of a name mention, and their rules, and so on."""
    mentions: dict[str, set[str]] = {}
    for module in modules.values():
        for rule in module.rules:
            head = rule.head.ref.head if isinstance(rule.head.ref, nodes.Ref) else rule.head.ref
            if isinstance(head, nodes.Var):
                found = {node.name for node in walk(rule) if isinstance(node, nodes.Var)}
                found |= {str(node.value) for node in walk(rule) if isinstance(node, nodes.Scalar)}
                mentions.setdefault(head.name, set()).update(found)
    needed: set[str] = set()
    new = {name}
    while new:
        needed |= new
        new = set().union(*(mentions.get(item, set()) for item in new)) - needed
    return needed


def rewritten(program: Program, modules: dict[str, Module], rng: random.Random) -> Program:
    """The same program in another order."""
    writer = _Rewriting(rng)
    names = sorted(modules)
    if writer.moved:
        rng.shuffle(names)
    # OPA and this engine go by the names of files, not by the order in which they are given.
    texts = {f"m{number}.rego": writer.module(modules[name]) for number, name in enumerate(names)}
    return dataclasses.replace(program, modules=texts)


class _Rewriting:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.late_values = rng.random() < 0.5
        self.apart = rng.random() < 0.5
        self.late_withs = rng.random() < 0.5
        self.no_index = rng.random() < 0.4
        self.whole = rng.random() < 0.3
        self.shuffled = rng.random() < 0.9
        self.moved = rng.random() < 0.6
        """Rules and modules, too. In another order some programs are refused: what is known of a type depends on it."""
        self.fresh = 0

    def module(self, module: Module) -> str:
        """The text of a module. Comments stay above their statement: policies can ask for what annotations say."""
        above = _comments(module)
        rules = list(module.rules)
        if self.moved:
            self.rng.shuffle(rules)
        blocks = [above[item.loc] + to_text(item) for item in (module.package, *module.imports)]
        blocks += [above[rule.loc] + to_text(self._rule(rule)) for rule in rules]
        return "\n\n".join(blocks) + "\n"

    def _rule(self, rule: Rule) -> Rule:
        changed: Rule = transform(rule, self._inner)
        return rule if rule.default else self._clause(changed)

    def _clause(self, rule: Rule) -> Rule:
        head, body = rule.head, list(rule.body)
        if self.late_values:
            if head.key is not None:
                head = dataclasses.replace(head, key=self._late(head.key, body))
            else:
                value = head.value if head.value is not None else nodes.Scalar(True)
                head = dataclasses.replace(head, value=self._late(value, body), assign=True)
            if isinstance(head.ref, nodes.Ref):
                path = tuple(
                    [step if isinstance(step, nodes.Scalar) else self._late(step, body) for step in head.ref.path]
                )
                head = dataclasses.replace(head, ref=dataclasses.replace(head.ref, path=path))
        other = self._clause(rule.else_) if rule.else_ is not None else None
        return dataclasses.replace(rule, head=head, body=self._body(tuple(body)), else_=other)

    def _late(self, term: Term, body: list[Expr]) -> Term:
        """A variable for a part of the head, bound by a statement of the body."""
        if _has_wildcard(term) and not isinstance(term, nodes.Ref | nodes.Call):
            return term
        name = self._new()
        body.append(Expr(nodes.Call(nodes.Var("assign"), (name, term), infix=True)))
        return name

    def _inner(self, node: Node) -> Node:
        """Bodies inside of terms and statements."""
        match node:
            case nodes.Set() if self.shuffled:
                return dataclasses.replace(node, items=tuple(self.rng.sample(node.items, len(node.items))))
            case nodes.Call() if self.shuffled and is_infix(node, "eq", "equal", "neq"):
                return dataclasses.replace(node, args=tuple(self.rng.sample(node.args, 2)))
            case nodes.ArrayComprehension() | nodes.SetComprehension() if self.late_values:
                body = list(node.body)
                term = self._late(node.term, body)
                return dataclasses.replace(node, term=term, body=self._body(tuple(body)))
            case nodes.ArrayComprehension() | nodes.SetComprehension() | nodes.ObjectComprehension() | nodes.Every():
                return dataclasses.replace(node, body=self._body(node.body))
            case nodes.Negation():
                return dataclasses.replace(node, body=self._operand(node.body))
            case nodes.Conjunction() | nodes.Disjunction():
                operands = [self._operand(item) for item in node.operands]
                if self.shuffled:
                    self.rng.shuffle(operands)
                return dataclasses.replace(node, operands=tuple(operands))
        return node

    def _operand(self, operand: Body | Expr) -> Body | Expr:
        """An operand of `not`, `and` or `or`; one without braces becomes a body if there is more than it in it."""
        if isinstance(operand, tuple):
            return self._body(operand)
        body = self._body((operand,))
        return body if len(body) > 1 else operand

    def _body(self, body: Body) -> Body:
        flat = [part for expr in body for part in (_conjuncts(expr) if self.apart else (expr,))]
        statements = [part for expr in flat for part in self._parts(expr)]
        return tuple(self._ordered(statements) if self.shuffled else statements)

    def _parts(self, expr: Expr) -> Iterator[Expr]:
        """The statement, with the calls inside of it before it if that is to be."""
        what = expr.what
        if self.no_index and not expr.withs and isinstance(what, nodes.Call | nodes.Ref):
            target = nodes.Ref(nodes.Var("data"), (nodes.Scalar("nowhere"),))
            expr = dataclasses.replace(expr, withs=(nodes.With(target, nodes.Scalar(1)),))
        if not self.apart:
            yield expr
            return
        before: list[Expr] = []
        withs = tuple([self._with(item, before) for item in expr.withs])
        what = self._negated(what, withs, before) if expr.negated else self._taken_apart(what, withs, before)
        yield from before
        yield dataclasses.replace(expr, what=what, withs=withs)

    def _with(self, item: nodes.With, before: list[Expr]) -> nodes.With:
        """With a variable for the value, unless that may be a function's name."""
        if isinstance(item.value, nodes.Ref | nodes.Var) and not (self.late_withs and _is_document(item.value)):
            return item
        if isinstance(item.value, nodes.Var):
            name = self._new()
            before.append(Expr(nodes.Call(nodes.Var("assign"), (name, item.value), infix=True)))
            return dataclasses.replace(item, value=name)
        return dataclasses.replace(item, value=self._named(item.value, (), before))

    def _negated(self, what: Any, withs: tuple[nodes.With, ...], before: list[Expr]) -> Any:
        """Move the terms that are evaluated outside a negation: operands, but no plain references in equalities."""
        if not isinstance(what, nodes.Call):
            return what
        equality = is_infix(what, "eq", "equal")
        named = [
            self._named(arg, withs, before)
            if isinstance(arg, (nodes.Call, *_CLOSURES) if equality else (nodes.Call, nodes.Ref, *_CLOSURES))
            and not _has_wildcard(arg)
            else arg
            for arg in what.args
        ]
        return dataclasses.replace(what, args=tuple(named))

    def _taken_apart(self, what: Any, withs: tuple[nodes.With, ...], before: list[Expr]) -> Any:
        match what:
            case nodes.Every():
                return dataclasses.replace(what, domain=self._named(what.domain, withs, before))
            case nodes.SomeIn():
                return dataclasses.replace(what, collection=self._named(what.collection, withs, before))
            case nodes.Call() if is_infix(what, "assign", "eq"):
                return dataclasses.replace(what, args=tuple([self._side(side, withs, before) for side in what.args]))
            case nodes.Ref():
                return self._flat(what, withs, before)
            case nodes.Call() if what.operator != nodes.Var("print"):  # it prints undefined operands, too
                for arg in what.args:
                    before.extend(self._to_the_end(arg, withs) if isinstance(arg, nodes.Var) else ())
                return dataclasses.replace(what, args=tuple([self._named(arg, withs, before) for arg in what.args]))
        return what

    def _side(self, term: Term, withs: tuple[nodes.With, ...], before: list[Expr]) -> Term:
        """A side of `=`: a comprehension need not be evaluated if the other side has a value of another type."""
        if isinstance(term, _CLOSURES):
            return self._named(term, withs, before)
        return self._flat(term, withs, before)

    def _named(self, term: Term, withs: tuple[nodes.With, ...], before: list[Expr]) -> Term:
        """A variable for a term that is evaluated, and before it a statement that binds it; other terms as they are."""
        if isinstance(term, nodes.Scalar | nodes.Var) or _binds(term):
            return term
        term = self._flat(term, withs, before)
        if isinstance(term, nodes.Array | nodes.Set | nodes.Object):  # perhaps a pattern: to the right nothing is bound
            return term
        name = self._new()
        before.extend(self._to_the_end(term, withs))
        before.append(Expr(nodes.Call(nodes.Var("assign"), (name, term), infix=True), withs=withs))
        return name

    def _to_the_end(self, term: Term, withs: tuple[nodes.With, ...]) -> Iterator[Expr]:
        """A statement that looks for all values of a rule's document, and so finds a conflict in any case."""
        if self.whole and isinstance(term, nodes.Ref | nodes.Call | nodes.Var):
            found = nodes.ArrayComprehension(nodes.Scalar(1), (Expr(term, withs=withs),))
            yield Expr(nodes.Call(nodes.Var("assign"), (self._new(), found), infix=True))

    def _flat(self, term: Term, withs: tuple[nodes.With, ...], before: list[Expr]) -> Term:
        """The term with variables for the terms that are evaluated in it."""

        def named(inner: Term) -> Term:
            return self._named(inner, withs, before)

        if _binds(term):
            return term
        match term:
            case nodes.Call() if not _is_relation(term):
                for arg in term.args:
                    before.extend(self._to_the_end(arg, withs) if isinstance(arg, nodes.Var) else ())
                return dataclasses.replace(term, args=tuple(map(named, term.args)))
            case nodes.Array() | nodes.Set():
                return dataclasses.replace(term, items=tuple(map(named, term.items)))
            case nodes.Object():
                return dataclasses.replace(term, pairs=tuple([(named(key), named(value)) for key, value in term.pairs]))
            case nodes.Ref():
                return dataclasses.replace(term, path=tuple(map(named, term.path)))
        return term

    def _ordered(self, statements: list[Expr]) -> Iterator[Expr]:
        """A random order in which variables are declared before they are used, as they are now."""
        declares = [_declared(expr) for expr in statements]
        mentions = [{node.name for node in walk(expr) if isinstance(node, nodes.Var)} for expr in statements]
        left = list(range(len(statements)))
        while left:
            free = [
                number
                for number in left
                if not any(declares[before] & mentions[number] for before in left if before < number)
                and not any(mentions[before] & declares[number] for before in left if before < number)
            ]
            chosen = self.rng.choice(free)
            left.remove(chosen)
            yield statements[chosen]

    def _new(self) -> nodes.Var:
        self.fresh += 1
        return nodes.Var(f"apart{self.fresh}")


def _comments(module: Module) -> defaultdict[Location, str]:
    """The comments at the beginning of lines, by the place of the first statement below them."""
    places = sorted(item.loc for item in (module.package, *module.imports, *module.rules))
    found: defaultdict[Location, str] = defaultdict(str)
    last = 0
    for comment in module.comments:
        below = next((place for place in places if place.row > comment.loc.row), None)
        if below is not None and comment.loc.col == 1:
            gap = "\n" if comment.loc.row != last + 1 else ""  # comments with a gap are not one block
            found[below] += f"{gap}{to_text(comment)}\n"
            last = comment.loc.row
    return found


def _conjuncts(expr: Expr) -> Iterator[Expr]:
    """The operands of `and` as statements of their own: they bind nothing, and are true at most once."""
    what = expr.what
    if expr.negated or expr.withs or not isinstance(what, nodes.Conjunction):
        yield expr
        return
    kept: list[Body | Expr] = []
    for operand in what.operands:
        statements = operand if isinstance(operand, tuple) else (operand,)
        bound = {name for statement in statements if not _is_test(statement) for name in _names(statement)}
        rest = tuple([statement for statement in statements if not _is_test(statement) or bound & _names(statement)])
        yield from (statement for statement in statements if statement not in rest)
        if rest:
            kept.append(rest if isinstance(operand, tuple) else operand)
    if len(kept) > 1:
        yield dataclasses.replace(expr, what=dataclasses.replace(what, operands=tuple(kept)))
    elif kept:
        yield dataclasses.replace(expr, what=dataclasses.replace(what, operands=(kept[0], _TRUE)))


def _names(expr: Expr) -> set[str]:
    return {node.name for node in walk(expr) if isinstance(node, nodes.Var)} - {"input", "data"}


def _is_test(expr: Expr) -> bool:
    """True if a statement has all its operands from elsewhere, each with one value at most."""
    what = expr.what
    if expr.withs:
        return False
    if isinstance(what, nodes.Negation | nodes.Conjunction | nodes.Disjunction):
        return True  # their variables are bound nowhere else
    if any(map(_is_many, walk(expr))):
        return False
    if not isinstance(what, nodes.Call):
        return isinstance(what, nodes.Scalar | nodes.Var | nodes.Ref)
    builtin = TABLE.get(to_text(what.operator))
    if what.infix:
        return not is_infix(what, "assign", "eq")
    return builtin is not None and len(what.args) == len(builtin.decl.args)  # one more would be an output


def _is_many(node: Node) -> bool:
    """True if a node may have many values where it stands, or give a variable its value."""
    match node:
        case nodes.Var():
            return node.is_wildcard
        case nodes.Ref():
            return _binds(node)
        case nodes.Call():
            return _is_relation(node)
    return False


def _is_document(term: Term) -> bool:
    """True if a term seems to be a document: `data.a.f` may be a function still.

    If it is, the rewritten program is refused, and proves nothing.
    """
    return not isinstance(term, nodes.Var) or term.name not in TABLE


def _binds(term: Term) -> bool:
    """True if the term may be a pattern, with variables that get their values here."""
    if isinstance(term, nodes.Ref):  # a wildcard that is a step binds nothing that could be seen elsewhere
        return any(not step.is_wildcard if isinstance(step, nodes.Var) else _has_wildcard(step) for step in term.path)
    return _has_wildcard(term)


def _has_wildcard(term: Node) -> bool:
    return any(isinstance(node, nodes.Var) and node.is_wildcard for node in walk(term))


def _is_relation(call: nodes.Call) -> bool:
    builtin = TABLE.get(to_text(call.operator))
    return builtin is not None and builtin.relation


def _declared(expr: Expr) -> set[str]:
    """The variables that a statement declares for the statements after it."""
    what = expr.what
    if isinstance(what, nodes.SomeDecl):
        return {var.name for var in what.symbols}
    found: list[Term] = []
    if isinstance(what, nodes.SomeIn):
        found = [term for term in (what.key, what.value) if term is not None]
    elif isinstance(what, nodes.Call) and is_infix(what, "assign"):
        found = [what.args[0]]
    return {node.name for term in found for node in walk(term) if isinstance(node, nodes.Var)}
