"""Decisions that compute something: collections made of collections, text, tokens, documents walked through, `with`."""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

from benchmarks.policy.workload import ByHand, Cedar, Document, Kind, Workload, context, fixed


def _heavy(
    name: str,
    module: str,
    value: Any,
    want: Any,
    by_hand: ByHand | None,
    *,
    data: Document | None = None,
    path: str = "w.allow",
    cedar: Cedar | None = None,
) -> Workload:
    return Workload(
        name, Kind.HEAVY, fixed(module), fixed(value), want, by_hand, data=fixed(data or {}), path=path, cedar=cedar
    )


TEAMS = ["red", "green", "blue", "black", "white"]
ORDERS: list[dict[str, Any]] = [{"team": TEAMS[i % 5], "cost": i % 13 + 1, "id": f"o{i}"} for i in range(100)]
TOTALS = {team: sum(order["cost"] for order in ORDERS if order["team"] == team) for team in TEAMS}
GROUPS = """totals := {team: total |
	some team in {o.team | some o in input.orders}
	total := sum([o.cost | some o in input.orders; o.team == team])
}
"""


def _totals(orders: list[dict[str, Any]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for order in orders:
        totals[order["team"]] = totals.get(order["team"], 0) + order["cost"]
    return totals


def _within_budget(data: Document) -> Any:
    budget = data["budget"]
    return lambda value: all(total <= budget[team] for team, total in _totals(value["orders"]).items())


TOOLS = [{"type": ("function", "web_search")[i % 10 == 9], "name": f"tool_{i}"} for i in range(30)]
APPROVED = [f"tool_{i}" for i in range(0, 40, 2)]


def _unapproved(data: Document) -> Any:
    approved = frozenset(data["approved"])
    return lambda value: sorted({t["name"] for t in value["tools"] if t["type"] == "function"} - approved)


LABELS = [f" Team-{i}/Project-{i * 7}/PROD " for i in range(20)]


def _labels(data: Document) -> Any:
    def labels(value: Any) -> list[str]:
        found = []
        for label in value["labels"]:
            parts = label.strip().lower().split("/")
            if parts[2] == "prod":
                found.append(":".join([parts[0].replace("team-", "t"), parts[1]]))
        return found

    return labels


SIZES = [{"name": f"file{i}.txt", "size": i * 100} for i in range(40)]


def _too_large(data: Document) -> Any:
    limit = data["limit"]
    return lambda value: sorted(
        {f"{f['name']} has {f['size']} bytes, {limit} are allowed" for f in value["files"] if f["size"] > limit}
    )


COMMANDS = [f"git log -{i} --oneline" for i in range(19)] + ["git status"]
DANGEROUS = r"(^|[;&|]\s*)(rm|dd|mkfs)\s"


def _no_danger(data: Document) -> Any:
    pattern = re.compile(DANGEROUS)
    return lambda value: not any(pattern.search(command) for command in value["commands"])


RESOURCES = [f"acme:{('eu', 'us')[i % 2]}:bucket{i}:read" for i in range(20)]


def _all_match(data: Document) -> Any:
    patterns = [re.compile(fnmatch.translate(pattern).replace(".*", "[^:]*")) for pattern in data["patterns"]]
    return lambda value: all(any(pattern.match(item) for pattern in patterns) for item in value["resources"])


ADDRESSES = [f"10.{i}.3.4" for i in range(10)]
NETWORKS = ["192.168.0.0/16", "10.0.0.0/12"]


def _inside(data: Document) -> Any:
    networks = [ipaddress.ip_network(network) for network in data["networks"]]
    return lambda value: all(
        any(ipaddress.ip_address(address) in network for network in networks) for address in value["addresses"]
    )


def _tree(depth: int) -> Any:
    if not depth:
        return {"kind": "leaf", "token": None}
    return {"kind": "node", "children": [_tree(depth - 1) for _ in range(3)], "name": f"level {depth}"}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


HIERARCHY = {f"role{i}": [f"role{i * 2 + 1}", f"role{i * 2 + 2}"] if i < 31 else [] for i in range(63)}


def _reachable(data: Document) -> Any:
    def allowed(value: Any) -> bool:
        seen, pending = set(), [value["role"]]
        while pending:
            role = pending.pop()
            if role in data["inherits"] and role not in seen:
                seen.add(role)
                pending.extend(data["inherits"][role])
        return "role62" in seen

    return allowed


USERS = [{"name": f"u{i}", "age": i} for i in range(30)]
PERMISSIONS = {f"role{i}": [f"p{i}", f"p{i + 1}", f"p{i + 2}"] for i in range(20)}


def _permissions(data: Document) -> Any:
    def permissions(value: Any) -> list[str]:
        held = {p for role in value["roles"] for p in data["permissions"].get(role, ())}
        return sorted(held - set(value["revoked"]))

    return permissions


ITEMS = [{"price": round(i / 10 + 0.05, 2), "count": i % 4} for i in range(20)]

WORKLOADS = [
    _heavy(
        "sums by group",
        GROUPS,
        {"orders": ORDERS},
        TOTALS,
        lambda data: lambda value: _totals(value["orders"]),
        path="w.totals",
    ),
    _heavy(
        "every group within budget",
        f"{GROUPS}default allow := false\nallow if {{ every team, total in totals {{ total <= data.budget[team] }} }}",
        {"orders": ORDERS},
        True,
        _within_budget,
        data={"budget": dict.fromkeys(TEAMS, 1000)},
    ),
    _heavy(
        "set of a comprehension",
        "approved := {name | some name in data.approved}\n"
        'allow := {t.name | some t in input.tools; t.type == "function"} - approved',
        {"tools": TOOLS},
        _unapproved({"approved": APPROVED})({"tools": TOOLS}),
        _unapproved,
        data={"approved": APPROVED},
    ),
    _heavy(
        "permissions of roles",
        "held contains p if { some role in input.roles; some p in data.permissions[role] }\n"
        "allow := held - {p | some p in input.revoked}",
        {"roles": ["role3", "role9", "role15", "role4"], "revoked": ["p4", "p10"]},
        ["p11", "p15", "p16", "p17", "p3", "p5", "p6", "p9"],
        _permissions,
        data={"permissions": PERMISSIONS},
    ),
    _heavy(
        "text taken apart",
        """allow := [name |
	some label in input.labels
	parts := split(lower(trim_space(label)), "/")
	parts[2] == "prod"
	name := concat(":", [replace(parts[0], "team-", "t"), parts[1]])
]""",
        {"labels": LABELS},
        _labels({})({"labels": LABELS}),
        _labels,
    ),
    _heavy(
        "messages by sprintf",
        """allow contains msg if {
	some f in input.files
	f.size > data.limit
	msg := sprintf("%s has %d bytes, %d are allowed", [f.name, f.size, data.limit])
}""",
        {"files": SIZES},
        _too_large({"limit": 2_000})({"files": SIZES}),
        _too_large,
        data={"limit": 2_000},
    ),
    _heavy(
        "regular expression on a list",
        f"default allow := true\nallow := false if {{ some c in input.commands; regex.match(`{DANGEROUS}`, c) }}",
        {"commands": COMMANDS},
        True,
        _no_danger,
    ),
    _heavy(
        "globs on a list",
        "default allow := false\nallow if { every r in input.resources { some p in data.patterns; "
        'glob.match(p, [":"], r) } }',
        {"resources": RESOURCES},
        True,
        _all_match,
        data={"patterns": ["acme:us:*:read", "acme:eu:bucket*:read"]},
    ),
    _heavy(
        "addresses in networks",
        "default allow := false\nallow if { every a in input.addresses { some n in data.networks; "
        "net.cidr_contains(n, a) } }",
        {"addresses": ADDRESSES},
        True,
        _inside,
        data={"networks": NETWORKS},
        cedar=Cedar(
            fixed(
                "permit(principal, action, resource) when { "
                + " && ".join(
                    f'(ip(context.addresses.a{i}).isInRange(ip("{NETWORKS[0]}")) || '
                    f'ip(context.addresses.a{i}).isInRange(ip("{NETWORKS[1]}")))'
                    for i in range(len(ADDRESSES))
                )
                + " };"
            ),
            lambda value: context({"addresses": {f"a{i}": item for i, item in enumerate(value["addresses"])}}),
        ),
    ),
    _heavy(
        "walk through a document",
        'allow := count([1 | walk(input.body, [_, node]); node.kind == "leaf"])',
        {"body": _tree(4)},
        81,
        lambda data: lambda value: sum(1 for node in _objects(value["body"]) if node.get("kind") == "leaf"),
    ),
    _heavy(
        "roles that inherit",
        'default allow := false\nallow if "role62" in graph.reachable(data.inherits, {input.role})',
        {"role": "role0"},
        True,
        _reachable,
        data={"inherits": HIERARCHY},
    ),
    _heavy(
        "with, for each of 30 users",
        "adult if input.user.age >= data.age\nallow := count([u | some u in input.users; adult with input.user as u])",
        {"users": USERS},
        12,
        lambda data: lambda value: sum(1 for user in value["users"] if user["age"] >= data["age"]),
        data={"age": 18},
    ),
    _heavy(
        "with, data replaced",
        "default permitted := false\npermitted if input.user in data.users\n"
        'allow if { permitted with data.users as ["ann", "bob"]; not permitted with data.users as [] }',
        {"user": "ann"},
        True,
        lambda data: lambda value: value["user"] in ["ann", "bob"],
        data={"users": ["eve"]},
    ),
    _heavy(
        "a function called in a loop",
        """score(m) := 10 if m.role == "system"
score(m) := count(m.text) if m.role != "system"
allow := sum([score(m) | some m in input.messages])""",
        {"messages": [{"role": ("user", "system")[i % 3 == 0], "text": "x" * i} for i in range(30)]},
        400,
        lambda data: lambda value: sum(10 if m["role"] == "system" else len(m["text"]) for m in value["messages"]),
    ),
    _heavy(
        "sums of decimals",
        "allow := sum([(i.price * i.count) | some i in input.items])",
        {"items": ITEMS},
        32.5,
        lambda data: lambda value: round(sum(i["price"] * i["count"] for i in value["items"]), 6),
    ),
    _heavy(
        "JSON inside of text",
        "allow := count([1 | some t in input.calls; args := json.unmarshal(t.arguments); args.amount > 50])",
        {"calls": [{"arguments": json.dumps({"amount": i * 10, "currency": "EUR"})} for i in range(20)]},
        14,
        lambda data: lambda value: sum(1 for t in value["calls"] if json.loads(t["arguments"])["amount"] > 50),
    ),
    _heavy(
        "objects merged",
        'allow := object.union_n([data.defaults, data.teams[input.team], {"user": input.user}])',
        {"team": "red", "user": "ann"},
        {"a": 1, "b": {"c": 5, "d": 3}, "user": "ann"},
        lambda data: (
            lambda value: {
                **data["defaults"],
                **data["teams"][value["team"]],
                "b": {**data["defaults"]["b"], **data["teams"][value["team"]]["b"]},
                "user": value["user"],
            }
        ),
        data={"defaults": {"a": 1, "b": {"c": 2, "d": 3}}, "teams": {"red": {"b": {"c": 5}}}},
    ),
    _heavy(
        "a time and its weekday",
        "allow if { t := time.parse_rfc3339_ns(input.at); [h, _, _] := time.clock(t); h >= 8; h < 18; "
        'not time.weekday(t) in {"Saturday", "Sunday"} }',
        {"at": "2026-03-04T09:30:00Z"},
        True,
        None,
    ),
]
