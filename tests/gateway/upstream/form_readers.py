"""Forms read by programs of other makers, strict and lenient ones."""

from __future__ import annotations

import asyncio
import base64
import email.parser
import email.policy
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from email.message import EmailMessage

import aiohttp
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

Found = list[tuple[str, str | None, bytes]]
"""The findings of a reader: the name, the filename and the content of each part, in order."""


# One form a line; a line without one says that it could not be read.
_NODE = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n").slice(0, -1);
(async () => {
  for (const line of lines) {
    const [type, body] = line.split(" ").map(each => Buffer.from(each, "base64"));
    const found = [];
    try {
      const form = await new Response(body, {headers: {"content-type": type.toString("latin1")}}).formData();
      for (const [name, value] of form) {
        const file = typeof value !== "string";
        const content = file ? Buffer.from(await value.arrayBuffer()) : Buffer.from(value);
        found.push([name, file ? value.name : null, content.toString("base64")]);
      }
      console.log(JSON.stringify(found));
    } catch (error) { console.log(""); }
  }
})();
"""


def by_starlette(content_type: str, raw: bytes) -> Found:
    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def read() -> Found:
        found: Found = []
        async with Request(
            {"type": "http", "headers": [(b"content-type", content_type.encode())]}, receive
        ).form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    found.append((name, value.filename, await value.read()))
                else:
                    found.append((name, None, value.encode()))
        return found

    return asyncio.run(read())


def by_aiohttp(content_type: str, raw: bytes) -> Found:
    async def read() -> Found:
        stream = aiohttp.StreamReader(_Protocol(), 2**20, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        stream.feed_data(raw)
        stream.feed_eof()
        reader = aiohttp.MultipartReader({"Content-Type": content_type}, stream)  # type: ignore[arg-type]
        found: Found = []
        while (part := await reader.next()) is not None:
            assert isinstance(part, aiohttp.BodyPartReader)
            found.append((part.name or "", part.filename, bytes(await part.read(decode=True))))
        return found

    return asyncio.run(read())


class _Protocol:
    """The part of a connection that a stream needs."""

    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, **more: bool) -> None: ...


def by_email(content_type: str, raw: bytes) -> Found:
    """Python's reader of mail: lines may end with LF, and text may stand before and after the parts."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw
    )
    found: Found = []
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = part["content-disposition"].params["name"]
        found.append((name, part.get_filename(), content))
    return found


def by_splitting(content_type: str, raw: bytes) -> Found:
    """As a careless server would: at the boundary wherever it stands, names without quotes, lines of any end."""
    found: Found = []
    for piece in raw.split(b"--" + _boundary(content_type))[1:-1]:
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


def _boundary(content_type: str) -> bytes:
    return re.split("boundary=", content_type, flags=re.IGNORECASE)[1].strip('"').encode()


def by_node(forms: Iterable[tuple[str, bytes]]) -> list[Found | None] | None:
    """The findings of Node's `fetch` in each; None if there is no Node."""
    if shutil.which("node") is None:
        return None
    lines = [base64.b64encode(kind.encode()) + b" " + base64.b64encode(raw) + b"\n" for kind, raw in forms]
    done = subprocess.run(["node", "-e", _NODE], input=b"".join(lines), capture_output=True, check=True)
    return [
        [(name, file, base64.b64decode(content)) for name, file, content in json.loads(line)] if line else None
        for line in done.stdout.decode().split("\n")[:-1]
    ]


READERS = {"Starlette": by_starlette, "aiohttp": by_aiohttp, "email": by_email, "splitting": by_splitting}
