"""Keys: the form in both directions, the check digits, the hash."""

from __future__ import annotations

import re
import string
import zlib
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.identity import credentials
from gateway.identity.credentials import Peppers, digest, generate, matches, parse
from gateway.storage import secret_files

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PEPPER = b"p" * 32

base62 = st.sampled_from(BASE62)


def check_digits(material: str) -> str:
    """Written anew from the specification: six base62 digits of the CRC-32, most significant first."""
    number = zlib.crc32(material.encode())
    return "".join(BASE62[number // 62**place % 62] for place in range(5, -1, -1))


@pytest.mark.parametrize(("kind", "prefix"), [("agent", "aig_sk_"), ("operator", "aig_op_")])
def test_what_is_generated(kind: credentials.Kind, prefix: str) -> None:
    made = generate(kind)
    assert re.fullmatch(prefix + r"[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", made.text)
    assert made.text == made.text[:-6] + check_digits(made.text[:-6])
    assert parse(made.text) == made.credential
    assert made.credential.kind == kind
    assert made.text.startswith(credentials.label(kind, made.credential.id) + "_")
    assert generate(kind).text != made.text


@given(
    prefix=st.sampled_from(["aig_sk_", "aig_op_"]),
    identifier=st.text(base62, min_size=12, max_size=12),
    secret=st.text(base62, min_size=43, max_size=43),
)
def test_parse_and_format_agree(prefix: str, identifier: str, secret: str) -> None:
    material = f"{prefix}{identifier}_{secret}"
    parsed = parse(material + check_digits(material))
    assert parsed is not None
    assert parsed.material.decode() == material
    assert (parsed.id, credentials.PREFIXES[parsed.kind]) == (identifier, prefix)
    # And back: what was parsed has exactly one text.
    assert parsed.material.decode() + check_digits(parsed.material.decode()) == material + check_digits(material)


@given(position=st.integers(0, 68), character=st.characters(codec="utf-8"))
def test_one_wrong_character_is_no_key(position: int, character: str) -> None:
    text = generate("agent").text
    assume(text[position] != character)
    assert parse(text[:position] + character + text[position + 1 :]) is None


@given(st.text(max_size=100))
def test_other_text_is_no_key(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("wrong", ["' OR '1'='1", "", "aig_sk_", "sk-proj-abc", "a" * 69])
def test_named_attempts_are_no_keys(wrong: str) -> None:
    assert parse(wrong) is None


def test_a_key_in_other_company_is_no_key() -> None:
    text = generate("agent").text
    for wrong in (text + "\n", text + " ", " " + text, text + text, text[:-1], "x" + text, text.upper()):
        assert parse(wrong) is None, wrong


def test_the_hash_belongs_to_secret_id_kind_and_pepper() -> None:
    made = generate("agent").credential
    stored = digest(made, PEPPER)
    assert len(stored) == 32
    assert matches(made, stored, PEPPER)
    assert not matches(made, stored, b"q" * 32)
    assert not matches(generate("agent").credential, stored, PEPPER)
    # The same secret under another id or kind: a hash copied into another row matches nothing there.
    moved = made.material.replace(made.id.encode(), b"000000000000")
    assert not matches(credentials.Credential("agent", "000000000000", moved), stored, PEPPER)
    other = made.material.replace(b"aig_sk_", b"aig_op_")
    assert not matches(credentials.Credential("operator", made.id, other), stored, PEPPER)


@given(st.binary(max_size=64))
def test_no_other_hash_matches(stored: bytes) -> None:
    assert not matches(generate("agent").credential, stored, PEPPER)


def test_nothing_shows_a_secret() -> None:
    made = generate("agent")
    secret = made.text[20:]
    for shown in (repr(made), str(made), repr(made.credential), f"{made.credential}", repr(Peppers({1: PEPPER}))):
        assert secret not in shown
        assert "pppp" not in shown


def test_the_newest_pepper_hashes_and_all_are_kept(tmp_path: Path) -> None:
    first = Peppers.create(tmp_path)
    assert first.newest == 1
    second = secret_files.create(tmp_path / "pepper.2")
    tenth = secret_files.create(tmp_path / "pepper.10")
    (tmp_path / "pepper.old").write_text("not a version")
    peppers = Peppers.load(tmp_path)
    assert (peppers.newest, peppers.current) == (10, tenth)
    assert (peppers.get(1), peppers.get(2), peppers.get(3)) == (first.current, second, None)


def test_a_gateway_without_pepper_checks_nothing(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="no pepper"):
        Peppers.load(tmp_path)


def test_key_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    secret = secret_files.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (len(secret), secret_files.read(path)) == (32, secret)

    def complaint() -> str:
        with pytest.raises(GatewayError) as caught:
            secret_files.read(path)
        assert secret.hex() not in str(caught.value)
        return caught.value.message

    with pytest.raises(GatewayError, match="file exists"):
        secret_files.create(path)
    path.chmod(0o640)
    assert "is open to other users" in complaint()
    path.chmod(0o600)
    path.write_bytes(secret[:31])
    assert "exactly 32 bytes" in complaint()
    path.write_bytes(secret + b"\n")
    assert "exactly 32 bytes" in complaint()
    path.unlink()
    assert "no such file" in complaint()
