"""The id of something of another organization is answered like one that nothing has, and after the same work.

Work is counted, not timed: the same statements with the same number of rows, whatever the machine does meanwhile.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gateway.identity import organization_keys, token_keys
from gateway.registry import peers, publication
from gateway.registry.operators import login_providers
from gateway.registry.organizations.given_names import give
from gateway.registry.upstreams import tools
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import ACTOR
from tests.gateway.control import tenant_requests
from tests.gateway.control.conftest import Control, document_of
from tests.gateway.control.tenancy import Tenant
from tests.rigs.control.tenants import tenants  # noqa: F401  # a fixture

# The thing that a request names, and how the other organization has made it.
_NAMED = ("team", "upstream", "route", "issuer")


def made(control: Control, other: Tenant) -> dict[str, str]:
    """Something of each kind that is the other organization's, by the name of the parameter."""
    ask = other.client
    agent = ask("POST", "/agents", {"name": "theirs"}).ok(201)["id"]
    found = {"agent": agent, "team": "theirs", "organization": other.name}
    ask("POST", "/teams", {"name": "theirs"}).ok(201)
    subject = {"subject_kind": "agent", "subject": agent}
    url = "https://theirs.example"
    registry = control.home.registry
    given = give(registry, actor=ACTOR, organization=other.name, kind="issuer", name=url, audience="theirs")
    found["name"] = given.id
    publication.publish(registry, control.home.data)  # its entry is not written by the first request
    for noun, body in {
        "key": ("/keys", {"agent": agent}),
        "binding": ("/bindings", {**subject, "bundle": "base"}),
        "limit": ("/limits", {**subject, "limit": "requests_per_day", "value": 3}),
        "upstream": ("/upstreams", {"name": "theirs", "provider": "openai", "secret": "x"}),
        "route": ("/routes", {"name": "all-theirs", "members": [{"upstream": "theirs"}]}),
        "issuer": ("/issuers", {"name": "theirs", "issuer": url, "audience": "theirs", "jwks_url": url}),
        "mandate": (
            "/mandates",
            {
                "agent": agent,
                "to": ask("POST", "/agents", {"name": "deputy"}).ok(201)["id"],
                "actions": ["chat.*"],
                "amount_microusd": 9,
                "for_seconds": 60,
                "purpose": "theirs",
            },
        ),
        "webhook": ("/webhooks", {"url": f"{url}/hook"}),
        "stop": ("/stops", {"reason": "theirs"}),
        "operator": ("/operators", {"name": "theirs", "role": "viewer"}),
    }.items():
        reply = ask("POST", body[0], body[1])
        assert reply.status in (200, 201), reply.raw
        answer = reply.json
        found[noun] = answer["name"] if noun in _NAMED else answer["id"]
    found["rule"] = ask("POST", f"/issuers/{found['issuer']}/rules", {"agent": agent, "claims": {"sub": "x"}}).ok(201)[
        "id"
    ]
    server = {"name": "their-tools", "provider": "mcp", "base_url": f"{url}/mcp", "secret": None}
    ask("POST", "/upstreams", server).ok(201)
    by: dict[str, Any] = {"actor": ACTOR, "organization": other.name}
    offered: list[dict[str, Any]] = [{"name": "find"}]
    [change] = tools.observe(registry, **by, upstream="their-tools", documents=offered, protocol="2026-07-28")
    found["tool"] = change.tool.id
    found["event"] = ask("GET", "/audit/entries").ok()["items"][0]["id"]
    found["approval"] = asked(control.home, agent, organization=other.name)
    publication.publish(registry, control.home.data)
    found["token"] = ask("POST", f"/operators/{found['operator']}/tokens", {"expires_in": 60}).ok(201)["id"]
    return found


def _provider(control: Control) -> str:
    """The name of a login provider. All are the whole gateway's, so operators of an organization have none."""
    home = control.home
    url = "https://login.example"
    added = login_providers.add_provider(
        home.registry, home.vault, actor=ACTOR, name="theirs-too", issuer=url, client_id="cli"
    )
    publication.publish(home.registry, home.data)  # its entry is not written by the first request
    return added.name


def _peer(control: Control) -> str:
    """The name of another gateway: those are the whole gateway's as well."""
    home = control.home
    keys = organization_keys.public((token_keys.key_of(bytes(32)),)).decode()
    peers.add_peer(home.registry, actor=ACTOR, name="theirs-abroad", jwks=keys, speaks_for=["initech"])
    publication.publish(home.registry, home.data)
    return "theirs-abroad"


def missing(theirs: dict[str, str]) -> dict[str, str]:
    """Names and ids of the same length that nothing has."""
    return {
        name: re.sub(r"[0-9a-f]{12}$", "0" * 12, text) if re.search(r"_[0-9a-f-]{36}$", text) else "x" * len(text)
        for name, text in theirs.items()
    }


@contextmanager
def watched() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_foreign_id_is_answered_like_one_that_nothing_has(
    control: Control,
    tenants: tuple[Tenant, Tenant],
) -> None:
    me, other = tenants
    theirs = made(control, other) | {"provider": _provider(control), "name": "theirs.example", "pepper": "90210"}
    theirs |= {"peer": _peer(control), "commit": "c0ffee0", "bundle": "theirs", "file": "theirs%2fauthz.rego"}
    nobodys = missing(theirs)
    document = document_of(control.api)
    differing, compared = [], 0
    for template, methods in document["paths"].items():
        if "{" not in template:
            continue
        for method, operation in methods.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            told = []
            for ids in (theirs, nobodys):
                path = re.sub(r"\{(\w+)\}", lambda found, ids=ids: ids[found[1]], template)
                body = None if schema is None else _body(schema, document, me, ids)
                query = {"model": "o3"} if template.endswith("/permissions") else {}
                with watched() as sent:
                    reply = me.client(method.upper(), path, body, headers={"if-match": "*"}, **query)
                text = reply.raw.decode()
                for name in sorted(ids.values(), key=len, reverse=True):
                    text = text.replace(name, "IT")
                told.append((reply.status, text, sent))
            compared += 1
            if told[0] != told[1]:
                differing.append(
                    (method.upper(), template, *[(status, text, len(sent)) for status, text, sent in told])
                )
            elif told[0][0] < 400:
                differing.append((method.upper(), template, told[0][0], "is no refusal"))
    assert not differing, "\n".join(map(str, differing))
    assert compared > 45


def test_a_foreign_name_in_a_body_is_answered_like_one_that_nothing_has(
    control: Control,
    tenants: tuple[Tenant, Tenant],
) -> None:
    me, other = tenants
    theirs = made(control, other)
    nobodys = missing(theirs)
    document = document_of(control.api)
    differing, compared = [], 0
    for template, methods in document["paths"].items():
        for method, operation in methods.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if "{" in template or schema is None:
                continue
            told = []
            for ids in (theirs, nobodys):
                with watched() as sent:
                    reply = me.client(method.upper(), template, _body(schema, document, me, ids))
                text = reply.raw.decode()
                for name in sorted(ids.values(), key=len, reverse=True):
                    text = text.replace(name, "IT")
                told.append((reply.status, text, sent))
            if told[0][0] >= 400:  # otherwise it has made two things
                compared += 1
                if told[0] != told[1]:
                    differing.append((template, *[(each[0], each[1], len(each[2])) for each in told]))
    assert not differing, "\n".join(map(str, differing))
    assert compared > 5


def _body(schema: dict[str, Any], document: dict[str, Any], me: Tenant, ids: dict[str, str]) -> dict[str, Any]:
    """A body with what is needed, the same for both, but for what it refers to."""
    whole = tenant_requests.resolved(schema, document)
    whole = whole | {"properties": {name: whole["properties"][name] for name in whole.get("required", [])}}
    return tenant_requests.body_of(random.Random(7), whole, me, me, lambda _: ids["agent"])


pytestmark = pytest.mark.slow
