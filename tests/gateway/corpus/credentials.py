"""Credentials that must open nothing: made from good keys of this gateway, of another one, and from nothing.

Each is a list of header lines that replaces the one good line. Check digits are made right wherever a key's other
parts are wrong, so that the registry and the HMAC have to refuse it, and not the form alone.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
import urllib.parse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SCHEME = b"Authorization: Bearer "
_NAMES = (b"Authorization: Bearer ", b"x-api-key: ", b"api-key: ", b"x-goog-api-key: ")

Lines = list[bytes]


@dataclass(frozen=True, slots=True)
class Known:
    """The credentials that an attacker may hold. `good` is alive and must work; the others must not."""

    good: str
    operator: str  # of the other kind: it opens nothing here
    second: str  # of another agent, alive
    tenant: str  # of an agent of another organization, alive, which has no upstream
    revoked: str
    expired: str
    revoked_agent: str
    pepper: str  # of this registry, with a hash under another gateway's pepper
    foreign: str  # of another gateway
    digest: bytes  # the stored hash of `good`, as a thief of the database has it


def cases(known: Known) -> Iterator[tuple[str, Lines]]:
    for note, text in _texts(known):
        for name in _NAMES:
            yield f"{note} in {name.split(b':')[0].decode()}", [name + text]
    good = known.good.encode()
    for note, lines in _schemes(good):
        yield note, lines
    for note, lines in _several(good, known):
        yield note, lines
    for note, lines in _elsewhere(good):
        yield note, lines


def _texts(known: Known) -> Iterator[tuple[str, bytes]]:
    yield from ((note, text.encode("utf-8", "surrogatepass")) for note, text in _strings(known))
    good = known.good.encode()
    for number in (*range(1, 9), 11, 12, 14, 27, 31, 127, 128, 160, 173, 255):
        for where, text in (
            ("before", bytes([number]) + good),
            ("after", good + bytes([number])),
            ("inside", good[:20] + bytes([number]) + good[20:]),
        ):
            yield f"byte 0x{number:02x} {where}", text
    yield "hash as it is stored", known.digest
    yield "good key and 0x00", good + b"\x00"


def _strings(known: Known) -> Iterator[tuple[str, str]]:
    good, other = known.good, known.second
    kind, identifier, secret, check = good[:7], good[7:19], good[20:63], good[63:]
    yield "revoked key", known.revoked
    yield "an operator's key", known.operator
    yield "an operator's key as an agent's", sealed(good[:7] + known.operator[7:63])
    yield "expired key", known.expired
    yield "key of a revoked agent", known.revoked_agent
    yield "key of another gateway", known.foreign
    yield "key with a hash under another pepper", known.pepper
    yield "stored hash in hex", known.digest.hex()
    yield "stored hash as secret", sealed(kind + identifier + "_" + known.digest.hex()[:43])
    yield (
        "stored hash in base64 as secret",
        sealed(
            kind
            + identifier
            + "_"
            + base64.b64encode(known.digest).decode().replace("=", "0").replace("+", "0").replace("/", "0")[:43]
        ),
    )
    # Parts of good keys put together
    for note, first, second in (("", good, other), (", swapped", other, good)):
        yield f"one key's id and another's secret{note}", sealed(first[:20] + second[20:63])
        yield f"one key's id and another's secret and check digits{note}", first[:20] + second[20:]
        yield f"an id of this gateway and a secret of another one{note}", sealed(first[:20] + known.foreign[20:63])
        yield f"an id of another gateway and a secret of this one{note}", sealed(known.foreign[:20] + second[20:63])
        yield f"an id of this tenant and a secret of another one{note}", sealed(first[:20] + known.tenant[20:63])
        yield f"an id of another tenant and a secret of this one{note}", sealed(known.tenant[:20] + second[20:63])
        yield f"an alive id and a dead secret{note}", sealed(first[:20] + known.revoked[20:63])
        yield f"a dead id and an alive secret{note}", sealed(known.revoked[:20] + second[20:63])
    yield "two keys", good + other
    yield "two keys and a comma", f"{good},{other}"
    yield "two keys and a space", f"{good} {other}"
    yield "the key twice", good + good
    # The secret: each digit, with right check digits
    for at in range(43):
        for step in (1, 31):
            digit = _BASE62[(_BASE62.index(secret[at]) + step) % 62]
            yield (
                f"digit {at} of the secret moved by {step}",
                sealed(f"{kind}{identifier}_{secret[:at]}{digit}{secret[at + 1 :]}"),
            )
    for at in range(12):
        digit = _BASE62[(_BASE62.index(identifier[at]) + 7) % 62]
        yield f"digit {at} of the id", sealed(f"{kind}{identifier[:at]}{digit}{identifier[at + 1 :]}_{secret}")
    for at in range(6):
        digit = _BASE62[(_BASE62.index(check[at]) + 1) % 62]
        yield f"check digit {at}", good[: 63 + at] + digit + good[64 + at :]
    for at in range(len(good)):
        yield f"{at} characters", good[:at]
        yield f"without character {at}", good[:at] + good[at + 1 :]
        if (swapped := good[at].swapcase()) != good[at]:
            yield f"case of character {at}", good[:at] + swapped + good[at + 1 :]
    for length in (0, 1, 20, 42, 44, 86, 400):
        yield f"secret of {length} characters", sealed(f"{kind}{identifier}_{(secret * 10)[:length]}")
    for length in (0, 1, 11, 13, 24):
        yield f"id of {length} characters", sealed(f"{kind}{(identifier * 2)[:length]}_{secret}")
    for text in (secret[::-1], "0" * 43, "z" * 43, secret[1:] + secret[:1], secret.upper(), secret.lower()):
        yield f"secret {text[:8]}…", sealed(f"{kind}{identifier}_{text}")
    for prefix in (
        "aig_op_",
        "AIG_SK_",
        "aig-sk-",
        "aig_sk",
        "aig_xx_",
        "sk-",
        "sk_",
        "",
        "Bearer ",
        "aig_sk_aig_sk_",
        "key_",
        "aig_sk__",
        "_aig_sk_",
    ):
        yield f"kind {prefix!r}", sealed(prefix + identifier + "_" + secret)
        yield f"kind {prefix!r} with the good check digits", prefix + good[7:]
    for between in ("", "-", ".", " ", "__", "\u200b", "\uff3f", "/", ":", "%5f"):
        yield f"{between!r} between id and secret", sealed(f"{kind}{identifier}{between}{secret}")
    # Encodings of a good key
    raw = good.encode()
    encoded = {
        "base64": base64.b64encode(raw), "base64 for URLs": base64.urlsafe_b64encode(raw),
        "base64 without padding": base64.b64encode(raw).rstrip(b"="), "base32": base64.b32encode(raw),
        "base85": base64.b85encode(raw), "ascii85": base64.a85encode(raw), "hex": raw.hex().encode(),
        "upper-case hex": raw.hex().upper().encode(), "percent": "".join(f"%{each:02x}" for each in raw).encode(),
        "quoted": urllib.parse.quote(good + " ").encode(), "base64 with a colon": base64.b64encode(b":" + raw),
        "base64 of a user": base64.b64encode(b"user:" + raw),
        "base64 of base64": base64.b64encode(base64.b64encode(raw)),
        "SHA-256": hashlib.sha256(raw).hexdigest().encode(), "MD5": hashlib.md5(raw,
        usedforsecurity=False).hexdigest().encode(),
        "UTF-7": b"+AGE-ig" + raw[3:], "backslashes": "".join(f"\\u{each:04x}" for each in raw).encode(),
        "RFC 2047": b"=?utf-8?B?" + base64.b64encode(raw) + b"?=",
        "RFC 5987": b"UTF-8''" + raw, "JSON": b'"' + raw + b'"', "an object": b'{"key":"' + raw + b'"}',
        "angle brackets": b"<" + raw + b">", "braces": b"{" + raw + b"}", "backticks": b"`" + raw + b"`",
        "a single quote": b"'" + raw + b"'", "an HTML entity": b"&#97;ig" + raw[3:],
    }  # fmt: skip
    for note, data in encoded.items():
        yield f"key in {note}", data.decode()
    # Look-alikes
    for at in range(0, len(good), 2):
        yield f"full-width character {at}", good[:at] + (chr(ord(good[at]) + 0xFEE0)) + good[at + 1 :]
        yield f"zero-width space before character {at}", good[:at] + "\u200b" + good[at:]
        yield f"combining mark after character {at}", good[:at] + "\u0301" + good[at:]
    alike = {
        "a": "а",
        "e": "е",
        "i": "і",
        "o": "о",
        "p": "р",
        "s": "ѕ",
        "k": "κ",
        "g": "ɡ",
        "0": "O",
        "O": "0",
        "1": "l",
        "l": "1",
        "I": "l",
    }
    for at, each in enumerate(good):
        if each in alike:
            yield f"character {at} by one that looks like it", good[:at] + alike[each] + good[at + 1 :]
    digits = {"arabic": 0x660, "devanagari": 0x966, "full-width": 0xFF10, "mathematical": 0x1D7CE}
    for note, first in digits.items():
        text = "".join(chr(first + int(each)) if each.isdigit() else each for each in good)
        yield f"{note} digits", text if text != good else text + chr(first)
    for form in ("NFD", "NFKD"):
        yield f"decomposed in {form}", unicodedata.normalize(form, good + "é")
    for mark in (
        "\ufeff",
        "\u200b",
        "\u00ad",
        "\u202e",
        "\u200e",
        "\u00a0",
        "\u2028",
        "\u3000",
        "\u2060",
        "\U000e0001",
    ):
        yield f"U+{ord(mark):04X} before", mark + good
        yield f"U+{ord(mark):04X} after", good + mark
    # Texts that are no key at all
    for text in (
        "", " ", "null", "undefined", "None", "true", "0", "-1", "*", "admin", "aig_sk_", "' OR '1'='1",
        "'; DROP TABLE key; --", '" OR ""="', "1 UNION SELECT * FROM key", "%", "_", "aig_sk_%",
        "${jndi:ldap://x}", "{{7*7}}", "$(id)", "`id`", "../../keys/pepper.1", "file:///etc/passwd", "<script>",
        "%00", "%0d%0aX: y", "\\x00", "sk-proj-abc", "sk-ant-api03-x", "sk-provider-secret", "AIza" + "a" * 35,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib3QifQ.", "eyJhbGciOiJIUzI1NiJ9.e30.x", "dXNlcjpwYXNz", "Bearer",
        "Bearer Bearer", "Basic dXNlcjpwYXNz", "a" * 511, "a" * 513, "a" * 8000, "ä", "🔑", "[]", "{}", "key=x",
    ):  # fmt: skip
        yield f"text {text[:32]!r}", text
    for number in range(120):
        digest = hashlib.sha256(f"corpus {number}".encode()).digest()
        made = "".join(_BASE62[each % 62] for each in digest * 2)
        yield f"made-up key {number}", sealed(f"aig_sk_{made[:12]}_{made[:43]}")
        yield f"made-up secret {number} of a known id", sealed(f"{kind}{identifier}_{made[:43]}")


def sealed(material: str) -> str:
    """Any text with the check digits that belong to it."""
    number, digits = zlib.crc32(material.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return material + digits


def _schemes(good: bytes) -> Iterator[tuple[str, Lines]]:
    for scheme in (
        b"", b"Basic ", b"Digest ", b"Token ", b"Key ", b"ApiKey ", b"Api-Key ", b"Bearer", b"Bearer\t", b"Bearer:",
        b"Bearer: ", b"Bearer=", b"Bearer,", b"Bearer\xa0", b"Bearers ", b"Bear ", b"OAuth ", b"MAC ",
        b"Negotiate ", b"NTLM ", b"AWS4-HMAC-SHA256 ", b"Hawk ", b"DPoP ", b"GNAP ", b"Mutual ", b"Basic Bearer ",
        b"Bearer Basic ", b"Bearer Bearer ", b"x Bearer ", b'Bearer token="', b"Bearer realm=", b"B\xc3\xa9arer ",
        b"\xef\xbb\xbfBearer ", b"\xef\xbc\xa2earer ", b"Be\xe2\x80\x8barer ", b"Bearer\x0b", b"Bearer\x0c",
        b"Bearer\x00", b"Bearer%20", b"Bearer+", b"Bearer_", b"sk ", b"Anonymous ", b"None ", b"null ",
    ):  # fmt: skip
        yield f"scheme {scheme!r}", [b"Authorization: " + scheme + good]
        for name in _NAMES[1:]:
            if scheme:
                yield f"scheme {scheme!r} in {name.decode()}", [name + scheme + good]
    for name in _NAMES[1:]:
        yield f"scheme b'Bearer ' in {name.decode()}, too", [name + b"Bearer " + good]


def _several(good: bytes, known: Known) -> Iterator[tuple[str, Lines]]:
    others = {
        "the same key": good,
        "another good key": known.second.encode(),
        "nothing": b"",
        "nonsense": b"x",
        "a revoked key": known.revoked.encode(),
        "a foreign key": known.foreign.encode(),
    }
    for first in _NAMES:
        for second in _NAMES:
            for note, text in others.items():
                yield f"{first.decode()}and {second.decode()}with {note}", [first + good, second + text]
                if text != good:
                    yield f"{first.decode()}with {note} and {second.decode()}", [first + text, second + good]
    for name in _NAMES[1:]:
        yield f"Basic and {name.decode()}", [b"Authorization: Basic dXNlcjpwYXNz", name + good]
        yield f"{name.decode()}and Basic", [name + good, b"Authorization: Basic dXNlcjpwYXNz"]
    yield "all four", [name + good for name in _NAMES]
    yield "Authorization five times", [_SCHEME + good] * 5
    yield "Authorization in two cases", [_SCHEME + good, b"AUTHORIZATION: bearer " + good]


def _elsewhere(good: bytes) -> Iterator[tuple[str, Lines]]:
    yield "no credential", []
    for line in (
        b"Authorization", b"Authorization :Bearer %s", b" Authorization: Bearer %s",
        b"X: a\r\n Authorization: Bearer %s", b"X: a\nAuthorization: Bearer %s", b"X: a\rAuthorization: Bearer %s",
        b"X: a\x00\r\nAuthorization : Bearer %s",
        b"Authorization: Bearer\r\n %s", b"Authorization:\r\n Bearer %s", b"Authorization: Bearer %s\r\n ",
        b"Authorization: Bearer %s\r\n\tx", b"Proxy-Authorization: Bearer %s", b"X-Authorization: Bearer %s",
        b"X-Auth: %s",
        b"Authorization_: Bearer %s", b"Authorization2: Bearer %s", b"x_api_key: %s", b"xapikey: %s",
        b"x-api-keys: %s", b"x-apikey: %s", b"apikey: %s", b"key: %s",
        b"Cookie: authorization=Bearer %s", b"Cookie: x-api-key=%s", b"X-Goog-Api-Key2: %s", b"x-goog-apikey: %s",
        b"X-Auth-Token: %s", b"X-Access-Token: %s", b"token: %s", b"Sec-WebSocket-Protocol: Bearer, %s", b"From: %s",
        b"Api_Key: %s", b"Ocp-Apim-Subscription-Key: %s", b"X-Amz-Security-Token: %s", b"anthropic-api-key: %s",
        b"openai-api-key: %s", b"Forwarded: for=%s", b"Via: %s", b"User-Agent: %s", b"Referer: http://x/?key=%s",
        b"X: Authorization: Bearer %s", b"Authorization%3a: Bearer %s", b"Connection: Authorization, %s",
        b"X-Original-Authorization: Bearer %s", b"X-Forwarded-Authorization: Bearer %s",
        b"Authorization-Info: Bearer %s",
    ):  # fmt: skip
        yield f"only {line[:44]!r}", [line.replace(b"%s", good)]
