"""Signed requests that must open nothing, each a small step away from a good one.

Wherever a case is about a form, the signature is right for what is sent: the form alone must refuse it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .drafts import BODY, COVERED, ORDER, Draft, Keys, digest, draft


def good(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Requests that must be served: the cases below are refused for what they change, and not for their form."""
    for note, key in (("ed25519", keys.good), ("p256", keys.p256)):
        yield f"good: {note}", draft(key).sent()
        yield f"good: {note}, sha-512", draft(key, digest=digest(BODY, "sha-512")).sent()
        yield f"good: {note}, without a body", draft(key, method="GET", path="/v1/models", body=b"").sent()
    yield "good: another label", draft(keys.good, label="*a-b_c.9").sent()
    yield "good: the host in capitals", draft(keys.good, host="GATEWAY:8080").sent()
    yield "good: space around values", draft(keys.good).sent().replace(b"Signature: ", b"Signature: \t ")
    quoted = tuple(f'"{name}"' for name in COVERED)
    for more in (('"content-type"',), ('"content-length"', '"content-type"')):
        yield f"good: {more} signed as well", draft(keys.good, covered=(*quoted, *more)).sent()
    # Of `http-message-signatures` from PyPI, and the other way round.
    for order in ((0, 3, 4, 1, 2, 5), (5, 4, 3, 2, 1, 0)):
        yield f"good: order {order}", _with(keys, lambda found, order=order: [found[at] for at in order])
    yield "good: a clock that is ahead a little", draft(keys.good, created=str(int(time.time()) + 3)).sent()


def cases(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Requests that must be refused with 400 or 401."""
    for family in (_aimed, _changed, _partly, _components, _parameters, _values, _signatures, _digests, _heads, _keys):
        for note, sent in family(keys):
            yield f"{family.__name__[1:]}: {note}", sent


def _aimed(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Signed for another request than the one that is sent."""
    others = {
        "@method": ("GET", "PUT", "post", "Post", "POST ", "", "OPTIONS", "POST, GET"),
        "@authority": (
            "other", "gateway.", "gateway:80", "gateway:8080", "GATEWAY", "", "gateway.example", "127.0.0.1",
            "http://gateway", "user@gateway",
        ),
        "@path": (
            "/v1/messages", "/v1/chat/completions/", "/V1/chat/completions", "/v1//chat/completions", "/", "",
            "/v1/chat/completions?", "/v1/chat/%63ompletions", "v1/chat/completions", "/v1/models", "*",
            "/openai/v1/chat/completions",
        ),
        "@query": ("", "?beta=true", "?%20", "??", "? ", "?=", "null"),
        "content-digest": (
            digest(b""), digest(BODY + b" "), digest(BODY, "sha-512"), "", digest(BODY)[:-1], digest(BODY) + " ",
            digest(BODY).replace("sha", "SHA"), digest(b"{}"),
        ),
    }  # fmt: skip
    for (name, texts), key in itertools.product(others.items(), (keys.good, keys.p256)):
        for text in texts:
            if draft(key).values()[name] != text:
                yield f"{name} {text!r}", draft(key, signed={name: text}).sent()


def _changed(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Changed on the way, after it was signed."""
    for key in (keys.good, keys.p256):
        for path in ("/v1/models", "/v1/responses", "/openai/v1/chat/completions", "/v1/embeddings", "/v1/completions"):
            yield f"path {path}", _resent(draft(key), path=path)
        yield "path of a GET", _resent(draft(key, method="GET", path="/v1/models", body=b""), path="/v1/models/gpt-4o")
        for host in ("other", "gateway:80", "gateway.", "127.0.0.1"):
            yield f"host {host}", draft(key).sent(Host=host)
        for query in ("beta=true", "a", "", "api-version=1"):
            yield f"query {query!r}", draft(key, query=query, signed={"@query": "?x=1"}).sent()
        for method in ("PUT", "GET", "DELETE", "PATCH"):
            yield f"method {method}", _resent(draft(key), method=method)
        for at in range(0, len(BODY), 4):
            swapped = bytearray(BODY)
            swapped[at] ^= 1
            yield f"bit of byte {at} of the body", _resent(draft(key), body=bytes(swapped))
            body = bytes(swapped)
            yield (
                f"bit of byte {at}, and its digest",
                _resent(draft(key), body=body).replace(digest(BODY).encode(), digest(body).encode()),
            )
        for note, body in {
            "another model": BODY.replace(b"gpt-4o", b"gpt-4x"), "nothing": b"", "one byte less": BODY[:-1],
            "one byte more": BODY + b" ", "one byte before": b" " + BODY, "twice": BODY * 2,
            "large": BODY + b" " * 100_000,
            "very large": BODY + b" " * 1_500_000,
        }.items():  # fmt: skip
            yield f"body: {note}", _resent(draft(key), body=body)


def _resent(signed: Draft, **changed: Any) -> bytes:
    """Requests that are sent with the signature of another one."""
    headers = {name.replace("-", "_"): text for name, text in signed.headers().items()}
    other = replace(signed, **changed)
    return other.sent(**headers | {"Content_Length": str(len(other.body))})


def _partly(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Only a part is signed, or in another order, and the signature is right for that."""
    quoted = [f'"{name}"' for name in COVERED]
    for count in range(len(quoted)):
        for some in itertools.combinations(quoted, count):
            yield f"{len(some)} components: {' '.join(some)}", draft(keys.good, covered=some).sent()
    for order in itertools.permutations(quoted):
        if list(order) != quoted:
            yield f"order {' '.join(order)}", draft(keys.p256, covered=order).sent()


def _components(keys: Keys) -> Iterator[tuple[str, bytes]]:
    quoted = tuple(f'"{name}"' for name in COVERED)
    for more in (
        '"date"', '"host"', '"@target-uri"', '"@request-target"', '"@scheme"',
        '"@method"', '"content-digest"', '"@signature-params"', '"@status"', '"@query-param";name="a"', '"signature"',
        '"x-unknown"', '""', "date", '"Date"', "1", ":YQ==:", "?1",
    ):  # fmt: skip
        yield f"{more} as well", draft(keys.good, covered=(*quoted, more)).sent()
        yield f"{more} first", draft(keys.good, covered=(more, *quoted)).sent()
    for at, flag in itertools.product(range(5), (";req", ";sf", ";bs", ';key="sha-256"', ";tr", ";x=1", ";req=?0")):
        covered = tuple(each + flag if number == at else each for number, each in enumerate(quoted))
        yield f"{quoted[at]} with {flag}", draft(keys.good, covered=covered).sent()
    for at in range(5):
        for note, text in (
            ("capitals", quoted[at].upper()), ("bare", quoted[at].strip('"')),
            ("space", quoted[at].replace('"', '" ', 1)),
            ("a single quote", quoted[at].replace('"', "'")), ("an escape", quoted[at].replace('"', '"\\\\', 1)),
        ):  # fmt: skip
            covered = tuple(text if number == at else each for number, each in enumerate(quoted))
            yield f"{quoted[at]}: {note}", draft(keys.good, covered=covered).sent()
    typed = draft(keys.good, covered=(*quoted, '"content-type"'))
    yield "another content-type than signed", typed.sent(Content_Type="application/json; charset=utf-8")
    for note, more in (("first", '"content-type"'), ("twice", '"content-type" "content-type"')):
        covered = (more, *quoted) if note == "first" else (*quoted, more)
        yield f"content-type {note}", draft(keys.good, covered=covered).sent()
    form = "multipart/form-data; boundary=x"
    yield "a form without its content-type", draft(keys.good, content_type=form, path="/v1/images/edits").sent()
    for note, joined in {
        "two spaces": "  ".join(quoted), "tabs": "\t".join(quoted), "commas": ", ".join(quoted),
        "no spaces": "".join(quoted), "space inside": f" {' '.join(quoted)}",
        "space at the end": f"{' '.join(quoted)} ",
    }.items():  # fmt: skip
        yield f"list with {note}", draft(keys.good, covered=(joined,), signed={joined: ""}).sent()


def _parameters(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Parameters that are missing, doubled or unknown; the signature is right for them."""
    usual = draft(keys.good).parameters
    for at in range(len(usual)):
        yield f"without {usual[at][0]}", _with(keys, lambda found, at=at: found[:at] + found[at + 1 :])
        yield f"{usual[at][0]} twice", _with(keys, lambda found, at=at: [*found, found[at]])
        yield (
            f"{usual[at][0]} twice in a row",
            _with(keys, lambda found, at=at: [*found[: at + 1], found[at], *found[at + 1 :]]),
        )
        yield (
            f"{usual[at][0]} without a value",
            _with(keys, lambda found, at=at: [*found[:at], (found[at][0], ""), *found[at + 1 :]]),
        )
        yield (
            f"{usual[at][0]} in capitals",
            _with(keys, lambda found, at=at: [*found[:at], (found[at][0].upper(), found[at][1]), *found[at + 1 :]]),
        )
    for name, text in (
        ("x", "1"),
        ("version", "1"),
        ("created", "1"),
        ("keyid", '""'),
        ("req", ""),
        ("sf", ""),
        ("Tag", '"aig"'),
    ):
        yield f"{name}={text} at the end", _with(keys, lambda found, more=(name, text): [*found, more])
        yield f"{name}={text} first", _with(keys, lambda found, more=(name, text): [more, *found])
    yield "no parameters", _with(keys, lambda found: [])
    for note, change in {
        "space before ;": lambda text: text.replace(";nonce", " ;nonce"),
        "space after ;": lambda text: text.replace(";nonce", "; nonce"),
        "space around =": lambda text: text.replace("nonce=", "nonce ="),
        "tab": lambda text: text.replace(";tag", ";\ttag"),
        "; at the end": lambda text: text + ";", ", at the end": lambda text: text + ",",
        "a comma for ;": lambda text: text.replace(";tag", ",tag"),
        "nothing": lambda text: "", "in quotes": lambda text: f'"{text}"', "twice": lambda text: f"{text}, {text}",
        "another dictionary member": lambda text: text + ", a=1", "no label": lambda text: text.partition("=")[2],
        "a boolean member": lambda text: "sig", "a colon": lambda text: text.replace("sig=", "sig:"),
    }.items():  # fmt: skip
        made = draft(keys.good)
        yield f"header with {note}", made.sent(Signature_Input=change(made.headers()["Signature-Input"]))


def _with(keys: Keys, change: Any) -> bytes:
    made = draft(keys.good)
    made.parameters = change(made.parameters)
    return made.sent()


def _values(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Parameters with wrong values; the signature is right for them."""
    now = int(time.time())
    for note, created, expires in (
        ("expired", now - 61, now - 1), ("expired just now", now - 30, now),
        ("expired long ago", now - 10_000, now - 9_950),
        ("too early", now + 600, now + 660), ("far too early", now + 10**8, now + 10**8 + 50),
        ("valid for 61 s", now, now + 61),
        ("valid for an hour", now - 10, now + 3590), ("valid for ever", now, 99_999_999_999),
        ("ends before", now, now - 1),
        ("ends at once", now + 2, now + 2), ("old, long", now - 4000, now + 40), ("since 1970", 1, now + 30),
    ):  # fmt: skip
        for key in (keys.good, keys.p256):
            yield f"time: {note}", draft(key, created=str(created), expires=str(expires)).sent()
    for name in ("created", "expires"):
        for text in (
            "0", "-1", f"-{now}", f"{now}.0", f"{now}.5", f'"{now}"', f"0{now}", f"+{now}", f"{now}000", "9" * 16,
            f"1e{10}", "now", "?1", "*", ":MQ==:", f"@{now}", f"{now}_0", "0x6ffffff0", f" {now}", f"{now} ",
        ):  # fmt: skip
            yield f"{name} {text!r}", draft(keys.good, **{name: text}).sent()
    for name, texts in {
        "nonce": (
            '""', '"short"', '"' + "a" * 15 + '"', '"' + "a" * 65 + '"', '"' + "a" * 2000 + '"', '"aaaaaaaaaaaaaaa "',
            '"aaaaaaaaaaaaaaaa\\""', '"aaaaaaaaaaaaaaaa\\\\"', '"aaaaaaaaaaaaaaa="', '"aaaaaaaaaaaaaaaa+"', "a" * 20,
            ":YWFhYWFhYWFhYWFhYWFhYQ==:", "1234567890123456", '"aaaaaaaaaaaaaaa\'"', '"aaaaaaaaaaaaaaaa',
            "\"' OR '1'='1' --aaaa\"", '"aaaaaaaaaaaaaaa\xe9"',
        ),
        "keyid": (
            '""', f'"{keys.other[1]}"', f'"{keys.unknown[1]}"', f'"{keys.p256[1]}"', f'"{keys.good[1].swapcase()}"',
            f'"{keys.good[1]} "', f'"{keys.good[1][:-1]}"', f'"{keys.good[1]}="', f'"{keys.good[1]}a"', keys.good[1],
            '"*"', '"%"', '"test-key-ed25519"', '"poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U"',
            f'"{keys.api_key[7:19]}"',
            f'"{keys.api_key[:19]}"', f'"{"A" * 43}"', f'"{"_" * 43}"', f"\"{keys.good[1]}' OR '1'='1\"", "1", "?1",
        ),
        "alg": (
            '"ecdsa-p256-sha256"', '"ED25519"', '"Ed25519"', '"EdDSA"', '"none"', '""', '"hmac-sha256"',
            '"rsa-pss-sha512"',
            '"rsa-v1_5-sha256"', '"ecdsa-p384-sha384"', '"hs2019"', "ed25519", '"ed25519 "', '"ES256"',
        ),
        "tag": ('""', '"AIG"', '"aig "', '"web-bot-auth"', "aig", '"aig","aig"', '"wimse-aud"', "?1"),
    }.items():  # fmt: skip
        for text in texts:
            yield f"{name} {text!r}", draft(keys.good, **{name: text}).sent()
    yield "alg of the other key", draft(keys.p256, alg='"ed25519"').sent()


def _signatures(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Signature headers with other bytes or another form."""

    def coded(bare: bytes) -> str:
        return f":{base64.b64encode(bare).decode()}:"

    def malleable(bare: bytes) -> bytes:
        return bare[:32] + (int.from_bytes(bare[32:], "little") + ORDER).to_bytes(32, "little")

    for key in (keys.good, keys.p256):
        for at in range(0, 64, 3):
            yield (
                f"bit of byte {at}",
                draft(
                    key, signature=lambda bare, at=at: coded(bare[:at] + bytes([bare[at] ^ 4]) + bare[at + 1 :])
                ).sent(),
            )
        for note, change in {
            "zeros": lambda bare: coded(bytes(64)), "ones": lambda bare: coded(b"\xff" * 64),
            "nothing": lambda bare: "::",
            "63 bytes": lambda bare: coded(bare[:63]), "65 bytes": lambda bare: coded(bare + b"\0"),
            "halves swapped": lambda bare: coded(bare[32:] + bare[:32]),
            "the first half": lambda bare: coded(bare[:32]), "twice": lambda bare: coded(bare * 2),
            "hexadecimal": lambda bare: f":{bare.hex()}:",
            "as a string": lambda bare: f'"{base64.b64encode(bare).decode()}"',
            "without colons": lambda bare: base64.b64encode(bare).decode(),
            "without padding": lambda bare: coded(bare).replace("=", ""),
            "base64 for URLs": lambda bare: ":" + base64.urlsafe_b64encode(b"\xff" * 64).decode() + ":",
            "unused bits": lambda bare: coded(bare)[:-4] + chr(ord(coded(bare)[-4]) + 1) + "==:",
            "space inside": lambda bare: coded(bare).replace(":", ": ", 1),
            "a parameter": lambda bare: coded(bare) + ";a=1",
            "a second member": lambda bare: coded(bare) + ", other=" + coded(bare),
            "the same member twice": lambda bare: coded(bare) + ", sig=" + coded(bare),
            "a list": lambda bare: f"({coded(bare)})",
            "a boolean": lambda bare: "?1", "r and the order less s": lambda bare: coded(bytes(32) + bare[32:]),
            "s is 0": lambda bare: coded(bare[:32] + bytes(32)),
        }.items():  # fmt: skip
            yield note, draft(key, signature=change).sent()
    yield "s and the order of the group", draft(keys.good, signature=lambda bare: coded(malleable(bare))).sent()
    yield "DER", draft(keys.p256, signature=lambda bare: coded(_der(bare))).sent()
    made = draft(keys.good)
    first, second = made.headers(), draft(keys.p256).headers()
    both = {
        "Signature_Input": f"{first['Signature-Input']}, {second['Signature-Input'].replace('sig=', 'sig2=')}",
        "Signature": f"{first['Signature']}, {second['Signature'].replace('sig=', 'sig2=')}",
    }
    yield "two signatures", made.sent(**both)
    yield "two inputs", made.sent(Signature_Input=both["Signature_Input"])
    yield "two signatures of one input", made.sent(Signature=both["Signature"])
    for label in ("Sig", "SIG", "sig ", "sig1", "", "1sig", "*", "a b", "sïg", '"sig"'):
        yield f"label {label!r}", made.sent(Signature=first["Signature"].replace("sig=", f"{label}=", 1))
        if label not in ("sig1", "*"):
            yield f"label {label!r} in both", replace(made, label=label).sent()
    yield "a label that is too long", draft(keys.good, label="a" * 33).sent()


def _der(bare: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(int.from_bytes(bare[:32], "big"), int.from_bytes(bare[32:], "big"))


def _digests(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Content-Digest headers that are wrong; the signature is right for them."""
    right = digest(BODY)
    value = right.removeprefix("sha-256=")
    for text in (
        "", f"sha-256={value[:-3]}:", right.replace("sha-256", "SHA-256"), right.replace("sha-256", "sha256"),
        f"{right}, {right}",
        f"{right}, {digest(BODY, 'sha-512')}", f"{digest(BODY, 'sha-512')}, {right}", right + ";a=1",
        right.replace("=:", "= :"),
        right.replace(":", ""), f'sha-256="{value.strip(":")}"', "sha-256=::", "sha-256", "sha-256=?1",
        "sha-512=" + value,
        "sha-256=" + digest(BODY, "sha-512").removeprefix("sha-512="), right.replace("sha-256", "md5"),
        right.replace("sha-256", "sha-384"),
        right.replace("sha-256", "unixsum"), "unixsum=30637",
        "md5=:" + base64.b64encode(hashlib.md5(BODY).digest()).decode() + ":",
        "sha-256=:" + hashlib.sha256(BODY).hexdigest() + ":", digest(b""), digest(BODY + b"\n"),
        digest(BODY, "sha-512")[:-5] + "AA==:",
        "id-sha-256=" + value, "*", "=:" + value, value, right + ",", "," + right, right.replace("=:", "=:\t"),
    ):  # fmt: skip
        yield f"{text!r}", draft(keys.good, digest=text).sent()
    yield (
        "of a body that is not there",
        draft(keys.good, method="GET", path="/v1/models", body=b"", digest=right).sent(),
    )
    for key in (keys.good, keys.p256):
        yield "no header", draft(key, without=("Content-Digest",)).sent()
        yield (
            "no header, nothing signed of it",
            draft(key, without=("Content-Digest",), covered=tuple(f'"{name}"' for name in COVERED[:4])).sent(),
        )
        yield "two headers", draft(key, more=[f"Content-Digest: {right}"]).sent()
        yield "two headers, another first", draft(key, digest=digest(b"x"), more=[f"Content-Digest: {right}"]).sent()
        yield "Repr-Digest instead", draft(key, without=("Content-Digest",), more=[f"Repr-Digest: {right}"]).sent()
        yield "Digest instead", draft(key, without=("Content-Digest",), more=[f"Digest: {right}"]).sent()


def _heads(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Headers that are missing, doubled or spelled otherwise, and keys beside a signature."""
    for name in ("Signature", "Signature-Input"):
        yield f"no {name}", draft(keys.good, without=(name,)).sent()
        made = draft(keys.good)
        line = f"{name}: {made.headers()[name]}"
        yield f"{name} twice", replace(made, more=[line]).sent()
        yield f"{name} empty", made.sent(**{name.replace("-", "_"): ""})
        yield f"{name} empty and right", replace(made, more=[f"{name}:"]).sent()
        for other in (f"X-{name}", name.replace("-", "_") + "_", f"{name}s", f"Proxy-{name}"):
            yield f"{other} instead", replace(made, without=(name,), more=[line.replace(name, other)]).sent()
    made = draft(keys.good)
    headers = made.headers()
    yield "in the other header", made.sent(Signature=headers["Signature-Input"], Signature_Input=headers["Signature"])
    yield (
        "Authorization: Signature",
        replace(
            made, without=("Signature", "Signature-Input"), more=[f"Authorization: Signature {headers['Signature']}"]
        ).sent(),
    )
    for line in (
        f"Authorization: Bearer {keys.api_key}", f"x-api-key: {keys.api_key}", f"api-key: {keys.api_key}",
        f"x-goog-api-key: {keys.api_key}", "Authorization: Bearer unused", "x-api-key: unused",
        "Authorization: Basic YTpi",
        "Authorization:", "x-api-key:",
    ):  # fmt: skip
        yield f"beside {line.partition(' ')[0]} {line[-6:]}", draft(keys.good, more=[line]).sent()
    yield "two hosts", draft(keys.good, more=["Host: gateway"]).sent()
    yield "no host", draft(keys.good, without=("Host",)).sent()
    yield (
        "trailers",
        draft(
            keys.good,
            without=("Content-Length", "Signature"),
            body=b"",
            digest=digest(BODY),
            more=["Transfer-Encoding: chunked"],
        ).sent()
        + b"%x\r\n%s\r\n0\r\nSignature: %s\r\n\r\n" % (len(BODY), BODY, headers["Signature"].encode()),
    )
    yield (
        "a digest in trailers",
        draft(
            keys.good,
            without=("Content-Length", "Content-Digest"),
            body=b"",
            digest=digest(BODY),
            more=["Transfer-Encoding: chunked"],
        ).sent()
        + b"%x\r\n%s\r\n0\r\nContent-Digest: %s\r\n\r\n" % (len(BODY), BODY, digest(BODY).encode()),
    )


def _keys(keys: Keys) -> Iterator[tuple[str, bytes]]:
    for note in ("unknown", "revoked", "expired", "of_revoked_agent"):
        key = getattr(keys, note)
        yield f"{note.replace('_', ' ')}", draft(key).sent()
        yield f"{note.replace('_', ' ')}, GET", draft(key, method="GET", path="/v1/models", body=b"").sent()
        yield f"{note} in the name of a good one", draft((key[0], keys.good[1])).sent()
        yield f"a good one in the name of {note}", draft((keys.good[0], key[1])).sent()
    yield "another agent's in this one's name", draft((keys.other[0], keys.good[1])).sent()
    yield "this one's in another agent's name", draft((keys.good[0], keys.other[1])).sent()
    yield "ed25519 in the name of p256", draft((keys.good[0], keys.p256[1])).sent()
    yield "p256 in the name of ed25519", draft((keys.p256[0], keys.good[1])).sent()
