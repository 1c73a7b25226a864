"""A head besides its framing: targets, hosts, content types and headers that look like others."""

from __future__ import annotations

from collections.abc import Iterator

from .case import AUTHORIZATION, BODY, HOST, JSON, LATER, MARK, Case, every_byte, get, head, length, post

_TARGET = b"/v1/chat/completions"


def cases() -> Iterator[Case]:
    yield from _targets()
    yield from _parameters()
    yield from _hosts()
    yield from _content()
    yield from _headers()


def _targets() -> Iterator[Case]:
    """Forms of the one path that some server or proxy would fold into it, and forms of a target."""
    for at, byte in enumerate(_TARGET):
        for form in (b"%%%02x" % byte, b"%%25%02x" % byte, b"%%u%04x" % byte, b"\\x%02x" % byte):
            target = _TARGET[:at] + form + _TARGET[at + 1 :]
            yield Case(f"target with {form.decode()} for byte {at}", post(target=target), "refused", cut=LATER)
        if chr(byte).isalpha():
            target = _TARGET[:at] + bytes([byte]).upper() + _TARGET[at + 1 :]
            yield Case(f"target with upper case at byte {at}", post(target=target), "refused")
    parts = [b"/v1", b"/chat", b"/completions"]
    for between in (
        b"/", b"/.", b"/..", b"/./.", b"/%2e", b"/%2e%2e", b"/.%2e", b"/%252e%252e", b"/;a", b";a=b", b";", b"\\",
        b"/\\", b"%2f", b"%5c",
        b"/%00", b"%00", b"/x/..", b"/x/%2e%2e", b"/..;", b"/.;/", b"%20", b"+", b"%0d%0a", b"%09", b"/%c0%ae%c0%ae",
        b"/%ef%bc%8e%ef%bc%8e",
        b"%e2%80%8b", b"\xe2\x80\x8b", b"\xc2\xad", b"\xe2\x88\x95", b"~", b"*", b"@", b":80", b"|", b"^", b"'", b"$",
        b"!", b",", b"=", b"&", b"%", b"%2", b"%zz",
    ):  # fmt: skip
        for at in range(len(parts) + 1):
            target = b"".join(parts[:at]) + between + b"".join(parts[at:])
            yield Case(f"target {target!r}", post(target=target), "refused", cut=LATER)
    for target in (
        b"http://gateway/v1/chat/completions", b"https://gateway/v1/chat/completions",
        b"HTTP://evil/v1/chat/completions", b"//evil/v1/chat/completions",
        b"/http://evil/v1/chat/completions", b"gateway:80", b"*", b"", b"v1/chat/completions",
        b"?/v1/chat/completions", b"#/v1/chat/completions",
        b"/v1/chat/completions#", b"/v1/chat/completions#a", b"/v1/chat/completions#?a",
        b"ftp://gateway/v1/chat/completions", b"http:///v1/chat/completions",
        b"http:/v1/chat/completions", b"http://a@gateway/v1/chat/completions", b"/v1/chat/completions /evil",
        b"/v1/chat/completions\t", b"\t/v1/chat/completions",
        b"/v1/chat/completions\x00", b"/v1/chat/completions\x0b", b"/mock/v1/models/../chat/completions",
        b"/evil/v1/chat/completions",
        b"/MOCK/v1/chat/completions", b"/mock//v1/chat/completions", b"/mock%2fv1/chat/completions",
        b"/./mock/v1/chat/completions", b"/v1/v1/chat/completions",
        b"/mock/mock/v1/chat/completions", b"/api/v1/agents", b"/v1/completions", b"/v1/embeddings", b"/v1/responses",
        b"/v1/files", b"/v1/chat", b"/", b"/v1",
    ):  # fmt: skip
        yield Case(f"target {target!r}", post(target=target), "refused", cut=LATER)
    for query in (
        b"", b"&", b"=", b"a", b"a=b", b"api_key=x", b"key=x", b"access_token=x", b"beta=true", b"%", b"?", b"??",
        b"/..", b"model=mock-9", b"stream=true",
        b"=&", b"%00", b"api-version=1", b";a=b",
    ):  # fmt: skip
        yield Case(f"query {query!r}", post(target=_TARGET + b"?" + query), "refused" if query else "either")
    yield Case("the upstream by its name", post(target=b"/mock" + _TARGET), "served")


def _parameters() -> Iterator[Case]:
    """The one route with a parameter: what stands in it is what the provider is asked for, byte by byte."""
    yield Case("parameter: a plain model", get(b"/v1/models/" + MARK), "served")
    for note, byte in every_byte():
        yield Case(f"parameter with byte {note}", get(b"/v1/models/" + MARK + byte + b"x"), cut=LATER)
    for text in (
        b".", b"..", b"...", b"/", b"//", b"", b"%2e%2e", b"..%2f", b"a/b", b"a%2fb", b"a;b", b"a?b", b"a#b", b"a:b",
        b":", b"_", b"-", b"a" * 128, b"a" * 129,
        b"a\\b", b"%00", b"../chat/completions", b"..;/", b"a@b", b"a b", b"aig_sk_000000000000_x", b"a%0d%0aX: b",
    ):  # fmt: skip
        yield Case(f"parameter {text[:40]!r} of {len(text)}", get(b"/v1/models/" + text), cut=LATER)
        yield Case(
            f"parameter {text[:40]!r} of {len(text)} after a model",
            get(b"/v1/models/" + MARK + b"/" + text),
            "refused",
            cut=LATER,
        )


def _hosts() -> Iterator[Case]:
    for value in (
        b"", b" ", b"gateway gateway", b"gateway,evil", b"gateway;evil", b"a@gateway", b"gateway/", b"gateway/evil",
        b"gateway?a", b"gateway#a", b"gateway\\evil",
        b"http://gateway", b"gateway:port", b"gateway:80:80", b"gateway:999999", b"[::1", b"::1", b"[::1]x", b"[]",
        b"gateway:", b"%67ateway", b"g\xc3\xa4teway",
        b"gateway\x00", b"gateway\x0b", b"gateway\t.evil", b"-", b".", b"..", b"a" * 300, b'"gateway"', b"<evil>",
        b"gateway'", b"$(x)", b"{{x}}", b"gateway\xa0",
        b"*", b"gateway:+80", b"gateway:-1", b"gateway: 80", b"gateway :80", b"[::1]:x", b"[evil]",
        b"[::ffff:1.2.3.4%25eth0]", b"\xef\xbb\xbfgateway",
    ):  # fmt: skip
        yield Case(f"Host {value[:40]!r}", head(b"Host: " + value, AUTHORIZATION, JSON, length(BODY)) + BODY, cut=LATER)
    for value in (
        b"gateway",
        b"evil.example",
        b"127.0.0.1",
        b"[::1]",
        b"[::1]:8080",
        b"GATEWAY",
        b"gateway:80",
        b"gateway.",
        b"a_b",
        b"xn--gtewy-cua",
    ):
        yield Case(f"Host {value!r}", head(b"Host: " + value, AUTHORIZATION, JSON, length(BODY)) + BODY, "served")
    ordinary = [AUTHORIZATION, JSON, length(BODY)]
    for note, lines in [
        ("no Host", []),
        ("the same Host twice", [HOST, HOST]),
        ("two Hosts", [HOST, b"Host: evil"]),
        ("two Hosts, in other case", [HOST, b"HOST: evil"]),
        ("an empty Host before it", [b"Host:", HOST]),
        ("a folded Host", [b"Host: gateway\r\n evil"]),
        ("a space in its name", [b"Host : gateway"]),
        ("a Host of another name", [b"X-Host: gateway"]),
    ]:
        yield Case(note, head(*lines, *ordinary) + BODY, "refused", cut=LATER)
    for name in (
        b"X-Forwarded-Host",
        b"X-Host",
        b"X-Forwarded-Server",
        b"X-HTTP-Host-Override",
        b"Forwarded",
        b":authority",
        b"Authority",
        b"X-Original-Host",
    ):
        yield Case(f"another authority in {name.decode()}", post(BODY, name + b": evil"), cut=LATER)
    yield Case("a target's authority that contradicts Host", post(target=b"http://evil" + _TARGET), "refused")


def _content() -> Iterator[Case]:
    def typed(*lines: bytes) -> bytes:
        return head(HOST, AUTHORIZATION, *lines, length(BODY)) + BODY

    for value in (
        b"application/json", b"Application/JSON", b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8", b'application/json; charset="utf-8"',
    ):  # fmt: skip
        yield Case(f"content type {value!r}", typed(b"Content-Type: " + value), "served")
    for value in (
        b"", b"text/plain", b"text/json", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x",
        b"application/json5", b"application/jsonl",
        b"application/x-ndjson", b"application/vnd.api+json", b"application/json, text/plain",
        b"text/plain, application/json", b"application/json; charset=utf-16",
        b"application/json; charset=utf-7", b"application/json; charset=utf-32", b"application/json; charset=latin1",
        b"application/json; charset=ibm037",
        b"application/json; charset=utf-8; charset=utf-16", b"application/json; charset=utf-8, utf-7",
        b"application/json; charset*=utf-8''utf-7",
        b"application/json; charset='utf-8'", b"application/json; boundary=x", b"application/json; charset=",
        b"application/json;", b"application/json/",
        b"application / json", b"application/json\x00", b"application/json; charset=utf-8x",
        b"application/json; charset=utf_8", b"application/json charset=utf-8",
        b"application/octet-stream", b"application/xml", b"application/yaml", b"application/msgpack",
        b"application/cbor", b"application/grpc", b"*/*", b"json",
        b"application/json; version=2", b"application/json; odata=verbose", b"application/json; profile=x",
        b"\xef\xbb\xbfapplication/json", b"application/jso\xc5\x84",
        b"application/json; charset=utf\xe2\x80\x918", b"text/event-stream", b"multipart/mixed; boundary=x",
        b"message/http", b"application/http",
    ):  # fmt: skip
        yield Case(
            f"content type {value!r}",
            typed(b"Content-Type: " + value),
            "refused" if value != b"application/json;" else "either",
            cut=LATER,
        )
    yield Case("no content type", typed(), "refused")
    yield Case("two content types", typed(JSON, b"Content-Type: text/plain"), "refused")
    yield Case("the same content type twice", typed(JSON, JSON), "refused")
    yield Case(
        "a folded content type", typed(b"Content-Type: application/json\r\n ; charset=utf-7"), "refused", cut=LATER
    )
    for value in (
        b"gzip", b"deflate", b"br", b"zstd", b"compress", b"x-gzip", b"gzip, identity", b"identity, gzip",
        b"identity,", b"GZIP", b"chunked", b"aes128gcm", b"*", b"none",
        b"utf-8", b"\x0bidentity", b"identity;q=1", b"id\xc3\xa9ntity",
    ):  # fmt: skip
        yield Case(f"content encoding {value!r}", post(BODY, b"Content-Encoding: " + value), "refused", cut=LATER)
    for value in (b"identity", b"Identity"):
        yield Case(f"content encoding {value!r}", post(BODY, b"Content-Encoding: " + value), "served")
    yield Case("two content encodings", post(BODY, b"Content-Encoding: identity", b"Content-Encoding: gzip"), "refused")


def _headers() -> Iterator[Case]:
    """Headers that some server, proxy or SDK obeys: none of them may change what is judged, or reach the provider."""
    for line in (
        b"X-HTTP-Method-Override: DELETE", b"X-HTTP-Method: GET", b"X-Method-Override: PUT",
        b"X-Original-URL: /v1/files", b"X-Rewrite-URL: /v1/files",
        b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Prefix: /evil",
        b"X-Real-IP: 127.0.0.1", b"Via: 1.1 evil", b"Forwarded: for=x;host=evil",
        b"X-Agent-Id: agt_1", b"X_Agent_Id: agt_1", b"X-Decision-Id: dec_1", b"X-Organization: other",
        b"OpenAI-Organization: org-1", b"OpenAI-Project: proj_1",
        b"OpenAI-Beta: assistants=v2", b"Idempotency-Key: a", b"X-Stainless-Retry-Count: 1", b"X-Request-Id: a",
        b"traceparent: 00-1-1-01", b"Cookie: session=1",
        b"Proxy-Authorization: Bearer x", b"X-Authorization: Bearer x", b"Authorization2: Bearer x",
        b"X-Auth-Token: x", b"X-OpenAI-Api-Key: x", b"Openai-Api-Key: x",
        b"Connection: close", b"Connection: keep-alive, x-api-key", b"Connection: Authorization",
        b"Connection: Content-Length", b"Keep-Alive: timeout=1",
        b"Proxy-Connection: keep-alive", b"TE: trailers", b"TE: chunked", b"Trailer: Content-Length",
        b"Max-Forwards: 0", b"Range: bytes=0-1", b"If-Match: a",
        b"Cache-Control: no-store", b"Pragma: no-cache", b"Origin: https://evil", b"Referer: https://evil",
        b"User-Agent: evil", b"User-Agent: () { :; }", b"From: a@b",
        b"Accept: text/event-stream", b"Accept: */*", b"Accept-Encoding: gzip", b"Accept-Language: de",
        b"Accept-Charset: utf-16", b"Accept-Version: 2",
        b"Content-Language: de", b"Content-Location: /v1/files", b"Content-MD5: x",
        b"Content-Disposition: attachment", b"Content-Transfer-Encoding: base64",
        b"Content-Range: bytes 0-1/2", b"Digest: sha-256=x", b"Signature: x", b"Expect: 200-ok",
        b"Expect: 100-continue, x", b"Upgrade-Insecure-Requests: 1",
        b"HTTP2-Settings: AAMAAABk", b"X-Model: mock-9", b"X-Upstream: other", b"Helicone-Auth: x",
        b"X-Portkey-Config: {}", b"X-LiteLLM-Tags: a", b"X-Goog-User-Project: x",
        b"X-Amz-Security-Token: x", b"X-MS-Client-Request-Id: a", b"anthropic-version: 1", b"anthropic-beta: x",
        b"Priority: u=1", b"Early-Data: 1", b"Server: x",
        b"Accept: \xc3\xa4", b"Accept: a\tb", b"Accept: " + b"a" * 5000,
    ):  # fmt: skip
        yield Case(f"header {line[:60]!r}", post(BODY, line))
    for line in (b"Accept: a", b"Content-Type: application/json", b"Content-Encoding: identity", b"Host: gateway"):
        yield Case(f"header {line!r} twice", post(BODY, line, line), "refused")
