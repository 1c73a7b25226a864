"""yaml.* against the real OPA: every way to write a scalar, every construct, and text that is not YAML."""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

from policy_engine.builtins import TABLE
from policy_engine.builtins.yaml import reader
from policy_engine.values import Number, Set, Value, freeze
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "60"))

_SCALAR_TEXTS: Final = """
y Y yes Yes YES n N no No NO on On ON off OFF true True TRUE tRue false null Null NULL ~ nULL
1 +1 -1 01 010 08 0o17 0O17 -0o17 0x1F 0X1f -0x1F 0b101 0b2 -0b11 1_000 1__0 _1 1_ 0x_1 00 -010 0o8 0x 0b 0o 0xg +0x1
1.5 1.50 .5 5. 1e3 1E3 1e+3 1.e3 .e3 1.5e-3 1_0.5 01.5 +.5 -.5 1e1_0 0x1.8p3 1.0 -0 -0.0 0.1_5 5e .5e 1e+ 1.2.3 1,000
1:30 1:30.5 190:20:30 2020-01-01 2020-01-01T00:00:00Z .inf .Inf -.inf +.inf .nan .NaN inf nan Infinity = << . .. + - -a
12345678901234567890 123456789012345678901234567890 -9223372036854775809 9223372036854775808 18446744073709551616
0xFFFFFFFFFFFFFFFF 0x1FFFFFFFFFFFFFFFF 1e400 -1e400 1e-400 1e21 1e20 123456789.123456789 0.0000001 4.9e-324 \u0661
"""
_SCALARS: Final = _SCALAR_TEXTS.split()
_TAGGED: Final = (
    *("!!str 1", '!!int "5"', "!!float 3", "!!bool yes", "!!null x", "!!null null", "!!binary YQ==", '!!binary "/w=="'),
    *("!foo bar", "!!int x", "!!timestamp 2020-01-01", "!!timestamp x", '!!float "1.5"', "!!int 0x10", "!!set {a}"),
    *(
        "!!str [a]",
        "!!map x",
        "!<tag:yaml.org,2002:int> 7",
        "! 1",
        "!!int 1.5",
        "!!float 18446744073709551615",
        "!!str",
    ),
)
_DOCUMENTS: Final = (
    *("a: b?", "- ?a", '"\\\\/"', "'\\/'", '&a "a/b"', "[a:b]", "{a: http://x/y}"),
    *(
        "",
        "# c",
        "---",
        "a: 1\n---\nb: 2",
        "a: 1\n---\n]",
        "--- a\n...\nb",
        "%YAML 1.1\n--- a",
        "%YAML 2.0\n--- a",
        "%FOO x\n--- a",
    ),
    *(
        "a: 1\na: 2",
        "{a: 1, a: 2}",
        "a: &x [1]\nb: *x",
        "a: &x {b: *x}",
        "b: *nope",
        "a: &x 1\nb: &x 2\nc: *x",
        "&a [*a]",
    ),
    *(
        "b: &b {x: 1, z: 2}\nd:\n  <<: *b\n  z: 3",
        "b: &b {x: 1, z: 2}\nd:\n  z: 3\n  <<: *b",
        "d: {<<: 5}",
        "d: {<<: [5]}",
    ),
    *(
        "d:\n  <<: [{x: 1},{x: 2, z: 3}]\n  q: 1",
        'd: {"<<": {a: 1}}',
        "d: {!!merge <<: {a: 1}}",
        "1: a\n1.5: b\ntrue: c",
    ),
    "1.0: a\n1e10: b\n0.1: c\n1234567.5: d\n.inf: e\n-.inf: f\n.nan: g\n1e-5: h\n123456.0: i\n1000000.0: j",
    *(
        "2020-01-01: x",
        "0x10: a\n010: b",
        "? a\n: b\n? c",
        "? |\n  k\n: v",
        "a: [b: c]",
        "[{a: 1}, b: 2]",
        "- - - a",
        "- |\n",
    ),
    *(
        "a: |\n  x\n  y\n",
        "a: >\n  x\n  y\n\n  z\n",
        "a: |-\n  x\n",
        "a: |+\n  x\n\n",
        'a: "b\n  c"',
        "'a''b'",
        'a: "\\\n b"',
    ),
    *(
        'a: "\\x41\\u00e9\\U0001F600"',
        "a\nb",
        "a #b",
        "a#b",
        "a: b\tc",
        "é: ü",
        "{a:b}",
        '{"a":b}',
        '"a":b',
        "foo: !bar {a: 1}",
    ),
    # not YAML
    *(
        "a: b: c",
        "a:\n\t- b",
        "[a",
        "{a",
        '"a',
        '"\\z"',
        "@a",
        "`a",
        "a: *",
        "\x01",
        "a\x00b",
        "\x7f",
        "[a, , b]",
        "[,]",
    ),
    *(
        "- a\n- b\nc",
        "a: 1\nb",
        "x: {a: 1}}",
        "{a: b]",
        "a: - b",
        ": a",
        "a: b\n c: d",
        "a:\n - b\n- c",
        "\ta: b",
        "- a\n-\tb",
    ),
)
_VALUES: Final = (
    *(
        Number("1.50"),
        Number("1e3"),
        10**30,
        2**64 - 1,
        1e-7,
        0.1,
        -0.0,
        Number("1e400"),
        True,
        None,
        "",
        " a",
        "a ",
        "a: b",
    ),
    *(
        "a:b",
        "a #b",
        "#a",
        "- a",
        "?",
        ":",
        "a:",
        "[a]",
        "{a}",
        "*a",
        "&a",
        "!a",
        "|",
        ">a",
        "%a",
        "@a",
        "`a",
        "'a'",
        '"a"',
    ),
    *(
        "a\nb",
        "a\n",
        "\na",
        "a\n\n",
        " a\nb",
        "a\r\nb",
        "\t",
        "a\tb",
        "\x00",
        "\x1f",
        "\x7f",
        "\u0085",
        "\xa0",
        "é",
        "😀",
    ),
    *(
        "x" * 100,
        "word " * 30,
        "word " * 30 + "\nb",
        "é " * 60,
        "---",
        "--- a",
        "...",
        "a\\b",
        "1:30",
        "2020-13-01",
        "\"'",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        {"a": []},
        [[1, 2], [3]],
        [{"a": 1, "b": 2}],
        {"a": {"b": {"c": [{"d": 1}]}}},
        Set([3, 1, 2]),
    ),
    *({1: "a", freeze(True): "b", freeze([1, "<"]): "c"}, {"y": 1, "1": 2, "a\nb": 5, "x" * 130: 6}, ["<&>"], "\u200b"),
    {
        "\u2028": ["a\u2028", "\u2029", {"é\u2028": "\u2028'"}],
        "b": "a\u2028\u2028",
        "c": "a\u2028 ",
        "'\u2028": "\u2028b",
    },
    {"b": 1, "a": 2, "A": 3, "a10": 4, "a2": 5, "1": 6, "10": 7, "2": 8, "": 9, "_": 10, "é": 11, "a01": 1, "a001": 2},
)


def _check(oracle: Oracle, name: str, operand: Value) -> None:
    got, want = verdict(name, operand), opa_outcome(oracle.call(name, operand))
    assert got == want, f"{name}({operand!r})"


def test_scalars(oracle: Oracle) -> None:
    for text in (*_SCALARS, *_TAGGED):
        _check(oracle, "yaml.unmarshal", text)
        _check(oracle, "yaml.unmarshal", f"- {text}")


def test_strings_come_back_as_strings(oracle: Oracle) -> None:
    for text in _SCALARS:
        _check(oracle, "yaml.marshal", {text: [text]})
        if text == "<<":
            continue  # go-yaml does not quote it, and so reads it back as a merge key
        assert reader.read(TABLE["yaml.marshal"].function(Query(), {text: [text]})) == {text: [text]}


def test_documents(oracle: Oracle) -> None:
    for text in _DOCUMENTS:
        _check(oracle, "yaml.unmarshal", text)
        _check(oracle, "yaml.is_valid", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [('"\\/"', "/"), ("[a?b]", ["a?b"]), ("{u: http://x/?q=1}", {"u": "http://x/?q=1"}), ("%YAML 1.2\n--- a", "a")],
)
def test_what_libyaml_reads_and_opa_refuses(text: str, value: Value, oracle: Oracle) -> None:
    assert reader.read(text) == value
    assert opa_outcome(oracle.call("yaml.is_valid", text)) == "[false]"


@pytest.mark.parametrize(
    ("text", "row"), [("a: [b\nc: d", 1), ('a: 1\nb: "x\n', 2), ("a: 1\n\tb", 2), ("a: b: c", 1), ("- *x", 1)]
)
def test_an_error_has_the_row_of_the_mistake(text: str, row: int) -> None:
    with pytest.raises(reader.YAMLError, match=f"row {row}: "):
        reader.read(text)


def test_values(oracle: Oracle) -> None:
    for value in _VALUES:
        _check(oracle, "yaml.marshal", value)


_CHARACTERS: Final = "ab01 .-:#é\n'\"&*!|>%@`{}[],?\t~yn_\\=<\xa0"


def _text(rnd: random.Random) -> str:
    return "".join(rnd.choice(_CHARACTERS) for _ in range(rnd.choice((1, 2, 3, 5, 9, 30, 90))))


def _value(rnd: random.Random, depth: int = 3) -> Value:
    kind = rnd.random()
    if depth == 0 or kind < 0.5:
        numbers = (1, -5, 2.5, 1e6, 1e5, 123456.7, 1234567.5, 1e-5, 0.00012345, 10**19, 10**20, -(2**63))
        return rnd.choice((None, True, rnd.choice(numbers), _text(rnd), _text(rnd)))
    if kind < 0.75:
        return [_value(rnd, depth - 1) for _ in range(rnd.randint(0, 3))]
    keys = ("a", "b10", "b9", "b09", "y", _text(rnd)[:10], "1", "é", "a1", "a01", "a10")
    return {rnd.choice(keys): _value(rnd, depth - 1) for _ in range(rnd.randint(0, 4))}


def test_random_values(oracle: Oracle) -> None:
    rnd = random.Random("yaml")
    for _ in range(ROUNDS * 3):
        _check(oracle, "yaml.marshal", _value(rnd))


def test_aliases_do_not_explode() -> None:
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    with pytest.raises(reader.YAMLError, match="too many aliases"):
        reader.read(laughs)


@pytest.mark.parametrize("text", ["[" * 300_000, "- " * 100_000, "{a: " * 50_000])
def test_deep_nesting_is_an_error(text: str) -> None:
    with pytest.raises(reader.YAMLError, match="depth"):
        reader.read(text)


@pytest.mark.parametrize("text", ["~: a", "? [a]\n: 1", "? {a: 1}\n: 1", "18446744073709551615: a"])
def test_keys_that_json_cannot_have(text: str, oracle: Oracle) -> None:
    """The texts differ: OPA's show Go's types."""
    assert verdict("yaml.is_valid", text) == opa_outcome(oracle.call("yaml.is_valid", text)) == "[false]"
    with pytest.raises(reader.YAMLError, match="map key"):
        reader.read(text)
