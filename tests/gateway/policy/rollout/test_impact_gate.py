"""A commit under which past calls would have ended otherwise comes into force only if its message accepts them."""

from __future__ import annotations

import json
import threading
import time

import pytest

from gateway.audit import storage
from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.policy.rollout import impact_gate
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.sync import PolicySync
from gateway.registry import queries
from tests.gateway.conftest import Home
from tests.gateway.control.dashboard.policies import INPUT, POLICY, Policies

CALLS = 3


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        ("Change", 0),
        ("Change\n\nImpact-Accepts: 12\n", 12),
        ("Change\n\nimpact-accepts: all", None),
        ("Change\n\nImpact-Accepts: 1\nImpact-Accepts: 2\n", 2),
        ("Impact-Accepts: -1", 0),
        ("about Impact-Accepts: 12", 0),
        ("Impact-Accepts: 12 or so", 0),
    ],
)
def test_what_a_message_accepts(message: str, accepted: int | None) -> None:
    assert impact_gate.accepted(message) == accepted


@pytest.fixture
def policies(home: Home) -> Policies:
    """A gateway that has allowed three calls."""
    storage.create(home.data)
    made = Policies.made(home)
    (record,) = made.activate()
    judges = [{"name": "starter", "digest": record.digest, "commit": record.commit, "effect": "grant"}]
    call = {**INPUT, "request": {**INPUT["request"], "tools": []}}
    writer = AuditWriter(home.data, boot=new_id("boot"), deployment="test")
    for _ in range(CALLS):
        writer.write_sync(
            Decided(
                organization="default",
                event_id=new_id("dec"),
                agent="agt_one",
                key="key_one",
                allow=True,
                reason="allowed",
                fields={"bundles_json": json.dumps(judges)},
                private=json.dumps(call).encode(),
            )
        )
    writer.close()
    return made


def _sync(home: Home) -> PolicySync:
    return PolicySync(home.registry, home.data, GitSource(home.data.policies), impact_days=1)


def test_a_commit_is_refused_until_its_message_accepts_it(home: Home, policies: Policies) -> None:
    before = policies.head
    denial = {"starter/authz.rego": POLICY + 'deny contains "closed" if input.resource.model == "gpt-4o-mini"\n'}
    sync = _sync(home)
    policies.commit(denial, f"Close\n\nImpact-Accepts: {CALLS - 1}")
    refused = sync.step()
    assert refused.outcome == "impact"
    assert "3 calls of the last 1 days would have ended otherwise (allow to deny: 3)" in str(refused.problems[0])
    active = queries.activation(home.registry)
    assert active is not None
    assert active.commit == before
    accepting = policies.commit(denial | {"starter/README.md": "x"}, f"Close\n\nImpact-Accepts: {CALLS}")
    assert sync.step().outcome == "activated"
    active = queries.activation(home.registry)
    assert active is not None
    assert active.commit == accepting


def test_a_commit_without_impact_needs_no_line(home: Home, policies: Policies) -> None:
    policies.commit({"starter/authz.rego": POLICY + "# A remark.\n"})
    assert _sync(home).step().outcome == "activated"


def test_it_stops_with_its_process(home: Home, policies: Policies) -> None:
    stop = threading.Event()
    stop.set()
    bundles = policies.bundles(policies.head)
    began = time.monotonic()
    with pytest.raises(GatewayError, match="stopped"):
        impact_gate.problem(home.data, bundles, "c" * 40, "", 1, stop)
    assert time.monotonic() - began < 10
