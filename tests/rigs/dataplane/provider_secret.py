"""Shared parts of the tests in `tests/gateway/dataplane/test_provider_secret.py`."""

from __future__ import annotations

import base64
from pathlib import Path


def forms(secret: str) -> list[bytes]:
    """A secret as it may stand in a text or a file."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode(), raw[::-1], secret.encode("utf-16-le")]


def found_in(text: bytes, secret: str) -> bool:
    return any(form in text for form in forms(secret))


def files_with(directory: Path, secret: str) -> list[str]:
    return [
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and found_in(path.read_bytes(), secret)
    ]
