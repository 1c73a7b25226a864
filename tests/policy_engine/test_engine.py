"""The promises of the public objects to a caller, beyond the language itself."""

from __future__ import annotations

import contextlib
import copy
import enum
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policy_engine as pe
from policy_engine.builtins import resolver

AUTHZ = """package authz

default allow := false

allow if {
	input.role == "admin"
	not input.suspended
}

deny contains reason if some reason in input.reasons

limits := {"requests_per_minute": data.limits[input.role]}
"""


@pytest.fixture(scope="module")
def policies() -> pe.Policies:
    return pe.compile({"authz.rego": AUTHZ}, {"limits": {"admin": 60}})


def test_an_entrypoint_gives_the_document(policies: pe.Policies) -> None:
    allow = policies.entrypoint("data.authz.allow")
    assert allow({"role": "admin"}) is True
    assert allow({"role": "admin", "suspended": True}) is False
    assert policies.entrypoint("data.authz")({"role": "admin", "reasons": ["b", "a"]}) == {
        "allow": True,
        "deny": ["a", "b"],
        "limits": {"requests_per_minute": 60},
    }


def test_undefined_is_neither_null_nor_false() -> None:
    entry = pe.compile({"t.rego": "package t\np := input.x\nq if input == null\nr if not input"}).entrypoint
    assert entry("data.t.p")({}) is pe.UNDEFINED
    assert entry("data.t.p")({"x": None}) is None
    assert entry("data.t.p")() is pe.UNDEFINED
    assert entry("data.t.q")(None) is True
    assert entry("data.t.q")() is pe.UNDEFINED
    assert entry("data.t.r")() is True
    with pytest.raises(TypeError):
        bool(pe.UNDEFINED)


def test_input_and_data_are_not_changed_and_results_are_fresh() -> None:
    source = 'package t\np := input.a\nq := data.d\nr := {"k": [1]}\n'
    source += 's := object.union(input.a, {"z": x}) if x := data.one with data.one as 1'
    data = {"d": {"list": [1, 2]}}
    kept = copy.deepcopy(data)
    value = {"a": {"b": [1], "c": {}}}
    before = copy.deepcopy(value)
    policies = pe.compile({"t.rego": source}, data)
    everything = policies.entrypoint("data.t")
    first = everything(value)
    for member in first.values():
        member["changed"] = True
    first["p"]["b"].append(9)
    first["q"]["list"].append(9)
    first["r"]["k"].append(9)
    assert (value, data) == (before, kept)
    assert everything(value) == {
        "p": {"b": [1], "c": {}},
        "q": {"list": [1, 2]},
        "r": {"k": [1]},
        "s": {"b": [1], "c": {}, "z": 1},
    }


class Role(enum.StrEnum):
    ADMIN = "admin"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        {"role": Role.ADMIN},
        {"role": Text("admin")},
        {"role": ("admin",)},
        {"role": float("nan")},
        {"role": b"admin"},
        OrderedDict(role="admin"),
        {"role": {"admin"}},
    ],
    ids=["StrEnum", "str subclass", "tuple", "NaN", "bytes", "OrderedDict", "set"],
)
@pytest.mark.parametrize(
    "body",
    [
        'input.role == "admin"',
        'not input.role == "admin"',
        "not input.role",
        "input.role",
        'not input.role in ["x"]',
        "not is_string(input.role)",
        "not input.role[0] == 1",
        "every x in input.role { x == 1 }",
        "not input.role < 1",
    ],
)
def test_foreign_values_are_refused_where_they_are_touched(value: Any, body: str) -> None:
    allow = pe.compile({"t.rego": f"package t\nallow if {{ {body} }}"}).entrypoint("data.t.allow")
    with pytest.raises(pe.PolicyError) as caught:
        allow(value)
    assert caught.value.code == "invalid_input"


class Liar:
    """An object that says it is a string."""

    __class__ = str  # type: ignore[assignment]


class Thrower:
    """An object that does not say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize("make", [lambda: pe.UNDEFINED, Liar, Thrower], ids=["undefined", "a liar", "a thrower"])
@pytest.mark.parametrize(
    "body", ["p := input", "p := input.a", "p := {x | some x in input}", "p := json.marshal(input)"]
)
def test_foreign_objects_raise_only_policy_errors(make: Any, body: str) -> None:
    policies = pe.compile({"a.rego": f"package a\n\n{body}"})
    entry, query = policies.entrypoint("data.a.p", strict_builtin_errors=True), policies.prepare("data.a.p")
    ask: list[Any] = [entry, entry.decide, lambda given: entry.decide(given, trace=True), query.results]
    for each in ask:
        with contextlib.suppress(pe.PolicyError):  # or an answer that does not depend on the value
            each({"a": make(), "b": [make()]})


def test_undefined_is_no_value_of_an_input() -> None:
    entry = pe.compile({"a.rego": "package a\n\np := input"}).entrypoint("data.a.p")
    for value in ([pe.UNDEFINED], {"a": [[[pe.UNDEFINED]]]}):
        with pytest.raises(pe.PolicyError) as caught:
            entry(value)
        assert caught.value.code == "invalid_input"


def test_check_looks_at_the_whole_value() -> None:
    pe.check({"a": [1, 1.5, None, True, "x", pe.Set([1])]})
    with pytest.raises(pe.PolicyError, match="tuple"):
        pe.check({"a": [{"b": ()}]})
    with pytest.raises(pe.PolicyError, match="NaN"):
        pe.check([float("nan")])


def test_a_decision_can_be_repeated_from_what_it_recorded() -> None:
    source = 'package t\np := [time.now_ns(), rand.intn("x", 1000000), uuid.rfc4122("y")]\nq := [p, time.now_ns()]'
    entry = pe.compile({"t.rego": source}).entrypoint("data.t.q")
    first = entry.decide()
    assert first.value[0][0] == first.value[1]
    assert entry.decide(replay=first.nondeterministic).value == first.value
    assert entry.decide(now_ns=5, seed=7).value == entry.decide(now_ns=5, seed=7).value
    assert entry.decide(now_ns=5).value[1] == 5


def test_a_record_goes_through_json(monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'package t\np if "127.0.0.1" in net.lookup_ip_addr("127.0.0.1")\nq := net.lookup_ip_addr("a.example")'
    policies = pe.compile({"t.rego": source}, allow_network=True)
    entry = policies.entrypoint("data.t")
    monkeypatch.setattr(resolver, "resolve", lambda *_: ["192.0.2.1"])
    first = entry.decide()
    assert first.value == {"p": True, "q": ["192.0.2.1"]}
    record = pe.loads(pe.dumps(first.nondeterministic))
    again = entry.decide(replay=record)
    assert again.value == first.value
    assert again.nondeterministic == record
    record[next(iter(record))].append("changed")
    assert again.nondeterministic == first.nondeterministic


def test_a_repeated_decision_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed call is not recorded, and must fail again when the decision is repeated years later."""
    policies = pe.compile({"t.rego": 'package t\np := net.lookup_ip_addr("a.example")'}, allow_network=True)
    entry = policies.entrypoint("data.t.p")

    def fail(*_: Any) -> list[str]:
        raise OSError("no such host")

    monkeypatch.setattr(resolver, "resolve", fail)
    first = entry.decide()
    monkeypatch.setattr(resolver, "resolve", lambda *_: ["192.0.2.1"])
    assert entry.decide(replay=first.nondeterministic).value is pe.UNDEFINED
    assert entry.decide().value == ["192.0.2.1"]


def test_what_a_decision_printed() -> None:
    lines: list[str] = []
    policies = pe.compile({"t.rego": 'package t\np if { print("x is", input.x, input.y); true }'}, print=lines.append)
    decision = policies.entrypoint("data.t.p").decide({"x": [1]})
    assert decision.value is True
    assert decision.prints == ("x is [1] <undefined>",)
    assert lines == ["x is [1] <undefined>"]


def test_a_traced_decision_says_why(policies: pe.Policies) -> None:
    decision = policies.entrypoint("data.authz.allow").decide({"role": "admin"}, trace=True)
    assert decision.value is True
    assert decision.coverage == {"authz.rego": (6, 7)}
    assert decision.why == ("data.authz.allow at authz.rego:5",)
    denied = policies.entrypoint("data.authz.allow").decide({"role": "user"}, trace=True)
    assert denied.value is False
    assert denied.why == ("data.authz.allow at authz.rego:3",)


def test_facts(policies: pe.Policies) -> None:
    facts = policies.facts("data.authz")
    assert facts.input_paths == (("reasons",), ("role",), ("suspended",))
    assert facts.data_paths == (("authz",), ("limits",))  # base data below the package is part of its document
    assert policies.facts("data.authz.allow").data_paths == ()
    assert facts.nondeterministic == ()
    other = pe.compile({"t.rego": "package t\np if { x := input[_]; x.y }\nq := time.now_ns()\nr := data.t.q"})
    assert other.facts("data.t.p").input_paths == ((),)
    assert other.facts("data.t.r").nondeterministic == ("time.now_ns",)
    assert other.facts("data.t.q").input_paths == ()
    whole = pe.compile({"t.rego": 'package t\np := count(data.x[_])\nq := object.get(input, "a", 1)'})
    assert whole.facts("data.t.p").data_paths == (("x",),)
    assert whole.facts("data.t.q").input_paths == ((),)


def test_other_data_for_the_same_code(policies: pe.Policies) -> None:
    other = policies.with_data({"limits": {"admin": 1}})
    assert other.entrypoint("data.authz.limits")({"role": "admin"}) == {"requests_per_minute": 1}
    assert policies.entrypoint("data.authz.limits")({"role": "admin"}) == {"requests_per_minute": 60}
    with pytest.raises(pe.PolicyError, match="conflicting rule for data path authz/allow found"):
        policies.with_data({"authz": {"allow": True}})


def test_queries_bind_variables(policies: pe.Policies) -> None:
    query = policies.prepare("data.authz.deny[msg]; x := count(msg); some i in [x]")
    assert query.bindings({"reasons": ["bb", "a"]}) == [
        {"msg": "a", "x": 1, "i": 1},
        {"msg": "bb", "x": 2, "i": 2},
    ]
    assert query.bindings() == []
    assert policies.prepare("data.authz.deny").bindings({"reasons": []}) == [{}]
    assert policies.prepare("1 == 2").results() == [([False], {})]


def test_parse_value_takes_ground_terms_only() -> None:
    value = pe.parse_value('{"roles": {"a", "b"}, "n": [1, null]}')
    assert value == {"roles": pe.Set(["b", "a"]), "n": [1, None]}
    with pytest.raises(pe.PolicyError, match="not ground"):
        pe.parse_value("[x]")


@pytest.mark.parametrize(
    ("source", "limits"),
    [
        ("p := count([1 | some a in input.xs; some b in input.xs; some c in input.xs])", pe.Limits(work=100_000)),
        ("p := count([1 | some a in input.xs; some b in input.xs; some c in input.xs])", pe.Limits(seconds=0.02)),
        ("p := [input.xs | some a in input.xs]", pe.Limits(output_bytes=1000)),
        ("p := count(numbers.range(1, 1000000000))", pe.Limits(work=1000)),
    ],
    ids=["work", "seconds", "output", "range"],
)
def test_budgets_end_a_decision(source: str, limits: pe.Limits) -> None:
    entry = pe.compile({"t.rego": f"package t\n{source}"}, limits=limits).entrypoint("data.t.p")
    with pytest.raises(pe.PolicyError) as caught:
        entry({"xs": list(range(1000))})
    assert caught.value.code == "eval_cancel_error"


def test_a_hosts_own_functions_and_capabilities() -> None:
    policies = pe.compile(
        {"t.rego": 'package t\np := org.lookup(input.x)\nq := org.lookup("boom")'},
        functions={"org.lookup": (1, {"a": 1}.__getitem__)},
    )
    assert policies.entrypoint("data.t.p")({"x": "a"}) == 1
    assert policies.entrypoint("data.t.q")() is pe.UNDEFINED
    with pytest.raises(pe.PolicyError, match=r"org\.lookup"):
        policies.entrypoint("data.t.q", strict_builtin_errors=True)()
    with pytest.raises(pe.PolicyError, match=r"undefined function count"):
        pe.compile({"t.rego": "package t\np := count([1])"}, capabilities=["sum"])


def test_unknown_builtins_are_refused_when_a_policy_is_loaded() -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"a.rego": "package a\n\np if nosuch.builtin(1)"})
    assert str(caught.value) == "a.rego:3: rego_type_error: undefined function nosuch.builtin"


def test_strict_mode_reports_what_is_never_used() -> None:
    rules = """
p := x if used.y
f(a, b) := a if { z := 1; y := 2; y == a }
q := [k | some k in [1]; [v, w] := [k, k]; v == 1]
default f(_, _) := 1
"""
    imports = "package t\nimport data.a.b as c\nimport data.used\nimport input.x\n"
    assert strict_errors(imports + rules) == [
        (2, "import data.a.b as c unused"),
        (7, "unused argument b"),
        (7, "assigned var z unused"),
        (8, "assigned var w unused"),
    ]


def strict_errors(source: str) -> list[tuple[int, str]]:
    """Errors that only strict mode reports."""
    pe.compile({"t.rego": source})
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": source}, strict=True)
    return [(error.location.row, error.message) for error in caught.value.errors if error.location]


def test_all_parse_errors_come_together() -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"b.rego": "package b\np if", "a.rego": "package a\nq if ]"})
    assert [error.location.file for error in caught.value.errors if error.location] == ["a.rego", "b.rego"]


ATTACKS = [
    '"); import os; os.system("x")  #',
    "\\n import os",
    "'''",
    '"""',
    "{q.run}",
    "__import__('os')",
    "\u2028import os",
    "k0 = 1",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_of_a_policy_reaches_the_generated_source(text: str) -> None:
    quoted = pe.dumps(text)
    source = f"""package t
# {text.replace(chr(10), " ")}
p[{quoted}] := {quoted} if {{
	import_os := {quoted}
	import_os == input[{quoted}]
	x := $"{{import_os}}"
	{quoted} in {{{quoted}, `{text.replace("`", "")}`}}
}}
"""
    policies = pe.compile({f"{text}.rego": source})
    generated = policies.python_source()
    assert "os" not in generated.replace("is_closed", "")
    assert text not in generated
    assert policies.entrypoint("data.t.p")({text: text}) == {text: text}


def test_one_policy_set_serves_many_threads(policies: pe.Policies) -> None:
    everything = policies.entrypoint("data.authz")
    wrong: list[Any] = []

    def work(role: str, want: bool) -> None:
        for _ in range(500):
            got = everything({"role": role, "reasons": [role]})
            if got["allow"] is not want or got["deny"] != [role]:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(role, role == "admin")) for role in ("admin", "user") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_deeply_nested_loops() -> None:
    names = [f"x{i}" for i in range(40)]
    body = "; ".join(f"some {name} in input" for name in names)
    source = f"package t\np := [{', '.join(names)}] if {{ {body} }}\nq if {{ {body}; x39 == 2 }}\nr := [x0 | {body}]"
    source += f"\ns if {{ not u }}\nu if {{ {body}; x39 == 3 }}\nf(y) := z if {{ {body}; z := x39 + y }}\nt := f(1)"
    policies = pe.compile({"t.rego": source})
    assert policies.entrypoint("data.t")([1]) == {"p": [1] * 40, "r": [1], "s": True, "t": 2}
    assert policies.entrypoint("data.t.q")([1]) is pe.UNDEFINED
    assert policies.entrypoint("data.t.q")([2]) is True


def test_deeply_nested_comprehensions() -> None:
    term = "input.x"
    for _ in range(30):
        term = f"[v | v := {term}]"
    deep = pe.compile({"t.rego": f"package t\np := {term}"}).entrypoint("data.t.p")
    value = deep({"x": 7})
    for _ in range(30):
        (value,) = value
    assert value == 7


def test_invalid_utf8_does_not_leave_the_engine() -> None:
    entry = pe.compile({"t.rego": 'package t\np := {base64.decode("/w=="): [base64.decode("gIE="), "é"]}'}).entrypoint
    assert entry("data.t.p")() == {"\ufffd": ["\ufffd\ufffd", "é"]}


def test_exponents_that_no_number_has() -> None:
    with pytest.raises(ValueError, match="number too big"):
        pe.loads("1e999999999999999999999")
    with pytest.raises(pe.PolicyError, match="too large"):
        pe.compile({"t.rego": "package t\np := 1e999999999999999999999"})
    value = pe.loads("1e99999999999")
    entry = pe.compile({"t.rego": "package t\np if input > 1\nq := input * 2"}).entrypoint
    assert entry("data.t.p")(value) is True
    assert entry("data.t.q")(value) is pe.UNDEFINED


def test_values_nested_too_deeply_are_an_error() -> None:
    deep: list[Any] = [1, 1]
    for number in (0, 1):
        for _ in range(100_000):
            deep[number] = [deep[number]]
    module = "package t\np := input\nq if input == data.x\nr := {input}"
    entry = pe.compile({"t.rego": module}, {"x": deep[0]}).entrypoint
    for path in ("data.t.p", "data.t.q", "data.t.r"):
        with pytest.raises(pe.PolicyError) as caught:
            entry(path)(deep[1])
        assert caught.value.code == "eval_cancel_error"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_a_value_comes_out_as_it_went_in(value: Any) -> None:
    assert pe.dumps(IDENTITY(value)) == pe.dumps(value)
    assert pe.loads(pe.dumps(value)) == value


@given(JSON, JSON)
def test_equality_is_an_equivalence_that_order_agrees_with(a: Any, b: Any) -> None:
    got = COMPARE({"a": a, "b": b})
    assert [got["less"], got["equal"], got["more"]].count(True) == 1
    assert got["equal"] is (pe.dumps(a) == pe.dumps(b) or (got["in_set"] and got["equal"]))
    assert got["in_set"] is got["equal"]


IDENTITY = pe.compile({"t.rego": "package t\np := input"}).entrypoint("data.t.p")
COMPARE = pe.compile(
    {
        "t.rego": "package t\n"
        'p := {"less": input.a < input.b, "equal": input.a == input.b, "more": input.a > input.b, '
        '"in_set": input.a in {input.b}}'
    }
).entrypoint("data.t.p")


def test_bundles(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / ".manifest").write_text('{"roots": ["t", "lib"]}')
    (tmp_path / "t.rego").write_text("package t\np := data.lib.values.x")
    (tmp_path / "t_test.rego").write_text("package t_test\ntest_p if data.t.p == 1")
    (tmp_path / "lib" / "data.yaml").write_text("values: {x: 1}\n")
    policies = pe.load(tmp_path)
    assert policies.entrypoint("data.t.p")() == 1
    assert policies.entrypoint("data.t_test.test_p")() is pe.UNDEFINED
    (tmp_path / "data.json").write_text('{"other": 1}')
    with pytest.raises(pe.PolicyError, match="outside the manifest's roots"):
        pe.load(tmp_path)
    with pytest.raises(pe.PolicyError, match="there is no bundle at"):
        pe.load(tmp_path / "nowhere")


def test_annotations() -> None:
    source = (
        "# METADATA\n# title: T\npackage t\n\n# METADATA\n# description: says yes\n# custom:\n#   owner: me\np := 1\n"
    )
    assert pe.compile({"t.rego": source}).annotations() == [
        {
            "path": ["t"],
            "location": {"file": "t.rego", "row": 3, "col": 1},
            "annotations": {"title": "T", "scope": "package"},
        },
        {
            "path": ["t", "p"],
            "location": {"file": "t.rego", "row": 9, "col": 1},
            "annotations": {"description": "says yes", "custom": {"owner": "me"}, "scope": "rule"},
        },
    ]


def test_results_of_any_size_have_keys_as_text() -> None:
    source = 'package t\np[i] := x if some i, x in [true, false]\nq := {"p": p, "more": [[]]}\n'
    policies = pe.compile({"t.rego": source})
    assert policies.entrypoint("data.t.p")() == {"0": True, "1": False}
    assert policies.entrypoint("data.t.q")() == {"p": {"0": True, "1": False}, "more": [[]]}


@pytest.mark.parametrize(
    ("block", "row", "message"),
    [
        ("# title: a\n# title: b", 5, "key `title` occurs twice"),
        ("# title: [a]", 4, "title must be a text, found a list"),
        ("# custom: {a: {1: b}}", 4, "key `1` is not a string"),
        ("# authors: ['']", 4, "invalid author: it is empty"),
        ("# related_resources: ['%zz']", 4, "no URL"),
        ("# scope: file", 4, "`file` is not a scope"),
        ("# scope: package", 4, "the scope `package` is for a package"),
        ("# entrypoint: true\n# scope: rule", 4, "an entrypoint is a document or a package"),
        ("# custom:\n#   a: &a [*a]", 5, "anchor `a` contains itself"),
    ],
)
def test_annotations_that_cannot_be_read(block: str, row: int, message: str) -> None:
    source = f"package t\n\n# METADATA\n{block}\np := rego.metadata.rule()\n"
    with pytest.raises(pe.PolicyError, match=re.escape(message)) as caught:
        pe.compile({"t.rego": source})
    assert caught.value.code == "rego_parse_error"
    assert caught.value.location
    assert caught.value.location.row == row


def test_two_annotations_of_one_document_are_refused() -> None:
    about = "# METADATA\n# scope: document\n# title: a\np := rego.metadata.chain() if {condition}\n"
    source = "package t\n" + "".join(about.format(condition=name) for name in ("input.a", "input.b"))
    with pytest.raises(pe.PolicyError, match=r"document annotation redeclared: t\.rego:2") as caught:
        pe.compile({"t.rego": source})
    assert caught.value.code == "rego_type_error"


def test_the_public_names() -> None:
    assert sorted(pe.__all__) == sorted(name for name in pe.__all__ if hasattr(pe, name))
