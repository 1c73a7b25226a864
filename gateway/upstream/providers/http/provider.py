"""Any JSON API, as its OpenAPI document describes it: one provider for each such upstream.

An operation's id is the action (`crm.getCustomer`). Its path and query parameters, its declared headers and the members
of its body are `resource.params`, so a policy can say which records an agent may read. Anything that the document
does not declare is refused. Specification: architecture.md, section 7.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.upstream.guards import Guard
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import (
    AnswerHead,
    Edits,
    Endpoint,
    Provider,
    RequestHead,
    Route,
    Sent,
    call_of,
    document_tap,
    request_of,
)
from gateway.upstream.providers.http.api import Api, ApiOperation, load
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.strict_json import shown
from gateway.upstream.taps import Tap, nothing

NAME = "http"


class Http(Provider):
    """The provider of one upstream; see `base.Provider` for what each member promises."""

    name = NAME
    prefix = ""
    # The headers that lead to what was made, and to the next page.
    response_headers: frozenset[bytes] = frozenset({b"link", b"location"})

    def __init__(self, upstream: str, api: Api) -> None:
        self._header, self._prefix = api.header, api.prefix
        self._operations = {f"{upstream}.{each.name}": each for each in api.operations}
        self.routes: Sequence[Route] = tuple(map(_route, self._operations, self._operations.values()))

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        operation = self._operations[endpoint.route.action]
        body = _body(operation, raw) if operation.body else None
        values: dict[str, Any] = dict(endpoint.params)
        given = {"query": head.query, "header": head.headers, "body": body or {}}
        for parameter in operation.parameters:
            if parameter.place == "path":
                continue
            source = given[parameter.place]
            if parameter.name not in source:
                if parameter.required:
                    members.refuse(f"the parameter `{parameter.name}` is missing ({parameter.place})")
                continue
            value = settings.plain(source[parameter.name])
            # The same name may stand in the path and in the body: a server could take either.
            if parameter.name in values and values[parameter.name] != value:
                members.refuse(f"the parameter `{parameter.name}` is given twice, with different values")
            values[parameter.name] = value
        return call_of(endpoint, head, self.name, raw, body, params=values)

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        """There are no models, tools or outputs here that could be changed."""
        return call, ()

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        if secret is not None:
            # Documents that were stored by an earlier version may let clients write this header.
            headers = {name: value for name, value in headers.items() if name.lower() != self._header.lower()}
            secret = self._prefix + secret
        return request_of(call, base_url, headers, (self._header, secret))

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        return document_tap(head, nothing)

    def guard(self, sent: Sent) -> Guard | None:
        """Its lists are not of models."""
        return None

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """Nothing is known of such an API's errors."""
        return None

    def error(self, denied: Denied) -> bytes:
        facts = {} if denied.facts is None else {"details": denied.facts}
        return orjson.dumps({"error": {"message": denied.text, "type": "gateway_error", "code": denied.code, **facts}})

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        return b""  # its answers are documents


@functools.lru_cache(maxsize=256)
def provider(upstream: str, specification: str) -> Http:
    """The provider of an upstream whose API `api.dump` has written."""
    return Http(upstream, load(specification))


def _route(action: str, operation: ApiOperation) -> Route:
    return Route(
        method=operation.method,
        path=operation.path,
        action=action,
        body="json" if operation.body else "none",
        query=frozenset(each.name for each in operation.at("query")),
        request_headers=frozenset({b"accept", *(each.name.encode() for each in operation.at("header"))}),
    )


def _body(operation: ApiOperation, raw: Body) -> dict[str, Any]:
    body = members.parsed(raw)
    declared = {each.name for each in operation.at("body")}
    for name in body:
        if name not in declared:
            members.refuse(f"the member {shown(name)} of the body is not declared for {operation.name}")
    members.check_integers(body)
    for each in operation.at("body"):
        members.check_spelling(body.get(each.name), frozenset(each.inner))
    return body
