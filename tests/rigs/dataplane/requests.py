"""Shared parts of the tests in `tests/gateway/dataplane/test_requests.py`."""

from __future__ import annotations

from typing import Any

import orjson


def event(**members: Any) -> bytes:
    return b"data: " + orjson.dumps({"object": "chat.completion.chunk", "model": "gpt-4o-2024", **members}) + b"\n\n"


HELLO = event(choices=[{"index": 0, "delta": {"content": "hello"}}], usage=None)
USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
DONE = b"data: [DONE]\n\n"
