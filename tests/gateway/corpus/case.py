"""A case of the corpus: bytes for one connection, and what they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Expect = Literal["served", "refused", "either"]

AT_ONCE, LATER = 0.0, 0.15
"""When a client ends its side of the connection. The gateway drops a request whose client has done that."""

KEY = b"{key}"
"""Stands for the agent's key. It may stand in heads only: its length is not that of the key."""

MARK = b"mark-00000"
"""Stands for the mark by which a request is recognised when it reaches the provider. Each mark is as long as this."""

SMUGGLED_MODEL = b"mock-smuggled"
SMUGGLED_BODY = b'{"model":"%s","messages":[{"role":"user","content":"x"}]}' % SMUGGLED_MODEL
SMUGGLED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(SMUGGLED_BODY), SMUGGLED_BODY)
)
"""A whole request that stands where only a part of another one may stand: the provider must never see it."""

BODY = b'{"model":"mock-1","messages":[{"role":"user","content":"%s"}]}' % MARK
PROMPT = MARK.decode()
MESSAGE = f'{{"role":"user","content":"{PROMPT}"}}'
CALL = f'"model":"mock-1","messages":[{MESSAGE}]'
"""The same as text, and its parts."""

HOST = b"Host: gateway"
JSON = b"Content-Type: application/json"
AUTHORIZATION = b"Authorization: Bearer {key}"
CHUNKED = b"Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Case:
    """`note` says what is special. `cut`: the client ends its side so many seconds after `sent` without an answer."""

    note: str
    sent: bytes
    expect: Expect = "either"
    cut: float | None = None

    def ready(self, number: int, key: str) -> bytes:
        return self.sent.replace(MARK, mark(number)).replace(KEY, key.encode())


def mark(number: int) -> bytes:
    return b"mark-%05d" % (number + 1)


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def chunks(body: bytes, piece: int = 0) -> bytes:
    """`body` in chunks of `piece` bytes (0: in one), with the last chunk."""
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] if piece else [body]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def head(
    *lines: bytes, method: bytes = b"POST", target: bytes = b"/v1/chat/completions", version: bytes = b"HTTP/1.1"
) -> bytes:
    """A head with exactly these lines after its first one."""
    return b"\r\n".join([b"%s %s %s" % (method, target, version), *lines]) + b"\r\n\r\n"


def post(body: bytes = BODY, *lines: bytes, target: bytes = b"/v1/chat/completions") -> bytes:
    """An ordinary request with this body and further header lines."""
    return head(HOST, AUTHORIZATION, JSON, length(body), *lines, target=target) + body


def get(target: bytes, *lines: bytes) -> bytes:
    return head(HOST, AUTHORIZATION, *lines, method=b"GET", target=target)


def numbered(family: str, sent: Iterable[tuple[str, bytes]], expect: Expect = "either") -> Iterator[Case]:
    """Cases of one family, with notes that begin with its name."""
    return (Case(f"{family}: {note}", data, expect) for note, data in sent)


def every_byte() -> Iterator[tuple[str, bytes]]:
    return ((f"0x{number:02x}", bytes([number])) for number in range(256))


def with_text(text: str, note: str, expect: Expect = "either") -> Case:
    """A request with this text as its body."""
    return Case(note, post(text.encode("utf-8", "surrogatepass")), expect)
