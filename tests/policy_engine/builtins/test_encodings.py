"""JSON, base64, hexadecimal, URL queries and digests against the real OPA; and what JSON must survive."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final

import pytest

from policy_engine.builtins import TABLE, gojson
from policy_engine.errors import EVAL_CANCEL_ERROR
from policy_engine.values import Set, Value, loads, to_term
from tests.oracle import Oracle
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "60"))

_TOKENS: Final = (
    *'{}[],:-.e01 "\\é\n\x01',
    *('"a"', "true", "nul", "null", "1.50", "1E5", "-0", "u00", '"\\ud83d\\ude00"', '"\\ud800"', "\x7f", "NaN", "//"),
)


def json_text(rnd: random.Random) -> str:
    """JSON, JSON with one change, or a handful of tokens."""
    if rnd.random() < 0.4:
        return "".join(rnd.choice(_TOKENS) for _ in range(rnd.randint(0, 8)))
    text = gojson.write(g.any_value(rnd, 3), lambda work: None)
    if rnd.random() < 0.5:
        return text
    at = rnd.randint(0, len(text))
    return text[:at] + rnd.choice(("", *_TOKENS)) + text[at + rnd.randint(0, 2) :]


def base64_text(rnd: random.Random) -> str:
    text = "".join(rnd.choice("AQYbz09+/-_" if rnd.random() < 0.8 else "=\n\r é*") for _ in range(rnd.randint(0, 9)))
    return text[: len(text) // 4 * 4] + rnd.choice(("", "", "YQ==", "YWI=", "YQ=", "Y===", "YQ", "YWI==", "YQ==x"))


def hex_text(rnd: random.Random) -> str:
    return "".join(rnd.choice("0a9F" if rnd.random() < 0.95 else "gé\x00\xad") for _ in range(rnd.randint(0, 6)))


def query_text(rnd: random.Random) -> str:
    return "".join(
        rnd.choice(("a", "b", "%41", "%C3%A9", "%", "+", "&", "=", ";", "é")) for _ in range(rnd.randint(0, 8))
    )


def options(rnd: random.Random) -> Value:
    keys = rnd.sample(("indent", "prefix", "pretty", "other", 1), rnd.choice((0, 1, 1, 2, 3)))
    return {key: rnd.choice(("", "  ", "\t", True, False, 3)) for key in keys}


def parameters(rnd: random.Random) -> Value:
    values = (g.text(rnd), [g.text(rnd), "b"], Set(["c", ""]), [], g.any_value(rnd, 1))
    return {rnd.choice(("a", "b", "é<", 1, None)): rnd.choice(values) for _ in range(rnd.randint(0, 3))}


def _anything(rnd: random.Random) -> Value:
    return g.any_value(rnd, 3)


SIGNATURES: Final[dict[str, tuple[Callable[[random.Random], Value], ...]]] = {
    "json.marshal": (_anything,),
    "json.marshal_with_options": (_anything, options),
    "json.unmarshal": (json_text,),
    "json.is_valid": (json_text,),
    "base64.decode": (base64_text,),
    "base64.is_valid": (base64_text,),
    "base64url.decode": (base64_text,),
    "hex.decode": (hex_text,),
    **dict.fromkeys(("base64.encode", "base64url.encode", "base64url.encode_no_pad", "hex.encode"), (g.text,)),
    "urlquery.encode": (g.text,),
    "urlquery.decode": (query_text,),
    "urlquery.decode_object": (query_text,),
    "urlquery.encode_object": (parameters,),
    **dict.fromkeys(("crypto.md5", "crypto.sha1", "crypto.sha256"), (g.text,)),
    **dict.fromkeys([f"crypto.hmac.{name}" for name in ("md5", "sha1", "sha256", "sha512")], (g.text, g.text)),
    "crypto.hmac.equal": (g.short, g.short),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_same_as_opa(name: str, oracle: Oracle) -> None:
    rnd = random.Random(name)
    for _ in range(ROUNDS):
        operands = g.operands(rnd, SIGNATURES[name])
        got, want = verdict(name, *operands), opa_outcome(oracle.call(name, *operands))
        assert got == want, f"{name}({', '.join(map(to_term, operands))})"


@pytest.mark.slow
@pytest.mark.parametrize("depth", [9_000, 10_000])
@pytest.mark.parametrize(("opening", "core", "closing"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_deep_json_comes_back(depth: int, opening: str, core: str, closing: str) -> None:
    text = opening * depth + core + closing * depth
    assert gojson.write(gojson.read(text), lambda work: None) == text
    assert gojson.is_valid(text)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10_001, 300_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deeper_json_is_refused(depth: int, opening: str) -> None:
    with pytest.raises(gojson.JSONError, match="nested more than 10,000 levels deep"):
        gojson.read(opening * depth)
    assert not gojson.is_valid(opening * depth)


@pytest.mark.parametrize("text", ["[" + "1," * 20_000 + "1]", "[" + "[]," * 20_000 + "[]]", '{"a": [{"b": 1.50}]}'])
def test_both_readers_agree(text: str) -> None:
    """Python's parser reads what it can; Go's rules, which are written out here, read the rest."""
    assert to_term(gojson._Reader(text).document()) == to_term(loads(text)) == to_term(gojson.read(text))


def test_a_wide_indent_is_charged() -> None:
    deep: Value = 1
    for _ in range(500):
        deep = [deep]
    got = outcome("json.marshal_with_options", deep, {"indent": " " * 100_000}, query=Query(budget=100_000))
    assert got.startswith(EVAL_CANCEL_ERROR)


def test_bytes_that_are_no_text_survive(oracle: Oracle) -> None:
    """A binary key in base64 gives the digest that everybody else computes with it, and counts byte by byte."""
    for encoded in ("/w==", "YP9i", "7aCA", "4oKC4oI=", "gICA"):
        raw = oracle.query(
            f'x := base64.decode("{encoded}"); h := hex.encode(x); s := crypto.sha256(x); m := json.marshal(x);'
            ' t := $"{[x]}"; e := base64.encode(x); u := urlquery.encode(x); k := crypto.hmac.sha256("m", x)'
        ).bindings[0]
        decoded = TABLE["base64.decode"].function(encoded)
        assert outcome("hex.encode", decoded) == f'["{raw["h"]}"]'
        assert outcome("crypto.sha256", decoded) == f'["{raw["s"]}"]'
        assert outcome("json.marshal", decoded) == to_term([raw["m"]])
        assert outcome("base64.encode", decoded) == f'["{raw["e"]}"]'
        assert outcome("urlquery.encode", decoded) == f'["{raw["u"]}"]'
        assert outcome("crypto.hmac.sha256", "m", decoded) == f'["{raw["k"]}"]'
        assert to_term([decoded]) == raw["t"]
