"""Text of any node, so that `parse(print(tree)) == tree`.

The text is canonical: it depends on the tree alone, not on the layout of the source. It has no comments. `and`, `or`
and `not` need the imports of the tree's module. Parentheses appear only where the tree would differ without them,
also where the meaning of a `{` or `|` depends on the text behind it (brackets.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from policy_engine.syntax import nodes
from policy_engine.syntax.bodies import member
from policy_engine.syntax.builder import OPERATORS, is_infix
from policy_engine.syntax.nodes import Body, Expr, Node, Term
from policy_engine.values import number_text

SYMBOLS = {name: symbol for symbol, name in OPERATORS.items()}
_BY_LEVEL = (
    ("assign", "eq"),
    ("member",),
    ("equal", "neq", "lt", "lte", "gt", "gte"),
    ("or",),
    ("and",),
    ("plus", "minus"),
    ("mul", "div", "rem"),
)
LEVELS = {name: level for level, names in enumerate(_BY_LEVEL) for name in names}
"""The level at which an operator binds; higher ones bind more tightly. Terms without an operator bind at `UNARY`."""
VALUE, RELATION, UNARY = LEVELS["member"], LEVELS["equal"], len(_BY_LEVEL)
NAME = re.compile(r"[A-Za-z_][A-Za-z_\d]*")
_CONTINUES = ("-", "and(", "or(")
"""At the beginning of a line these continue the line before if they can."""


def to_text(node: Node) -> str:
    """The node as Rego. A module ends with a newline, nothing else does."""
    return _PRINTERS[node.__class__](node)


def body_text(body: Body) -> str:
    """A body on one line."""
    return "; ".join(map(_expr, body))


# ---- terms


def _scalar(node: nodes.Scalar) -> str:
    value = node.value
    if isinstance(value, str):
        return f"`{value}`" if node.raw and "`" not in value else json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return number_text(value)


def _var(node: nodes.Var) -> str:
    return "_" if node.is_wildcard else node.name


def _ref(node: nodes.Ref) -> str:
    return _term(node.head, UNARY) + "".join(map(_step, node.path))


def _step(term: Term) -> str:
    if isinstance(term, nodes.Scalar) and isinstance(term.value, str) and NAME.fullmatch(term.value):
        return "." + term.value
    return f"[{_term(term)}]"


def _items(terms: tuple[Term, ...]) -> str:
    return ", ".join([_item(term) for term in terms])


def _item(term: Term) -> str:
    """A member of a list, in parentheses if its `|` would be read as the bar of a comprehension."""
    operands = member(term)
    if (operands is not None and len(operands) == 3) or _shows_bar(term):
        return f"({_term(term)})"
    return _term(term)


def _shows_bar(term: Term) -> bool:
    """A `|` is visible in the text of the term, outside of brackets."""
    while isinstance(term, nodes.Call) and term.infix:
        if is_infix(term, "or"):
            return True
        if any(_shows_bar(arg) for arg in term.args[1:]):
            return True
        term = term.args[0]
    return False


def _array(node: nodes.Array) -> str:
    return f"[{_items(node.items)}]"


def _set(node: nodes.Set) -> str:
    return f"{{{_items(node.items)}}}" if node.items else "set()"


def _object(node: nodes.Object) -> str:
    return "{" + ", ".join([f"{_item(key)}: {_item(value)}" for key, value in node.pairs]) + "}"


def _array_comprehension(node: nodes.ArrayComprehension) -> str:
    return f"[{_term(node.term, UNARY)} | {body_text(node.body)}]"


def _set_comprehension(node: nodes.SetComprehension) -> str:
    return f"{{{_term(node.term, UNARY)} | {body_text(node.body)}}}"


def _object_comprehension(node: nodes.ObjectComprehension) -> str:
    return f"{{{_item(node.key)}: {_term(node.value, UNARY)} | {body_text(node.body)}}}"


def _call(node: nodes.Call) -> str:
    if not node.infix:
        return f"{to_text(node.operator)}({_items(node.args)})"
    level = _level(node)
    operands = member(node)
    if operands is None:
        left, right = node.args
        symbol = SYMBOLS[node.operator.name]  # type: ignore[union-attr]
        first = level + 1 if level == LEVELS["assign"] else level  # `:=` does not chain
        return f"{_term(left, first)} {symbol} {_term(right, level + 1)}"
    *values, collection = operands
    if len(values) == 2:
        return f"{_term(values[0], level + 1)}, {_term(values[1], level + 1)} in {_term(collection, level + 1)}"
    return f"{_term(values[0], level)} in {_term(collection, level + 1)}"


def _level(term: Term) -> int:
    if not (isinstance(term, nodes.Call) and term.infix):
        return UNARY
    return LEVELS[term.operator.name if isinstance(term.operator, nodes.Var) else "member"]


def _term(term: Term, level: int = 0) -> str:
    """The term, in parentheses if it binds looser than `level`."""
    text = to_text(term)
    return text if _level(term) >= level else f"({text})"


def _template(node: nodes.Template) -> str:
    texts = [part for part in node.parts if isinstance(part, str)]
    # A raw text cannot hold a backtick, nor a backslash that would stand before a {.
    raw = node.raw and not any("`" in text or "\\{" in text or text.endswith("\\") for text in texts)
    written = []
    for part in node.parts:
        if isinstance(part, Expr):
            written.append(f"{{{_expr(part)}}}")
        else:
            text = part if raw else json.dumps(part, ensure_ascii=False)[1:-1]
            written.append(text.replace("{", "\\{"))
    return ("$`" + "".join(written) + "`") if raw else '$"' + "".join(written) + '"'


# ---- bodies


def _expr(node: Expr) -> str:
    text = to_text(node.what)
    if node.negated:
        text = "not " + text
    return " ".join([text, *map(_with, node.withs)])


def _expr_in_braces(node: Expr) -> str:
    """The first expression of a body in braces: `{ a | b }` would be a comprehension, or refused as ambiguous."""
    text = _expr(node)
    what = _first_term(node)
    return f"({to_text(what)}){text[len(to_text(what)) :]}" if what is not None and _shows_bar(what) else text


def _first_term(node: Expr) -> Term | None:
    """The term that the text of the expression begins with, up to `:=`, `=`, `and` or `or`."""
    what = node.what
    while isinstance(what, nodes.Conjunction | nodes.Disjunction):
        operand = what.operands[0]
        if isinstance(operand, tuple) or operand.negated or operand.withs:
            return None
        what = operand.what
    if node.negated or not isinstance(what, nodes.Call):
        return None
    return what.args[0] if is_infix(what, "assign", "eq") else what


def _with(node: nodes.With) -> str:
    return f"with {to_text(node.target)} as {_term(node.value, VALUE)}"


def _some_decl(node: nodes.SomeDecl) -> str:
    return "some " + ", ".join(map(_var, node.symbols))


def _some_in(node: nodes.SomeIn) -> str:
    key = f"{_term(node.key, RELATION)}, " if node.key is not None else ""
    value = _term(node.value, RELATION if key else VALUE)
    return f"some {key}{value} in {_term(node.collection, RELATION)}"


def _every(node: nodes.Every) -> str:
    key = f"{_var(node.key)}, " if node.key is not None else ""
    return f"every {key}{_var(node.value)} in {_term(node.domain, RELATION)} {{ {body_text(node.body)} }}"


_BINDS: dict[type, int] = {nodes.Disjunction: 0, nodes.Conjunction: 1, nodes.Negation: 2}


def _negation(node: nodes.Negation) -> str:
    return f"not {_operand(node.body, nodes.Negation)}"


def _conjunction(node: nodes.Conjunction) -> str:
    return _operands(node.operands, " and ", nodes.Conjunction)


def _disjunction(node: nodes.Disjunction) -> str:
    return _operands(node.operands, " or ", nodes.Disjunction)


def _operands(operands: tuple[Body | Expr, ...], word: str, kind: type[Node]) -> str:
    if len(operands) == 1:  # a group with a `with` of its own
        return f"({_expr(operands[0])})"  # type: ignore[arg-type]
    return word.join([_operand(operand, kind) for operand in operands])


def _operand(operand: Body | Expr, kind: type[Node]) -> str:
    """An operand of `not`, `and` or `or`: a body in braces, or an expression, grouped where it would bind looser."""
    if isinstance(operand, tuple):
        first, *rest = operand
        return "{ " + "; ".join([_expr_in_braces(first), *map(_expr, rest)]) + " }"
    text = _expr(operand)
    what = nodes.Negation if operand.negated else operand.what.__class__
    if text.startswith("{") and is_infix(operand.what, "assign", "eq"):
        left = to_text(operand.what.args[0])  # type: ignore[union-attr]
        return f"({left}){text[len(left) :]}"
    alone = _BINDS.get(what, 3) > _BINDS[kind] and not operand.withs
    starts_with_brace = text.startswith("{") and what not in _BINDS
    return text if alone and not starts_with_brace else f"({text})"


# ---- modules


def _block(body: Body) -> str:
    """A rule's body in braces, a line for each expression."""
    lines: list[str] = []
    for expr in body:
        text = _expr(expr) if lines else _expr_in_braces(expr)
        if lines and text.startswith(_CONTINUES):
            lines[-1] += ";"  # otherwise this line would continue the one before
        lines.append("\t" + text)
    return "{\n" + "\n".join(lines) + "\n}"


def _head(node: nodes.Head) -> str:
    text = to_text(node.ref)
    if node.args is not None:
        text += f"({_items(node.args)})"
    if node.key is not None:
        return f"{text} contains {_term(node.key, VALUE)}"
    return text + _value(node)


def _value(node: nodes.Head) -> str:
    if node.value is None:
        return ""
    return f" {':=' if node.assign else '='} {_term(node.value, VALUE)}"


def _rule(node: nodes.Rule) -> str:
    text = ("default " if node.default else "") + _head(node.head)
    rule: nodes.Rule | None = node
    while rule is not None:
        if rule is not node:
            text += " else" + _value(rule.head)
        if rule.body:
            text += " if " + _block(rule.body)
        rule = rule.else_
    return text


def _import(node: nodes.Import) -> str:
    return f"import {to_text(node.path)}" + (f" as {node.alias}" if node.alias else "")


def _package(node: nodes.Package) -> str:
    first, *rest = node.path
    return f"package {first}" + "".join([_step(nodes.Scalar(part)) for part in rest])


def _module(node: nodes.Module) -> str:
    blocks = [_package(node.package)]
    if node.imports:
        blocks.append("\n".join(map(_import, node.imports)))
    blocks.extend(map(_rule, node.rules))
    return "\n\n".join(blocks) + "\n"


def _comment(node: nodes.Comment) -> str:
    return f"#{node.text}"


_PRINTERS: dict[type, Callable[[Any], str]] = {
    nodes.Scalar: _scalar,
    nodes.Var: _var,
    nodes.Ref: _ref,
    nodes.Array: _array,
    nodes.Object: _object,
    nodes.Set: _set,
    nodes.ArrayComprehension: _array_comprehension,
    nodes.SetComprehension: _set_comprehension,
    nodes.ObjectComprehension: _object_comprehension,
    nodes.Call: _call,
    nodes.Template: _template,
    nodes.With: _with,
    nodes.SomeDecl: _some_decl,
    nodes.SomeIn: _some_in,
    nodes.Every: _every,
    nodes.Negation: _negation,
    nodes.Conjunction: _conjunction,
    nodes.Disjunction: _disjunction,
    nodes.Expr: _expr,
    nodes.Head: _head,
    nodes.Rule: _rule,
    nodes.Import: _import,
    nodes.Package: _package,
    nodes.Comment: _comment,
    nodes.Module: _module,
}
