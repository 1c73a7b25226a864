"""A tree as one line of text, for expectations: what matters is visible, and nothing is in it that the parser made up.

1 + x * 2           (plus 1 (mul x 2))
input.a[i]          (ref input "a" i)
io.jwt.decode(t)    (io.jwt.decode t)
p if not x          (rule p (body (not x)))
"""

from __future__ import annotations

import json

from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Head, Module, Node, Rule
from policy_engine.values import number_text


def dump(node: Node | Body | None) -> str:
    match node:
        case None:
            return "-"
        case tuple():
            return group("body", *map(dump, node))
        case nodes.Scalar(value=None | bool() | str()):
            return json.dumps(node.value, ensure_ascii=False)
        case nodes.Scalar():
            return number_text(node.value)  # type: ignore[arg-type]
        case nodes.Var():
            return node.name
        case nodes.Ref():
            return group("ref", dump(node.head), *map(dump, node.path))
        case nodes.Array() | nodes.Set():
            return group(kind(node), *map(dump, node.items))
        case nodes.Object():
            return group("object", *(group(dump(key), dump(value)) for key, value in node.pairs))
        case nodes.ArrayComprehension() | nodes.SetComprehension():
            return group(kind(node), dump(node.term), dump(node.body))
        case nodes.ObjectComprehension():
            return group(kind(node), dump(node.key), dump(node.value), dump(node.body))
        case nodes.Call():
            return group(operator(node.operator), *map(dump, node.args))
        case nodes.Template():
            return group("template", *(json.dumps(p) if isinstance(p, str) else group(dump(p)) for p in node.parts))
        case nodes.Expr():
            return expr(node)
        case nodes.SomeDecl():
            return group("some", *map(dump, node.symbols))
        case nodes.SomeIn():
            return group("some-in", dump(node.key), dump(node.value), dump(node.collection))
        case nodes.Every():
            return group("every", dump(node.key), dump(node.value), dump(node.domain), dump(node.body))
        case nodes.Negation():
            return group("negation", dump(node.body))
        case nodes.Conjunction() | nodes.Disjunction():
            return group("and" if isinstance(node, nodes.Conjunction) else "or", *map(dump, node.operands))
        case nodes.Rule():
            return rule(node)
        case nodes.Import():
            return group("import", dump(node.path), *([node.alias] if node.alias else []))
        case nodes.Module():
            return module(node)
    raise AssertionError(f"no text for {node!r}")


def group(*parts: str) -> str:
    return f"({' '.join(parts)})"


def kind(node: Node) -> str:
    return node.__class__.__name__.lower()


def operator(node: nodes.Var | nodes.Ref) -> str:
    if isinstance(node, nodes.Var):
        return node.name
    return ".".join([dump(node.head), *(str(part.value) for part in node.path if isinstance(part, nodes.Scalar))])


def expr(node: Expr) -> str:
    text = dump(node.what)
    if node.negated:
        text = group("not", text)
    if node.withs:
        text = group("with", text, *(group(dump(each.target), dump(each.value)) for each in node.withs))
    return text


def head(node: Head) -> str:
    text = dump(node.ref)
    if node.args is not None:
        text = group("function", text, *map(dump, node.args))
    if node.key is not None:
        text = group("contains", text, dump(node.key))
    if node.value is not None:
        text = group(":=" if node.assign else "=", text, dump(node.value))
    return text


def rule(node: Rule) -> str:
    parts = [head(node.head)]
    if node.body:
        parts.append(dump(node.body))
    if node.else_ is not None:
        parts.append(group("else", rule(node.else_)))
    return group("default" if node.default else "rule", *parts)


def module(node: Module) -> str:
    return " ".join([group("package", *node.package.path), *map(dump, node.imports), *map(dump, node.rules)])
