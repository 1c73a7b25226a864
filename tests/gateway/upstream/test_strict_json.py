"""The strict parser: everything on which JSON parsers are known to differ is refused, everything else is unchanged."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Denied
from gateway.upstream import strict_json

REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing at all", b"", "bad_request"),
    ("not JSON", b"{", "bad_request"),
    ("two documents", b"{} {}", "bad_request"),
    ("trailing comma", b'{"a":1,}', "bad_request"),
    ("comment", b'{"a":1 /* x */}', "bad_request"),
    ("single quotes", b"{'a':1}", "bad_request"),
    ("duplicate key", b'{"model":"a","model":"b"}', "duplicate_key"),
    ("duplicate key spelled with escapes", b'{"model":"a","mod\\u0065l":"b"}', "duplicate_key"),
    ("duplicate key deep inside", b'{"a":[{"b":{"c":1,"c":1}}]}', "duplicate_key"),
    ("NaN", b'{"a":NaN}', "bad_request"),
    ("Infinity", b'{"a":Infinity}', "bad_request"),
    ("minus Infinity", b'{"a":-Infinity}', "bad_request"),
    ("beyond a double", b'{"a":1e400}', "bad_request"),
    ("beyond a double below", b'{"a":-1e400}', "bad_request"),
    ("beyond 64 bits", b'{"a":18446744073709551616}', "bad_request"),
    ("beyond 64 bits below", b'{"a":-9223372036854775809}', "bad_request"),
    ("an integer of a megabyte", b'{"a":' + b"9" * 1_000_000 + b"}", "bad_request"),
    ("leading zero", b'{"a":01}', "bad_request"),
    ("plus sign", b'{"a":+1}', "bad_request"),
    ("hexadecimal", b'{"a":0x10}', "bad_request"),
    ("byte order mark", b'\xef\xbb\xbf{"a":1}', "bad_request"),
    ("UTF-16", '{"a":1}'.encode("utf-16"), "bad_request"),
    ("UTF-16 without a mark", '{"a":1}'.encode("utf-16-le"), "bad_request"),
    ("UTF-32", '{"a":1}'.encode("utf-32-be"), "bad_request"),
    ("Latin-1", b'{"a":"\xe4"}', "bad_request"),
    ("overlong UTF-8", b'{"a":"\xc0\xaf"}', "bad_request"),
    ("surrogate in UTF-8", b'{"a":"\xed\xa0\x80"}', "bad_request"),
    ("lone high surrogate", b'{"a":"\\ud800"}', "bad_request"),
    ("lone low surrogate", b'{"a":"\\uDC00"}', "bad_request"),
    ("swapped surrogates", b'{"a":"\\udc00\\ud800"}', "bad_request"),
    ("lone surrogate in a key", b'{"\\ud800":1}', "bad_request"),
    ("raw control character", b'{"a":"\x01"}', "bad_request"),
    ("raw newline in a string", b'{"a":"\n"}', "bad_request"),
    ("raw NUL", b'{"a":"\x00"}', "bad_request"),
    ("65 arrays", b"[" * 65 + b"]" * 65, "bad_request"),
    ("65 objects", b'{"a":' * 65 + b"1" + b"}" * 65, "bad_request"),
    ("a thousand arrays", b"[" * 1_000, "bad_request"),
    ("a million arrays", b"[" * 1_000_000, "too_large"),
    ("too many values", b"[" + b"1," * 100_000 + b"1]", "too_large"),
    ("too many values spread out", b"[" + b"[1,1]," * 40_000 + b"1]", "too_large"),
    ("too many values behind an escaped quote", b'["\\"",' + b"1," * 100_000 + b"1]", "too_large"),
    ("too many values behind an escaped backslash", b'["\\\\",' + b"1," * 100_000 + b"1]", "too_large"),
]


@pytest.mark.parametrize(("body", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(body: bytes, code: str) -> None:
    with pytest.raises(Denied) as caught:
        strict_json.parse(body)
    assert caught.value.code == code
    assert len(" ".join(caught.value.reasons)) < 200


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a":null,"b":[true,false,0,-0.5,1e3,"x"]}',
        b'{"a":18446744073709551615,"b":-9223372036854775808}',
        b'{"a":"\\ud83d\\ude00 \\u0000 \\\\ud800"}',  # a pair, an escaped NUL, and no surrogate at all
        '{"ä":"😀"}'.encode(),
        b"[" * 64 + b"]" * 64,
        b" \r\n\t{} ",
        b"[" + b"1," * 99_999 + b"1]",
        b'[{"a":1},{"a":1}]',  # equal keys of different objects are no duplicates
        b'["' + b"a, b, [c], {d}; " * 50_000 + b'"]',  # a long text is one value
        b'["' + b'\\", ' * 200_000 + b'"]',
        b'["' + b"\\\\" * 200_000 + b'"]',
    ],
)
def test_accepted_as_it_is(body: bytes) -> None:
    assert strict_json.parse(body) == json.loads(body)


TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.mark.parametrize(
    "value", [b"1,", b"[],", b"{},", b'"",', b'{"a":1},', b"1.5,", b'"\\\\",', b'"\\"",', b"[", b'{"a":']
)
def test_too_many_values_are_refused_before_any_is_decoded(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding ten megabytes of small values takes seconds, in which the event loop would do nothing else."""

    def decode(text: str) -> object:
        raise AssertionError("decoded")

    monkeypatch.setattr(strict_json, "_DECODER", SimpleNamespace(decode=decode))
    body = b"[" + value * ((TEN_MEGABYTES - 2) // len(value)) + b"1]"
    with pytest.raises(Denied) as caught:
        strict_json.parse(body)
    assert caught.value.code == "too_large"


def test_the_duplicate_is_named() -> None:
    with pytest.raises(Denied) as caught:
        strict_json.parse(b'{"model":1,"x":2,"mod\\u0065l":3}')
    assert caught.value.reasons == ("the key `model` appears twice in one object",)


def test_client_text_in_a_message_is_escaped_and_cut() -> None:
    assert strict_json.shown("a\x1b[31m\n`") == "`a\\u001b[31m\\n``"
    assert len(strict_json.shown("x" * 1000)) < 80


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_dumped_is_parsed_as_the_same(value: object) -> None:
    again = strict_json.parse(strict_json.dump(value))
    assert again == value
    assert repr(again) == repr(value)  # 1 and 1.0 and True are equal, but not the same


@given(json_values)
def test_escapes_make_no_difference(value: object) -> None:
    assert strict_json.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        value = strict_json.parse(body)
    except Denied:
        return
    assert value == json.loads(body)
