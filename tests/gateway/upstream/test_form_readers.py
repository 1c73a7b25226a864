"""Judged = forwarded for forms: what passes, every reader of forms finds in it what the gateway has found.

Bodies are damaged at random, with a fixed seed, in the ways in which parsers are known to differ. Most of them are
refused; those that pass are given to readers of other makers, strict and lenient ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from gateway.errors import Denied
from gateway.upstream.providers import forms

from .form_readers import READERS, Found

BOUNDARY = "XyZ"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
NAMES = frozenset({"model", "stream", "n"})
HEAD = b"Content-Disposition: form-data; "
BODY = b"".join(
    b"--XyZ\r\n" + part + b"\r\n"
    for part in (
        HEAD + b'name="model"\r\n\r\ngpt-image-1',
        HEAD + b'name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--Xy\r\n\r\n',
        HEAD + b'name="include[]"\r\n\r\na',
        b"Content-Type: text/plain; charset=utf-8\r\n" + HEAD + b'name="include[]"\r\n\r\nb: c\r\nd',
        HEAD + b'name="n"\r\n\r\n2',
    )
) + b"--XyZ--\r\n"  # fmt: skip
PIECES = (
    b"\r\n", b"\n", b"\r", b"--XyZ", b"--XyZ--", b"\r\n--XyZ\r\n", b"\n--XyZ\n", b"--", b" ", b"\t", b"\x00", b'"',
    b"\\", b";", b"; ", b": ", b":", b'name="model"', b'; name="model"', b'filename="x"', b"; filename=x",
    b"; filename*=utf-8''x",
    b"name*=utf-8''model", b"form-data", b"Content-Disposition: form-data; name=\"model\"\r\n\r\nother", b"[]", b"[a]",
    b"Content-Type: text/plain; charset=utf-16\r\n", b"Content-Transfer-Encoding: base64\r\n", b"Content-Length: 1\r\n",
    b"\xc3\xa4", b"\xff", b"%22", b"=", b"x",
)  # fmt: skip


def damaged(chance: random.Random) -> bytes:
    raw = BODY
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        # The ends of lines can be read in two ways most often.
        edges = [found.start() for found in re.finditer(rb"\r\n|--XyZ|;|\"|:", raw)]
        at = chance.choice(edges) + chance.randrange(-1, 3) if chance.random() < 0.7 else chance.randrange(len(raw) + 1)
        at = max(0, at)
        match chance.randrange(4):
            case 0:
                raw = raw[:at] + chance.choice(PIECES) + raw[at:]
            case 1:
                raw = raw[:at] + raw[at + chance.randrange(1, 5) :]
            case 2:
                piece = chance.choice(PIECES)
                raw = raw[:at] + piece + raw[at + len(piece) :]
            case _:
                end = min(len(raw), at + chance.randrange(1, 80))
                raw = raw[:end] + raw[at:end] + raw[end:]
    return raw


def by_the_gateway(raw: bytes) -> Found | None:
    """Names and texts in the order of the names; of files only that they are there. None for what is refused."""
    try:
        form = forms.parse(TYPE, raw, NAMES)
    except Denied:
        return None
    found: Found = []
    for name, values in form.values.items():
        for value in values:
            if isinstance(value, str):
                found.append((name, None, value.encode()))
            else:
                found.append((name, value.filename, b"%d" % value.size))
    return found


def comparable(found: Found) -> Found:
    """By names, as the gateway keeps them, and with the sizes of files."""
    order = {name: at for at, name in reversed(list(enumerate(dict.fromkeys(name for name, _, _ in found))))}
    sized = [(name, file, content if file is None else b"%d" % len(content)) for name, file, content in found]
    return sorted(sized, key=lambda each: order[each[0]])


def bodies() -> Iterator[bytes]:
    chance = random.Random(7)  # a fixed seed: the same bodies in every run
    yield BODY
    for _ in range(6000):
        yield damaged(chance)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_every_reader_finds_what_the_gateway_judged(name: str) -> None:
    passed = refused = 0
    for raw in bodies():
        judged = by_the_gateway(raw)
        if judged is None:
            refused += 1
            continue
        passed += 1
        assert comparable(READERS[name](TYPE, raw)) == judged, raw
    assert passed > 100
    assert refused > 3000
