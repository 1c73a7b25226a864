"""Each provider's routes: forms of their paths, methods, queries, parameters and headers, and their framing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .case import AUTHORIZATION, CHUNKED, HOST, JSON, LATER, MARK, PROMPT, SMUGGLED, Case, Expect, chunks, head, length

_TOOLS = '"tools":[{"type":"web_search"}]'


@dataclass(frozen=True, slots=True)
class Way:
    """One route with an ordinary body for it; `query` are the names that it takes."""

    method: bytes
    target: bytes
    body: str = ""
    query: tuple[bytes, ...] = ()

    @property
    def note(self) -> str:
        return f"{self.method.decode()} {self.target.decode()}".replace(PROMPT, "…")

    def sent(self, *lines: bytes, method: bytes = b"", target: bytes = b"", body: str | None = None) -> bytes:
        data = (self.body if body is None else body).encode("utf-8", "surrogatepass")
        framing = [JSON, length(data)] if data else []
        given = method or self.method
        return head(HOST, AUTHORIZATION, *framing, *lines, method=given, target=target or self.target) + data


def _prompt(name: str) -> str:
    return f'{{"model":"mock-1","{name}":"{PROMPT}"}}'


_USER = f'"messages":[{{"role":"user","content":"{PROMPT}"}}]'
JSON_WAYS = {
    "responses": Way(b"POST", b"/v1/responses", _prompt("input")),
    "input tokens": Way(b"POST", b"/v1/responses/input_tokens", _prompt("input")),
    "compact": Way(b"POST", b"/v1/responses/compact", _prompt("input")),
    "embeddings": Way(b"POST", b"/v1/embeddings", _prompt("input")),
    "moderations": Way(b"POST", b"/v1/moderations", _prompt("input")),
    "completions": Way(b"POST", b"/v1/completions", _prompt("prompt")),
    "messages": Way(b"POST", b"/v1/messages", f'{{"model":"mock-1","max_tokens":9,{_USER}}}', (b"beta",)),
    "count": Way(b"POST", b"/claude/v1/messages/count_tokens", f'{{"model":"mock-1",{_USER}}}', (b"beta",)),
    "create": Way(b"POST", b"/crm/v1/customers", f'{{"note":"{PROMPT}"}}'),
    "update": Way(b"PATCH", b"/crm/v1/customers/c-1", f'{{"note":"{PROMPT}"}}'),
}
_RESPONSE = b"/v1/responses/resp_" + MARK
_BARE_WAYS = (
    Way(b"GET", _RESPONSE, query=(b"stream", b"starting_after", b"include_obfuscation")),
    Way(b"DELETE", _RESPONSE),
    Way(b"POST", _RESPONSE + b"/cancel"),
    Way(b"GET", _RESPONSE + b"/input_items", query=(b"after", b"limit", b"order")),
    Way(b"GET", b"/claude/v1/models/" + MARK, query=(b"beta",)),
    Way(b"GET", b"/crm/v1/customers/" + MARK),
    Way(b"DELETE", b"/crm/v1/customers/" + MARK),
    Way(b"GET", b"/crm/v1/customers/" + MARK + b"/orders/o-1"),
    Way(b"GET", b"/crm/v1/customers?q=" + MARK, query=(b"limit",)),
)


def cases() -> Iterator[Case]:
    for way in (*JSON_WAYS.values(), *_BARE_WAYS):
        yield from cases_of(way)
    yield from _features()
    yield from _parameters()


def cases_of(way: Way) -> Iterator[Case]:
    """Requests that any route must bear."""
    yield Case(f"{way.note}: a plain request", way.sent(), "served")
    yield from _paths(way)
    yield from _methods(way)
    yield from _queries(way)
    yield from _heads(way)
    yield from _framing(way)


def _paths(way: Way) -> Iterator[Case]:
    path, mark, query = way.target.partition(b"?")
    *parts, last = path.split(b"/")
    before = b"/".join(parts)
    forms = (
        before + b"//" + last, before + b"/./" + last, before + b"/x/../" + last, before + b"/%2e/" + last,
        before + b"%2f" + last, before + b"/;a/" + last, before + b"\\" + last,
        before + b"/%%%02x" % last[0] + last[1:],
        before + b"/" + last + b"/", before + b"/" + last + b";a=b", before + b"/" + last + b"%00",
        before + b"/" + last + b"%20", before + b"/" + last + b"#", b"//evil" + path, b"http://evil" + path,
        path.replace(b"/v1/", b"/V1/"), path.replace(b"/v1/", b"/v1/v1/"), b"/CRM" + path, b"/mock/claude" + path,
        b"/v1/..%2f" + last, path.replace(b"/v1/", b"/v1%2f"), path.replace(b"/v1/", b"/v1/\xe2\x80\x8b"),
    )  # fmt: skip
    for form in dict.fromkeys(forms):
        if form == path:
            continue  # it has no part that this form changes
        yield Case(f"{way.note}: target {form[:90]!r}", way.sent(target=form + mark + query), "refused", cut=LATER)


def _methods(way: Way) -> Iterator[Case]:
    for method in (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"post", b"PROPFIND"):
        if method != way.method:
            sent = way.sent(method=method)
            yield Case(f"{way.note}: method {method.decode()}", sent, "either", cut=LATER)
    for line in (b"X-HTTP-Method-Override: DELETE", b"X-HTTP-Method: PUT", b"X-Method-Override: POST"):
        yield Case(f"{way.note}: {line.decode()}", way.sent(line), "served")
    if not way.body:
        for note, body in (("an empty object", "{}"), ("a call", _prompt("input")), ("a form", "stream=true")):
            yield Case(f"{way.note}: with {note} as its body", way.sent(body=body), "refused")
        yield Case(f"{way.note}: with an empty body in chunks", way.sent(CHUNKED) + b"0\r\n\r\n", "refused")


def _queries(way: Way) -> Iterator[Case]:
    mark = b"&" if b"?" in way.target else b"?"
    for query in (
        b"model=mock-other", b"api_key=x", b"key=x", b"stream=1", b"alt=sse", b"$select=x", b"_method=DELETE",
        b"q[]=x", b"%71=x", b"q%00=x", b"a;b=c", b"=x",
    ):  # fmt: skip
        if query.partition(b"=")[0] in way.query:
            continue
        yield Case(f"{way.note}: query {query!r}", way.sent(target=way.target + mark + query), "refused", cut=LATER)
    for name in way.query:
        known = b"%s%s%s=" % (way.target, mark, name)
        for value in (
            b"true", b"True", b"1", b"", b"true%20", b"true%00", b"true%0a", b"true+", b"true;x=1", b"a%26x=1",
            b"a%3d1",
            b"%74rue", b"%c0%af", b"%zz", b"%", b"true#x", b"a%2526b", b"\xc3\xa9", b"%c3%a9", b"x" * 1025, b"../x",
            b"a,b",
        ):  # fmt: skip
            yield Case(f"{way.note}: {name.decode()}={value[:20]!r}", way.sent(target=known + value), cut=LATER)
        for again in (b"&%s=false", b"&%s=true", b";%s=false", b"&%s"):
            sent = way.sent(target=known + b"true" + again % name)
            yield Case(f"{way.note}: {name.decode()} twice as {again!r}", sent, "refused", cut=LATER)
        for other in (
            name.upper(),
            b"%%%02x" % name[0] + name[1:],
            name + b"[]",
            b" " + name,
            name + b"%00",
            b"." + name,
        ):
            sent = way.sent(target=b"%s%s%s=true" % (way.target, mark, other))
            yield Case(f"{way.note}: query name {other!r}", sent, "refused", cut=LATER)


def _heads(way: Way) -> Iterator[Case]:
    for line in (
        b"X-Original-URL: /v1/files", b"X-Rewrite-URL: /v1/files", b"OpenAI-Organization: org-1",
        b"OpenAI-Project: proj_1", b"anthropic-workspace-id: w", b"X-Model: mock-other", b"Cookie: a=b",
        b"X-Tenant: t-1", b"X-Decision-Id: dec_1", b"Helicone-Auth: x", b"X-Portkey-Config: {}", b"x-litellm-tags: a",
        b"Idempotency-Key: k", b"Accept: text/event-stream", b"traceparent: 00-1-1-01", b"X_Tenant: t-2",
    ):  # fmt: skip
        yield Case(f"{way.note}: header {line.decode()}", way.sent(line), "served")
    for line in (b"Accept: a", HOST, b"Content-Encoding: identity"):
        yield Case(f"{way.note}: header {line.decode()} twice", way.sent(line, line), "refused")
    for line in (b"x-api-key: sk-x", b"api-key: {key}", b"x-goog-api-key: {key}", AUTHORIZATION):
        yield Case(f"{way.note}: a second credential in {line[:14].decode()}", way.sent(line), "refused")


def _framing(way: Way) -> Iterator[Case]:
    data = way.body.encode()
    if not data:
        for line in (
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked",
        ):
            yield Case(f"{way.note}: {line.decode()!r} and a request as its body", way.sent(line) + SMUGGLED, cut=LATER)
        return
    lines = [HOST, AUTHORIZATION, JSON]
    start = {"method": way.method, "target": way.target}
    forms: list[tuple[str, list[bytes], bytes, Expect]] = [
        ("in chunks", [CHUNKED], chunks(data), "served"),
        ("both lengths", [CHUNKED, length(data)], chunks(data), "refused"),
        ("two lengths", [length(data), b"Content-Length: 0"], data, "refused"),
        ("no length", [], data, "either"),
        ("a short length", [b"Content-Length: %d" % (len(data) - 1)], data, "refused"),
        ("gzip", [length(data), b"Content-Encoding: gzip"], data, "refused"),
        ("a chunk extension", [CHUNKED], b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(data), data), "either"),
        ("a trailer", [CHUNKED], chunks(data)[:-2] + b"anthropic-beta: x\r\n\r\n", "either"),
        ("another request behind it", [length(data), b"Connection: close"], data + SMUGGLED, "either"),
        ("another request in a chunk", [CHUNKED], chunks(data)[:-5] + b"0\r\n" + SMUGGLED, "either"),
        ("a cased encoding", [b"Transfer-Encoding: Chunked"], chunks(data), "either"),
        ("two encodings", [b"Transfer-Encoding: gzip, chunked"], chunks(data), "refused"),
    ]
    for note, more, body, expect in forms:
        cut = None if expect == "served" else LATER
        yield Case(f"{way.note}: {note}", head(*lines, *more, **start) + body, expect, cut)
    for kind in (b"text/plain", b"multipart/form-data; boundary=x", b"application/json; charset=utf-7", b""):
        sent = head(HOST, AUTHORIZATION, b"Content-Type: " + kind, length(data), **start) + data
        yield Case(f"{way.note}: content type {kind!r}", sent, "refused")


def _features() -> Iterator[Case]:
    """Headers that switch features on, and the version: what is judged is what the provider reads."""
    ways = (JSON_WAYS["messages"], JSON_WAYS["count"], JSON_WAYS["responses"], JSON_WAYS["embeddings"])
    for way in ways:
        claude = b"messages" in way.target
        name = b"anthropic-beta" if claude else b"openai-beta"
        for value in (
            b"a", b"a,b", b"a, b", b"a ,\tb", b"a,,b", b",a", b"a,", b"", b" ", b"a b", b"a;b", b"a=b", b'"a"', b"a\tb",
            b"A", b"a\xc3\xa9", b"\xe2\x80\x8ba", b"a\x0bb", b"a\x00", b"x" * 129, b"a%2cb", b"a\xc2\xa0,b", b"[a]",
        ):  # fmt: skip
            yield Case(f"{way.note}: {name.decode()} {value[:12]!r}", way.sent(name + b": " + value), cut=LATER)
        twice: list[tuple[bytes, ...]] = [
            (name + b": a", name + b": b"), (name + b": a", name.upper() + b": b"), (name + b": a", name + b":"),
            (name + b": a,b", name + b": c"), (name + b": a", name.replace(b"-", b"_") + b": b"),
            (b"x-" + name + b": a",), (name + b" : a",), (name + b": a\r\n b",),
        ]  # fmt: skip
        for lines in twice:
            yield Case(f"{way.note}: {lines!r}", way.sent(*lines), cut=LATER)
        for first, second in ((b"k", b"k"), (b"k", b"l"), (b"", b"k")):
            lines = (b"idempotency-key: " + first, b"Idempotency-Key: " + second)
            yield Case(f"{way.note}: idempotency keys {first!r} and {second!r}", way.sent(*lines))
        if claude:
            yield from _versions(way)


def _versions(way: Way) -> Iterator[Case]:
    name = b"anthropic-version: "
    for value in (
        b"2023-06-01", b"2023-01-01", b"2023-06-01,2024-01-01", b"2023-06-1", b"latest", b"", b"2023-06-01 ",
        b"\xd9\xa20\x32\x33-06-01", b"bedrock-2023-05-31", b"2023-06-01;x", b"1.0", b"2023_06_01",
    ):  # fmt: skip
        yield Case(f"{way.note}: version {value!r}", way.sent(name + value), cut=LATER)
    for other in (b"2023-06-01", b"2024-01-01", b"", b"x"):
        sent = way.sent(name + b"2023-06-01", b"Anthropic-Version: " + other)
        yield Case(f"{way.note}: version twice, then {other!r}", sent, "refused" if other else "either")


def _parameters() -> Iterator[Case]:
    """Texts in a path: the provider is asked for what was judged, byte by byte."""
    for before, after in ((b"/v1/responses/", b""), (b"/v1/responses/", b"/input_items"), (b"/crm/v1/customers/", b"")):
        for text in (
            b"a.b", b"a:b", b"a_b", b"-", b"...", b".", b"..", b"%2e%2e", b"a%2fb", b"a/b", b"a;b", b"a,b", b"a@b",
            b"a+b",
            b"a b", b"a%00", b"a%0d%0aX:y", b"\xc3\xa9", b"%c3%a9", b"a" * 110, b"a" * 130, b"", b"input_tokens",
            b"cancel", b"{id}", b"*", b"~", b"a'b", b"(a)", b"$a", b"a&b", b"a=b", b"a|b", b"a\\b", b"null",
        ):  # fmt: skip
            target = before + text + MARK + after
            yield Case(
                f"{target[:40]!r} of {len(text)} before {after!r}",
                head(HOST, AUTHORIZATION, method=b"GET", target=target),
                cut=LATER,
            )
    for text in ("c-2", "C-1", " c-1", "c-1 ", "c-1\\u0000", "", "ｃ-1"):
        body = f'{{"note":"{PROMPT}","customer_id":"{text}"}}'
        yield Case(f"a record named {text!r} in the body", JSON_WAYS["update"].sent(body=body), "refused")
    same = f'{{"note":"{PROMPT}","customer_id":"c-1"}}'
    yield Case("the same record in the path and in the body", JSON_WAYS["update"].sent(body=same), "served")
    for first, second in ((b"t-1", b"t-2"), (b"t-1", b"t-1"), (b"", b"t-1")):
        lines = (b"X-Tenant: " + first, b"x-tenant: " + second)
        way = Way(b"GET", b"/crm/v1/customers?q=" + MARK)
        yield Case(f"two tenants, {first!r} and {second!r}", way.sent(*lines))
