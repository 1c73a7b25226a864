"""crypto.md5, sha1, sha256 and crypto.hmac.*: digests of a string's bytes, as lower-case hexadecimal text.

MD5 and SHA-1 are here because policies check digests that others made with them; they prove nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from policy_engine.builtins.octets import to_bytes
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin
from policy_engine.types import BOOLEAN, STRING, FunctionType
from policy_engine.values import Value


def _digest(name: str, algorithm: str) -> Callable[[Value], Value]:
    def digest(operand: Value) -> Value:
        return hashlib.new(algorithm, to_bytes(string(operand, name, 1)), usedforsecurity=False).hexdigest()

    return digest


def _mac(name: str, algorithm: str) -> Callable[[Value, Value], Value]:
    def mac(message: Value, key: Value) -> Value:
        octets = to_bytes(string(message, name, 1))
        return hmac.new(to_bytes(string(key, name, 2)), octets, algorithm).hexdigest()

    return mac


def hmac_equal(first: Value, second: Value) -> Value:
    """Compare two strings in a time that does not depend on where they differ."""
    a = to_bytes(string(first, "crypto.hmac.equal", 1))
    b = to_bytes(string(second, "crypto.hmac.equal", 2))
    return hmac.compare_digest(a, b)


BUILTINS: Final = (
    Builtin("crypto.hmac.equal", FunctionType((STRING, STRING), BOOLEAN), hmac_equal),
    *(
        Builtin(name, FunctionType((STRING, STRING), STRING), _mac(name, algorithm))
        for algorithm in ("md5", "sha1", "sha256", "sha512")
        for name in (f"crypto.hmac.{algorithm}",)
    ),
    *(
        Builtin(name, FunctionType((STRING,), STRING), _digest(name, algorithm))
        for algorithm in ("md5", "sha1", "sha256")
        for name in (f"crypto.{algorithm}",)
    ),
)
