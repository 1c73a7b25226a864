"""Whatever members a client may send: nothing reaches a provider's socket that policies were not told.

`tests/gateway/upstream/test_said.py` asks the providers' readers the same. Here each request goes through a running
gateway, and what its provider got is held against the input that the log says was judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.upstream.providers.presets import PROVIDERS
from tests.rigs.upstream.said import PLAIN, documented, not_judged

from .case import PROMPT, Case, post
from .rig import Rig, mark, matches

# Thousands of requests.
pytestmark = pytest.mark.slow

UPSTREAMS = {"openai": "mock", "openrouter": "router", "azure": "azure", "anthropic": "claude", "gemini": "google"}
PROBE = "probe-4711"
VALUES: tuple[Any, ...] = (PROBE, [PROBE], {"inner": PROBE}, [{"inner": PROBE}], {"type": PROBE})


def cases() -> Iterator[tuple[str, Case]]:
    """Each documented member, with one of the values, in a body of each route; and the member's name."""
    for turn, ((family, action), plain) in enumerate(PLAIN.items()):
        provider = PROVIDERS[family]
        route = next(each for each in provider.routes if each.action == action)
        path = provider.prefix + re.sub(r"\{\w+\}", "mock-1", route.path)
        query = "?api-version=2024-10-21" if family == "azure" else ""
        for number, name in enumerate(sorted(documented())):
            body = json.loads(json.dumps(plain).replace('"m"', '"mock-1"').replace("hello", PROMPT))
            body[name] = VALUES[(turn + number) % len(VALUES)]
            target = f"/{UPSTREAMS[family]}{path}{query}".encode()
            yield name, Case(f"{family} {action} {name}", post(json.dumps(body).encode(), target=target))


def test_no_mark_reaches_a_provider_that_policies_were_not_told(rig: Rig) -> None:
    named = list(cases())
    played = rig.play([case for _, case in named])
    names = {mark(number): (name, case.note) for number, (name, case) in enumerate(named)}
    decided, unsaid, arrived = rig.decided(), {}, 0
    for seen in played.seen:
        if PROBE.encode() not in seen.body or seen.mark not in names:
            continue
        arrived += 1
        name, note = names[seen.mark]
        told = [judged for entry, salt, judged in decided.values() if entry["allow"] and matches(seen, entry, salt)]
        assert told, f"{note}: no decision in the log is about what the provider saw"
        params = told[0]["resource"].get("params", {})
        if PROBE not in json.dumps(told[0]) and not str(params.get(name)).startswith("sha256:"):
            unsaid[name] = note
    assert unsaid.keys() <= not_judged(), unsaid
    assert arrived > len(named) / 10, "there was something to compare"
