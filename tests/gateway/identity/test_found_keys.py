"""Keys in any text: the pattern for scanners, and the check digits that tell a key from a look-alike."""

from __future__ import annotations

import re

import pytest

from gateway.identity import credentials


@pytest.mark.parametrize("kind", ["agent", "operator"])
def test_the_pattern_matches_keys_and_not_their_public_parts(kind: credentials.Kind) -> None:
    for _ in range(50):
        made = credentials.generate(kind)
        assert re.fullmatch(credentials.PATTERN, made.text)
        assert not re.search(credentials.PATTERN, credentials.public_part(made.text))
        assert not re.search(credentials.PATTERN, made.text[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "{0}", "AIG_KEY={0}\n", '{{"token":"{0}"}}', "Bearer%20{0}&x=1", "x{0}y", "{0}{0}", "aig_sk_{0}", "https://h/?key={0}#f",
        "aig_sk_000000000000_{0}", "\x1b[1m{0}\x1b[0m",
    ],
)  # fmt: skip
def test_a_key_is_found_in_any_text(text: str) -> None:
    made = credentials.generate("agent")
    for encoding in ("utf-8", "utf-16", "utf-16-be"):
        found = credentials.found_in(text.format(made.text).encode(encoding))
        assert [each.material for each in found] == [made.credential.material], (text, encoding)


def test_a_look_alike_is_none() -> None:
    made = credentials.generate("agent").text
    for position in range(len(made)):
        other = "A" if made[position] != "A" else "B"
        changed = made[:position] + other + made[position + 1 :]
        assert credentials.found_in(changed.encode()) == []


def test_bytes_that_are_no_text_do_no_harm() -> None:
    made = credentials.generate("agent")
    assert len(credentials.found_in(bytes(range(256)) * 40 + made.text.encode() + b"\xff\xfe")) == 1
