"""A JSON API behind the gateway: a policy says which records an agent may read."""

from __future__ import annotations

import asyncio

from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from gateway.upstream.providers.http import api, openapi

from .conftest import ACTOR, MANIFEST, ORG, Gateway, answer, read_reply

CRM = b"""
openapi: 3.0.3
paths:
  /customers/{customerId}:
    get:
      operationId: getCustomer
      parameters: [{name: fields, in: query}]
    patch:
      operationId: updateCustomer
      requestBody: {content: {application/json: {schema: {properties: {discount: {type: number}}}}}}
"""

DRY = CRM.replace(b"updateCustomer", b"updateCustomer\n      parameters: [{name: dry, in: query}]")

POLICY = """
package bot.authz

default allow := false

allow if {
    input.action == "crm.getCustomer"
    startswith(input.resource.params.customerId, "eu-")
}
"""


async def add_crm(gateway: Gateway, specification: bytes = CRM) -> None:
    """The upstream, and a policy for it."""
    digest = policy_bundle.publish(gateway.data.bundles, {".manifest": MANIFEST, "authz.rego": POLICY.encode()})
    bundle = BundleRecord(name="bot", commit="e" * 40, digest=digest, author="dana", entrypoint="data.bot.authz")
    await asyncio.to_thread(
        activations.activate, gateway.registry, actor=ACTOR, commit="e" * 40, author="dana", bundles=[bundle]
    )
    gateway.plane._policies.load(digest)
    await asyncio.to_thread(
        add_upstream,
        gateway.registry,
        Vault.load(gateway.data.keys),
        actor=ACTOR,
        organization=ORG,
        name="crm",
        provider="http",
        base_url=f"http://127.0.0.1:{gateway.upstream.port}/api",
        secret="crm-secret",
        specification=api.dump(openapi.read(specification)),
        replace=specification != CRM,
    )


async def test_records_of_an_api(gateway: Gateway) -> None:
    gateway.upstream.handler = answer({"name": "Ada"}, etag='"7"')
    # Known as soon as it was added.
    assert (await gateway.send(gateway.request(path="/crm/customers/eu-17"))).code == "unknown_route"
    await add_crm(gateway)
    reply = await gateway.send(gateway.request(path="/crm/customers/eu-17?fields=name%20tier"))
    assert (reply.status, reply.json, reply.headers["etag"]) == (200, {"name": "Ada"}, '"7"')
    (seen,) = gateway.upstream.seen
    assert seen.head.startswith(b"GET /api/customers/eu-17?fields=name%20tier HTTP/1.1")
    assert seen.headers["authorization"] == "Bearer crm-secret"
    # Another record is another matter, and nothing of such a request leaves the gateway.
    denied = await gateway.send(gateway.request(path="/crm/customers/us-17"))
    assert (denied.status, denied.code) == (403, "policy_denied")
    assert len(gateway.upstream.seen) == 1
    decided = await gateway.entries("decided")
    assert [(each["action"], each["provider"], each["allow"]) for each in decided] == [
        ("crm.getCustomer", "http", True),
        ("crm.getCustomer", "http", False),
    ]
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["input_tokens"]) == ("ok", None)


async def test_what_is_not_declared_never_leaves(gateway: Gateway) -> None:
    await add_crm(gateway)
    for request, code in [
        (gateway.request(path="/crm/customers/eu-17?expand=all"), "bad_request"),
        (gateway.request(path="/crm/customers/eu-17?fields=a&fields=b"), "bad_request"),
        (gateway.request(path="/crm/customers/eu-17?fields=a+b"), "bad_request"),
        (gateway.request(path="/crm/customers/eu-17?fields=%00"), "bad_request"),
        (gateway.request(path="/crm/customers/eu-17?fields=%ff"), "bad_request"),
        (gateway.request(path="/crm/customers/eu-17/orders"), "unknown_route"),
        (gateway.request({}, path="/crm/customers/eu-17"), "wrong_method"),
        (gateway.request({"discount": 1, "owner": 1}, method="PATCH", path="/crm/customers/eu-17"), "bad_request"),
        (gateway.request({"discount": 1}, method="PATCH", path="/crm/customers/eu-17"), "policy_denied"),
    ]:
        assert (await gateway.send(request)).code == code
    assert gateway.upstream.seen == []


async def test_a_head_that_was_checked_by_other_routes_goes_nowhere(gateway: Gateway) -> None:
    """The API loses a parameter while a call with it arrives."""
    await add_crm(gateway)
    await add_crm(gateway, DRY)
    request = gateway.request({"discount": 0.1}, path="/crm/customers/eu-17?dry=no", method="PATCH")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request[:-4])
    await asyncio.sleep(0.3)
    await add_crm(gateway, CRM + b"\n")
    writer.write(request[-4:])
    reply = await read_reply(reader)
    writer.close()
    assert (reply.status, reply.code) == (503, "registry_unavailable")
    assert gateway.upstream.seen == []
