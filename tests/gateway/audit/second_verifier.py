"""A verifier of a copied log, written from docs/reference/log-format.md alone. It imports nothing of the gateway.

It checks what that page says, and nothing of limits, approvals or calls between agents. `problems` gives its findings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TIME = re.compile(r"[1-9][0-9]{18}")
_LONGEST = {**dict.fromkeys(("id", "org", "boot", "agent", "key", "decision", "outcome"), 64), "what": 128}
_LONGEST |= {"actor": 256, "origin": 256, "reason": 1024}
_COMMON = {"v": int, "id": str, "kind": str, "time": str, "org": str, "boot": str, "actor": str, "epoch": int}
_KINDS = {
    "decided": "agent key allow open reason reasons_json",
    "completed": "agent decision outcome status input_tokens output_tokens",
    "change": "what",
    "activation": "activation outcome",
    "refused": "agent key reason count first_ns last_ns",
    "recovered": "boots_json count",
    "checkpoint": "origin size root",
    "erasure": "decisions_json count",
    "epoch": "previous size root reason",
}


def _hash(kind: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(kind + b"".join(parts)).digest()


class Tree:
    """A tree that grows: its levels, each with all complete nodes."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]

    def append(self, leaf: bytes) -> None:
        self.levels[0].append(_hash(b"\x00", leaf))
        level = 0
        while len(self.levels[level]) % 2 == 0:
            if level + 1 == len(self.levels):
                self.levels.append([])
            self.levels[level + 1].append(_hash(b"\x01", *self.levels[level][-2:]))
            level += 1

    def cover(self, size: int) -> list[bytes]:
        """The roots of the perfect subtrees of the first `size` leaves, left to right."""
        found, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                found.append(self.levels[level][start >> level])
                start += 1 << level
        return found

    def root(self, size: int) -> bytes:
        cover = self.cover(size)
        if not cover:
            return hashlib.sha256(b"").digest()
        root = cover.pop()
        while cover:
            root = _hash(b"\x01", cover.pop(), root)
        return root

    def tiles(self) -> dict[tuple[int, int], bytes]:
        found = {}
        for tile_level in range(8):
            nodes = self.levels[8 * tile_level] if 8 * tile_level < len(self.levels) else []
            for at in range(0, len(nodes), 256):
                found[tile_level, at // 256] = b"".join(nodes[at : at + 256])
        return found


def _leaf_fault(leaf: bytes, entry: Any) -> str:
    if len(leaf) > 65_535 or type(entry) is not dict or len(entry) > 128:
        return "it is no entry"
    written = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if written.encode("utf-8", "surrogatepass") != leaf:
        return "it is not in canonical form"
    for name, value in entry.items():
        if not _NAME.fullmatch(name) or type(value) not in (str, int, bool, type(None)):
            return f"`{name}` is no member"
        longest = _LONGEST.get(name, 49_152 if name.endswith("_json") else 4096)
        if isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > longest:
            return f"`{name}` is too long"
        if type(value) is int and abs(value) > 2**53 - 1:
            return f"`{name}` is too large"
    if any(type(entry.get(name)) is not kind for name, kind in _COMMON.items()) or entry["v"] != 1:
        return "it lacks what every entry has"
    if entry["kind"] not in _KINDS or any(name not in entry for name in _KINDS[entry["kind"]].split()):
        return "it lacks what its kind has"
    return "" if _TIME.fullmatch(entry["time"]) else "its time is none"


class Verification:
    """One run over a database that is open."""

    def __init__(self, db: sqlite3.Connection, public_key: str) -> None:
        self.db = db
        self.deployment, identifier, encoded = public_key.strip().split("+", 2)
        self.key = base64.b64decode(encoded)[1:]
        assert self._id(self.deployment).hex() == identifier

    def _id(self, name: str) -> bytes:
        return hashlib.sha256(name.encode() + b"\n\x01" + self.key).digest()[:4]

    def problems(self) -> Iterator[str]:
        (application,) = self.db.execute("PRAGMA application_id").fetchone()
        if (application, *self.db.execute("SELECT schema FROM meta").fetchone()) != (0x61696761, 5):
            yield "this is no log"
        self.logs = {row[0]: row[1:] for row in self.db.execute("SELECT * FROM log")}
        self.trees = {each: Tree() for each in self.logs}
        self.times = dict.fromkeys(self.logs, 0)
        self.origins = {row[2]: each for each, row in self.logs.items()}
        self.open: dict[str, tuple[int, dict[str, Any]]] = {}
        self.said: list[tuple[str, int, str, int]] = []
        self.first: dict[int, str] = {}
        self.lacking: set[tuple[str, int, str]] = set()
        self.beside = {
            "input": {row[0]: row[1:] for row in self.db.execute("SELECT entry_id, salt, input FROM private")},
            "content": {row[0]: row[1:] for row in self.db.execute("SELECT * FROM content")},
        }
        ids: set[str] = set()
        for row in self.db.execute("SELECT * FROM entry ORDER BY id"):
            if row[3] in ids:
                yield f"`{row[3]}` is there twice"
            ids.add(row[3])
            yield from self._entry(*row)
        for kind, rows in self.beside.items():
            yield from (f"a row of {kind} belongs to no entry" for _ in rows)
        yield from (f"{kind} of {event} is missing" for kind, _, event in self.lacking)
        yield from self._decisions()
        yield from self._trees()

    def _entry(
        self, row: int, log: int, seq: Any, event: Any, kind: Any, time: Any, agent: Any, leaf: Any
    ) -> Iterator[str]:
        if log not in self.trees or type(leaf) is not bytes:
            yield f"row {row} is no entry of a log"
            return
        tree = self.trees[log]
        if seq != len(tree.levels[0]):
            yield f"log {log}: entry {len(tree.levels[0])} is missing"
        tree.append(leaf)
        try:
            entry = json.loads(leaf)
        except ValueError:
            entry = None
        if fault := _leaf_fault(leaf, entry):
            yield f"log {log}, entry {seq}: {fault}"
            return
        about = next((each for each in (entry.get("agent"), entry.get("about")) if each), None)
        if (event, kind, time, agent) != (entry["id"], entry["kind"], int(entry["time"]), about):
            yield f"log {log}, entry {seq}: its columns say something else"
        if int(entry["time"]) < self.times[log] or entry["org"] != self.logs[log][0]:
            yield f"log {log}, entry {seq}: it does not belong here"
        self.times[log] = int(entry["time"])
        self.first.setdefault(log, entry["kind"])
        yield from self._committed(row, log, entry)
        yield from self._said(log, entry)

    def _committed(self, row: int, log: int, entry: dict[str, Any]) -> Iterator[str]:
        for kind, rows in self.beside.items():
            found, promised = rows.pop(row, None), entry.get(f"{kind}_commitment")
            organization = self.logs[log][0] if kind == "content" else str(log)
            if found is None:
                if promised is not None:
                    self.lacking.add((kind, hash(organization), entry["id"]))
                continue
            salt, value = found[-2], found[-1] or b""
            if type(salt) is not bytes or type(value) is not bytes or len(salt) != 32:
                yield f"the row of {kind} of {entry['id']} has another form"
            elif hmac.digest(salt, kind.encode() + b"\0" + value, "sha256").hex() != promised:
                yield f"{entry['id']} commits to other {kind}"
            decision = entry["id"] if entry["kind"] == "decided" else entry.get("decision")
            if kind == "content" and (*found[:3], str(found[3])) != (
                log, decision, entry.get("agent"), str(entry.get("content_expires_ns")),
            ):  # fmt: skip
                yield f"the columns beside the content of {entry['id']} say something else"

    def _said(self, log: int, entry: dict[str, Any]) -> Iterator[str]:
        if entry["kind"] == "decided" and entry["open"]:
            self.open[entry["id"]] = (log, entry)
        elif entry["kind"] == "completed":
            opened = self.open.pop(entry["decision"], None)
            if opened is None or opened[0] != log or entry["id"] != "end_" + entry["decision"].removeprefix("dec_"):
                yield f"{entry['id']} ends nothing"
        elif entry["kind"] == "checkpoint":
            self.said.append((entry["origin"], entry["size"], entry["root"], len(self.trees[log].levels[0]) - 1))
            if self.logs[log][0] != "system":
                yield "a checkpoint is announced in another log"
        elif entry["kind"] == "erasure":
            kind = "content" if entry.get("what") == "content" else "input"
            organization = hash(self.logs[log][0] if kind == "content" else str(log))
            for each in json.loads(entry["decisions_json"]):
                for event in (each, "end_" + each.removeprefix("dec_")):
                    self.lacking.discard((kind, organization, event))

    def _decisions(self) -> Iterator[str]:
        for event, *row in self.db.execute("SELECT event_id, log_id, boot, agent, reservation FROM open_decision"):
            log, entry = self.open.pop(event, (None, {}))
            if row != [log, *(entry.get(name) for name in ("boot", "agent", "reservation_json"))]:
                yield f"`{event}` is listed as open, and is another one"
        yield from (f"`{event}` is neither ended nor listed as open" for event in self.open)

    def _trees(self) -> Iterator[str]:
        stored = {(log, level, number): hashes for log, level, number, hashes in self.db.execute("SELECT * FROM tile")}
        for log, (organization, epoch, origin, size, frontier, time) in self.logs.items():
            tree = self.trees[log]
            count = len(tree.levels[0])
            if (size, frontier, time) != (count, b"".join(tree.cover(count)), self.times[log]):
                yield f"{origin}: the head is another one"
            if origin != f"{self.deployment}/{organization}/audit/{epoch}":
                yield f"{origin}: its name is another one"
            for (level, number), hashes in tree.tiles().items():
                if stored.pop((log, level, number), None) != hashes:
                    yield f"{origin}: tile {level}/{number} is another one"
        yield from (f"tile {each} belongs to no tree" for each in stored)
        kept: set[tuple[str, int]] = set()
        epochs = {(row[0], row[1]) for row in self.logs.values()}
        for log, (organization, epoch, origin, *_) in self.logs.items():
            if not self.trees[log].levels[0]:
                yield f"{origin} is empty"
            elif epoch != 1 and (self.first.get(log) != "epoch" or (organization, epoch - 1) not in epochs):
                yield f"{origin} does not say why it was begun"
        for log, size, note in self.db.execute("SELECT * FROM checkpoint ORDER BY size"):
            if log in self.logs:
                kept.add((self.logs[log][2], size))
            fault = "of no log" if log not in self.logs else self._note_fault(log, size, note)
            if fault:
                yield f"a checkpoint is {fault}"
        signed = max((size for origin, size in kept if origin.split("/")[1] == "system"), default=0)
        told = {(origin, size) for origin, size, _, _ in self.said}
        for origin, size in kept - told:
            first = min((told_size for name, told_size in told if name == origin), default=signed)
            if origin.split("/")[1] != "system" or first < size < signed:
                yield f"the system log does not tell of the checkpoint of {origin} at {size}"
        for origin, size, _, at in self.said:
            if at < signed and (origin, size) not in kept:
                yield f"the checkpoint of {origin} at {size} is gone"
        for origin, size, root, _ in self.said:
            said = self.trees.get(self.origins.get(origin, -1))
            if said is None or not 0 < size <= len(said.levels[0]):
                yield f"{origin} is shorter than was signed"
            elif base64.b64encode(said.root(size)).decode() != root:
                yield f"{origin}: another root was signed"

    def _note_fault(self, log: int, size: Any, note: Any) -> str:
        origin, tree = self.logs[log][2], self.trees[log]
        if type(note) is not bytes or type(size) is not int:
            return "no text"
        if not 0 <= size <= len(tree.levels[0]):
            return "of entries that are missing"
        text = f"{origin}\n{size}\n{base64.b64encode(tree.root(size)).decode()}\n"
        begin = f"{text}\n\u2014 {origin} ".encode()
        if not note.startswith(begin) or not note.endswith(b"\n"):
            return "of another tree"
        encoded = note[len(begin) : -1]
        try:
            blob = base64.b64decode(encoded, validate=True)
            Ed25519PublicKey.from_public_bytes(self.key).verify(blob[4:], text.encode())
        except (ValueError, InvalidSignature):
            return "signed by nobody"
        return "" if blob[:4] == self._id(origin) and base64.b64encode(blob) == encoded else "signed by another key"


def problems(path: Path, public_key: str) -> list[str]:
    """What is wrong with a copy of a log."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return list(Verification(db, public_key).problems())
    except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError) as error:
        return [f"it is damaged: {type(error).__name__}: {error}"]
    finally:
        db.close()
