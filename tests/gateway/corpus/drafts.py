"""Requests that are signed by RFC 9421, with `cryptography` alone.

It signs on its own, so that it can sign what the gateway's own code would not.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Private = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

COVERED = ("@method", "@authority", "@path", "@query", "content-digest")
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group that Ed25519 computes in


@dataclass(frozen=True)
class Keys:
    """Private keys with the names that their public halves have at the gateway."""

    good: tuple[Private, str]
    p256: tuple[Private, str]  # of the same agent, as good
    other: tuple[Private, str]  # of another agent, alive
    unknown: tuple[Private, str]
    revoked: tuple[Private, str]
    expired: tuple[Private, str]
    of_revoked_agent: tuple[Private, str]
    api_key: str  # an ordinary key of the same agent


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    value = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(value).decode()}:"


@dataclass
class Draft:
    """A request before it is signed. `covered` and `parameters` are texts, as they will stand in the header."""

    key: Private
    parameters: list[tuple[str, str]]
    method: str = "POST"
    host: str = "gateway"
    path: str = "/v1/chat/completions"
    query: str | None = None
    body: bytes = BODY
    content_type: str = "application/json"
    digest: str | None = None
    covered: tuple[str, ...] = tuple(f'"{name}"' for name in COVERED)
    label: str = "sig"
    signed: dict[str, str] = field(default_factory=dict)  # what is signed instead of what is sent
    more: list[str] = field(default_factory=list)
    without: tuple[str, ...] = ()
    signature: Any = None  # a function of the right one's bytes that gives the value of the member

    def values(self) -> dict[str, str]:
        query = "" if self.query is None else self.query
        return {
            "@method": self.method,
            "@authority": self.host.lower(),
            "@path": self.path,
            "@query": f"?{query}",
            "content-digest": self.content_digest,
            "@target-uri": f"http://{self.host}{self.target}",
            "@request-target": self.target,
            "@scheme": "http",
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            "date": "Sat, 28 Nov 2026 08:00:00 GMT",
            "host": self.host,
            **self.signed,
        }

    @property
    def content_digest(self) -> str:
        return digest(self.body) if self.digest is None else self.digest

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def signature_input(self) -> str:
        return f"({' '.join(self.covered)})" + "".join(
            f";{name}={text}" if text else f";{name}" for name, text in self.parameters
        )

    def bare(self) -> bytes:
        """The signature's bytes."""
        values = self.values()
        lines = []
        for each in self.covered:
            name = each.split(";")[0].strip('"')
            lines.append(f"{each}: {values.get(name, '')}")
        base = "\n".join([*lines, f'"@signature-params": {self.signature_input()}']).encode("latin-1")
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(base)
        r, s = decode_dss_signature(self.key.sign(base, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def headers(self) -> dict[str, str]:
        bare = self.bare()
        member = f":{base64.b64encode(bare).decode()}:" if self.signature is None else self.signature(bare)
        return {
            "Host": self.host,
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Content-Digest": self.content_digest,
            "Signature-Input": f"{self.label}={self.signature_input()}",
            "Signature": f"{self.label}={member}",
        }

    def sent(self, **changed: str) -> bytes:
        """The request as bytes; `changed` has headers (with `_` for `-`) that are other ones than the signed ones."""
        headers = {name: text for name, text in self.headers().items() if name not in self.without}
        headers |= {name.replace("_", "-"): text for name, text in changed.items()}
        lines = [f"{name}: {text}" for name, text in headers.items()] + self.more
        return (f"{self.method} {self.target} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode(
            "latin-1"
        ) + self.body


def draft(key: tuple[Private, str], **changed: Any) -> Draft:
    private, name = key
    now = int(time.time())
    parameters = {
        "created": str(now),
        "expires": str(now + 60),
        "nonce": f'"{secrets.token_urlsafe(18)}"',
        "keyid": f'"{name}"',
        "alg": '"ed25519"' if isinstance(private, Ed25519PrivateKey) else '"ecdsa-p256-sha256"',
        "tag": '"aig"',
    }
    fields = {name: each for name, each in changed.items() if name in Draft.__dataclass_fields__}
    parameters |= {name: each for name, each in changed.items() if name not in fields}
    return Draft(private, list(parameters.items()), **fields)
