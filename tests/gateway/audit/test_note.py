"""Signed notes and checkpoints: both directions, what must be ignored, and what must be refused."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import checkpoint as checkpoints
from gateway.audit import note
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError

ORIGIN = "test/default/audit/1"
SIGNER = note.NoteSigner("test", bytes(range(32)))
WITNESS = note.NoteSigner("witness.example/w1", bytes(32))
OTHER = note.NoteSigner("test", b"\x01" * 32)
HEAD = Checkpoint(ORIGIN, 1234, bytes(range(32)))
SIGNED = checkpoints.sign(HEAD, SIGNER)

# The key that the documentation of Go's sumdb notes uses.
EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_keys_are_read_back() -> None:
    for signer in (SIGNER, WITNESS, note.NoteSigner.generate("dev")):
        assert note.parse_signer(signer.encode()) == signer
        assert note.parse_verifier(str(signer.verifier)) == signer.verifier


def test_a_key_of_another_implementation_is_read() -> None:
    assert str(note.parse_verifier(EXAMPLE_KEY)) == EXAMPLE_KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+12345678",
        EXAMPLE_KEY.replace("c74f20a3", "c74f20a4"),
        EXAMPLE_KEY.replace("c74f20a3", "C74F20A3"),
        EXAMPLE_KEY.replace("Peter", "Paul"),
        EXAMPLE_KEY.replace("+ARpc", "+AXpc"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY.replace("PeterNeumann", ""),
        SIGNER.encode(),
    ],
)
def test_these_are_no_verifier_keys(text: str) -> None:
    with pytest.raises(AuditError) as caught:
        note.parse_verifier(text)
    assert caught.value.code == "bad_key"


def test_an_error_about_a_signing_key_does_not_show_it() -> None:
    text = SIGNER.encode()
    secret = text.rpartition("+")[2]
    for wrong in (text.replace("PRIVATE+KEY+", ""), text.replace("+test+", "+toast+"), text[:-1], text + "x"):
        with pytest.raises(AuditError) as caught:
            note.parse_signer(wrong)
        assert secret[:12] not in str(caught.value)
    assert secret[:12] not in repr(SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\n", "a\x00"])
def test_names_that_no_key_may_have(name: str) -> None:
    with pytest.raises(AuditError):
        note.NoteSigner.generate(name)


TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"), max_size=60).map(
    lambda text: text + "\n"
)


@given(TEXTS)
def test_a_signed_text_is_verified_and_given_back(text: str) -> None:
    signed = note.sign(text, [SIGNER, WITNESS])
    assert note.verify(signed, [SIGNER.verifier]) == text
    assert note.verify(signed, [WITNESS.verifier]) == text
    body, signatures = note.split(signed)
    assert body == text
    assert [name for name, _, _ in signatures] == ["test", "witness.example/w1"]


@given(st.data())
def test_one_changed_character_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SIGNED) - 1), "position")
    other = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda each: each != SIGNED[at]), "character")
    with pytest.raises(AuditError) as caught:
        checkpoints.verify(SIGNED[:at] + other + SIGNED[at + 1 :], SIGNER.verifier, ORIGIN)
    assert caught.value.code == "bad_proof"


def test_signatures_of_others_are_ignored_wherever_they_stand() -> None:
    body, _, own = SIGNED.rpartition("\n\n")
    junk = base64.b64encode(b"\x00\x01\x02\x03 whatever").decode()
    greased = f"{body}\n\n— grease.example {junk}\n{own}— test {junk}\n"
    assert checkpoints.verify(greased, SIGNER.verifier, ORIGIN) == HEAD


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    body, _, own = SIGNED.rpartition("\n\n")
    _, signatures = note.split(SIGNED)
    forged = base64.b64encode(signatures[0][1] + bytes(64)).decode()
    with pytest.raises(AuditError, match="does not verify"):
        checkpoints.verify(f"{body}\n\n{own}— {ORIGIN} {forged}\n", SIGNER.verifier, ORIGIN)


@pytest.mark.parametrize(
    ("signed", "why"),
    [
        ("", "no signatures"),
        (str(HEAD), "no signatures"),
        (SIGNED[:-1], "does not end in a newline"),
        (SIGNED + "\n", "no signatures|malformed"),
        (SIGNED.replace("— ", "- "), "malformed"),
        (SIGNED.replace("\n", "\r\n"), "no signatures|control"),
        (SIGNED.replace("=\n", "\n"), "malformed"),
        (SIGNED.replace(f"— {ORIGIN}", "— "), "malformed|key name"),
        (SIGNED + "x" * note.MAX_NOTE, "longer"),
    ],
)
def test_malformed_notes_are_refused(signed: str, why: str) -> None:
    with pytest.raises(AuditError, match=why) as caught:
        note.verify(signed, [SIGNER.verifier.named(ORIGIN)])
    assert caught.value.code == "bad_proof"


def test_only_the_key_under_the_logs_own_name_counts() -> None:
    with pytest.raises(AuditError, match="not signed by a known key"):
        checkpoints.verify(SIGNED, OTHER.verifier, ORIGIN)
    with pytest.raises(AuditError, match="not signed by a known key"):
        checkpoints.verify(SIGNED, SIGNER.verifier, "test/other/audit/1")
    renamed = note.sign(str(HEAD), [SIGNER.named("test/other/audit/1")])
    with pytest.raises(AuditError, match="is of `test/default/audit/1`"):
        checkpoints.verify(renamed, SIGNER.verifier, "test/other/audit/1")


@given(
    st.builds(
        Checkpoint,
        st.from_regex(r"[a-z./]{1,30}", fullmatch=True),
        st.integers(0, 10**18),
        st.binary(min_size=32, max_size=32),
        st.lists(st.from_regex(r"[a-z0-9 ]{1,9}", fullmatch=True), max_size=2).map(tuple),
    )
)
def test_checkpoints_are_read_back(head: Checkpoint) -> None:
    assert checkpoints.parse(str(head)) == head


@given(st.text(max_size=80) | st.builds(lambda size: str(HEAD).replace("1234", size), st.text(max_size=4)))
def test_what_is_read_as_a_checkpoint_is_written_the_same(text: str) -> None:
    with suppress(AuditError):  # and nothing else
        assert str(checkpoints.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        str(HEAD)[:-1],
        str(HEAD).replace("1234", "01234"),
        str(HEAD).replace("1234", "-1"),
        str(HEAD).replace("1234", "٣"),
        str(HEAD).replace("AAEC", "AAE"),
        str(HEAD).replace("\n", "\n\n", 1),
        f"{ORIGIN}\n1\n{base64.b64encode(bytes(31)).decode()}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(AuditError):
        checkpoints.parse(text)


@pytest.mark.parametrize("part", ["", "a/b", "a b", "a+b", "-a", "ä", "a\n", "a" * 101])
def test_these_cannot_be_part_of_an_origin(part: str) -> None:
    with pytest.raises(AuditError):
        checkpoints.origin(part, "default", 1)
    with pytest.raises(AuditError):
        checkpoints.origin("dev", part, 1)
