"""Shared parts of the tests in `tests/gateway/dataplane/test_large_bodies.py`."""

from __future__ import annotations

import base64
import random
from typing import Any

import orjson

MEBIBYTE = 1024 * 1024


def image(size: int, **members: Any) -> bytes:
    """A call with an image of so many bytes in it."""
    url = "data:image/png;base64," + base64.b64encode(random.Random(size).randbytes(size)).decode()
    content = [{"type": "text", "text": "what is this? \U0001f600"}, {"type": "image_url", "image_url": {"url": url}}]
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **members})
