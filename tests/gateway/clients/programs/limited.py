"""Shared by the programs under limits: an image, a document, and how they tell what came of their calls."""

import asyncio
import base64
import json
import os
import random
import struct
import zlib
from collections.abc import Awaitable, Callable


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BALLAST = 200_000
"""So many bytes the image and the document have at least, so that a request shows by its size that it has one."""
_noise = random.Random(0).randbytes  # nothing secret: it cannot be made smaller


def png(width: int = 640, height: int = 400) -> bytes:
    """A picture of noise."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = b"".join(b"\0" + _noise(3 * width) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def pdf() -> bytes:
    """A document with one empty page, and a long comment."""
    text, places = b"%%PDF-1.4\n%%%s\n" % _noise(BALLAST // 2).hex().encode(), []
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>"
    for number, each in enumerate((b"<< /Type /Catalog /Pages 2 0 R >>", pages, page), 1):
        places.append(b"%010d 00000 n \n" % len(text))
        text += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"xref\n0 4\n0000000000 65535 f \n" + b"".join(places)
    return text + table + b"trailer << /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(text)


HELLO = f"hello, says {os.environ.get('AGENT')}"
"""The mock provider gives the same answer to the same request, with the same id, which belongs to one agent then."""
IMAGE = base64.b64encode(png()).decode()
IMAGE_URL = f"data:image/png;base64,{IMAGE}"
PDF = base64.b64encode(pdf()).decode()
PDF_URL = f"data:application/pdf;base64,{PDF}"


def tell(calls: dict[str, Callable[[], Awaitable[object]]]) -> None:
    """Print for each call `ok`, or the status of the refusal and its text."""

    async def made() -> dict[str, str]:
        found = {}
        for name, call in calls.items():
            try:
                await call()
                found[name] = "ok"
            except Exception as error:
                found[name] = f"{_status(error)} {error}"
        return found

    print(json.dumps(asyncio.run(made())))


def _status(error: BaseException | None) -> object:
    """The HTTP status, which frameworks keep in an error of theirs or in its cause."""
    while error is not None:
        for name in ("status_code", "code"):
            if isinstance(status := getattr(error, name, None), int):
                return status
        error = error.__cause__
    return None
