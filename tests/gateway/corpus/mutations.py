"""Good requests, damaged at random: what nobody has thought of. The same seed gives the same cases.

A damaged head is sent with its body as it was, so its length may be wrong; a damaged body has the right length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from random import Random

from . import azure, documents, framing, google, heads, json_api, members, provider_members
from .case import CHUNKED, MARK, Case

_IN_BODIES = (
    b'"model":"mock-3",', b'"MODEL":"mock-3",', b'"mod\\u0065l":"mock-3",', b'"models":["mock-3"],',
    b'"stream":true,', b'"tools":[],', b'"n":true,', b'"max_tokens":1e3,', b'"system":"x",',
    b'"previous_response_id":"resp_1",', b'"file_id":"file-1",', b"\\u006d", b"\\u0000", b"\\ud800", b"\\udc00",
    b"\x00", b"\xef\xbb\xbf", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\xa0", b"//x\n", b"/*x*/",
    b"1e400", b"-0", b"0x1", b"1_0", b"01", b"NaN", b"true", b"null", b"9" * 20, b"[", b"]", b"{", b"}", b",", b":",
    b"'", b'"', b"\\", b"\r\n", b"\n", b"\t", b" ", b"\x0b",
)  # fmt: skip
_IN_HEADS = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b"\xa0", b"\xff", b":", b";", b",", b"%20", b"%2e", b"%2f",
    b"..", b"/", b"//", b"/./", b"?", b"#", b"&", b"=", b"+", b"HTTP/1.0", b"\r\n ", b"?key=x", b"?model=mock-3",
    b"?alt=sse", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n", b"Host: evil\r\n", b"Authorization: Bearer {key}\r\n", b"x-api-key: {key}\r\n",
    b"Connection: content-type\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"Content-Type: text/plain\r\n", b"Content-Encoding: identity\r\n", b"Trailer: Authorization\r\n",
    b"X-Http-Method-Override: DELETE\r\n", b"0\r\n\r\n", b"5;a=b\r\n", b"g\r\n", b"+5\r\n",
)  # fmt: skip
_BEGINS = re.compile(rb"[{,\[]|\r\n")


def cases(count: int, seed: int) -> Iterator[Case]:
    chance = Random(seed)
    corpora = (azure, documents, framing, google, heads, json_api, members, provider_members)
    every = [each for each in chain.from_iterable(corpus.cases() for corpus in corpora) if _is_usable(each)]
    served = [each for each in every if each.expect == "served"]
    for number in range(count):
        case = chance.choice(served if chance.random() < 0.7 else every)
        sent = _with_head(case.sent, chance) if chance.random() < 0.5 else _with_body(case.sent, chance)
        yield Case(f"{seed}.{number} of {case.note}", sent, cut=chance.choice((0.05, 0.3)))


def _is_usable(case: Case) -> bool:
    """True if it can be recognised when it reaches the provider, and is small.

    Tools with names that look like others are left out: damaged once more they are tools of no provider, which readers
    may fold as they like.
    """
    looks = "upper case" in case.note or "in a tool" in case.note
    return MARK in case.sent and len(case.sent) < 20_000 and b"mock-second" not in case.sent and not looks


def _with_head(sent: bytes, chance: Random) -> bytes:
    head, end, body = sent.partition(b"\r\n\r\n")
    if CHUNKED in head:  # the framing of the body as well
        return _damaged(sent, _IN_HEADS, chance)
    return _damaged(head, _IN_HEADS, chance) + end + body


def _with_body(sent: bytes, chance: Random) -> bytes:
    head, end, body = sent.partition(b"\r\n\r\n")
    if MARK not in body or CHUNKED in head:
        return _with_head(sent, chance)
    body = _damaged(body, _IN_BODIES, chance)
    return re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % len(body), head) + end + body


def _damaged(data: bytes, pieces: tuple[bytes, ...], chance: Random) -> bytes:
    """Damaged in one to three places, but for the mark."""
    damages: tuple[Callable[[bytes, int], bytes], ...] = (
        lambda text, at: text[:at] + chance.choice(pieces) + text[at:],
        lambda text, at: text[:at] + bytes([chance.randrange(256)]) + text[at:],
        lambda text, at: text[:at] + text[at + chance.choice((1, 2, 8)) :],
        lambda text, at: text[:at] + bytes([text[at] ^ 1 << chance.randrange(8)]) + text[at + 1 :],
        lambda text, at: text[:at] + text[max(0, at - chance.choice((3, 10, 40))) :],
    )
    found = data
    for _ in range(chance.choice((1, 1, 2, 3)) if data else 0):
        # Half of them where a member or a line begins: elsewhere most are mere faults of syntax.
        begins = [each.end() for each in _BEGINS.finditer(found)] if chance.random() < 0.5 else []
        at = chance.choice(begins) if begins else chance.randrange(len(found))
        changed = chance.choices(damages, (6, 1, 1, 1, 1))[0](found, min(at, len(found) - 1))
        if changed.count(MARK) == data.count(MARK):
            found = changed
    return found
