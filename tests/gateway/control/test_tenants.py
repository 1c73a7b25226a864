"""Two organizations at random: whatever the operator of one asks, nothing of the other is seen, counted or changed."""

from __future__ import annotations

import os
import random
import re
import sqlite3
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from gateway.identity import public_keys
from gateway.registry import changes, publication
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Client, Control, Reply

_ID = re.compile(r"\b(?:agt|key|bnd|lim|ups|rte|tem|opr|otk|org|chg|iss|rul|whk|stp|lgk)_[0-9a-f-]{36}\b")
_TABLES = (
    "agent",
    "agent_version",
    "api_key",
    "binding",
    "usage_limit",
    "upstream",
    "upstream_route",
    "team",
    "operator",
    "operator_token",
    "issuer",
    "issuer_rule",
    "webhook",
    "emergency_stop",
    "legacy_key",
)
_NAMES = ["bot", "crawler", "blue", "openai", "chat"]  # both have things of these names
_UNKNOWN = "agt_01938c5e-0000-7000-8000-000000000000"


@dataclass
class Tenant:
    """An organization, its operator, and what it has seen of itself so far."""

    name: str
    client: Client
    ids: set[str] = field(default_factory=set)
    carried: int = 0

    @property
    def mark(self) -> str:
        """Stands in every text that this operator writes."""
        return f"mark-of-{self.name}"


@dataclass
class Run:
    """One run: what was asked, and how often it was carried out."""

    control: Control
    chance: random.Random
    tenants: tuple[Tenant, Tenant]
    done: int = 0

    def step(self) -> None:
        me, other = self.chance.sample(self.tenants, 2)
        before = self.state_of(other)
        method, path, body, query, headers = self.ask(me, other)
        reply = me.client(method, path, body, headers=headers, **query)
        sent = f"{path} {orjson.dumps(body).decode()} {query}"
        self.check(me, other, reply, sent)
        assert self.state_of(other) == before, f"{method} {sent} of {me.name} changed {other.name}"
        if reply.status < 300:  # a refusal may repeat what was asked for
            self.done += 1
            me.ids |= set(_ID.findall(reply.raw.decode()))

    def check(self, me: Tenant, other: Tenant, reply: Reply, sent: str) -> None:
        assert reply.status < 500, (sent, reply.raw)
        text = reply.raw.decode()
        assert other.mark not in text, (sent, text)
        seen = {each for each in _ID.findall(text) if each in other.ids and each not in sent}
        assert not seen, (sent, text)
        if other.name in text:  # only as the request's own word
            assert other.name in sent, (sent, text)
            assert reply.status in (404, 422), (sent, text)

    def state_of(self, tenant: Tenant) -> list[Any]:
        with sqlite3.connect(self.control.home.data.registry_db) as db:
            mine = "organization_id = (SELECT id FROM organization WHERE name = ?)"
            rows = [db.execute(f"SELECT * FROM {table} WHERE {mine}", (tenant.name,)).fetchall() for table in _TABLES]
        with sqlite3.connect(self.control.home.data.audit_db) as db:
            return [*rows, db.execute("SELECT sum(size) FROM log WHERE organization = ?", (tenant.name,)).fetchall()]

    def reference(self, me: Tenant, other: Tenant, prefix: str = "") -> str:
        """The name or id of something: of mine, of the other's, or of nobody's."""
        known = sorted(each for each in me.ids | other.ids if each.startswith(prefix))
        return self.chance.choice([*known[-12:], *self.chance.sample(known, min(6, len(known))), *_NAMES, _UNKNOWN])

    def ask(self, me: Tenant, other: Tenant) -> tuple[str, str, Any, dict[str, str], dict[str, str]]:
        chance = self.chance
        query: dict[str, str] = {}
        if chance.random() < 0.25:
            query["organization"] = chance.choice([me.name, other.name, "nobodys"])
        headers = {"if-match": "*"} if chance.random() < 0.8 else {}
        if chance.random() < 0.1:
            headers["idempotency-key"] = f"key-{chance.randrange(5)}"
        agent = self.reference(me, other, "agt_")
        text = {"reason": me.mark}
        subject = chance.choice(
            [
                {"subject_kind": "agent", "subject": agent},
                {"subject_kind": "team", "subject": chance.choice(_NAMES)},
                {"subject_kind": "organization", "subject": chance.choice([me.name, other.name])},
            ]
        )
        issuer = chance.choice(_NAMES)
        theirs = sorted(each for each in other.ids if each.startswith("whk_"))
        asked: list[tuple[str, str, Any]] = [
            ("GET", f"/{chance.choice(['issuers', 'webhooks', 'stops', f'issuers/{issuer}/rules'])}", None),
            (
                "POST",
                "/issuers",
                {"name": issuer, "issuer": f"https://{me.mark}", "audience": issuer, "jwks_url": f"https://{me.mark}"},
            ),
            ("DELETE", f"/issuers/{issuer}", None),
            ("POST", f"/issuers/{issuer}/rules", {"claims": {"of": f"{me.mark}{chance.random()}"}, "agent": agent}),
            ("DELETE", f"/issuers/{issuer}/rules/{self.reference(me, other, 'rul_')}", None),
            ("POST", "/webhooks", {"url": f"https://{me.mark}.example/{chance.randrange(9)}"}),
            (chance.choice(["GET", "DELETE"]), f"/webhooks/{self.reference(me, other, 'whk_')}", None),
            # Not one of its own, which would be told over the network.
            ("POST", f"/webhooks/{chance.choice([*theirs, 'whk_nobodys'])}/test", None),
            ("POST", "/stops", {"reason": me.mark, "everybody": chance.random() < 0.3}),
            ("GET", f"/stops/{self.reference(me, other, 'stp_')}", None),
            ("POST", f"/stops/{self.reference(me, other, 'stp_')}/resume", text),
            ("POST", "/keys/public", {"agent": agent, "public_key": _public_key(), **text}),
            (
                "POST",
                "/keys/spiffe",
                {"agent": agent, "spiffe_id": f"spiffe://{me.mark}/{chance.randrange(9)}", **text},
            ),
            (
                "POST",
                "/adoptions",
                {
                    "upstream": chance.choice(_NAMES),
                    "key": f"sk-of-{me.mark}-{chance.randrange(3)}",
                    "expires_in": 86400,
                    "owner": me.mark,
                },
            ),
            ("POST", "/adoptions/stop", {"upstream": chance.choice([None, *_NAMES])}),
            ("GET", f"/adoptions{chance.choice(['', '/clients'])}", None),
            ("GET", f"/agents/{agent}/permissions", None),
            ("GET", "/permissions", None),
            (
                "GET",
                f"/{chance.choice(['agents', 'keys', 'teams', 'bindings', 'limits', 'upstreams', 'routes'])}",
                None,
            ),
            ("GET", f"/{chance.choice(['organizations', 'operators', 'audit/entries', 'me'])}", None),
            ("GET", f"/agents/{agent}{chance.choice(['', '/versions'])}", None),
            ("GET", f"/keys/{self.reference(me, other, 'key_')}", None),
            ("GET", f"/organizations/{chance.choice([me.name, other.name, 'nobodys'])}", None),
            ("GET", f"/operators/{self.reference(me, other, 'opr_')}{chance.choice(['', '/tokens'])}", None),
            ("POST", "/agents", {"name": chance.choice(_NAMES), "owner": me.mark, "team": chance.choice(_NAMES)}),
            ("POST", "/agents", {"name": f"{me.mark}-{chance.randrange(9)}", "parent": agent}),
            ("PATCH", f"/agents/{agent}", {"owner": me.mark, "labels": {"of": f"{me.mark}{chance.random()}"}}),
            ("POST", f"/agents/{agent}/{chance.choice(['suspend', 'resume', 'review', 'revoke', 'retire'])}", text),
            ("POST", "/keys", {"agent": agent, **text}),
            ("POST", f"/keys/{self.reference(me, other, 'key_')}/revoke", text),
            ("POST", "/teams", {"name": chance.choice(_NAMES), "description": me.mark}),
            ("PATCH", f"/teams/{chance.choice(_NAMES)}", {"description": f"{me.mark} {chance.random()}"}),
            ("POST", f"/teams/{chance.choice(_NAMES)}/{chance.choice(['suspend', 'resume'])}", text),
            ("POST", f"/organizations/{other.name}/suspend", text),
            ("POST", "/bindings", {**subject, "bundle": chance.choice(["base", "other"]), **text}),
            ("DELETE", f"/bindings/{self.reference(me, other, 'bnd_')}", None),
            ("POST", "/limits", {**subject, "limit": "requests_per_day", "value": chance.randrange(99), **text}),
            ("DELETE", f"/limits/{self.reference(me, other, 'lim_')}", None),
            ("POST", "/upstreams", {"name": chance.choice(_NAMES), "provider": "openai", "secret": me.mark}),
            ("PUT", f"/upstreams/{chance.choice(_NAMES)}", {"provider": "openai", "secret": me.mark}),
            ("DELETE", f"/upstreams/{chance.choice(_NAMES)}", None),
            (
                "POST",
                "/routes",
                {"name": f"r-{chance.choice(_NAMES)}", "members": [{"upstream": chance.choice(_NAMES)}]},
            ),
            ("DELETE", f"/routes/r-{chance.choice(_NAMES)}", None),
            ("POST", "/operators", {"name": f"{me.mark}-{chance.randrange(99)}", "role": "viewer"}),
            ("POST", f"/operators/{self.reference(me, other, 'opr_')}/tokens", {"expires_in": 60}),
        ]
        method, path, body = chance.choice(asked)
        if method == "GET" and path.count("/") == 1 and path not in ("/me",):
            query["limit"] = str(chance.choice([1, 3, 100]))
        if path.endswith("/permissions"):
            query["model"] = "o3"
        if path == "/me" or path.startswith("/organizations"):
            query.pop("organization", None)
        return method, path, body, query, headers


def _public_key() -> str:
    return public_keys.public_pem(public_keys.generate("ed25519").public_key())


@pytest.fixture
def tenants(control: Control) -> tuple[Tenant, Tenant]:
    control.home.activate("base", "other")
    made = []
    for name in ("acme", "bolt"):
        changes.create_organization(control.home.registry, actor=ACTOR, name=name)
        made.append(Tenant(name, control.operator(f"mark-of-{name}", organization=name)))
    publication.publish(control.home.registry, control.home.data)  # what was made here is not made by a request
    return made[0], made[1]


def run(control: Control, tenants: tuple[Tenant, Tenant], operations: int, seed: int) -> Run:
    made = Run(control, random.Random(seed), tenants)
    for tenant in tenants:
        made.check(tenant, next(each for each in tenants if each is not tenant), tenant.client("GET", "/me"), "")
        tenant.ids |= set(_ID.findall(tenant.client("GET", "/me").raw.decode()))
    for _ in range(operations):
        made.step()
    return made


@pytest.mark.slow
def test_two_organizations_know_nothing_of_each_other(control: Control, tenants: tuple[Tenant, Tenant]) -> None:
    operations = int(os.environ.get("TENANT_OPERATIONS", "250"))
    made = run(control, tenants, operations, seed=4)
    assert made.done > operations // 5, "most requests were refused, so little was tried"
    for tenant in tenants:
        agents = tenant.client("GET", f"/organizations/{tenant.name}").ok()["agents"]
        listed = tenant.client("GET", "/agents", limit="500").ok()["items"]
        assert agents == sum(each["status"] in ("active", "suspended") for each in listed)
        assert {each["organization"] for each in listed} == {tenant.name}
