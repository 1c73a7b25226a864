"""Decisions of a few expressions over little data: what most policies are most of the time."""

from __future__ import annotations

from typing import Any

from benchmarks.policy.workload import ByHand, Cedar, Document, Kind, Workload, context, fixed


def _small(
    name: str,
    module: str,
    value: Any,
    want: Any,
    by_hand: ByHand,
    *,
    data: Document | None = None,
    cedar: str = "",
) -> Workload:
    """`cedar` are the conditions of a policy each, one a line."""
    policies = "\n".join(f"permit(principal, action, resource) when {{ {line} }};" for line in cedar.splitlines())
    return Workload(
        name,
        Kind.SMALL,
        fixed(module),
        fixed(value),
        want,
        by_hand,
        data=fixed(data or {}),
        cedar=Cedar(fixed(policies), context) if cedar else None,
    )


GRANTS = [{"user": f"u{i}", "action": f"a{i % 7}"} for i in range(100)]
PAIRS = {f"r{i}": f"a{i}" for i in range(200)}


def _denials(data: Document) -> Any:
    def deny(value: Any) -> list[str]:
        reasons = {"tool"} if any(tool.get("name") == "shell" for tool in value["tools"]) else set()
        if value["size"] > 9:
            reasons.add("size")
        return sorted(reasons)

    return deny


def _granted(data: Document) -> Any:
    known = {(grant["user"], grant["action"]) for grant in data["grants"]}
    return lambda value: (value["user"], value["action"]) in known


WORKLOADS = [
    _small(
        "one comparison",
        'default allow := false\nallow if input.role == "admin"',
        {"role": "admin"},
        True,
        lambda data: lambda value: value.get("role") == "admin",
        cedar='context.role == "admin"',
    ),
    _small(
        "role and owner",
        'default allow := false\nallow if input.role == "admin"\nallow if input.user == input.owner',
        {"role": "user", "user": "ann", "owner": "ann"},
        True,
        lambda data: lambda value: value.get("role") == "admin" or value.get("user") == value.get("owner"),
        cedar='context.role == "admin"\ncontext.user == context.owner',
    ),
    _small(
        "model on a list",
        'default allow := false\nallow if { input.action == "chat"; input.model in {"a", "b", "c"} }',
        {"action": "chat", "model": "b"},
        True,
        lambda data: lambda value: value.get("action") == "chat" and value.get("model") in {"a", "b", "c"},
        cedar='context.action == "chat" && ["a", "b", "c"].contains(context.model)',
    ),
    _small(
        "denials as a set",
        'allow contains "tool" if { some t in input.tools; t.name == "shell" }\n'
        'allow contains "size" if input.size > 9',
        {"tools": [{"name": "search"}, {"name": "shell"}], "size": 5},
        ["tool"],
        _denials,
    ),
    _small(
        "every tool allowed",
        "default allow := false\nallow if { every t in input.tools { t.name in data.tools } }",
        {"tools": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        True,
        lambda data: lambda value: all(tool["name"] in data["tools"] for tool in value["tools"]),
        data={"tools": ["a", "b", "c", "d"]},
        cedar='[{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}].containsAll(context.tools)',
    ),
    _small(
        "prefix and count",
        'default allow := false\nallow if { startswith(input.path, "/v1/"); count(input.roles) > 1 }',
        {"path": "/v1/chat", "roles": ["a", "b"]},
        True,
        lambda data: lambda value: value["path"].startswith("/v1/") and len(value["roles"]) > 1,
    ),
    _small(
        "object as a limit",
        'allow := {"limit": data.limits[input.team], "team": input.team}',
        {"team": "red"},
        {"limit": 5, "team": "red"},
        lambda data: lambda value: {"limit": data["limits"][value["team"]], "team": value["team"]},
        data={"limits": {"red": 5}},
    ),
    _small(
        "200 rules",
        "\n".join(
            f'allow if {{ input.role == "{role}"; input.action == "{action}" }}' for role, action in PAIRS.items()
        ),
        {"role": "r150", "action": "a150"},
        True,
        lambda data: lambda value: PAIRS.get(value["role"]) == value["action"],
        cedar="\n".join(f'context.role == "{role}" && context.action == "{act}"' for role, act in PAIRS.items()),
    ),
    _small(
        "grant by search",
        "default allow := false\nallow if { some g in data.grants; g.user == input.user; g.action == input.action }",
        {"user": "u50", "action": "a1"},
        True,
        _granted,
        data={"grants": GRANTS},
        cedar="["
        + ", ".join(f'{{user: "{grant["user"]}", action: "{grant["action"]}"}}' for grant in GRANTS)
        + "].contains(context)",
    ),
]
