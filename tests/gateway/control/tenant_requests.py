"""Requests of an organization's operator to the control API, at random; often about things of the other one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from gateway.identity import public_keys
from tests.gateway.control.tenancy import NAMES, UNKNOWN, Tenant

_SHARED = [public_keys.public_pem(public_keys.generate("ed25519").public_key()) for _ in range(2)]
"""Public keys that both organizations try to register."""


def shared(chance: random.Random, mine: str, common: str) -> str:
    """Something that can only be one organization's: mine, or now and then what the other one may have."""
    return common if chance.random() < 0.3 else mine


def draw(
    chance: random.Random, me: Tenant, other: Tenant, reference: Callable[[str], str]
) -> tuple[str, str, Any, dict[str, str], dict[str, str]]:
    """Method, path, body, parameters and headers of a request. `reference` draws an id of a kind, or a name."""
    query: dict[str, str] = {}
    if chance.random() < 0.15:
        query["organization"] = chance.choice([me.name, other.name, "nobodys"])
    headers = {"if-match": "*"} if chance.random() < 0.8 else {}
    if chance.random() < 0.1:
        headers["idempotency-key"] = f"key-{chance.randrange(5)}"
    agent = reference("agt_")
    text = {"reason": me.mark}
    subject = chance.choice(
        [
            {"subject_kind": "agent", "subject": agent},
            {"subject_kind": "team", "subject": chance.choice(NAMES)},
            {"subject_kind": "organization", "subject": chance.choice([me.name, other.name])},
        ]
    )
    issuer = chance.choice(NAMES)
    theirs = sorted(each for each in other.ids if each.startswith("whk_"))
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"/{chance.choice(['issuers', 'webhooks', 'stops', f'issuers/{issuer}/rules'])}", None),
        (
            "POST",
            "/issuers",
            {
                "name": issuer,
                "issuer": shared(chance, f"https://{me.mark}", "https://common.example"),
                "audience": issuer,
                "jwks_url": f"https://{me.mark}",
            },
        ),
        ("DELETE", f"/issuers/{issuer}", None),
        ("POST", f"/issuers/{issuer}/rules", {"claims": {"of": f"{me.mark}{chance.random()}"}, "agent": agent}),
        ("DELETE", f"/issuers/{issuer}/rules/{reference('rul_')}", None),
        ("POST", "/webhooks", {"url": f"https://{me.mark}.example/{chance.randrange(9)}"}),
        (chance.choice(["GET", "DELETE"]), f"/webhooks/{reference('whk_')}", None),
        # Not one of its own, which would be told over the network.
        ("POST", f"/webhooks/{chance.choice([*theirs, 'whk_nobodys'])}/test", None),
        ("POST", "/stops", {"reason": me.mark, "everybody": chance.random() < 0.3}),
        ("GET", f"/stops/{reference('stp_')}", None),
        ("POST", f"/stops/{reference('stp_')}/resume", text),
        ("POST", "/keys/public", {"agent": agent, "public_key": public_key(chance), **text}),
        (
            "POST",
            "/keys/spiffe",
            {
                "agent": agent,
                "spiffe_id": f"spiffe://{shared(chance, me.mark, 'common.example')}/{chance.randrange(3)}",
                **text,
            },
        ),
        (
            "POST",
            "/adoptions",
            {
                "upstream": chance.choice(NAMES),
                "key": f"sk-of-{me.mark}-{chance.randrange(3)}",  # one of both's would be told to both
                "expires_in": 86400,
                "owner": me.mark,
            },
        ),
        ("POST", "/adoptions/stop", {"upstream": chance.choice([None, *NAMES])}),
        ("GET", f"/adoptions{chance.choice(['', '/clients'])}", None),
        ("GET", f"/agents/{agent}/permissions", None),
        ("GET", f"/agents/{agent}/access", None),
        ("GET", "/permissions", None),
        ("POST", "/decide", {"agent": agent, "call": {"action": "models.list"}, "key": reference("key_")}),
        (
            "GET",
            f"/{chance.choice(['agents', 'keys', 'teams', 'bindings', 'limits', 'upstreams', 'routes'])}",
            None,
        ),
        ("GET", f"/{chance.choice(['organizations', 'operators', 'audit/entries', 'me'])}", None),
        ("GET", f"/agents/{agent}{chance.choice(['', '/versions'])}", None),
        ("GET", f"/keys/{reference('key_')}", None),
        ("GET", f"/organizations/{chance.choice([me.name, other.name, 'nobodys'])}", None),
        ("GET", f"/operators/{reference('opr_')}{chance.choice(['', '/tokens'])}", None),
        ("POST", "/agents", {"name": chance.choice(NAMES), "owner": me.mark, "team": chance.choice(NAMES)}),
        ("POST", "/agents", {"name": f"{me.mark}-{chance.randrange(9)}", "parent": agent}),
        ("PATCH", f"/agents/{agent}", {"owner": me.mark, "labels": {"of": f"{me.mark}{chance.random()}"}}),
        ("POST", f"/agents/{agent}/{chance.choice(['suspend', 'resume', 'review', 'revoke', 'retire'])}", text),
        ("POST", "/keys", {"agent": agent, **text}),
        ("POST", f"/keys/{reference('key_')}/revoke", text),
        ("POST", "/teams", {"name": chance.choice(NAMES), "description": me.mark}),
        ("PATCH", f"/teams/{chance.choice(NAMES)}", {"description": f"{me.mark} {chance.random()}"}),
        ("POST", f"/teams/{chance.choice(NAMES)}/{chance.choice(['suspend', 'resume'])}", text),
        ("POST", f"/organizations/{other.name}/suspend", text),
        ("POST", "/bindings", {**subject, "bundle": chance.choice(["base", "other"]), **text}),
        ("DELETE", f"/bindings/{reference('bnd_')}", None),
        ("POST", "/limits", {**subject, "limit": "requests_per_day", "value": chance.randrange(99), **text}),
        ("DELETE", f"/limits/{reference('lim_')}", None),
        (
            "POST",
            "/mandates",
            {
                "agent": agent,
                "to": reference("agt_"),
                "actions": ["chat.*"],
                "amount_microusd": 9,
                "for_seconds": 60,
                "purpose": me.mark,
                **text,
            },
        ),
        ("GET", f"/mandates{chance.choice(['', '/' + reference('mnd_')])}", None),
        ("POST", f"/mandates/{reference('mnd_')}/revoke", text),
        ("POST", "/upstreams", {"name": chance.choice(NAMES), "provider": "openai", "secret": me.mark}),
        ("PUT", f"/upstreams/{chance.choice(NAMES)}", {"provider": "openai", "secret": me.mark}),
        ("DELETE", f"/upstreams/{chance.choice(NAMES)}", None),
        (
            "POST",
            "/routes",
            {"name": f"r-{chance.choice(NAMES)}", "members": [{"upstream": chance.choice(NAMES)}]},
        ),
        ("DELETE", f"/routes/r-{chance.choice(NAMES)}", None),
        ("POST", "/operators", {"name": f"{me.mark}-{chance.randrange(99)}", "role": "viewer"}),
        ("POST", f"/operators/{reference('opr_')}/tokens", {"expires_in": 60}),
        ("GET", "/fleet", None),
        *(
            ("POST", f"/fleet/{verb}", {"document": fleet(chance, me, other, agent), **text})
            for verb in ("plan", "apply")
        ),
    ]
    method, path, body = chance.choice(asked)
    if method == "GET" and path.count("/") == 1 and path not in ("/me", "/fleet"):
        query["limit"] = str(chance.choice([1, 3, 100]))
        if (cursors := [*me.cursors[-9:], *other.cursors[-9:]]) and chance.random() < 0.2:
            query["cursor"] = chance.choice(cursors)
    if path.endswith("/permissions"):
        query["model"] = "o3"
    if path == "/me" or path.startswith("/organizations"):
        query.pop("organization", None)
    return method, path, body, query, headers


def public_key(chance: random.Random) -> str:
    return shared(chance, public_keys.public_pem(public_keys.generate("ed25519").public_key()), chance.choice(_SHARED))


def fleet(chance: random.Random, me: Tenant, other: Tenant, agent: str) -> dict[str, Any]:
    """A fleet file, in which things may be called as those of the other organization are."""
    name, team = chance.choice([*NAMES, f"{me.mark}-{chance.randrange(9)}"]), chance.choice(NAMES)
    subject: dict[str, Any] = chance.choice([{"agent": name}, {"team": team}, {"organization": True}])
    spiffe_id = f"spiffe://{shared(chance, me.mark, 'common.example')}/{chance.randrange(3)}"
    whole: dict[str, Any] = {
        "organization": chance.choice([me.name, me.name, other.name]),
        "settings": {"review_days": chance.randrange(1, 90)},
        "teams": [{"name": team, "description": f"{me.mark} {chance.randrange(9)}"}],
        "agents": [{"name": name, "owner": me.mark, "team": team, "parent": chance.choice(["", *NAMES, agent])}],
        "spiffe_ids": [{"agent": name, "spiffe_id": spiffe_id}],
        "public_keys": [{"agent": name, "public_key": public_key(chance)}],
        "upstreams": [{"name": chance.choice(NAMES), "provider": "openai", "key": {"none": True}}],
        "routes": [{"name": f"r-{name}", "members": [{"upstream": chance.choice(NAMES)}]}],
        "bindings": [{**subject, "bundle": chance.choice(["base", "other"])}],
        "limits": [{**subject, "limit": "requests_per_day", "value": chance.randrange(99)}],
    }
    return {"v": 1, **{section: each for section, each in whole.items() if chance.random() < 0.4}}


# --- whatever the document has ---------------------------------------------------------------------------------------

_PREFIXES = {"operator": "opr_", "token": "otk_", "agent": "agt_", "key": "key_", "binding": "bnd_", "limit": "lim_"}
_PREFIXES |= {"upstream": "ups_", "route": "rte_", "issuer": "iss_", "rule": "rul_", "webhook": "whk_", "stop": "stp_"}
_PREFIXES |= {"approval": "apr_", "mandate": "mnd_"}
# The first does not end, and the others can end the token of all that follows.
_LEFT_OUT = {"/events", "/logout", "/me/sessions/{token}/revoke"}


def of_document(
    chance: random.Random, document: dict[str, Any], me: Tenant, other: Tenant, reference: Callable[[str], str]
) -> tuple[str, str, Any, dict[str, str], dict[str, str]]:
    """As `draw`: any operation of the OpenAPI document, with what its schemas allow."""
    operations = [
        (template, method) for template, methods in document["paths"].items() if template not in _LEFT_OUT
        for method in methods if method in ("get", "post", "put", "patch", "delete")
    ]  # fmt: skip
    template, method = chance.choice(operations)
    operation = document["paths"][template][method]
    path, reading = template, method == "get"
    for name in re.findall(r"\{(\w+)\}", template):
        path = path.replace(f"{{{name}}}", _part(chance, name, template, reading, me, other, reference))
    query: dict[str, str] = {}
    for each in operation.get("parameters", []):
        if each["in"] == "query" and each["name"] != "cursor" and (each.get("required") or chance.random() < 0.2):
            value = _value(chance, each["name"], each["schema"], me, other, reference)
            if value is not None:
                query[each["name"]] = str(value).lower() if isinstance(value, bool) else str(value)
    sent = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = None if sent is None else body_of(chance, resolved(sent, document), me, other, reference)
    headers = {"if-match": "*"} if chance.random() < 0.9 else {}
    return method.upper(), path, body, query, headers


def _part(
    chance: random.Random, name: str, template: str, reading: bool, me: Tenant, other: Tenant,
    reference: Callable[[str], str],
) -> str:  # fmt: skip
    if name == "organization":
        mine = [me.name] if reading or template.endswith(("/resume", "{organization}")) else []
        return chance.choice([*mine, other.name, "nobodys"])  # its own must go on
    if name == "team":
        marked = [f"{each.mark}-{chance.randrange(9)}" for each in (me, other)]
        return chance.choice(marked if template.endswith("/revoke") else [*marked, *NAMES])
    if template.endswith("/test"):
        # Not one of its own, which would be told over the network.
        return chance.choice([*sorted(each for each in other.ids if each.startswith("whk_")), "whk_nobodys"])
    found = reference(_PREFIXES.get(name, f"{name}_"))
    own = found == me.mark or (found in me.ids and found.startswith(("opr_", "otk_")))
    return UNKNOWN if own and not reading else found  # its own operator must go on


def body_of(
    chance: random.Random, schema: dict[str, Any], me: Tenant, other: Tenant, reference: Callable[[str], str]
) -> dict[str, Any]:
    needed = schema.get("required", [])
    return {
        name: _value(chance, name, each, me, other, reference)
        for name, each in schema.get("properties", {}).items()
        if name in needed or chance.random() < 0.3
    }


def _value(
    chance: random.Random, name: str, schema: dict[str, Any], me: Tenant, other: Tenant,
    reference: Callable[[str], str],
) -> Any:  # fmt: skip
    """A value for a member or a parameter of this name; references may be to things of the other organization."""
    if name in ("agent", "parent", "after", "id", "subject"):
        return reference("agt_")
    known = {
        "organization": [me.name, other.name, "nobodys"],
        "name": [*NAMES, f"{me.mark}-{chance.randrange(9)}"],
        "team": [*NAMES, f"{me.mark}-{chance.randrange(9)}"],
        "upstream": NAMES,
        "bundle": ["base", "other"],
        "limit": ["requests_per_day", "tokens_per_hour"],
        "provider": ["openai", "anthropic"],
        "model": ["gpt-4o"],
        "url": [f"https://{me.mark}.example/{chance.randrange(9)}"],
        "public_key": [public_key(chance)],
        "spiffe_id": [f"spiffe://{shared(chance, me.mark, 'common.example')}/{chance.randrange(3)}"],
        "issuer": [f"https://{shared(chance, me.mark, 'common.example')}"],
        "everybody": [False, True],
    }.get(name)
    if known is not None:
        return "3" if name == "limit" and schema.get("type") == "integer" else chance.choice(known)
    usual = next((each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"), schema)
    if "enum" in usual or "const" in usual:
        return chance.choice(usual.get("enum", [usual.get("const")]))
    if usual.get("format") == "date-time":
        return None
    by_type: dict[str, Any] = {
        "boolean": chance.random() < 0.5,
        "integer": max(usual.get("minimum", 0), usual.get("exclusiveMinimum", -1) + 1) + chance.randrange(99),
        "array": [me.mark] if chance.random() < 0.3 else [],
        "object": {"of": me.mark},
    }
    return by_type.get(str(usual.get("type")), me.mark)


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/") if "$ref" in schema else ():
        found = found[part]
    return schema if found is document else dict(found)
