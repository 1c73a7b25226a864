"""Tokens verified: the signature, and then the claims."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from benchmarks.policy.workload import Document, Kind, Workload, fixed

SECRET = "a secret of at least thirty-two bytes"
CLAIMS = {"sub": "agent-7", "scope": ["chat", "embeddings"], "exp": 4_000_000_000}


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unpart(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unsigned(algorithm: str) -> str:
    head = {"alg": algorithm, "typ": "JWT"}
    return ".".join(_part(json.dumps(part, separators=(",", ":")).encode()) for part in (head, CLAIMS))


def _hmac_token() -> Document:
    text = _unsigned("HS256")
    return {"token": f"{text}.{_part(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"}


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    """A key of this process: no private key lies in a repository, not even one that opens nothing."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _rsa_token() -> Document:
    text = _unsigned("RS256")
    return {"token": f"{text}.{_part(_key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"}


def _rsa_data() -> Document:
    public = _key().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return {"key": public.public_bytes(serialization.Encoding.PEM, form).decode()}


def _may_chat(text: str) -> bool:
    return "chat" in json.loads(_unpart(text))["scope"]


def _hmac_by_hand(data: Document) -> Any:
    secret = data["secret"].encode()

    def decide(value: Any) -> bool:
        text, _, signature = value["token"].rpartition(".")
        known = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        return hmac.compare_digest(known, _unpart(signature)) and _may_chat(text.partition(".")[2])

    return decide


def _rsa_by_hand(data: Document) -> Any:
    key = serialization.load_pem_public_key(data["key"].encode())
    assert isinstance(key, rsa.RSAPublicKey)

    def decide(value: Any) -> bool:
        text, _, signature = value["token"].rpartition(".")
        key.verify(_unpart(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return _may_chat(text.partition(".")[2])

    return decide


def _policy(verify: str) -> str:
    return (
        f"default allow := false\nallow if {{ {verify}; [_, claims, _] := io.jwt.decode(input.token); "
        '"chat" in claims.scope }'
    )


WORKLOADS = [
    Workload(
        "token with HS256",
        Kind.HEAVY,
        fixed(_policy("io.jwt.verify_hs256(input.token, data.secret)")),
        _hmac_token,
        True,
        _hmac_by_hand,
        data=fixed({"secret": SECRET}),
    ),
    Workload(
        "token with RS256",
        Kind.HEAVY,
        fixed(_policy("io.jwt.verify_rs256(input.token, data.key)")),
        _rsa_token,
        True,
        _rsa_by_hand,
        data=_rsa_data,
    ),
]
