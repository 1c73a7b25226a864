"""Every page of a gateway that is full of hostile texts, in a real browser: nothing runs, and nothing is out of place."""

from __future__ import annotations

import pytest

from tests.gateway.control.dashboard import hostile, hostile_things, test_browser
from tests.gateway.control.dashboard.conftest import Served
from tests.gateway.control.dashboard.hostile_walk import Walk
from tests.gateway.control.dashboard.test_browser import Browser, browser
from tests.gateway.control.dashboard.test_pages import Things, both, shown

__all__ = ["both", "browser"]

pytestmark = [test_browser.pytestmark, pytest.mark.slow]


def test_no_page_takes_a_text_for_more_than_a_text(
    served: Served, both: dict[str, Things], browser: Browser
) -> None:
    """Some of each kind; `python -m …hostile_walk` has all of them on all pages."""
    texts = [each for number, each in enumerate(hostile.TEXTS) if number % 4 == 0]
    walk = Walk(browser, [text for _, text in texts])
    walk.harmless("/dashboard/o/default")
    kept = hostile_things.fill(served, texts)
    walk.everywhere([both["default"].of(page) for page in shown()], 4)
    print(kept.taken.keys(), kept.refused.keys())
    print(walk.visited)
    for name, found in sorted(walk.seen.items()):
        print(name, len(found))
    print(*walk.wrong, sep="\n")
    assert walk.wrong == []
