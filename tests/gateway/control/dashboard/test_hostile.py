"""Every page of a gateway that is full of hostile texts, in a real browser: nothing runs or is out of place."""

from __future__ import annotations

import json

import pytest

from tests.gateway.control.dashboard import hostile, hostile_things, test_browser
from tests.gateway.control.dashboard.conftest import Served
from tests.gateway.control.dashboard.hostile_walk import walked
from tests.gateway.control.dashboard.test_browser import Browser, browser

__all__ = ["browser"]

pytestmark = [test_browser.pytestmark, pytest.mark.slow]

_SAY = {
    "agents",
    "agents/{agent}",
    "agents/{agent}/change",
    "agents/{agent}/do/revoke",
    "agents/{agent}/versions",
    "approvals",
    "approvals/{approval}",
    "decisions",
    "decisions/live",
    "decisions/{decision}",
    "decisions/{decision}/again",
    "log",
    "organization",
    "policies",
    "policies/commits/{commit}",
    "policies/commits/{commit}/changes",
    "policies/commits/{commit}/check",
    "policies/commits/{commit}/edit/{file}",
    "policies/commits/{commit}/files/{file}",
    "teams/{team}",
    "teams/{team}/change",
    "tools/{tool}",
}
"""Pages that have texts of others, so that the others do not make up for them."""


def test_no_page_takes_a_text_for_more_than_a_text(served: Served, browser: Browser) -> None:
    """Some of each kind; `python -m tests.gateway.control.dashboard.hostile_walk` has all of them on all pages."""
    walk, kept = walked(served, browser, hostile.TEXTS[::4], 6)
    assert walk.wrong == []
    assert {page for page in _SAY if not walk.seen.get(page)} == set()
    assert set(walk.texts) - set().union(*walk.seen.values()) == set()
    assert (walk.sent.total() > 60, walk.again.total() > 20) == (True, True), (walk.sent, walk.again)
    assert kept.taken.keys() > {f"{path} {json.dumps(body)}" for path, body in hostile_things.FREE}
