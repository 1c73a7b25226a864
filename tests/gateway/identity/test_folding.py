"""Nothing but ASCII letters is folded where a comparison lets somebody in, and no key for encryption verifies."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.identity import jose, logins, persons
from gateway.identity.jose import ascii_lower

KELVIN = "\u212a"  # `str.lower` makes it a `k`


def test_only_ascii_letters_are_folded() -> None:
    assert ascii_lower("AbC\u0130\u212b" + KELVIN) == "abc\u0130\u212b" + KELVIN
    assert KELVIN.lower() == "k"


@pytest.mark.parametrize("address", [f"ceo@{KELVIN}orp.example", f"{KELVIN}ai@korp.example"])
def test_another_letter_is_another_address(address: str) -> None:
    claims: dict[str, Any] = {"email": address, "email_verified": True, "sub": "x"}
    for wanted in ("kai@korp.example", "ceo@korp.example"):
        assert not logins._meets(claims, "email", wanted)
    if address.startswith("ceo"):
        assert not logins._meets(claims, "email_domain", "korp.example")
        assert not persons._meets(claims, "email_domain", "korp.example")
    assert logins._meets({"email": "Kai@KORP.example", "email_verified": True}, "email", "kai@korp.example")


@pytest.mark.parametrize(
    ("more", "usable"),
    [
        ({}, True),
        ({"use": "sig"}, True),
        ({"key_ops": ["verify"]}, True),
        ({"use": "enc"}, False),
        ({"key_ops": ["encrypt"]}, False),
        ({"key_ops": ["verify", "encrypt"]}, False),
        ({"key_ops": ["deriveKey"], "use": "sig"}, False),
        ({"key_ops": []}, False),
        ({"key_ops": "verify"}, False),
        ({"alg": "ECDH-ES"}, False),
    ],
)
def test_a_key_for_something_else_verifies_nothing(more: dict[str, Any], usable: bool) -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", **more}
    assert (jose.public_key(key) is not None) is usable
