"""Judged = forwarded for forms: what passes, every reader of forms finds in it what the gateway has found.

Bodies are damaged at random, with a fixed seed, in the ways in which parsers are known to differ. Most of them are
refused; those that pass are given to readers of other makers, strict and lenient ones.
"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import random
import re
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import aiohttp
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from gateway.errors import Denied
from gateway.upstream.providers import forms

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

Found = list[tuple[str, str | None, bytes]]
"""What a reader finds: the name, the filename and the content of each part, in order."""


def damaged(chance: random.Random) -> bytes:
    raw = BODY
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        # Where lines begin and end there is most to be read in two ways.
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


def by_starlette(raw: bytes) -> Found:
    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def read() -> Found:
        found: Found = []
        async with Request({"type": "http", "headers": [(b"content-type", TYPE.encode())]}, receive).form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    found.append((name, value.filename, await value.read()))
                else:
                    found.append((name, None, value.encode()))
        return found

    return asyncio.run(read())


def by_aiohttp(raw: bytes) -> Found:
    async def read() -> Found:
        stream = aiohttp.StreamReader(_Protocol(), 2**20, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        stream.feed_data(raw)
        stream.feed_eof()
        reader = aiohttp.MultipartReader({"Content-Type": TYPE}, stream)  # type: ignore[arg-type]
        found: Found = []
        while (part := await reader.next()) is not None:
            assert isinstance(part, aiohttp.BodyPartReader)
            found.append((part.name or "", part.filename, bytes(await part.read(decode=True))))
        return found

    return asyncio.run(read())


class _Protocol:
    """What a stream asks of a connection."""

    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, **more: bool) -> None: ...


def by_email(raw: bytes) -> Found:
    """Python's reader of mail: lines may end with LF, and text may stand before and after the parts."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + TYPE.encode() + b"\r\n\r\n" + raw
    )
    found: Found = []
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = part["content-disposition"].params["name"]
        found.append((name, part.get_filename(), content))
    return found


def by_splitting(raw: bytes) -> Found:
    """As a careless server would: at the boundary wherever it stands, names without quotes, lines of any end."""
    found: Found = []
    for piece in raw.split(b"--" + BOUNDARY.encode())[1:-1]:
        head, _, content = re.sub(rb"^\r?\n", b"", piece).partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name\*?="?([^";\r\n]*)"?', head)
        filename = re.search(rb'filename\*?="?([^"\r\n]*)"?', head)
        assert name is not None
        found.append(
            (
                name[1].decode("utf-8", "replace"),
                None if filename is None else filename[1].decode("utf-8", "replace"),
                re.sub(rb"\r?\n$", b"", content),
            )
        )
    return found


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


@pytest.mark.parametrize("reader", [by_starlette, by_aiohttp, by_email, by_splitting])
def test_every_reader_finds_what_the_gateway_judged(reader: Callable[[bytes], Found]) -> None:
    passed = refused = 0
    for raw in bodies():
        judged = by_the_gateway(raw)
        if judged is None:
            refused += 1
            continue
        passed += 1
        assert comparable(reader(raw)) == judged, raw
    assert passed > 100
    assert refused > 3000
