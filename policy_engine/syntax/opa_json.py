"""A module as OPA's JSON syntax tree (v1/ast/policy.go, term_marshal.go), which `rego.parse_module` returns.

Only comments have locations: OPA leaves out the others unless it is asked for them.
"""

from __future__ import annotations

import base64
from typing import Any

from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.syntax.opa_order import distinct, ordered
from policy_engine.values import Value, type_name

Json = dict[str, Value]


def module(tree: nodes.Module) -> Json:
    """The whole module. Members that would be empty are absent."""
    result: Json = {"package": {"path": [_var("data"), *map(_string, tree.package.path)]}}
    if tree.imports:
        result["imports"] = [_import(item) for item in tree.imports]
    if tree.rules:
        result["rules"] = [_rule(item) for item in tree.rules]
    if tree.comments:
        result["comments"] = [_comment(item) for item in tree.comments]
    return result


def _var(name: str) -> Json:
    return {"type": "var", "value": name}


def _string(text: str) -> Json:
    return {"type": "string", "value": text}


def _import(item: nodes.Import) -> Json:
    path = {"path": _reference(item.path)}
    return {**path, "alias": item.alias} if item.alias else path


def _comment(item: nodes.Comment) -> Json:
    location = {"file": item.loc.file, "row": item.loc.row, "col": item.loc.col}
    return {"Location": location, "Text": base64.b64encode(item.text.encode()).decode()}


def _rule(rule: nodes.Rule, shows: tuple[bool, bool] | None = None) -> Json:
    """A rule, or one of its `else` branches, whose head `shows` the same parts as that of the rule."""
    shows = _name_and_key(rule) if shows is None else shows
    result: Json = {"head": _head(rule.head, *shows), "body": _body(rule.body)}
    if rule.default:
        result["default"] = True
    if rule.else_ is not None:
        otherwise = _rule(rule.else_, shows)
        if rule.head.assign:
            otherwise["head"]["assign"] = True  # OPA copies it from the rule
        result["else"] = otherwise
    return result


def _head(head: nodes.Head, name: bool, key: bool) -> Json:
    ref = head.ref
    steps = ref.path if isinstance(ref, nodes.Ref) else ()
    start = ref.head if isinstance(ref, nodes.Ref) else ref
    assert isinstance(start, nodes.Var)
    result: Json = {"ref": [_var(start.name), *map(term, steps)]}
    if name:
        result["name"] = start.name
    if head.key is not None or key:
        result["key"] = term(head.key if head.key is not None else steps[0])
    if head.args:
        result["args"] = list(map(term, head.args))
    if head.key is None:
        result["value"] = term(head.value) if head.value is not None else {"type": "boolean", "value": True}
    if head.assign:
        result["assign"] = True
    return result


def _name_and_key(rule: nodes.Rule) -> tuple[bool, bool]:
    """Two flags of a rule's head: it shows a name, and it shows the last part of its reference as a key.

    Before OPA had references in heads, heads had one or two parts (`a`, `a[x]`). Some rules of two parts still have
    that form; which ones depends on OPA's parser.
    """
    head = rule.head
    steps = head.ref.path if isinstance(head.ref, nodes.Ref) else ()
    if len(steps) != 1 or head.key is not None or rule.default:
        return not steps, False
    if head.args is not None:
        return bool(rule.body), False
    if not rule.body:
        return True, True
    return head.value is not None, constant_value(steps[0]) is None


def _body(body: Body) -> list[Json]:
    return [_expr(item, index) for index, item in enumerate(body or (Expr(nodes.Scalar(True)),))]


def _expr(expr: Expr, index: int) -> Json:
    result: Json = {"index": index, "terms": _terms(expr)}
    if expr.negated:
        result["negated"] = True
    if expr.withs:
        result["with"] = [{"target": term(item.target), "value": term(item.value)} for item in expr.withs]
    return result


def _terms(expr: Expr) -> Any:
    match expr.what:
        case nodes.SomeDecl(symbols):
            return {"symbols": list(map(term, symbols))}
        case nodes.SomeIn(key, value, collection):
            name = "member_2" if key is None else "member_3"
            operands = [item for item in (key, value, collection) if item is not None]
            operator = {"type": "ref", "value": [_var("internal"), _string(name)]}
            return {"symbols": [{"type": "call", "value": [operator, *map(term, operands)]}]}
        case nodes.Every(key, value, domain, body):
            named = {"key": term(key)} if key is not None else {"key": None}
            return {**named, "value": term(value), "domain": term(domain), "body": _body(body)}
        case nodes.Negation(body):
            return {"type": "not", "body": _operand(body), "explicit_body": not isinstance(body, Expr)}
        case nodes.Conjunction(operands):
            return _chain("and", operands)
        case nodes.Disjunction(operands):
            return _chain("or", operands)
        case nodes.Call() as call:
            return _call(call)
        case other:
            return term(other)


def _operand(operand: Body | Expr) -> list[Json]:
    return _body((operand,) if isinstance(operand, Expr) else operand)


def _chain(kind: str, operands: tuple[Body | Expr, ...]) -> Json:
    """`a and b and c` as OPA nests it: to the left."""
    *before, last = operands
    left = _operand(before[0]) if len(before) == 1 else [{"index": 0, "terms": _chain(kind, tuple(before))}]
    result: Json = {"type": kind, "lhs": left, "rhs": _operand(last)}
    if len(before) == 1 and not isinstance(before[0], Expr):
        result["explicit_lhs"] = True
    if not isinstance(last, Expr):
        result["explicit_rhs"] = True
    return result


def _call(call: nodes.Call) -> list[Json]:
    return [_reference(call.operator), *map(term, call.args)]


def _reference(name: Term) -> Json:
    """A name as a ref, even if it is a single variable."""
    if isinstance(name, nodes.Var):
        return {"type": "ref", "value": [_var(name.name)]}
    return term(name)


def term(item: Term) -> Json:
    """One term."""
    match item:
        case nodes.Scalar(value):
            return {"type": type_name(value), "value": {} if value is None else value}
        case nodes.Var("input" | "data" as name):
            return {"type": "ref", "value": [_var(name)]}
        case nodes.Var(name):
            return _var(name)
        case nodes.Ref(head, path):
            start = _var(head.name) if isinstance(head, nodes.Var) else term(head)
            return {"type": "ref", "value": [start, *map(term, path)]}
        case nodes.Array(items):
            return {"type": "array", "value": list(map(term, items))}
        case nodes.Set(items):
            return {"type": "set", "value": distinct(list(map(term, items)))}
        case nodes.Object(pairs):
            return {"type": "object", "value": ordered([[term(key), term(value)] for key, value in pairs])}
        case nodes.ArrayComprehension(head, body):
            return {"type": "arraycomprehension", "value": {"term": term(head), "body": _body(body)}}
        case nodes.SetComprehension(head, body):
            return {"type": "setcomprehension", "value": {"term": term(head), "body": _body(body)}}
        case nodes.ObjectComprehension(key, value, body):
            parts = {"key": term(key), "value": term(value), "body": _body(body)}
            return {"type": "objectcomprehension", "value": parts}
        case nodes.Call():
            return {"type": "call", "value": _call(item)}
        case nodes.Template(parts):
            shown = [_string(part) if isinstance(part, str) else _template_part(part) for part in parts]
            return {"type": "templatestring", "value": {"parts": shown or None, "multi_line": item.raw}}


def _template_part(part: Expr) -> Json:
    """An expression of a template. OPA's parser keeps only the value if that is a scalar."""
    return term(part.what) if isinstance(part.what, nodes.Scalar) else _expr(part, 0)
