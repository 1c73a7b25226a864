"""Shared parts of the tests in `tests/gateway/dataplane/test_gemini.py`."""

from __future__ import annotations

from typing import Any

import orjson

from tests.gateway.dataplane.conftest import Gateway

MODEL = "mock-gemini"


def part(text: str, **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2},
        "modelVersion": "mock-gemini-001",
    }


def event(document: Any) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\r\n\r\n"


HELLO, STOP = part("hel"), part("lo", finishReason="STOP")


def add_gemini(gateway: Gateway) -> None:
    gateway.add_upstream("gemini", "gemini", secret="google-secret")
