"""The headers of clients that go upstream with every request to a server that speaks the OpenAI API."""

from __future__ import annotations

FORWARDED = frozenset({b"accept", b"openai-beta", b"idempotency-key", b"x-client-request-id"})
