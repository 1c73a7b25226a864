"""The end of a message: lengths, encodings, chunks, line ends, what follows, and connections that end early."""

from __future__ import annotations

from collections.abc import Iterator

from .case import (
    AT_ONCE,
    AUTHORIZATION,
    BODY,
    CHUNKED,
    HOST,
    JSON,
    LATER,
    SMUGGLED,
    Case,
    Expect,
    chunks,
    every_byte,
    get,
    head,
    length,
    numbered,
    post,
)

_N = len(BODY)
_LENGTHS = [
    b"", b"%d" % _N, b"0", b"1", b"%d" % (_N - 1), b"%d" % (_N + 1), b"+%d" % _N, b"-%d" % _N, b"0%d" % _N, b"00",
    b"%d, %d" % (_N, _N), b"%d,0" % _N, b"0,%d" % _N, b" %d " % _N, b"%d\t" % _N, b"\x0b%d" % _N, b"0x%x" % _N,
    b"%x" % _N,
    b"%d.0" % _N, b"%de0" % _N, b"%d;q=1" % _N, b"%d %d" % (_N, _N), b"%d" % (2**64 + _N), b"%d" % (2**32 + _N),
    b"%d" % (2**31), b"9" * 40, b"\xd9\xa6", b"NaN", b"%d\x00" % _N, b'"%d"' % _N,
]  # fmt: skip
_ENCODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b"chunked ", b"\tchunked", b"chunked\t", b"chunked, identity",
    b"identity, chunked",
    b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx",
    b"chunked;q=1",
    b'"chunked"', b"chunked,", b",chunked", b"\x0bchunked", b"\x0cchunked", b"chunked\x00", b"\x00chunked", b"chu nked",
    b"chunke", b"", b" ", b"trailers", b"deflate", b"chunked\x0b", b"\xef\xbb\xbfchunked", b"c\xc2\xadhunked",
    b"cow, chunked",
]  # fmt: skip


def cases() -> Iterator[Case]:
    yield from numbered("control", [("a plain request", post()), ("in chunks", _chunked(chunks(BODY)))], "served")
    yield from numbered("control", [("one byte in each chunk", _chunked(chunks(BODY, 1)))], "served")
    yield from _both()
    yield from _header_names()
    yield from _line_ends()
    yield from _chunk_forms()
    yield from _second_requests()
    yield from _early_ends()
    yield from _other_protocols()
    yield from _sizes()


def _chunked(body: bytes, *lines: bytes) -> bytes:
    return head(HOST, AUTHORIZATION, JSON, CHUNKED, *lines) + body


def _both() -> Iterator[Case]:
    """Each form of a length, each form of an encoding, and both together in either order."""
    for number in _LENGTHS:
        line = b"Content-Length: " + number
        sent = head(HOST, AUTHORIZATION, JSON, line) + BODY
        yield Case(f"length {number!r}", sent + SMUGGLED, cut=LATER)
        yield Case(
            f"two lengths, {number!r} second", head(HOST, AUTHORIZATION, JSON, length(BODY), line) + BODY, "refused"
        )
        yield Case(
            f"two lengths, {number!r} first", head(HOST, AUTHORIZATION, JSON, line, length(BODY)) + BODY, "refused"
        )
    for encoding in _ENCODINGS:
        line = b"Transfer-Encoding: " + encoding
        yield Case(f"encoding {encoding!r}", head(HOST, AUTHORIZATION, JSON, line) + chunks(BODY) + SMUGGLED, cut=LATER)
        two = head(HOST, AUTHORIZATION, JSON, line, CHUNKED) + chunks(BODY)
        yield Case(f"two encodings, {encoding!r} first", two, "refused")
        for number in _LENGTHS[1:8:2] + _LENGTHS[10:12]:
            lines = [b"Content-Length: " + number, line]
            for order, body in ((lines, chunks(BODY)), (lines[::-1], BODY)):
                which = "length first" if order is lines else "encoding first"
                sent = head(HOST, AUTHORIZATION, JSON, *order) + body + SMUGGLED
                yield Case(f"length {number!r} and encoding {encoding!r}, {which}", sent, "refused", cut=LATER)


def _header_names() -> Iterator[Case]:
    """Names that another parser could take for those of the two framing headers."""
    forms = [
        b"%s ", b" %s", b"\t%s", b"%s\t", b"%s\x00", b"\x00%s", b"%s\x0b", b"\xef\xbb\xbf%s", b"X: a\r\n %s",
        b"X: a\n%s",
        b"X: a\r%s", b"X: a\r\n\t%s", b"X: a\x00\r\n%s ", b"X: a\x85%s", b"X: a\xe2\x80\xa8%s", b":%s", b"\x7f%s",
        b"%s\xa0",
        b"X-%s", b"(%s)", b"%s;", b"%s,", b'"%s"',
    ]  # fmt: skip
    for form in forms:
        for name, value in (
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"0"),
            (b"Content-Length", b"%d" % _N),
        ):
            sent = head(HOST, AUTHORIZATION, JSON, length(BODY), form % name + b": " + value) + BODY
            yield Case(f"header name {form % name!r}: {value!r}", sent + SMUGGLED, cut=LATER)
    for name in (
        b"Transfer_Encoding",
        b"Content_Length",
        b"Transfer.Encoding",
        b"TransferEncoding",
        b"Content--Length",
    ):
        yield Case(
            f"header name {name!r}", head(HOST, AUTHORIZATION, JSON, length(BODY), name + b": 1") + BODY, "served"
        )
    for note, byte in every_byte():
        yield Case(f"byte {note} in a header's name", post(BODY, b"X" + byte + b"Y: a"), cut=LATER)
        yield Case(
            f"byte {note} in a header's value", post(BODY, b"X: a" + byte + b"Transfer-Encoding: chunked"), cut=LATER
        )


def _line_ends() -> Iterator[Case]:
    whole = post()
    top, _, body = whole.partition(b"\r\n\r\n")
    lines = top.split(b"\r\n")
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\x0b", b"\x85", b"\x00", b"\r\n ", b" \r\n", b"\r \n"):
        yield Case(f"every line ends with {end!r}", end.join(lines) + end * 2 + body, cut=LATER)
        yield Case(f"the head ends with {end!r}", top + end + body, cut=LATER)
        for at in range(1, len(lines)):
            sent = b"\r\n".join(lines[:at]) + end + b"\r\n".join(lines[at:]) + b"\r\n\r\n" + body
            yield Case(f"line {at} ends with {end!r}", sent, cut=LATER)
    for before in (b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\x00", b"\xef\xbb\xbf", b"\t\r\n"):
        yield Case(f"{before!r} before the request", before + whole, cut=LATER)


def _chunk_forms() -> Iterator[Case]:
    size = b"%x" % _N
    sizes = [
        b"0" + size, b"0" * 15 + size, b"0" * 40 + size, size.upper(), b"0x" + size, b"+" + size, b"-" + size,
        b" " + size,
        size + b" ", size + b"\t", b"\t" + size, size + b"_", size[:1] + b"_" + size[1:], size + b"h",
        b"1" + b"0" * (16 - len(size)) + size,
        b"1" + b"0" * (8 - len(size)) + size, b"", b"g", b"%d" % _N + b".0", b'"' + size + b'"', size + b"\x00",
        b"\x00" + size,
        size + b",", size + b"\x0b", b"f" * 16, b"7" + b"f" * 15, b"8" + b"0" * 15,
    ]  # fmt: skip
    for each in sizes:
        yield Case(f"chunk size {each!r}", _chunked(each + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + SMUGGLED), cut=LATER)
    extensions = [
        b";a", b";a=b", b';a="b"', b' ; a="b"', b";", b";;", b';a="\r\n"', b";a=\n", b";a\r", b";a=b\x00",
        b";a=" + b"b" * 8000,
        b';a="b', b";\xff", b" a", b"\ta", b";a=b\n0\r\n\r\n", b';a="\n0\r\n\r\n"',
    ]  # fmt: skip
    for each in extensions:
        yield Case(
            f"chunk extension {each[:20]!r}",
            _chunked(size + each + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + SMUGGLED),
            cut=LATER,
        )
        yield Case(
            f"extension {each[:20]!r} of the last chunk",
            _chunked(size + b"\r\n" + BODY + b"\r\n0" + each + b"\r\n\r\n"),
            cut=LATER,
        )
    for end in (b"\n", b"\r", b"", b"\r\n\r\n", b"\n\r", b" \r\n", b"\x00\r\n", b"XX", b"\r\nX"):
        yield Case(f"{end!r} after a chunk's size", _chunked(size + end + BODY + b"\r\n0\r\n\r\n"), cut=LATER)
        yield Case(f"{end!r} after a chunk", _chunked(size + b"\r\n" + BODY + end + b"0\r\n\r\n"), cut=LATER)
        yield Case(
            f"{end!r} after the last chunk", _chunked(size + b"\r\n" + BODY + b"\r\n0\r\n" + end + SMUGGLED), cut=LATER
        )
    for last in (b"00", b"000", b"0 ", b"-0", b"+0", b"0x0", b"0;a", b"", b"0\x00"):
        yield Case(f"last chunk {last!r}", _chunked(size + b"\r\n" + BODY + b"\r\n" + last + b"\r\n\r\n"), cut=LATER)
    trailers = [
        b"X: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil", b"Authorization: Bearer x", b"X",
        b" X: a",
        b"X : a", b"X: a\nY: b", b"X: \x00", b"Content-Type: text/plain", b"Content-Encoding: gzip", b"X: a\r\n b",
        b": a", b"X: " + b"a" * 9000,
        b"Expect: 100-continue", b"Upgrade: h2c", b"Connection: close", b"x-api-key: x",
    ]  # fmt: skip
    for each in trailers:
        yield Case(
            f"trailer {each[:24]!r}", _chunked(size + b"\r\n" + BODY + b"\r\n0\r\n" + each + b"\r\n\r\n"), cut=LATER
        )
    for piece in (2, 3, 7, 16, 60):
        yield Case(f"chunks of {piece} bytes", _chunked(chunks(BODY, piece)), "served")


def _second_requests() -> Iterator[Case]:
    for note, sent in [
        ("after a whole one", post() + SMUGGLED),
        ("after one in chunks", _chunked(chunks(BODY)) + SMUGGLED),
        ("after one without a body", get(b"/v1/models") + SMUGGLED),
        ("after a GET with a length", get(b"/v1/models", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED),
        ("after a GET in chunks", get(b"/v1/models", CHUNKED) + chunks(SMUGGLED)),
        ("after a GET with length 0", get(b"/v1/models", b"Content-Length: 0") + SMUGGLED),
        ("after Connection: close", post(BODY, b"Connection: close") + SMUGGLED),
        ("after a refusal", post().replace(b"{key}", b"nobody") + SMUGGLED),
        ("after an unknown path", post(target=b"/nowhere") + SMUGGLED),
        ("after Expect", post(BODY, b"Expect: 100-continue") + SMUGGLED),
        ("after Upgrade", post(BODY, b"Connection: Upgrade", b"Upgrade: h2c") + SMUGGLED),
        ("after HEAD", head(HOST, AUTHORIZATION, method=b"HEAD", target=b"/v1/models") + SMUGGLED),
        ("after CONNECT", head(HOST, AUTHORIZATION, method=b"CONNECT", target=b"x:80") + SMUGGLED),
        ("after an OPTIONS", head(HOST, AUTHORIZATION, method=b"OPTIONS", target=b"*") + SMUGGLED),
        ("inside a header", post(BODY, b"X: " + SMUGGLED.replace(b"\r\n", b"\n"))),
        ("thrice", post() + SMUGGLED * 3),
    ]:
        yield Case(f"a second request {note}", sent)


def _early_ends() -> Iterator[Case]:
    whole, in_chunks = post(), _chunked(chunks(BODY, 20))
    for note, sent in (("with a length", whole), ("in chunks", in_chunks)):
        for at in range(0, len(sent), 9):
            yield Case(f"a request {note} that ends after {at} bytes", sent[:at], "refused", cut=AT_ONCE)


def _other_protocols() -> Iterator[Case]:
    top = [HOST, AUTHORIZATION, JSON, length(BODY)]
    for version in (
        b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/11", b"HTTP/1.10", b"HTTP/01.1",
        b"HTTP/1,1", b"http/1.1",
        b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1.", b"HTTP/.1", b"HTTP/3.0", b"HTTPS/1.1", b"ICE/1.0", b"RTSP/1.0", b"",
        b"HTTP/1.1 ", b"HTTP/1.1\t",
        b" HTTP/1.1", b"\tHTTP/1.1", b"HTTP/1.1 HTTP/1.1", b"HTTP/\xef\xbc\x91.1",
    ):  # fmt: skip
        yield Case(f"version {version!r}", head(*top, version=version) + BODY, cut=LATER)
    for method in (
        b"post", b"Post", b"POST ", b" POST", b"POST\t", b"PUT", b"PATCH", b"DELETE", b"GET", b"HEAD", b"OPTIONS",
        b"TRACE", b"CONNECT",
        b"QUERY", b"PROPFIND", b"PRI", b"SOURCE", b"P\x00ST", b"POSTPOST", b"", b"M-SEARCH", b"\xef\xbc\xb0OST",
        b"P" * 100, b"POST\x0b", b"_",
    ):  # fmt: skip
        expect: Expect = "either" if method == b"POST " else "refused"  # more space than one changes nothing
        yield Case(f"method {method!r}", head(*top, method=method) + BODY, expect, cut=LATER)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield Case("HTTP/2 preface", preface, "refused")
    yield Case("HTTP/2 preface and a request", preface + post(), "refused")
    yield Case("HTTP/2 preface and frames", preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 4, "refused")
    yield Case(
        "upgrade to HTTP/2",
        post(BODY, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        "refused",
    )
    yield Case(
        "upgrade to WebSocket",
        get(b"/v1/models", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        "refused",
    )
    yield Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), "refused")
    yield Case("SOCKS", b"\x05\x01\x00", "refused", cut=LATER)
    yield Case("the PROXY protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + post(), "refused")
    yield Case("the PROXY protocol, binary", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + post(), "refused")
    yield Case("SMTP", b"EHLO x\r\nMAIL FROM:<a>\r\n", "refused", cut=LATER)
    yield Case("FastCGI", b"\x01\x01\x00\x01\x00\x08\x00\x00" + bytes(8), "refused", cut=LATER)


def _sizes() -> Iterator[Case]:
    for note, sent in [
        ("one header of 40 kB", post(BODY, b"X: " + b"a" * 40_000)),
        ("a name of 40 kB", post(BODY, b"x" * 40_000 + b": a")),
        ("a target of 40 kB", post(target=b"/v1/models/" + b"a" * 40_000)),
        ("101 headers", post(BODY, *[b"X-%d: a" % n for n in range(101)])),
        ("a thousand headers", post(BODY, *[b"X-%d: a" % n for n in range(1000)])),
        ("a query of 40 kB", post(target=b"/v1/chat/completions?" + b"a" * 40_000)),
        ("a method of 40 kB", b"P" * 40_000 + post()),
        ("only blank lines", b"\r\n" * 20_000),
        ("a key of 10 kB", head(HOST, b"Authorization: Bearer " + b"a" * 10_000, JSON, length(BODY)) + BODY),
        ("values of 64 kB in a body", post(BODY.replace(b"mock-1", b"a" * 65_536))),
        ("101,000 values in a body", post(b"[" + b"1," * 101_000 + b"1]")),
        ("2,000 levels in a body", post(b"[" * 2000 + b"]" * 2000)),
        ("100,000 levels in a body", post(b'{"a":' * 100_000)),
    ]:
        yield Case(f"size: {note}", sent, "refused", cut=LATER)
    for note, sent in [
        ("90 headers", post(BODY, *[b"X-%d: a" % n for n in range(90)])),
        ("20 kB of header", post(BODY, b"X: " + b"a" * 20_000)),
        ("a body of 1 MB", post(BODY[:-2] + b',{"role":"user","content":"' + b"a" * 1_000_000 + b'"}]}')),
    ]:
        yield Case(f"size: {note}", sent, "either")
