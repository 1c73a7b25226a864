"""A sample of the corpus without processes: what each provider's `read` takes, others read as it was judged.

The whole is played against a running gateway (`test_requests.py` and its neighbours).
"""

from __future__ import annotations

import re
from itertools import chain, islice

from gateway.call import Call
from gateway.dataplane import client_headers, preconditions
from gateway.errors import Denied
from gateway.identity.principals import Principal
from gateway.policy.input import build_input
from gateway.upstream.providers.base import Edits, Endpoint, Provider, RequestHead
from gateway.upstream.providers.http import openapi
from gateway.upstream.providers.http.provider import Http
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import routes_of

from . import azure, google, json_api, members, multipart, named_twice, provider_members
from .case import CHUNKED, Case
from .rig import API
from .seen import Seen
from .verdict import readings, wrong_in

STEP = 29
PROVIDED: dict[str, Provider] = {
    "mock": PROVIDERS["openai-compatible"], "claude": PROVIDERS["anthropic"], "google": PROVIDERS["gemini"],
    "azure": PROVIDERS["azure"], "router": PROVIDERS["openrouter"], "llama": PROVIDERS["ollama"],
    "crm": Http("crm", openapi.read(API)),
}  # fmt: skip
PRINCIPAL = Principal(
    "default", "agt_1", "bot", 1, "", "", "", (), {}, "key_1", "k", "api_key", 1, "active", (), 1, {"id": "agt_1"}
)
_BODIES = {"none": preconditions.no_body, "json": preconditions.json_body, "multipart": preconditions.multipart_body}
_SENT = re.compile(rb"(\w+) (/[^ ?]*)(?:\?([^ ]*))? HTTP/1\.1\r\n", re.ASCII)


def forwarded(seen: Seen) -> tuple[Call, Seen]:
    """The judged facts of this request, and the bytes that the provider is sent; `Denied` where it is refused."""
    found = _SENT.match(seen.head)
    if found is None:
        raise Denied("bad_request")
    method, path, query = found[1].decode(), found[2].decode("latin-1"), found[3] or b""
    _, name, rest = path.split("/", 2)
    candidates = [(name, f"/{rest}")] if name in PROVIDED else [(each, path) for each in PROVIDED]
    for upstream, its_path in candidates:
        provider = PROVIDED[upstream]
        if (match := routes_of(provider).find(method, its_path)) is not None:
            route, params = match
            lines = {each.encode(): value.encode("latin-1") for each, value in seen.headers.items()}
            head = RequestHead(
                preconditions.query(query, route.query),
                client_headers.forwarded(lines, route.request_headers, "agt_1"),
                seen.content_type,
            )
            _BODIES[route.body](lines)
            read = provider.read(Endpoint(upstream, route, its_path, params), head, seen.body)
            call, _ = provider.edit(read, Edits(report_usage=True))  # as every call is, before policies are asked
            sent = provider.prepare(call, "http://provider" + provider.prefix, "x", head.headers)
            lines = {"start": f"{sent.method} {sent.url.raw_path_qs} HTTP/1.1"} | {
                each: f"{each}: {value}" for each, value in sent.headers.items()
            }
            return call, Seen("\r\n".join([*lines.values(), "", ""]).encode(), sent.body)
    raise Denied("unknown_route")


def sample() -> list[Case]:
    corpora = (azure, google, json_api, members, multipart, named_twice, provider_members)
    found = islice(chain.from_iterable(each.cases() for each in corpora), 0, None, STEP)
    return [case for case in found if CHUNKED not in case.sent]  # nobody takes the chunks apart here


def test_what_passes_is_read_as_it_was_judged() -> None:
    passed: list[tuple[str, Call, Seen]] = []
    for number, case in enumerate(sample()):
        head, _, body = case.ready(number, "aig_sk_x").partition(b"\r\n\r\n")
        try:
            passed.append((case.note, *forwarded(Seen(head + b"\r\n\r\n", body))))
        except Denied:
            assert case.expect != "served", case.note
    read = readings([seen for _, _, seen in passed])
    for note, call, seen in passed:
        judged = build_input(PRINCIPAL, call, 0)
        assert wrong_in(seen, judged, read[seen.content_type, seen.body]) == [], note
    assert {call.provider for _, call, _ in passed} == {"openai", "anthropic", "gemini", "azure", "http"}
    assert len(passed) > 50
