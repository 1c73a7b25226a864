from __future__ import annotations

import dataclasses
import re

from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Node, Scalar, Var
from policy_engine.syntax.parser import parse_module, parse_query, parse_term
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import FIELDS, children, depth, transform, walk

EVERYTHING = """\
package a
import data.x as y
import future.keywords
default p := {"a": [1, {2}]}
p := [k | some k, _ in x] if { not y } else := {k: {v | v := 1} | some k; z[k]} if z
q contains f(x)[0] if every k, v in xs { k or { v; w } and (x) } with input.a as $"a{1}"
f(x) if x in xs
"""


def test_no_field_with_nodes_is_forgotten() -> None:
    """The classes may change; a field whose type says Node, Term, Body or Expr has to be walked."""
    classes = {cls for cls in vars(nodes).values() if isinstance(cls, type) and issubclass(cls, Node)}
    classes -= {Node, nodes.Collection}
    assert set(FIELDS) == classes
    kinds = {cls.__name__ for cls in classes} | {"Term", "Body"}
    for cls, names in FIELDS.items():
        typed = [field for field in dataclasses.fields(cls) if kinds & set(re.findall(r"\w+", str(field.type)))]
        assert list(names) == [field.name for field in typed if field.name != "comments"], cls


def test_walk_meets_every_class_in_the_order_of_the_text() -> None:
    module = parse_module(EVERYTHING + "# end")
    met = list(walk(module))
    assert {node.__class__ for node in met} == set(FIELDS) - {nodes.Comment}
    starts = [node.loc[1:3] for node in walk(parse_term("[a, {b: c}, d[e], f(g)]"))]
    assert starts == sorted(starts)


def test_children_of_leaves() -> None:
    assert children(Scalar("a")) == []
    assert children(Var("a")) == []
    assert children(parse_module("package a").package) == []


def test_depth() -> None:
    assert depth(Scalar(1)) == 1
    assert depth(parse_term("[1, [2]]")) == 3
    assert depth(parse_term("1 + 2 + 3 + 4")) == 4


def test_walk_and_depth_do_not_recurse() -> None:
    term: nodes.Term = Scalar(1)
    for _ in range(20_000):
        term = nodes.Array((term,))
    assert depth(term) == sum(1 for _ in walk(term)) == 20_001


def test_transform_rebuilds_what_changes_and_shares_the_rest() -> None:
    (one, two) = body = parse_query("x := [y, {y: z}]; w")

    def rename(node: Node) -> Node:
        return Var(node.name.upper(), loc=node.loc) if isinstance(node, Var) and node.name == "y" else node

    changed = [transform(expr, rename) for expr in body]
    assert [to_text(expr) for expr in changed] == ["x := [Y, {Y: z}]", "w"]
    assert [to_text(expr) for expr in body] == ["x := [y, {y: z}]", "w"]
    assert changed[1] is two
    assert changed[0].loc == one.loc


def test_transform_keeps_metadata() -> None:
    module = parse_module(EVERYTHING)
    swapped = transform(module, lambda node: Scalar(2) if node == Scalar(1) else node)
    infix = [node.infix for node in walk(swapped) if isinstance(node, nodes.Call)]
    assert infix == [node.infix for node in walk(module) if isinstance(node, nodes.Call)]
    assert any(infix)
