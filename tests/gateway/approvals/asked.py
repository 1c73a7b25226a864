"""A request for approval, as a worker makes it."""

from __future__ import annotations

import time

from gateway.approvals.asking import Asking, Askings
from gateway.approvals.calls import RawCall
from gateway.identifiers import new_id
from gateway.policy.approvals import Requirement
from tests.gateway.conftest import ORG, Home


def asked(
    home: Home,
    agent: str,
    *demanded: Requirement,
    organization: str = ORG,
    body: bytes = b'{"model":"m"}',
    model: str = "m",
) -> str:
    """Its id."""
    call = RawCall(
        organization=organization,
        agent_id=agent,
        delegation=[],
        person=None,
        upstream_id="ups_a",
        base_url="http://127.0.0.1:1",
        action="chat.completions",
        method="POST",
        path="/v1/chat/completions",
        query={},
        headers={"openai-beta": "x"},
        content_type="application/json",
        body=body,
    )
    requirements = demanded or (Requirement("big"),)
    asking = Asking(
        call=call,
        digest=call.digest(requirements),
        pattern=call.pattern_digest(requirements),
        requirements=requirements,
        key_id="",
        decision_id=new_id("dec"),
        about={"action": "chat.completions", "model": model, "method": "POST", "path": call.path},
    )
    return Askings(home.data.registry_db, home.vault, "boot_a").ask(asking, time.time_ns()).id
