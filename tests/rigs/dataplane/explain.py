"""Shared parts of the tests in `tests/gateway/dataplane/test_explain.py`."""

from __future__ import annotations

import random
from typing import Any

import orjson

from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.policies.bindings import bind
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, chat

MODELS = ["gpt-4o", "gpt-4o-mini", "gpt-capped", "gpt-secret", "o3", "gpt-odd", "gpt-error", "gpt-file", "gpt-late"]
BOT = """\
package bot.authz

default allow := false

allow if {
    _known(input.resource.model)
    every tool in input.request.tools {
        tool.type == "function"
        tool.name in data.bot.tools
    }
}

allow if input.action == "models.list"

deny contains "no secrets, please" if input.resource.model == "gpt-secret"

deny contains msg if {
    some i, role in input.request.roles
    role == "tool"
    msg := sprintf("message %d is of a tool", [i])
}

obligations := {"max_output_tokens": min([50, input.request.max_output_tokens])} if {
    input.resource.model == "gpt-capped"
} else := {"max_output_tokens": 50} if {
    input.resource.model == "gpt-odd"
}

references := "allowed" if input.request.messages > 2

_known(model) if startswith(model, "gpt-")
"""


CHANCE = """\
package chance.authz

allow if {
    count(_drawn) >= 0
    not input.resource.model == "o3"
}

allow if input.resource.model == null

_drawn contains rand.intn(name, 6) if some name in ["a", "b"]

deny contains "the dice say no" if rand.intn("no", 5) == 0

deny contains msg if {
    input.request.stream
    msg := sprintf("it is %d", [time.now_ns()])
    _drawn == {1, 2}
}

deny contains "more than a day has passed" if time.now_ns() > input.time.now_ns

deny contains "unreadable" if {
    input.resource.model == "gpt-error"
    to_number(input.resource.model) == 1
}

_conflict := 1 if input.resource.model == "gpt-late"

_conflict := 2 if input.request.messages == 2

limit := 3 if input.resource.model == "gpt-file"
"""


GUARD = """\
package guard.authz

deny contains {"msg": "too many messages"} if input.request.messages > data.guard.messages

deny contains "tools are for small models" if {
    count(input.request.tools) > 1
    not endswith(input.resource.model, "-mini")
}

obligations := object.union_n([each | some each in _obliged])

_obliged contains {"max_output_tokens": 40} if input.resource.model == "gpt-capped"

_obliged contains {"strip_tools": {"b", "c"}} if input.request.stream

_obliged contains {"model": "gpt-4o-mini"} if {
    input.resource.model == "gpt-4o"
    input.request.messages != 1
}

_obliged contains {"set_headers": {"x-purpose": "stream"}} if input.request.stream
"""


def bind_all(gateway: Gateway, *, chance: bool = True) -> None:
    """Put the three bundles into force; without `chance` only those whose answer is always the same are bound."""
    bundles = []
    for name, source, data, settings in (
        ("bot", BOT, {"tools": ["a", "b"]}, {"models": True}),
        ("chance", CHANCE, {}, {}),
        ("guard", GUARD, {"messages": 3}, {"models": True}),
    ):
        manifest = {"roots": [name], "metadata": {"gateway": {"entrypoint": f"data.{name}.authz", **settings}}}
        files = {
            ".manifest": orjson.dumps(manifest),
            "authz.rego": source.encode(),
            "data.json": orjson.dumps({name: data}),
        }
        digest = policy_bundle.publish(gateway.data.bundles, files)
        gateway.plane._policies.load(digest)
        bundles.append(
            BundleRecord(name=name, commit="d" * 40, digest=digest, author="", entrypoint=f"data.{name}.authz")
        )
    activations.activate(gateway.registry, actor=ACTOR, commit="d" * 40, author="dana", bundles=bundles)
    for name, effect in (("chance", "grant"), ("guard", "guard"))[not chance :]:
        bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle=name, effect=effect)


def request(dice: random.Random) -> dict[str, Any]:
    """A body that the provider's reader accepts."""
    body = chat(dice.choice(MODELS))
    members: dict[str, Any] = {
        "max_tokens": dice.choice([10, 45, 60]),
        "stream": dice.random() < 0.3,
        "messages": [
            {"role": dice.choice(["user", "system", "user"]), "content": f"text {number}"}
            for number in range(dice.randint(1, 4))
        ],
        "tools": [{"type": "function", "function": {"name": dice.choice("abc")}} for _ in range(dice.randint(1, 3))],
        "models": [body["model"], "gpt-4o-other"],
    }
    return body | {name: value for name, value in members.items() if dice.random() < 0.35}
