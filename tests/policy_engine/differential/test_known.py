"""Each documented difference is found to be one, and nothing else is: what a program contains explains nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracle import OracleUnavailable
from tests.policy_engine.differential.compare import Difference
from tests.policy_engine.differential.evaded import REFUSED
from tests.policy_engine.differential.examine import Oracles, examine
from tests.policy_engine.differential.known import BUDGET, INTERNAL, NAMES, reason
from tests.policy_engine.differential.program import Program

SAMPLES = [
    ("metadata as a statement", "p if not rego.metadata.rule()"),
    ("metadata as a statement", "p if rego.metadata.chain() with input as data.nothing"),
    ("with in a rule of a computed key", "p contains 1 - 2 if true with nothing as 1"),
    ("function in place of a document", "p if not data.a with data.a as f\nf(x) := x"),
    ("relation in place of a function", "p := x if x := f(1) with f as walk\nf(x) := x"),
    ("last of equal keys", "p := {y: 1, x: 2} if { x := data.x; y := data.x }"),
    ("text as an index of replaced data", 'p := x if x := q with data.x as [7]\nq := data.x["0"]'),
    ("bound to itself", "p if { x = {x} }"),
    ("bound to itself", 'p if { $"{x}" = x }'),
    ("seen to be unbound", "p := data.x if { count(x) != input[x] }"),
    ("seen to be unbound", "import future.keywords\np if { not [x | input] and { true } }"),
    ("seen to be unbound", "import future.keywords.not\np if { v := false; not v with input as x }"),
    (
        "annotations that no rule asks for",
        "# METADATA\n# scope: document\np := 1\n# METADATA\n# scope: document\np := 1",
    ),
    ("shift by a number of more than 64 bits", 'p := bits.lsh(1, json.unmarshal("1e400"))'),
    ("defined by its looks", 'p := $"{q}"\nq := [data.nothing]'),
    ("keys of one hash", "p if [x, x] = [q, q]\nq := {k: 1 | some k in [[], 0, []]}"),
    ("a number as a rule's key", "p := q[1]\nq[1.0] if true"),
    (
        "a function's value for an equal number",
        'p := count({json.marshal(f(x)) | some x in [1, json.unmarshal("1e0")]})\nf(x) := [x]',
    ),
    (
        "a function's value for an equal number",
        'p := [x | some x in [1, json.unmarshal("1e0")]; json.marshal(f(x)) == "[1]"]\nf(x) := [x]',
    ),
    ("minus zero as a position", "p := q[-0]\nq = [1 | input]"),
    (
        "a signed request",
        "p := count(providers.aws.sign_req(data.request, {"
        '"aws_access_key": "K", "aws_region": "eu", "aws_secret_access_key": "S", "aws_service": "s3"}, 1))',
    ),
    ("a set that takes up members", 'p.b contains "k"\np[v] := {"z"} if { some v in ["b"] }'),
    ("bytes that are reversed", 'p := strings.reverse(base64.decode("YWL/Y2Q="))'),
    (
        "text as an index beside replaced data",
        'p := [q, [x | x := q with data.xs as [7]]]\nq := [1 | data.xs[r[_]]]\nr := ["0"]',
    ),
    (REFUSED, "p := [x | x := 1; print(y, x)] if y := 2"),
    (REFUSED, 'import future.keywords.not\np if not { x := 1; $"{input[x]}" }'),
    (REFUSED, "import future.keywords.or\np if { (input with input as data.x) or 1 }"),
    (REFUSED, "import future.keywords.or\np if { rego.metadata.rule() == {} or input }"),
    (REFUSED, "p if { some v, 1 in data.xs; some x in input with input as input.a[v]; x }"),
    (REFUSED, "p if { w; some x in f(0) with data as data[w]; x }\nf(_) := [1]"),
    (REFUSED, "p if { some v in [0]; data.xs[v] == [x | x := input[v]] }"),
    (REFUSED, 'p := {x: 1, y: 2} if { x := input.a; y := "a" }\nr if p.b\nr if p[1]'),
    (
        BUDGET,
        'p := [s | some _ in numbers.range(1, 1700)]\ns := concat("", ["10000" | some _ in numbers.range(1, 2000)])',
    ),
    (BUDGET, "p := bits.lsh(1, 300000) > 7"),
    (INTERNAL, 'p := [x | some v, _ in {"n": 0}; x := {y | some y in [0]; v == $"{v}"}]'),
]


@pytest.fixture(scope="module")
def oracles() -> Iterator[Oracles]:
    try:
        found = Oracles()
    except OracleUnavailable as error:
        pytest.skip(str(error))
    yield found
    found.close()


_REQUEST = {"method": "get", "url": "https://example.com/a"}


def _program(rules: str) -> Program:
    return Program({"t.rego": f"package t\n{rules}"}, {"x": 1, "xs": [3], "request": _REQUEST}, {"a": 1}, ["data.t"])


@pytest.mark.parametrize(("name", "rules"), SAMPLES)
def test_known(name: str, rules: str, oracles: Oracles) -> None:
    found = examine(_program(rules), 0, oracles)
    assert set(found.known) == {name}
    assert not found.unexplained


def test_every_one_has_a_sample() -> None:
    assert {name for name, _ in SAMPLES} == set(NAMES)


@pytest.mark.parametrize("rules", [rules for _, rules in SAMPLES])
def test_a_known_difference_explains_no_other_one(rules: str, oracles: Oracles) -> None:
    values = Difference("data.t", True, '[{"p": 7}]', "undefined")
    refusals = Difference("modules", True, "refused: rego_recursion_error", "accepted")
    assert not reason(_program(rules), values, oracles[True])
    assert not reason(_program(rules), refusals, oracles[True])
