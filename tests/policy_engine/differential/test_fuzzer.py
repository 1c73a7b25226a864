"""The fuzzer itself: it writes the whole language, finds what is planted, makes it small, and explains only order."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from policy_engine.builtins import TABLE
from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Module, Node
from policy_engine.syntax.parser import parse_module
from policy_engine.syntax.visitor import FIELDS, walk
from tests.oracle import Oracle, OracleUnavailable
from tests.policy_engine.differential.compare import Difference, Engine, differences
from tests.policy_engine.differential.examine import Oracles
from tests.policy_engine.differential.mixture import GENERATORS, program
from tests.policy_engine.differential.operands import DETERMINISTIC, OPERANDS
from tests.policy_engine.differential.order import proof
from tests.policy_engine.differential.program import Program
from tests.policy_engine.differential.shrink import case, reduced

RANDOM = 300


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    found = []
    for number in range(RANDOM):
        for name, source in program(3, number).modules.items():
            try:
                found.append(parse_module(source, name))
            except PolicyError:
                continue
    return found


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    try:
        opa = Oracle()
    except OracleUnavailable as error:
        pytest.skip(str(error))
    with opa:
        yield opa


def _features(node: Node) -> Iterator[str]:
    name = node.__class__.__name__
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, bool) or value is None:
            yield f"{name}.{field.name} {value}"
        elif isinstance(value, tuple):
            yield f"{name}.{field.name} {min(len(value), 2)}"
        elif isinstance(value, Node):
            yield f"{name}.{field.name} {value.__class__.__name__}"
    if isinstance(node, nodes.Scalar):
        yield f"Scalar {node.value.__class__.__name__}"
    if isinstance(node, nodes.Ref):
        yield from (f"step {step.__class__.__name__}" for step in node.path)
    if isinstance(node, nodes.Object):
        yield from (f"key {key.__class__.__name__}" for key, _ in node.pairs)
    if isinstance(node, nodes.Rule) and node.default:
        yield f"default {'value' if node.head.args is None else 'function'}"
    if isinstance(node, nodes.Import):
        yield "alias" if node.alias else "no alias"


EXPECTED = {
    "Scalar.raw True", "Template.raw True", "Template.parts 0", "Call.infix True", "Expr.negated True",
    "Expr.withs 2", "Every.key Var",
    "SomeIn.key Var", "SomeIn.value Array", "SomeIn.value Object", "SomeDecl.symbols 2", "Rule.else_ Rule",
    "Rule.body 0", "Head.key Array",
    "Head.key Set", "Head.args 2", "Head.assign False", "Head.value None", "Head.ref Ref", "Module.imports 2",
    "Package.path 2", "Set.items 0",
    "Object.pairs 0", "Array.items 0", "Conjunction.operands 2", "Disjunction.operands 2", "Negation.body 2",
    "Negation.body Expr",
    "Negation.body 1", "Ref.head Call", "Ref.head Array", "Ref.head Object", "Ref.head ArrayComprehension",
    "Ref.head SetComprehension",
    "Ref.head ObjectComprehension", "Scalar int", "Scalar float", "Scalar Number", "Scalar str", "Scalar bool",
    "Scalar NoneType",
    "step Ref", "step Var", "step Call", "step Array", "step Object", "step Set", "step Template", "key Array",
    "key Set", "key Object", "key Ref",
    "key Var", "default value", "default function", "alias", "no alias", "With.target Var", "With.target Ref",
    "With.value Set",
    "With.value ArrayComprehension", "Expr.what Template", "Expr.what Array", "Expr.what Set", "Expr.what Every",
}  # fmt: skip
"""Forms that a count of classes would not show."""


def test_the_whole_grammar_is_written(modules: list[Module]) -> None:
    classes: Counter[type] = Counter()
    features: set[str] = set()
    for module in modules:
        classes[nodes.Comment] += len(module.comments)
        for node in walk(module):
            classes[node.__class__] += 1
            features.update(_features(node))
    assert set(FIELDS) - set(classes) == set()
    assert EXPECTED - features == set()


def test_every_deterministic_builtin_has_operands() -> None:
    assert set(OPERANDS) == DETERMINISTIC


def test_nearly_every_builtin_is_called() -> None:
    texts = "\n".join(source for number in range(RANDOM) for source in program(3, number).modules.values())
    missing = [name for name in OPERANDS if not TABLE[name].infix and f"{name}(" not in texts]
    assert len(missing) < 10, missing


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_program_depends_on_seed_and_number_alone(kind: str) -> None:
    assert program(1, 7, (kind,)) == program(1, 7, (kind,))
    assert program(1, 7, (kind,)) != program(1, 8, (kind,))


def _program(source: str, *paths: str) -> Program:
    return Program({"t.rego": f"package t\n\n{source}"}, {}, {"a": "x"}, list(paths) or ["data.t.p"])


def test_order_explains_an_error_that_a_false_statement_may_prevent(oracle: Oracle) -> None:
    variant = _program('p if { lower(input) == "x"; input.a == "y" }')
    difference = Difference("data.t.p", True, "<undefined>", "error eval_type_error")
    assert proof(variant, difference, oracle) is not None


def test_order_explains_which_of_two_errors_comes_first(oracle: Oracle) -> None:
    """OPA computes with the first value of `q` before it finds the second one."""
    variant = _program("q := v if some v in [input.a, input]\n\np contains q / 1", "data.t.p", "data.t.q")
    difference = Difference("data.t.p", True, "error eval_type_error", "error eval_conflict_error")
    assert proof(variant, difference, oracle) is not None
    unneeded = _program("q := v if some v in [input.a, input]\n\np contains input / 1", "data.t.p", "data.t.q")
    other = Difference("data.t.p", True, "error eval_conflict_error", "error eval_builtin_error")
    assert proof(unneeded, other, oracle) is None


def test_order_explains_a_loop_that_is_empty(oracle: Oracle) -> None:
    variant = _program("p := input.a[_] if upper(input)")
    difference = Difference("data.t.p", True, "<undefined>", "error eval_type_error")
    assert proof(variant, difference, oracle) is not None


@pytest.mark.parametrize(
    ("source", "opa", "engine"),
    [
        pytest.param(
            'p if { input.nowhere or "x", object.keys(input.a) in input.nowhere }',
            "<undefined>",
            "error eval_type_error",
            id="operands of an operand without braces",
        ),
        pytest.param(
            'p if { json.unmarshal("", v); { v >= input.nowhere } and { true } }',
            "<undefined>",
            "error eval_builtin_error",
            id="operands of and that bind nothing",
        ),
        pytest.param(
            "p if { w := input - 1; { not input } and input[w] == 1 }",
            "<undefined>",
            "error eval_type_error",
            id="negations that are operands of and",
        ),
        pytest.param(
            'p if glob.match("b:*", [":"], input)', "<undefined>", "error eval_type_error", id="an index of patterns"
        ),
        pytest.param(
            "p if input[upper(input)][input.nowhere]",
            "<undefined>",
            "error eval_type_error",
            id="steps of references",
        ),
        pytest.param(
            "p if input.a = {1: 1 | lower(input)}",
            "<undefined>",
            "error eval_type_error",
            id="comprehensions beside another type",
        ),
        pytest.param(
            'f(x) := [x]\n\np := [y | some x in [1, json.unmarshal("1.0")]; y := f(x)]',
            "[[[1], [1]]]",
            "[[[1], [1.0]]]",
            id="what a function gave for an equal number",
        ),
        pytest.param(
            'f(x) := [x]\n\np := [f(x) | some x in [1, json.unmarshal("1.0")]]',
            "[[[1], [1]]]",
            "[[[1], [1.0]]]",
            id="the same in the head of a comprehension",
        ),
        pytest.param("p := 1.0 if { input }\n\np := 1", "[1]", "[1.0]", id="which text of a number counts"),
        pytest.param(
            'q := x if some x in [{"a"}, 2]\n\np := 1 * q',
            "error eval_type_error",
            "error eval_conflict_error",
            id="a conflict that comes after the first value",
        ),
        pytest.param(
            "# METADATA\n# title: a\np := [rego.metadata.rule(), {1 | lower(input); input.nowhere}]",
            '[[{"scope": "rule", "title": "a"}, set()]]',
            "error eval_type_error",
            id="beside annotations",
        ),
    ],
)
def test_order_explains(source: str, opa: str, engine: str, oracle: Oracle) -> None:
    """Each side may give its answer; the other one gives it for the program, or for the program in another order."""
    imports = "import future.keywords.and\nimport future.keywords.or\nimport future.keywords.not\n\n"
    variant = _program(imports + source)
    assert proof(variant, Difference("data.t.p", True, opa, engine), oracle) is not None


@pytest.mark.slow
def test_order_does_not_explain_what_no_order_gives(oracle: Oracle) -> None:
    variant = _program('p if { lower(input) == "x"; input.a == "x" }')  # an error, whatever the order
    assert proof(variant, Difference("data.t.p", True, "<undefined>", "error eval_conflict_error"), oracle) is None
    assert proof(variant, Difference("data.t.p", True, "error eval_builtin_error", "[true]"), oracle) is None
    assert proof(variant, Difference("data.t.p", True, "[true]", "[false]"), oracle) is None
    assert proof(variant, Difference("data.t.p", True, "[1]", "[1.0]"), oracle) is None
    printed = _program("p if { print(input.nowhere); upper(input) }")  # an error, whatever is printed
    assert proof(printed, Difference("data.t.p", True, "<undefined>", "error eval_conflict_error"), oracle) is None


def test_order_excuses_no_defect() -> None:
    assert not Difference("data.t.p", True, "error eval_internal_error", "<undefined>").about_order
    assert not Difference("data.t.p", True, "error eval_type_error", "CRASH KeyError()").about_order


def test_an_oracle_that_died_is_replaced(oracle: Oracle) -> None:
    oracles = Oracles()
    try:
        oracles[True]._child.kill()
        with oracles.survived():
            oracles[True].query("true")
        assert oracles.lost == 1
        assert oracles[True].query("x := 1").bindings == [{"x": 1}]
    finally:
        oracles.close()


def test_a_difference_is_reported_with_its_kind(oracle: Oracle) -> None:
    given = _program('p := 1 if input.a == "x"')
    other = Engine(_program('p := 2 if input.a == "x"'))
    (difference,) = [item for item in differences(given, oracle, other, strict=True) if not item.builds]
    assert (difference.opa, difference.engine, difference.about_order) == ("[1]", "[2]", False)


def test_a_program_is_made_small() -> None:
    source = (
        "q := [x | some x in [1, 2, 3]]\n\n"
        'p := count(input.a) if { input.b; startswith("ab", "a"); y := [input.a, {"k": upper("é")}] } else := 2\n'
    )
    given = dataclasses.replace(_program(source), input={"a": "x", "b": [1, 2]})

    def still(smaller: Program) -> bool:
        return "upper(" in smaller.modules["t.rego"]

    small = reduced(given, "data.t.p", still)
    assert re.sub(r"\s+", " ", small.modules["t.rego"]).strip() == 'package t p if { upper("é") }'
    assert small.input == {}


def test_a_case_wants_what_opa_says(oracle: Oracle) -> None:
    difference = Difference("data.t.p", True, "[{1, 2.0}]", "[1]")
    written = case(_program("p := {2.0, 1}"), difference, "a set", oracle)
    assert written["want_result"] == [{"x0": "[{1, 2.0}]"}]
    refused = case(
        _program("p := y"), Difference("modules", True, "refused: rego_unsafe_var_error", "accepted"), "unsafe", oracle
    )
    assert refused["want_error_code"] == "rego_unsafe_var_error"
