"""A gateway that is full of the texts of `hostile.py`: by its operations, by calls, and by commits of its policies."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from gateway.http import listener
from gateway.identity import token_keys
from gateway.processes.background import Background
from gateway.processes.data_worker import DataWorker
from gateway.registry.operators import operators
from gateway.registry.upstreams import tools
from gateway.settings import Settings
from tests.gateway.approvals.asked import Requirement, asked
from tests.gateway.conftest import ACTOR
from tests.gateway.control.dashboard.conftest import Served
from tests.gateway.control.dashboard.hostile import TEXTS
from tests.gateway.control.dashboard.policies import MANIFEST, Policies

AGENTS: Final = ("evil-a", "evil-b")
"""Each has half of the texts as labels, in its versions, in its calls and in its requests for approval."""

_POLICY: Final = """package starter.authz

default allow := false

deny contains sprintf("the model %s", [input.resource.model])

deny contains data.starter.texts.said[input.resource.model]

"""

_MESSAGES: Final = [{"role": "user", "content": "x"}]

HERE: Final = "HERE"
"""Where a text goes in a body of `FIELDS`."""
_EVIL: Final[dict[str, Any]] = {"subject_kind": "agent", "subject": AGENTS[0]}
FREE: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("agents", {"name": "evil-NUMBER", "owner": HERE, "labels": {"note": HERE}, "reason": HERE}),
    ("teams", {"name": "evil-NUMBER", "owner": HERE, "description": HERE, "reason": HERE}),
    ("stops", {"reason": HERE, "everybody": True}),
    ("limits", {**_EVIL, "limit": "requests_per_day", "value": 9_000_000, "model": "m-NUMBER", "reason": HERE}),
    ("keys", {"agent": AGENTS[1], "reason": HERE}),
    ("operators", {"name": "evil-NUMBER", "role": "viewer", "reason": HERE}),
)
"""Operations that take each text that is one line, and their bodies."""
RULED: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("agents", {"name": HERE}),
    ("agents", {"name": "ruled-NUMBER", "team": HERE}),
    ("agents", {"name": "ruled-NUMBER", "environment": HERE}),
    ("agents", {"name": "ruled-NUMBER", "capabilities": [HERE]}),
    ("agents", {"name": "ruled-NUMBER", "labels": {HERE: "x"}}),
    ("teams", {"name": HERE}),
    ("operators", {"name": HERE, "role": "viewer"}),
    ("limits", {**_EVIL, "limit": "requests_per_minute", "value": 9_000_000, "model": HERE}),
    ("keys", {"agent": AGENTS[1], "scope": {"models": [HERE]}}),
    ("upstreams", {"name": "evil-NUMBER", "provider": "openai", "secret": "sk-x", "headers": {"x-title": HERE}}),
    ("upstreams", {"name": HERE, "provider": "openai", "secret": "sk-x"}),
    ("upstreams", {"name": "ruled-NUMBER", "provider": "openai-compatible", "base_url": HERE, "secret": "sk-x"}),
    ("routes", {"name": "evil-NUMBER", "members": [{"upstream": "openai", "models": {HERE: HERE}}]}),
    ("bindings", {"subject_kind": "team", "subject": HERE, "bundle": "starter", "without_members": True}),
    ("webhooks", {"url": "https://hook-NUMBER.example/", "owner": HERE}),
    ("webhooks", {"url": "https://ruled-NUMBER.example/", "team": HERE}),
    ("webhooks", {"url": HERE}),
    ("issuers", {"name": "evil-NUMBER", "issuer": "https://NUMBER.example", "audience": HERE}),
)
"""Operations that have a rule for what the text is, and their bodies."""


@dataclass
class Kept:
    """How many texts of each kind were taken, and how many refused, by the field."""

    taken: dict[str, Counter[str]] = field(default_factory=dict)
    refused: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, where: str, kind: str, taken: bool) -> None:
        (self.taken if taken else self.refused).setdefault(where, Counter())[kind] += 1


def fill(served: Served, texts: Sequence[tuple[str, str]] = TEXTS) -> Kept:
    """Everything that somebody can fill, with everything."""
    home, kept = served.home, Kept()
    operator = operators.operator(home.registry, None, served.operator("filler"))
    made = operators.create_token(home.registry, home.peppers, actor=ACTOR, organization=None, operator=operator.id)
    with httpx.Client(
        base_url=f"{served.url}/api/v1/", headers={"authorization": f"Bearer {made.text}"}, timeout=30
    ) as api:
        halves = [texts[0::2], texts[1::2]]
        agents = [_agent(api, name, mine) for name, mine in zip(AGENTS, halves, strict=True)]
        for path, body in (*FREE, *RULED):
            for number, (kind, text) in enumerate(texts):
                answer = api.post(path, json=_with(body, number, text))
                assert answer.status_code < 500, (path, body, text, answer.text)
                kept.note(f"{path} {json.dumps(body)}", kind, answer.status_code < 400)
                if path == "stops" and answer.status_code < 400:
                    assert api.post(f"stops/{answer.json()['id']}/resume").status_code == 200
        for (agent, _), mine in zip(agents, halves, strict=True):
            _asked(served, api, agent, mine)
    _described(served, [text for _, text in texts])
    _committed(served, [text for _, text in texts])
    _called(served, [key for _, key in agents], [text for _, text in texts])
    return kept


def _with(part: Any, number: int, text: str) -> Any:
    if isinstance(part, dict):
        return {_with(name, number, text): _with(each, number, text) for name, each in part.items()}
    if isinstance(part, list):
        return [_with(each, number, text) for each in part]
    return text if part == HERE else part.replace("NUMBER", str(number)) if isinstance(part, str) else part


def _agent(api: httpx.Client, name: str, texts: list[tuple[str, str]]) -> tuple[str, str]:
    """The id and a key of an agent with these texts as labels and in its versions."""
    lines = [text for _, text in texts if text.isprintable()]
    labels = {f"label-{number}": text for number, text in enumerate(lines)}
    made = api.post("agents", json={"name": name, "owner": lines[0], "labels": labels, "reason": lines[0]})
    assert made.status_code == 201, made.text
    for number, text in enumerate(lines):
        verb = ("suspend", "resume")[number % 2]
        assert api.post(f"agents/{name}/{verb}", json={"reason": text}).status_code == 200
    api.post(f"agents/{name}/resume")
    bound = {"subject_kind": "agent", "subject": name, "bundle": "starter", "reason": lines[1]}
    assert api.post("bindings", json=bound).status_code == 201
    return made.json()["id"], api.post("keys", json={"agent": name}).json()["key"]


def _asked(served: Served, api: httpx.Client, agent: str, texts: list[tuple[str, str]]) -> None:
    """Requests for approval that say these texts; every other one is denied by them."""
    for number, (_, text) in enumerate(texts):
        demanded = Requirement(text) if text.isprintable() else Requirement("hidden")
        request = asked(served.home, agent, demanded, body=text.encode(), model=text)
        if number % 2:
            answer = api.post(f"approvals/{request}/deny", json={"reason": text})
            assert answer.status_code == (200 if text.isprintable() else 422), answer.text


def _described(served: Served, texts: list[str]) -> None:
    """Tools of an MCP server (`both`) that are called and described so, and then are described in another way."""
    by = {"actor": ACTOR, "organization": "default", "upstream": "tracker", "protocol": "2026-07-28"}
    for again in ("", " again"):
        documents = [
            document
            for number, text in enumerate(texts)
            for document in (
                {"name": f"evil-{number}", "title": text, "description": text + again, "inputSchema": {text: text}},
                {"name": text, "description": text + again},
            )
        ]
        tools.observe(served.home.registry, **by, documents=documents)


def _committed(served: Served, texts: list[str]) -> None:
    """A revision whose policy says all texts, by authors and with messages that are such."""
    policies = Policies(served.home)
    lines = [text for text in texts if text.isprintable()]
    said = json.dumps({f"m-{number}": text for number, text in enumerate(texts)}, ensure_ascii=False, indent=1)
    said = said.replace("\ufeff", "\\ufeff")  # no source has it
    comments = "".join(f"\n# {text}" for text in lines)
    files = {"starter/authz.rego": f"{_POLICY}{comments}\n", "starter/authz_test.rego": None}
    policies.commit({**files, "starter/texts.rego": f"package starter.texts\n\nsaid := {said}\n"})
    for number, text in enumerate(lines):
        author = f"{text.replace('<', '(').replace('>', ')')} <dana@acme>"
        policies.commit({f"notes/{number}.txt": text}, message=text, author=author)
    policies.commit({"starter/.manifest": MANIFEST + "\n"}, message="\n".join(lines))
    policies.activate()
    wrong = "".join(
        f"\n\ndeny contains {json.dumps(text, ensure_ascii=False)} if nothing({number})"
        for number, text in enumerate(texts)
    )
    policies.commit({"starter/wrong.rego": f"package starter.authz{wrong}\n"}, message="Break it")


def _called(served: Served, keys: list[str], texts: list[str]) -> None:
    """Calls whose models and clients are called so, and calls to which the policy says so, to a worker."""

    async def call() -> None:
        async with AsyncExitStack() as stack:
            settings, stop = Settings(data=served.home.data, policy_deadline_ms=5000), asyncio.Event()
            worker = DataWorker(settings, "boot_hostile", Background(stop), stack)
            await worker.open()
            at = listener.listen("127.0.0.1", 0)
            serving = asyncio.create_task(listener.serve(worker.application(), at, settings, worker.limits(), stop))
            url = f"http://127.0.0.1:{at.getsockname()[1]}/openai/v1/chat/completions"
            deadline = time.monotonic() + 60
            async with httpx.AsyncClient(timeout=30) as client:
                for number, text in enumerate(texts):
                    headers = [
                        (b"authorization", f"Bearer {keys[number % len(keys)]}".encode()),
                        (b"user-agent", ascii(text).encode()),
                    ]
                    # An element needs no space, and a model has none.
                    for model, fates in ((f"m-{number}", (403,)), (text.replace(" ", "/"), (400, 403))):
                        body = {"model": model, "messages": _MESSAGES}
                        answer = await client.post(url, headers=headers, json=body)
                        while answer.json()["error"]["code"] == "policy_not_loaded" and time.monotonic() < deadline:
                            await asyncio.sleep(0.1)
                            answer = await client.post(url, headers=headers, json=body)
                        assert answer.status_code in fates, (text, answer.text)
                        assert answer.json()["error"]["code"] in ("bad_request", "policy_denied"), answer.text
            stop.set()
            await serving

    token_keys.create(served.home.data.keys)
    asyncio.run(call())
