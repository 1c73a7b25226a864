"""JSON read by programs of other makers: what each of them finds in the same bytes.

Python's own, orjson (Rust), pydantic's (Rust), SQLite's (C; the first of two members counts), and, where they are
installed, Node's and jq's, to which all documents are given at once.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pydantic_core

# One document a line; a line without one says that it could not be read.
_NODE = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n").slice(0, -1);
for (const line of lines) {
  let read = "";
  try { read = JSON.stringify(JSON.parse(Buffer.from(line, "base64").toString())); } catch (error) {}
  console.log(read);
}
"""
UNREADABLE = object()
"""The finding of a program that could not read the bytes as JSON."""

_SQLITE = sqlite3.connect(":memory:")


def by_sqlite(body: bytes) -> Any:
    """The members of the object, each as SQLite finds it by its name."""
    text = body.decode()
    names = _SQLITE.execute("SELECT DISTINCT key, fullkey FROM json_each(?)", (text,)).fetchall()
    found = {}
    for name, path in names:
        (value,) = _SQLITE.execute("SELECT ? -> ?", (text, path)).fetchone()
        found[name] = json.loads(value)
    return found


HERE: dict[str, Callable[[bytes], Any]] = {
    "Python": json.loads,
    "orjson": orjson.loads,
    "pydantic": pydantic_core.from_json,
    "SQLite": by_sqlite,
}


def readings(bodies: Iterable[bytes]) -> dict[bytes, dict[str, Any]]:
    """The findings of every program, for each body."""
    several = list(dict.fromkeys(bodies))
    found: dict[bytes, dict[str, Any]] = {
        body: {name: _tried(read, body) for name, read in HERE.items()} for body in several
    }
    for name, read in (("Node", _by_node), ("jq", _by_jq)):
        if (answers := read(several)) is not None:
            for body, answer in zip(several, answers, strict=True):
                found[body][name] = answer
    return found


def _tried(read: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return read(body)
    except (ValueError, RecursionError, sqlite3.Error):
        return UNREADABLE


def _by_node(bodies: list[bytes]) -> list[Any] | None:
    if shutil.which("node") is None:
        return None
    given = b"".join(base64.b64encode(body) + b"\n" for body in bodies)
    done = subprocess.run(["node", "-e", _NODE], input=given, capture_output=True, check=True)
    return [json.loads(line) if line else UNREADABLE for line in done.stdout.decode().split("\n")[:-1]]


def _by_jq(bodies: list[bytes]) -> list[Any] | None:
    if shutil.which("jq") is None:
        return None
    given = json.dumps([body.decode("utf-8", "replace") for body in bodies]).encode()
    program = '.[] | (try fromjson catch "unreadable")'
    done = subprocess.run(["jq", "-c", program], input=given, capture_output=True, check=True)
    return [
        UNREADABLE if line == '"unreadable"' else json.loads(line) for line in done.stdout.decode().split("\n")[:-1]
    ]
