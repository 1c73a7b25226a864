"""The pages about decisions and policies in a real browser, in both schemes and as narrow as a phone."""

from __future__ import annotations

import pytest

from tests.gateway.control.dashboard.conftest import Served
from tests.gateway.control.dashboard.policies import POLICY, Policies
from tests.gateway.control.dashboard.test_browser import FOUND, Browser, browser, violations

__all__ = ["browser"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="there is no Chromium here: apt-get install chromium-headless-shell"),
]

HERE = "/dashboard/o/default"
LONG = "w" * 400


def fits(browser: Browser, name: str) -> None:
    """In both schemes nothing is wrong, and a phone shows it without scrolling to the side."""
    for scheme in ("light", "dark"):
        browser.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert (name, scheme, violations(browser)) == (name, scheme, [])
    browser.page.set_viewport_size({"width": 400, "height": 800})
    assert (name, browser.page.evaluate("document.documentElement.scrollWidth")) == (name, 400)
    browser.page.set_viewport_size({"width": 1280, "height": 900})


def test_a_person_asks_why_tries_a_fix_and_proposes_it(served: Served, browser: Browser) -> None:
    policies = Policies.made(served.home)
    decision = policies.decided(policies.activate())
    page = browser.page
    browser.open(f"{HERE}/decisions")
    page.click("tbody tr a")
    page.wait_for_selector("text=Verdict of each bundle")
    page.click("a:has-text('starter/authz.rego:8')")
    assert page.locator(".lines li:target").locator("code").inner_text().startswith("deny contains")
    fits(browser, "decision")
    page.click("text=What is in force now")
    page.wait_for_selector("text=The same verdict")
    fits(browser, "again")

    browser.open(f"{HERE}/policies")
    fits(browser, "policies")
    page.click("text=Look at the files")
    fits(browser, "commit")
    page.click("code:text-is('authz.rego')")
    fits(browser, "file")
    page.click("text=Propose a change")
    area = page.locator("textarea").first
    assert area.input_value() == POLICY
    fits(browser, "edit")
    area.fill(POLICY.replace("deny contains", "deny contains contains"))
    page.fill("input[name=branch]", "no-search")
    page.click("button:text-is('Check only')")
    page.wait_for_selector("text=failed here")
    fits(browser, "refused")
    area.fill(POLICY.replace('"web_search"', '"code"'))
    page.click("button:text-is('Check and propose')")
    page.wait_for_selector("text=Nothing is in force by that")
    fits(browser, "proposed")
    assert policies.bundles(policies.tip("proposals/no-search"))["starter"]["authz.rego"] == (
        POLICY.replace('"web_search"', '"code"').encode()
    )
    browser.open(f"{HERE}/decisions/{decision}")
    page.fill("input[name=commit]", "proposals/no-search")
    page.click("button:text-is('Judge it again')")
    page.wait_for_selector("text=Another verdict")
    fits(browser, "another")
    # A form that was refused is the one bad answer that was meant.
    assert [each for each in browser.complaints if "422" not in each] == []


def test_long_lines_and_refused_commits_fit(served: Served, browser: Browser) -> None:
    policies = Policies.made(served.home)
    policies.activate()
    body = f"package starter.authz\n\n# {LONG}\n" + "\n".join(
        f'deny contains "{number}" if false' for number in range(300)
    )
    long = policies.commit({"starter/authz.rego": body + "\n", f"starter/{LONG[:120]}.rego": POLICY}, LONG)
    for name in ("", "/files/starter%2Fauthz.rego", "/edit/starter%2Fauthz.rego", "/changes", "/check"):
        browser.open(f"{HERE}/policies/commits/{long}{name}")
        fits(browser, name)
    assert browser.complaints == []
