"""A provider's key in its own error: in whatever form it is written, it does not reach the agent."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

import pytest

from gateway.upstream import quoted_secrets
from gateway.upstream.quoted_secrets import HIDDEN, holds, without
from tests.effort import effort

KEY = "sk-proj-Ab9_x7Q2mZ-4kLpR8sTvW1yC3dF5gH6j"
RAW = KEY.encode()


def each(form: str, text: str = KEY) -> str:
    return "".join(form.format(code=ord(one), one=one) for one in text)


TAKEN_OUT = {
    "as it is": KEY,
    "in capitals": KEY.upper(),
    "as a header": f"Bearer {KEY}",
    "in quotes": f'\\"{KEY}\\"',
    "escaped as in JSON": each("\\u{code:04x}"),
    "escaped in capitals": each("\\u{code:04X}"),
    "one character escaped": KEY.replace("-", "\\u002d"),
    "as in a URL": each("%{code:02X}"),
    "as in a URL in a URL": urllib.parse.quote(each("%{code:02x}")),
    "as in HTML": each("&#{code};"),
    "as in HTML in hexadecimal": each("&#x{code:x};"),
    "with slashes of C": each("\\x{code:02x}"),
    "its first half": KEY[:20],
    "its second half": KEY[20:],
    "from its middle": KEY[12:24],
    "in two halves": f"{KEY[:20]} and {KEY[20:]}",
    "its beginning and dots": KEY[:12] + "...",
    "its end behind asterisks": "****" + KEY[-4:],
    "both ends": KEY[:11] + "*" * 20 + KEY[-4:],
    "both ends and an ellipsis": KEY[:11] + "\u2026" + KEY[-4:],
    "its end alone": "the key that ends with " + KEY[-4:],
    "on two lines": KEY[:16] + "\\n" + KEY[16:],
}
WITHHELD = {
    "base64": base64.b64encode(RAW).decode(),
    "base64 of a URL": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "base64 of a user and it": base64.b64encode(b":" + RAW).decode(),
    "base64 of another user": base64.b64encode(b"ab:" + RAW).decode(),
    "base64 twice": base64.b64encode(base64.b64encode(RAW)).decode(),
    "base32": base64.b32encode(RAW).decode(),
    "hexadecimal": RAW.hex(),
    "hexadecimal in capitals": RAW.hex().upper(),
    "hexadecimal with colons": RAW.hex(":"),
    "codes": json.dumps(list(RAW)),
    "characters": json.dumps(list(KEY)),
    "spaces between": " ".join(KEY),
    "signs between": "-".join(KEY),
    "characters without width between": "\u200b".join(KEY),
    "octal": each("\\{code:03o}"),
    "braces": each("\\u{{{code:x}}}"),
    "as in mail": each("={code:02X}"),
    "of sixteen bits": KEY.encode("utf-16-le").decode(),
}


def error(text: str) -> bytes:
    return b'{"error":{"message":"Incorrect key: ' + text.encode() + b'. Mend it.","type":"invalid_request_error"}}'


@pytest.mark.parametrize("form", [*TAKEN_OUT, *WITHHELD])
def test_no_form_of_it_is_left(form: str) -> None:
    told = without(error((TAKEN_OUT | WITHHELD)[form]), [RAW])
    assert (told is None) is (form in WITHHELD)
    if told is not None:
        assert HIDDEN in told
        assert not holds(told, [RAW])
        assert b"Mend it." in told
        assert KEY[-4:].encode() not in told


@pytest.mark.parametrize(
    "body",
    [
        error("sk-proj-"),
        error("the model `gpt-5` does not exist or you do not have access to it"),
        error("sk-proj-otherKey0123456789ABCDEFGH"),
        '{"error": "caf\u00e9 \U0001f600 &amp; 100%"}'.encode(),
        bytes(range(256)),
        b"",
    ],
)
def test_errors_without_it_are_as_they_were(body: bytes) -> None:
    assert without(body, [RAW], [b"https://acme.example"]) == body


def test_a_name_goes_as_a_whole() -> None:
    name = b"proj_acme_production"
    assert without(error("proj_acme_production"), [], [name]) == error("[key]")
    assert without(error("acme_production"), [], [name]) == error("acme_production")
    assert without(error(name.hex()), [], [name]) is None


def test_a_large_error_is_not_looked_through() -> None:
    assert without(b"x" * (quoted_secrets.MAX_BYTES + 1), [RAW]) is None


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "one word": lambda size: b"ab" * (size // 2),
    "masks": lambda size: b"sk-proj-A**" * (size // 11),
    "slashes": lambda size: b"\\" * size,
    "escapes": lambda size: b"\\u00" * (size // 4),
    "percents": lambda size: b"%25" * (size // 3),
    "codes": lambda size: b"12 " * (size // 3),
    "references": lambda size: b"&#" * (size // 2),
    "beginnings": lambda size: RAW[:-1] * (size // 40),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_the_work_is_linear(what: str) -> None:
    small, large = HOSTILE[what](4_000), HOSTILE[what](32_000)
    without(small, [RAW])
    once = min(effort(lambda: without(small, [RAW])) for _ in range(3))
    often = min(effort(lambda: without(large, [RAW])) for _ in range(3))
    assert often < 24 * once + 0.5  # a square would be 64 times as much


def test_html_has_names_for_characters() -> None:
    assert html.unescape("&hyphen;") != "&hyphen;"
    assert without(error(KEY.replace("-", "&hyphen;").replace("_", "&lowbar;")), [RAW]) != error(KEY)
