"""The reader of large bodies must refuse and return exactly what the reader of small ones does, however they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.body import WINDOW, SpooledBody
from gateway.errors import Denied
from gateway.upstream import json_body, strict_json

TEXTS = st.text(st.sampled_from('ab\\"/{}[],:\n\u00e9\u4e2d\U0001f600\ud7ff\x7f 1'), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
# Texts that the readers must agree on, JSON or not.
_TEXT = """\
" "" \\ \\\\ \\" \\u00e9 \\ud83d \\ude00 \\ud83d\\ude00 \\u12 \\x { } [ ] , : "a": 1 -0 1.5e3 1e999 NaN null tru abc
99999999999999999999 \u00e9 \u4e2d \U0001f600 \u0663 \x01"""
PARTS = st.sampled_from([*_TEXT.split(), " ", "\n", "\x0c"])


class Pieces:
    """A body that comes in windows of these sizes."""

    def __init__(self, raw: bytes, sizes: list[int]) -> None:
        self._raw, self._sizes = raw, sizes

    def windows(self) -> Iterator[bytes]:
        at = number = 0
        while at < len(self._raw):
            size = self._sizes[number % len(self._sizes)]
            yield self._raw[at : at + size]
            at, number = at + size, number + 1


def outcome(parse: Any, raw: Any) -> tuple[str, str]:
    try:
        return "value", repr(parse(raw))
    except Denied as denied:
        return denied.code, "".join(denied.reasons)


def same(raw: bytes, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "_LONG", 3)
    found, what = outcome(json_body.parse, cast(SpooledBody, Pieces(raw, sizes)))
    if "name of a member" in what:
        return  # the one thing that only large bodies may not have
    expected, value = outcome(strict_json.parse, raw)
    assert found == expected
    if found == "value":
        assert what == value


SIZES = st.lists(st.integers(4, 9), min_size=1, max_size=4)


@settings(max_examples=40)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]), SIZES)
def test_values_are_read_alike(value: Any, ascii_only: bool, indent: int | None, sizes: list[int]) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        same(raw, sizes, patch)


@settings(max_examples=40)
@given(st.lists(PARTS, max_size=20), st.binary(max_size=2), SIZES)
def test_anything_is_read_alike(parts: list[str], end: bytes, sizes: list[int]) -> None:
    for raw in ("".join(parts).encode() + end, b'["' + "".join(parts).encode() + end + b'"]'):
        with pytest.MonkeyPatch.context() as patch:
            same(raw, sizes, patch)


@settings(max_examples=40)
@given(VALUES)
def test_what_is_written_in_steps_is_read_alike(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_LONG", 3)
        patch.setattr(json_body, "WINDOW", 2)
        assert json_body.dump(value, cast(SpooledBody, None)) == strict_json.dump(value)


@settings(max_examples=15)
@given(
    st.integers(-8, 8),
    st.sampled_from(["\\n", "\\\\", '\\"', "\\ud83d\\ude00", "\U0001f600", "\u00e9", '","', "\\u00e9"]),
)
def test_what_lies_across_a_window_is_read_whole(offset: int, unit: str) -> None:
    """At the real sizes: a string that ends, or has an escape, around the border between two windows."""
    for before in (WINDOW, 2 * WINDOW, 3 * WINDOW):
        raw = b'{"a":["' + b"x" * (before + offset) + unit.encode() * 3 + b'"], "b": 1}'
        body = SpooledBody(Path("/tmp"))
        body.write([raw])
        assert json_body.parse(body) == strict_json.parse(raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"[" + b"[]," * 700_000 + b"[]]", "too_large"),
        (b"[" * 2_000_000, "too_large"),
        (b'"' * 2_000_000, "too_large"),
        (b"[" + b"1" * 2_000_000 + b"]", "bad_request"),
        (b'{"a":"' + b"x" * 2_000_000, "bad_request"),
        (b'{"' + b"x" * 2_000_000 + b'":1}', "bad_request"),
        (b'{"a":"' + b"x" * 2_000_000 + b"\xff" + b'"}', "bad_request"),
        (b'{"a":"' + b"x" * 2_000_000 + b'\\ud83d"}', "bad_request"),
        (b'{"a":"' + b"x" * 2_000_000 + b'\n"}', "bad_request"),
        (b'{"a":"' + b"x" * 2_000_000 + b'","a":1}', "duplicate_key"),
        (b'["' + b"x" * 2_000_000 + b'",' + b"[" * 70 + b"]" * 70 + b"]", "bad_request"),
        (b'["' + b"x" * 2_000_000 + b'",1' + "\u0663".encode() + b"]", "bad_request"),
    ],
)
def test_a_hostile_body_is_refused(raw: bytes, code: str, tmp_path: Path) -> None:
    body = SpooledBody(tmp_path)
    body.write([raw])
    with pytest.raises(Denied) as caught:
        json_body.parse(body)
    assert caught.value.code == code
