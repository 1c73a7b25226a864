"""A request as it reached the provider, and what may stand in its head: only what the gateway itself writes."""

from __future__ import annotations

import re
from dataclasses import dataclass

SECRET = "sk-provider-secret"

_MARK = re.compile(rb"mark-\d{5}")
_SEGMENT = rb"[A-Za-z0-9._:-]{1,128}"
_QUERY = rb"(?:\?(?:[A-Za-z0-9._~:@,*=&-]|%[0-9A-F]{2})*)?"
_OPENAI = (
    rb"POST /(?:chat/completions|responses|responses/(?:input_tokens|compact)|embeddings|moderations|completions)",
    rb"POST /(?:images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations))",
    rb"GET /models(?:/%(segment)s)?|(?:GET|DELETE) /responses/%(segment)s",
    rb"POST /responses/%(segment)s/cancel|GET /responses/%(segment)s/input_items",
    rb"POST /(?:files|vector_stores|conversations)|(?:GET|DELETE) /files/%(segment)s|GET /files/%(segment)s/content",
    rb"(?:GET|POST|DELETE) /(?:vector_stores|conversations)/%(segment)s|POST /vector_stores/%(segment)s/search",
    rb"(?:GET|POST) /vector_stores/%(segment)s/files|(?:GET|POST|DELETE) /vector_stores/%(segment)s/files/%(segment)s",
    rb"GET /vector_stores/%(segment)s/files/%(segment)s/content|POST /vector_stores/%(segment)s/file_batches",
    rb"GET /vector_stores/%(segment)s/file_batches/%(segment)s(?:/files)?",
    rb"POST /vector_stores/%(segment)s/file_batches/%(segment)s/cancel",
    rb"(?:GET|POST) /conversations/%(segment)s/items|(?:GET|DELETE) /conversations/%(segment)s/items/%(segment)s",
)
_REQUESTS = {
    "openai": [each.replace(b" /", b" /v1/") for each in _OPENAI],
    "azure": [
        *(each.replace(b" /", b" /openai/v1/") for each in _OPENAI),
        *(each.replace(b" /", b" /openai/") for each in _OPENAI[2:]),
        rb"POST /openai/responses(?:/input_tokens|/compact)?",
        *(each.replace(b" /", b" /openai/deployments/%(segment)s/") for each in _OPENAI[:2]),
    ],
    "anthropic": [
        rb"POST /v1/(?:messages|messages/count_tokens|files)|GET /v1/models(?:/%(segment)s)?",
        rb"(?:GET|DELETE) /v1/files/%(segment)s|GET /v1/files/%(segment)s/content",
    ],
    "gemini": [
        rb"POST /v1(?:beta)?/models/%(model)s:(?:%(method)s)",
        rb"POST /v1(?:beta1)?/publishers/google/models/%(model)s:(?:%(method)s)",
        rb"GET /v1(?:beta)?/models(?:/%(model)s)?",
    ],
    "crm": [
        rb"(?:GET|POST) /v1/customers|(?:GET|DELETE|PATCH) /v1/customers/%(segment)s",
        rb"GET /v1/customers/%(segment)s/orders/%(segment)s|POST /v1/customers/%(segment)s/move",
    ],
}
_NAMES = {
    b"segment": _SEGMENT,
    b"model": rb"[A-Za-z0-9._-]{1,128}",
    b"method": rb"generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents",
}
_LINES = {
    name: re.compile(b"(?:%s)%s HTTP/1\\.1" % (b"|".join(each % _NAMES for each in patterns), _QUERY))
    for name, patterns in _REQUESTS.items()
}
_OWN = frozenset(
    {b"host", b"accept-encoding", b"user-agent", b"content-type", b"content-length", b"traceparent", b"tracestate"}
)
# The further headers that each API may be sent: the client's, and where the credential stands.
_HEADERS = {
    "openai": _OWN | {b"accept", b"authorization", b"openai-beta", b"idempotency-key"},
    "azure": _OWN | {b"accept", b"api-key", b"openai-beta", b"idempotency-key"},
    "anthropic": _OWN | {b"accept", b"x-api-key", b"anthropic-version", b"anthropic-beta", b"idempotency-key"},
    "gemini": _OWN | {b"accept", b"x-goog-api-key", b"x-server-timeout"},
    "crm": _OWN | {b"accept", b"authorization", b"x-tenant"},
}
_CREDENTIALS = {
    "openai": f"Authorization: Bearer {SECRET}",
    "azure": f"api-key: {SECRET}",
    "anthropic": f"x-api-key: {SECRET}",
    "gemini": f"x-goog-api-key: {SECRET}",
    "crm": f"Authorization: Bearer {SECRET}",
}


@dataclass
class Seen:
    """One request as it reached the provider."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def mark(self) -> bytes:
        found = _MARK.search(self.body) or _MARK.search(self.line)
        return found[0] if found else b""

    @property
    def target(self) -> tuple[bytes, bytes]:
        """The path and the query."""
        path, _, query = self.line.split(b" ")[1].partition(b"?")
        return path, query

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def is_form(self) -> bool:
        return self.content_type.lower().startswith("multipart/")

    @property
    def api(self) -> str:
        """The API that this asks for. OpenAI, Anthropic and Google share some paths, but no credential's header."""
        path, names = self.target[0], self.headers
        if path.startswith(b"/openai/"):
            return "azure"
        if path.startswith(b"/v1/customers"):
            return "crm"
        if "x-api-key" in names or path.startswith(b"/v1/messages"):
            return "anthropic"
        return "gemini" if "x-goog-api-key" in names or not path.startswith(b"/v1/") else "openai"

    def faults(self, key: str) -> list[str]:
        """The faults of its head: it must be one that the gateway writes."""
        _, *lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        names = [line.partition(b":")[0].lower() for line in lines]
        found = []
        if not _LINES[self.api].fullmatch(self.line):
            found.append(f"request line {self.line!r}")
        if not _HEADERS[self.api].issuperset(names) or len(set(names)) < len(names):
            found.append(f"headers {names!r}")
        if _CREDENTIALS[self.api].encode() not in lines:
            found.append("another credential than the provider's own")
        if key.encode() in self.head + self.body:
            found.append("the agent's key")
        if re.search(rb"[^\r]\n|\r[^\n]|[^\t\x20-\x7e\r\n]", self.head):
            found.append("a byte that no head may hold")
        return found
