"""Any JSON API from its OpenAPI document: what is read from the document, and what a call of it says to a policy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from gateway.call import Call
from gateway.errors import Denied, GatewayError
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.http import api, openapi
from gateway.upstream.providers.http.provider import Http
from gateway.upstream.providers.http.provider import provider as provider_of
from gateway.upstream.routing import Destination, RouteTable, target
from tests.effort import effort

CRM = """
openapi: 3.1.0
info: {title: CRM, version: 2026-01-01}
paths:
  /v1/customers/{customerId}:
    parameters:
      - {name: customerId, in: path, required: true, schema: {type: string}}
    get:
      operationId: getCustomer
      parameters:
        - {name: fields, in: query, schema: {type: string}}
        - {name: Accept, in: header}
        - {$ref: "#/components/parameters/Trace"}
      responses: {}
    patch:
      operationId: updateCustomer
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Change"}
      responses: {}
  /v1/customers:
    get:
      operationId: searchCustomers
      parameters: [{name: q, in: query, required: true}]
components:
  parameters:
    Trace: {name: X-Trace, in: header}
  schemas:
    Change:
      allOf:
        - properties: {customerId: {type: string}}
        - required: [discount]
          properties: {discount: {type: number}, tags: {type: array}}
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Api-Key}
"""


def changed(**paths: Any) -> bytes:
    """The document with other paths."""
    return yaml.safe_dump(yaml.safe_load(CRM) | {"paths": paths}).encode()


API = openapi.read(CRM.encode())
PROVIDER = Http("crm", API)
TABLE = RouteTable([Destination("ups_1", "default", "crm", PROVIDER, "https://crm.example/api", False, "s3cret")])


def read(method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, **headers: str) -> Call:
    endpoint = TABLE.resolve("default", target(method, path.encode())).endpoint
    return PROVIDER.read(endpoint, RequestHead(query or {}, headers), b"" if body is None else strict_json.dump(body))


def test_what_a_document_says() -> None:
    found = {each.name: each for each in API.operations}
    assert found.keys() == {"getCustomer", "updateCustomer", "searchCustomers"}
    get = found["getCustomer"]
    assert (get.method, get.path, get.body) == ("GET", "/v1/customers/{customerId}", False)
    assert [(each.name, each.place, each.required) for each in get.parameters] == [
        ("customerId", "path", True),
        ("fields", "query", False),
        ("x-trace", "header", False),
    ]
    assert [(each.name, each.required) for each in found["updateCustomer"].at("body")] == [
        ("customerId", False),
        ("discount", True),
        ("tags", False),
    ]
    assert (API.header, API.prefix) == ("X-Api-Key", "")
    assert api.load(api.dump(API)) == API
    assert openapi.read(json.dumps(yaml.safe_load(CRM), default=str).encode()) == API


def test_a_call() -> None:
    found = read("GET", "/crm/v1/customers/c-17", query={"fields": "name,tier"}, **{"x-trace": "t1"})
    assert (found.action, found.provider, found.upstream) == ("crm.getCustomer", "http", "crm")
    assert found.params == {"customerId": "c-17", "fields": "name,tier", "x-trace": "t1"}
    assert (found.model, found.models, found.tools, found.body) == (None, (), (), None)
    outgoing = PROVIDER.prepare(found, "https://crm.example/api", "s3cret", {"x-trace": "t1"})
    assert str(outgoing.url) == "https://crm.example/api/v1/customers/c-17?fields=name,tier"
    assert outgoing.headers == {"x-trace": "t1", "X-Api-Key": "s3cret"}
    assert PROVIDER.edit(found, Edits(max_output_tokens=1, model="m")) == (found, ())


def test_a_call_with_a_body() -> None:
    found = read("PATCH", "/crm/v1/customers/c-17", {"customerId": "c-17", "discount": 0.25, "tags": ["a", 1.5]})
    assert found.params == {"customerId": "c-17", "discount": "0.25", "tags": ["a", "1.5"]}
    assert found.body == {"customerId": "c-17", "discount": 0.25, "tags": ["a", 1.5]}


def test_a_query_is_escaped_again() -> None:
    found = read("GET", "/crm/v1/customers", query={"q": "a b&c=d/é"})
    assert found.params == {"q": "a b&c=d/é"}
    url = PROVIDER.prepare(found, "https://crm.example", None, {}).url
    assert url.raw_query_string == "q=a%20b%26c%3Dd%2F%C3%A9"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"discount": 1, "customerId": "c-18"}, "given twice"),
        ({"customerId": "c-17"}, "`discount` is missing"),
        ({"discount": 1, "Discount": 2}, "not declared"),
        ({"discount": 1, "owner": "me"}, "not declared"),
        ([], "must be an object"),
        ({"discount": 2**53}, "read differently"),
        ({"discount": 1, "tags": [{"a": [-(2**53)]}]}, "read differently"),
    ],
)
def test_a_body_that_is_not_declared_is_refused(body: Any, says: str) -> None:
    with pytest.raises(Denied) as caught:
        read("PATCH", "/crm/v1/customers/c-17", body)
    assert caught.value.code == "bad_request"
    assert says in caught.value.text


def test_a_missing_parameter_is_refused() -> None:
    with pytest.raises(Denied) as caught:
        read("GET", "/crm/v1/customers")
    assert "`q` is missing" in caught.value.text


@pytest.mark.parametrize("path", ["/crm/v1/orders", "/crm/v1/customers/a/b", "/crm/v1/customers/a%2fb", "/crm/"])
def test_what_is_not_declared_is_no_route(path: str) -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("default", target("GET", path.encode()))
    assert caught.value.code == "unknown_route"


def test_another_method_is_refused() -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("default", target("DELETE", b"/crm/v1/customers/c-17"))
    assert caught.value.code == "wrong_method"


def test_other_organizations_have_no_such_route() -> None:
    with pytest.raises(Denied) as caught:
        TABLE.resolve("other", target("GET", b"/crm/v1/customers/c-17"))
    assert caught.value.code == "unknown_route"
    assert "crm" not in caught.value.text.replace("/crm/", "")


GET = {"operationId": "x"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "neither YAML nor JSON"),
        (b"a: \xff", "neither YAML nor JSON"),
        (b"swagger: '2.0'", "no member `openapi`"),
        (b"openapi: 3.0.0\nx: &a [1]\ny: *a", "aliases are not supported"),
        (b"openapi: 3.0.0\npaths: {}", "no operations"),
        (b"openapi: 3.0.0", "paths: an object is expected"),
        (changed(**{"/a": {"get": {}}}), "GET /a: it needs an operationId"),
        (changed(**{"/a": {"get": GET}, "/b": {"get": dict(GET)}}), "GET /b: GET /a has the same operationId"),
        (changed(**{"/a b": {"get": GET}}), "GET /a b: the path may have"),
        (changed(**{"/a/{b}.{c}": {"get": GET}}), "a segment of the path may have one parameter"),
        (changed(**{"/a": {"get": {**GET, "parameters": [{"name": "a b", "in": "query"}]}}}), "in its name"),
        (changed(**{"/a": {"get": {**GET, "parameters": [{"name": "s", "in": "cookie"}]}}}), "in 'cookie'"),
        (changed(**{"/a": {"get": {**GET, "parameters": [{"name": "Host", "in": "header"}]}}}), "must not set"),
        (changed(**{"/a": {"get": {**GET, "parameters": [{"$ref": "other.yaml#/x"}]}}}), "leads out of the document"),
        (changed(**{"/a": {"get": {**GET, "parameters": [{"$ref": "#/nowhere"}]}}}), "leads nowhere"),
        (changed(**{"/a": {"post": {**GET, "requestBody": {"content": {"text/csv": {}}}}}}), "be application/json"),
        (
            changed(**{"/a": {"post": {**GET, "requestBody": {"content": {"application/json": {"schema": {}}}}}}}),
            "must list its properties",
        ),
        (
            CRM.replace("type: apiKey, in: header", "type: apiKey, in: query").encode(),
            "none of its securitySchemes",
        ),
        (CRM.replace("Trace: {name: X-Trace, in: header}", 'Trace: {$ref: "#/components/parameters/Trace"}').encode(),
         "references go in a circle"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_used(text: bytes, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        openapi.read(text)
    assert caught.value.code == "invalid_openapi"
    assert says in caught.value.message


def test_every_fault_is_named() -> None:
    with pytest.raises(GatewayError) as caught:
        openapi.read(changed(**{"/a": {"get": {}}, "/b": {"put": {}}}))
    assert "GET /a" in caught.value.message
    assert "PUT /b" in caught.value.message


def test_upstreams_of_one_document_have_their_own_actions() -> None:
    text = api.dump(API)
    assert provider_of("crm", text) is provider_of("crm", text)
    other = provider_of("erp", text)
    table = RouteTable([replace(next(iter(TABLE._upstreams["default"].values())), name="erp", provider=other)])
    match = table.resolve("default", target("GET", b"/erp/v1/customers/c-17"))
    assert match.endpoint.route.action == "erp.getCustomer"
    assert isinstance(match.endpoint, Endpoint)


NESTED = """
openapi: 3.1.0
paths:
  /search:
    post:
      operationId: search
      requestBody:
        content:
          application/json:
            schema:
              properties:
                filter: {$ref: "#/components/schemas/Filter"}
                labels: {type: object, additionalProperties: {type: string}}
components:
  schemas:
    Filter:
      properties:
        owner_id: {type: string}
        anyOf: {type: array, items: {$ref: "#/components/schemas/Filter"}}
      allOf: [{properties: {region: {type: string}}}]
"""


def search(body: dict[str, Any]) -> Call:
    stored = api.load(api.dump(openapi.read(NESTED.encode())))
    route = Http("x", stored).routes[0]
    return Http("x", stored).read(Endpoint("x", route, "/search"), RequestHead(), strict_json.dump(body))


def test_declared_members_are_known_at_any_depth() -> None:
    parameters = {each.name: each.inner for each in openapi.read(NESTED.encode()).operations[0].parameters}
    assert parameters == {"filter": ("anyOf", "owner_id", "region"), "labels": ()}
    body = {
        "filter": {"owner_id": "me", "anyOf": [{"region": "eu"}]},
        "labels": {"größe L": "x", "grösse": "y", "": "z"},
    }
    assert search(body).params == body


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"ownerId": "you"}},
        {"filter": {"owner_id": "me", "OWNER_ID": "you"}},
        {"filter": {"anyOf": [{"owner_id\u200b": "you"}]}},
        {"filter": {"anyOf": [{"ｒegion": "eu"}]}},
        {"filter": {"unknown": 1, "Unknown": 2}},
        {"labels": {"a": "x", "A": "y"}},
    ],
)
def test_members_that_a_lenient_server_could_take_for_others(body: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        search(body)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("header", ["X-Api-Key", "x-api-key", "Authorization", "api-key", "X-Goog-Api-Key", "X-Token"])
def test_a_client_never_writes_the_header_of_a_credential(header: str) -> None:
    document = yaml.safe_load(CRM)
    document["components"]["securitySchemes"]["key"]["name"] = "X-Token"
    document["paths"] = {"/a": {"get": {**GET, "parameters": [{"name": header, "in": "header"}]}}}
    found = openapi.read(yaml.safe_dump(document).encode())
    assert found.operations[0].parameters == ()
    # An upstream that was added by an earlier version may still have it.
    stored = replace(
        found, operations=(replace(found.operations[0], parameters=(api.Parameter("x-token", "header", False),)),)
    )
    old = Http("x", stored)
    sent = {"x-token": "mine", "accept": "*/*"}
    call = old.read(Endpoint("x", old.routes[0], "/a"), RequestHead(headers=sent), b"")
    assert old.prepare(call, "https://x.example", "s3cret", sent).headers == {"accept": "*/*", "X-Token": "s3cret"}


def test_a_path_that_two_operations_match_is_refused() -> None:
    paths = {
        "/{kind}/me": {"get": {"operationId": "mine"}},
        "/books/{id}": {"get": {"operationId": "book"}},
        "/books/latest": {"get": {"operationId": "latest"}},
        "/books/{id}:open": {"post": {"operationId": "open"}},
    }
    api = openapi.read(changed(**paths))
    table = RouteTable([Destination("ups_1", "default", "x", Http("x", api), "https://x.example", False, None)])

    def action(method: str, path: str) -> str:
        return table.resolve("default", target(method, path.encode())).endpoint.route.action

    assert action("GET", "/x/books/1") == "x.book"
    assert action("GET", "/x/books/latest") == "x.latest"
    assert action("GET", "/x/cds/me") == "x.mine"
    assert action("POST", "/x/books/1:open") == "x.open"
    with pytest.raises(Denied) as caught:
        action("GET", "/x/books/me")
    assert caught.value.code == "unknown_route"
    assert "could be read as `/books/{id}` and `/{kind}/me`" in caught.value.text
    with pytest.raises(Denied) as caught:
        action("DELETE", "/x/books/me")
    assert caught.value.code == "wrong_method"


def alternatives(count: int) -> dict[str, Any]:
    """A document in which every operation uses one schema with alternatives, at two depths."""
    large = {"anyOf": [{"type": "string", "enum": [str(number)]} for number in range(count)]}
    part = {"properties": {f"m{number}": {"anyOf": [{"$ref": "#/large"}, {"$ref": "#/own"}]} for number in range(10)}}
    inline = {"properties": {"a": {"oneOf": [large, {"items": {"$ref": "#/own"}}]}}}
    paths = {}
    for number in range(count // 10):
        for name, schema in (("a", part), ("b", {"$ref": "#/inline"})):
            body = {"content": {"application/json": {"schema": schema}}}
            paths[f"/{name}{number}"] = {"post": {"operationId": f"{name}{number}", "requestBody": body}}
    own = {"properties": {"deep": {"$ref": "#/own"}, "other": {"type": "string"}}}
    return {"openapi": "3.1.0", "paths": paths, "large": large, "inline": inline, "own": own}


def test_a_schema_that_many_operations_share_is_walked_once() -> None:
    """A document of 604 KiB took the control process a minute: each operation walked all alternatives again."""
    small, large = alternatives(300), alternatives(1200)
    found = openapi.api_of(small)
    assert {each.inner for operation in found.operations for each in operation.parameters} == {("deep", "other")}
    assert effort(lambda: openapi.api_of(large)) < 40  # it was 400


def test_operations_of_one_name_are_found_before_their_bodies_are_read() -> None:
    schema = {"properties": {f"m{number}": {} for number in range(1000)}}
    body = {"content": {"application/json": {"schema": schema}}}
    paths: dict[str, Any] = {"/a": {"post": {"operationId": "a", "requestBody": body}}}
    paths |= {f"/c{number}": {"$ref": "#/paths/~1a"} for number in range(400)}

    def read() -> None:
        with pytest.raises(GatewayError, match=r"POST /a has the same operationId; .* and 390 more"):
            openapi.api_of({"openapi": "3.1.0", "paths": paths})

    assert effort(read) < 20  # it was 280


def test_schemas_that_refer_to_one_another_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "MAX_STEPS", 1000)
    together = {f"s{number}": {"anyOf": [{"$ref": f"#/s{(number + 1) % 50}"}]} for number in range(50)}
    members = {f"m{number}": {"items": {"$ref": "#/s0"}} for number in range(30)}
    body = {"content": {"application/json": {"schema": {"properties": members}}}}
    paths = {"/a": {"post": {"operationId": "a", "requestBody": body}}}
    with pytest.raises(GatewayError, match="refer to one another too often"):
        openapi.api_of({"openapi": "3.1.0", "paths": paths, **together})


def _using(operations: int, schema: dict[str, Any]) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": {"properties": {"a": {"$ref": "#/x"}}}}}}
    paths = {
        f"/p{number}": {"post": {"operationId": f"o{number}", "requestBody": body}} for number in range(operations)
    }
    return {"openapi": "3.1.0", "paths": paths, "x": schema}


MUCH: dict[str, dict[str, Any]] = {
    "parameters that are shared": {
        "openapi": "3.1.0",
        "paths": {
            f"/p{number}": {"parameters": [{"$ref": "#/q"}] * 90, "get": {"operationId": f"a{number}"}}
            for number in range(900)
        },
        "q": {"name": "q", "in": "query"},
    },
    "faults that quote a path": {
        "openapi": "3.1.0",
        "paths": {
            "/" + "p" * 100_000: {"parameters": [{"name": "%", "in": "query"}] * 9000, "get": {"operationId": "a"}}
        },
    },
    "long names": _using(2000, {"properties": {"n" * 100_000: {}}}),
}


@pytest.mark.parametrize("what", MUCH)
def test_a_small_document_makes_nothing_large(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "MAX_STEPS", 50_000)
    reader = openapi._Reader(MUCH[what])
    with pytest.raises(GatewayError) as refused:
        tuple(reader.operations())
    assert reader._steps <= openapi.MAX_STEPS + 1000
    assert len(refused.value.message) < 10_000


def _with(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    operation = {"operationId": "a", "parameters": parameters}
    place = {"q": {"q": {"name": "q", "in": "query"}}}
    return {"openapi": "3.1.0", "paths": {"/a": {"get": operation}}, "q": {"q": {"q": {"q": place}}}}


def test_what_is_looked_at_is_counted() -> None:
    """Members of lists, and the steps of references, which need not lead to anything new."""

    def steps(parameters: list[dict[str, Any]]) -> int:
        reader = openapi._Reader(_with(parameters))
        tuple(reader.operations())
        return reader._steps

    one = {"name": "q", "in": "query"}
    few, many, near, far = (steps(each) for each in ([one], [one] * 101, [{"$ref": "#/q/q/q/q/q/q"}], [one]))
    assert many - few >= 100
    assert near - far >= 5


def test_parameters_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "MAX_NAMES", 50)
    parameters = [{"name": f"q{number}", "in": "query"} for number in range(51)]
    assert openapi.api_of(_document(parameters[:50])).operations
    with pytest.raises(GatewayError, match="declare more than 50 parameters"):
        openapi.api_of(_document(parameters))


def _document(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    scheme = {"components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}}
    return {**_with(parameters), **scheme}
