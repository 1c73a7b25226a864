"""Hostile request bodies of 32 MiB: what reading them costs most, in JSON and in forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SIZE = 32 * 1024 * 1024
BOUNDARY = "0123456789abcdef"
JSON, FORM = "application/json", f"multipart/form-data; boundary={BOUNDARY}"
CHAT, FILES = "/v1/chat/completions", "/v1/files"


@dataclass(frozen=True, slots=True)
class Hostile:
    """A body, what it is sent as, and the statuses that are right for it."""

    name: str
    make: Callable[[], bytes]
    statuses: frozenset[int]
    kind: str = JSON
    path: str = CHAT

    def __str__(self) -> str:
        return self.name


def chat(before: bytes, piece: bytes, after: bytes) -> bytes:
    """A call whose messages have this content, as often as it fits."""
    head = b'{"model":"gpt-4o","messages":[{"role":"user","content":' + before
    tail = after + b"}]}"
    return head + piece * ((SIZE - len(head) - len(tail)) // len(piece)) + tail


def filled(before: bytes, piece: bytes, after: bytes = b"") -> bytes:
    return before + piece * ((SIZE - len(before) - len(after)) // len(piece)) + after


def part(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    disposition = b'Content-Disposition: form-data; name="%s"%s' % (name, more)
    return b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), disposition, content)


END = b"--%s--\r\n" % BOUNDARY.encode()
PURPOSE = part(b"purpose", b"batch")
FILE = b'; filename="a"'

REFUSED = frozenset({400, 413})
PASSES = frozenset({200})

BODIES = [
    Hostile("empty arrays", lambda: filled(b"[", b"[],", b"[]]"), REFUSED),
    Hostile("arrays as messages", lambda: filled(b'{"model":"gpt-4o","messages":[', b"[],", b"[]]}"), REFUSED),
    Hostile("nested", lambda: b"[" * SIZE, REFUSED),
    Hostile("objects", lambda: filled(b"[", b'{"a":1},', b"{}]"), REFUSED),
    Hostile("numbers", lambda: chat(b"[", b"1,", b"1]"), REFUSED),
    Hostile("one number", lambda: chat(b"", b"7", b""), REFUSED),
    Hostile("spaces", lambda: chat(b"", b" ", b'"a"'), REFUSED | PASSES),
    Hostile("commas", lambda: filled(b"[", b","), REFUSED),
    Hostile("quotes", lambda: filled(b"[", b'"'), REFUSED),
    Hostile("short strings", lambda: chat(b"[", b'"a",', b'"a"]'), REFUSED),
    Hostile("one string", lambda: chat(b'"', b"a", b'"'), PASSES),
    Hostile("spaces in a string", lambda: chat(b'"', b" ", b'"'), PASSES),
    Hostile("escapes", lambda: chat(b'"', b"\\u0041", b'"'), PASSES),
    Hostile("half a pair, again and again", lambda: chat(b'"', b"\\ud83d\\u0041", b'"'), REFUSED),
    Hostile("backslashes", lambda: chat(b'"', b"\\\\", b'"'), PASSES),
    Hostile("an open string", lambda: filled(b'{"model":"gpt-4o","x":"', b"\\"), REFUSED),
    Hostile("four bytes a letter", lambda: chat(b'"', "\U0001f600".encode(), b'"'), PASSES),
    Hostile("no UTF-8 at the end", lambda: filled(b'{"model":"gpt-4o","x":"', b"a", b'\xff"}'), REFUSED),
    Hostile("members", lambda: b"{" + b",".join(b'"%d":0' % n for n in range(2_880_000)) + b"}", REFUSED),
    Hostile("one member, again and again", lambda: filled(b"{", b'"a":0,', b'"a":0}'), REFUSED),
    Hostile("a long name", lambda: filled(b'{"', b"a", b'":0}'), REFUSED),
    Hostile("letters", lambda: b"a" * SIZE, REFUSED),
    Hostile("zeros", lambda: bytes(SIZE), REFUSED),
    # Forms
    Hostile("one file", lambda: filled(PURPOSE, b"x", END), REFUSED, FORM, FILES),
    Hostile(
        "a file",
        lambda: PURPOSE + part(b"file", b"x" * (SIZE - 1000), FILE) + END,
        PASSES,
        FORM,
        FILES,
    ),
    Hostile(
        "line ends in a file",
        lambda: PURPOSE + part(b"file", b"\r\n" * (SIZE // 2 - 500), FILE) + END,
        PASSES,
        FORM,
        FILES,
    ),
    Hostile(
        "boundaries that are none",
        lambda: PURPOSE + part(b"file", b"\r\n--0123456789abcde" * (SIZE // 19 - 50), FILE) + END,
        PASSES | REFUSED,
        FORM,
        FILES,
    ),
    Hostile(
        "carriage returns", lambda: PURPOSE + part(b"file", b"\r" * (SIZE - 1000), FILE) + END, PASSES, FORM, FILES
    ),
    Hostile("parts", lambda: part(b"a", b"") * (SIZE // len(part(b"a", b"")) - 1) + END, REFUSED, FORM, FILES),
    Hostile("a long value", lambda: part(b"purpose", b"b" * (SIZE - 200)) + END, REFUSED, FORM, FILES),
    Hostile("a long head", lambda: b"--%s\r\n" % BOUNDARY.encode() + b"a" * (SIZE - 50), REFUSED, FORM, FILES),
    Hostile(
        "heads of a part",
        lambda: b"--%s\r\n" % BOUNDARY.encode() + b"A: b\r\n" * (SIZE // 6 - 10),
        REFUSED,
        FORM,
        FILES,
    ),
    Hostile("before the first part", lambda: b"\r\n" * (SIZE // 2), REFUSED, FORM, FILES),
    Hostile("after the last part", lambda: filled(PURPOSE + END, b"\r\n"), REFUSED, FORM, FILES),
    Hostile("no form", lambda: bytes(SIZE), REFUSED, FORM, FILES),
    Hostile(
        "a transcription of line ends",
        lambda: part(b"model", b"gpt-4o") + part(b"file", b"\n" * (SIZE - 1000), FILE) + END,
        PASSES,
        FORM,
        "/v1/audio/transcriptions",
    ),
]
