"""Leaves: canonical in the sense of RFC 8785, read back as they were written, and every rule that keeps others out."""

from __future__ import annotations

import hashlib
import hmac
import json
from contextlib import suppress
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.audit import entry as entries
from gateway.audit.errors import AuditError

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
INTEGERS = st.integers(-entries.MAX_INTEGER, entries.MAX_INTEGER)
TEXTS = st.text(max_size=200)  # without surrogates
SCALARS = st.none() | st.booleans() | INTEGERS | TEXTS
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=9), inner)
    ),
    max_leaves=20,
)


def change(**members: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "id": "chg_1",
        "kind": "change",
        "time": "1764000000000000000",
        "org": "default",
        "boot": "boot_1",
        "actor": "local:1000",
        "epoch": 7,
        "what": "agent.created",
    } | members


def test_a_leaf_byte_for_byte() -> None:
    leaf = entries.encode(change(name="Zoë\n", secret=None, active=True))
    assert (
        leaf
        == (
            '{"active":true,"actor":"local:1000","boot":"boot_1","epoch":7,"id":"chg_1","kind":"change","name":"Zoë\\n",'
            '"org":"default","secret":null,"time":"1764000000000000000","v":1,"what":"agent.created"}'
        ).encode()
    )


@given(st.dictionaries(NAMES, SCALARS, max_size=20))
@example({"text": '\x00\x08\x1f\x7f\u2028\ud7ff\U0010ffff"\\/'})
def test_sorted_json_is_rfc_8785(members: dict[str, Any]) -> None:
    assert entries.canonical(members) == rfc8785.dumps(members)


@given(DOCUMENTS)
def test_documents_are_rfc_8785_too(value: Any) -> None:
    assert entries.document(value).encode() == rfc8785.dumps(value)


@given(st.dictionaries(NAMES.filter(lambda name: name not in change()), SCALARS, max_size=20))
def test_what_is_written_is_read_back(members: dict[str, Any]) -> None:
    entry = change(**members)
    try:
        entries.check(entry)
    except AuditError:
        return  # a short cap, such as that of `agent`
    assert entries.decode(entries.encode(entry)) == entry


@given(st.binary(max_size=60) | st.builds(lambda text: json.dumps(change(name=text)).encode(), st.text(max_size=9)))
def test_whatever_is_read_would_be_written_the_same(leaf: bytes) -> None:
    with suppress(AuditError):  # and nothing else
        assert entries.encode(entries.decode(leaf)) == leaf


@given(st.data())
def test_a_leaf_with_one_changed_byte_is_no_longer_the_same_entry(data: st.DataObject) -> None:
    leaf = bytearray(entries.encode(change(name="support-bot", count=12)))
    at = data.draw(st.integers(0, len(leaf) - 1), "position")
    leaf[at] ^= data.draw(st.integers(1, 255), "bits")
    try:
        entry = entries.decode(bytes(leaf))
    except AuditError:
        return
    assert entry != change(name="support-bot", count=12)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"kind": "changed"}, "not a kind"),
        ({"kind": None}, "not a kind"),
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"epoch": "7"}, "wrong type"),
        ({"epoch": True}, "wrong type"),
        ({"actor": None}, "wrong type"),
        ({"time": "2026-11-25"}, "nanoseconds"),
        ({"time": "0764000000000000000"}, "nanoseconds"),
        ({"time": "17640000000000000000"}, "nanoseconds"),
        ({"Name": "x"}, "not a name"),
        ({"näme": "x"}, "not a name"),
        ({"": "x"}, "not a name"),
        ({"a" * 65: "x"}, "not a name"),
        ({"name\n": "x"}, "not a name"),
        ({"money": 0.5}, "float"),
        ({"list": ["x"]}, "list"),
        ({"big": 2**53}, "beyond"),
        ({"small": -(2**53)}, "beyond"),
        ({"name": "x" * 4097}, "longer than 4096 bytes"),
        ({"name": "ä" * 2049}, "longer than 4096 bytes"),
        ({"agent": "x" * 65}, "longer than 64 bytes"),
        ({"input_json": "x" * 49_153}, "longer than 49152 bytes"),
        ({f"m{number}": 1 for number in range(120)}, "at most 128 members"),
    ],
)
def test_these_are_no_entries(members: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AuditError, match=complaint) as caught:
        entries.check(change(**members))
    assert caught.value.code == "bad_entry"
    with pytest.raises(AuditError, match=complaint):  # where the size of the leaf is known
        entries.decode(entries.canonical(change(**members)))


@pytest.mark.parametrize("name", [*entries.COMMON, "what"])
def test_every_member_that_a_kind_has_must_be_there(name: str) -> None:
    entry = change()
    del entry[name]
    with pytest.raises(AuditError):
        entries.check(entry)


@pytest.mark.parametrize(
    "members",
    [{"name": "x" * 4096}, {"name": "ä" * 2048}, {"n": 2**53 - 1}, {"n": 1 - 2**53}, {"x_json": "x" * 49_152}],
)
def test_the_caps_themselves_are_allowed(members: dict[str, Any]) -> None:
    entries.check(change(**members))


def test_lone_surrogates_have_no_canonical_form() -> None:
    with pytest.raises(AuditError) as caught:
        entries.encode(change(name="\ud800"))
    assert caught.value.code == "bad_entry"


def test_a_leaf_has_at_most_64_kib() -> None:
    members = {f"m{number}_json": "x" * 40_000 for number in range(2)}
    entries.check(change(**members))
    with pytest.raises(AuditError, match="65535 bytes"):
        entries.encode(change(**members))
    with pytest.raises(AuditError, match="65535 bytes"):
        entries.decode(b" " * 65_536)


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        entries.encode(change()) + b"\n",
        entries.encode(change()).replace(b'"v":1', b'"v":1.0'),
        entries.encode(change()).replace(b":", b": ", 1),
        entries.encode(change()).replace(b'"v":1', b'"v":1,"v":1'),
        entries.encode(change(name="A")).replace(b'"A"', b'"\\u0041"'),
        json.dumps(dict(sorted(change().items(), reverse=True)), separators=(",", ":")).encode(),
    ],
)
def test_other_spellings_are_no_leaves(leaf: bytes) -> None:
    with pytest.raises(AuditError):
        entries.decode(leaf)


@pytest.mark.parametrize("value", [0.5, 2**53, [0.5], {"ä": 1}, {1: 1}, b"x", {"a": {"b": {1, 2}}}])
def test_documents_hold_only_what_every_reader_reads_alike(value: Any) -> None:
    with pytest.raises(AuditError):
        entries.document(value)


def test_a_document_that_is_nested_too_deep_is_refused() -> None:
    value: Any = []
    for _ in range(100):
        value = [value]
    with pytest.raises(AuditError):
        entries.document(value)


def test_the_commitment_is_an_hmac_over_name_and_value() -> None:
    salt = bytes(range(32))
    expected = hmac.new(salt, b"input\x00{}", hashlib.sha256).hexdigest()
    assert entries.commitment(salt, "input", b"{}") == expected
    assert entries.commitment(salt, "inpu", b"t\x00{}") != expected
    with pytest.raises(AuditError, match="32 bytes"):
        entries.commitment(salt[:31], "input", b"{}")
