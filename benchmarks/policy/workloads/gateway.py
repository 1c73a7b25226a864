"""The whole document that the gateway asks of a bundle, once: `allow`, `deny`, limits and obligations together."""

from __future__ import annotations

from typing import Any

from benchmarks.policy.workload import Document, Kind, Workload, fixed

POLICY = """default allow := false

allow if {
	input.action == "chat.completions"
	input.resource.model in data.models[input.agent.team]
}

deny contains "production agents need an owner" if {
	input.agent.environment == "prod"
	input.agent.owner == ""
}

deny contains msg if {
	some t in input.request.tools
	not t.name in data.tools
	msg := sprintf("tool %s is not approved", [t.name])
}

deny contains "outside of working hours" if {
	input.agent.labels.hours == "office"
	not _working
}

require_approval contains "large request" if input.request.max_output_tokens > 4000

limits["requests_per_minute"] := data.limits[input.agent.team]

obligations := {"max_output_tokens": min([input.request.max_output_tokens, 2000])}

_working if {
	input.time.hour >= 8
	input.time.hour < 18
}
"""
CALL = {
    "agent": {
        "id": "agt_1",
        "organization": "acme",
        "name": "support-bot",
        "team": "support",
        "owner": "dana@acme.example",
        "environment": "prod",
        "labels": {"hours": "office"},
    },
    "action": "chat.completions",
    "resource": {"upstream": "openai", "provider": "openai", "model": "gpt-4o-mini"},
    "request": {
        "method": "POST",
        "path": "/v1/chat/completions",
        "stream": True,
        "max_output_tokens": 512,
        "tools": [{"type": "function", "name": "get_order"}, {"type": "function", "name": "refund"}],
        "messages": 2,
    },
    "usage": {"requests": {"minute": 4, "day": 120}, "tokens": {"day": 51234}},
    "time": {"now_ns": 0, "zone": "UTC", "weekday": "Wednesday", "hour": 9},
}
DATA = {
    "models": {"support": ["gpt-4o", "gpt-4o-mini"]},
    "tools": ["get_order", "search"],
    "limits": {"support": 60},
}
ANSWER = {
    "allow": True,
    "deny": ["tool refund is not approved"],
    "require_approval": [],
    "limits": {"requests_per_minute": 60},
    "obligations": {"max_output_tokens": 512},
    "_working": True,
}


def _by_hand(data: Document) -> Any:
    models, tools, limits = data["models"], frozenset(data["tools"]), data["limits"]

    def decide(value: Any) -> dict[str, Any]:
        agent, request, hour = value["agent"], value["request"], value["time"]["hour"]
        working = 8 <= hour < 18
        deny = {f"tool {t['name']} is not approved" for t in request["tools"] if t["name"] not in tools}
        if agent["environment"] == "prod" and agent["owner"] == "":
            deny.add("production agents need an owner")
        if agent["labels"].get("hours") == "office" and not working:
            deny.add("outside of working hours")
        answer = {
            "allow": value["action"] == "chat.completions" and value["resource"]["model"] in models[agent["team"]],
            "deny": sorted(deny),
            "require_approval": ["large request"] if request["max_output_tokens"] > 4000 else [],
            "limits": {"requests_per_minute": limits[agent["team"]]},
            "obligations": {"max_output_tokens": min(request["max_output_tokens"], 2000)},
        }
        return {**answer, "_working": True} if working else answer

    return decide


def _allow_by_hand(data: Document) -> Any:
    models = data["models"]
    return lambda value: (
        value["action"] == "chat.completions" and value["resource"]["model"] in models[value["agent"]["team"]]
    )


WORKLOADS = [
    Workload(
        "the gateway's document",
        Kind.HEAVY,
        fixed(POLICY),
        fixed(CALL),
        ANSWER,
        _by_hand,
        data=fixed(DATA),
        path="w",
    ),
    Workload(
        "only allow of it",
        Kind.HEAVY,
        fixed(POLICY),
        fixed(CALL),
        True,
        _allow_by_hand,
        data=fixed(DATA),
    ),
]
