"""The pages in a real browser, Debian's Chromium: no error, no violation of the content policy, and WCAG AA."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals import reviews
from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.control.dashboard import pages
from gateway.control.sealing import Cursors
from gateway.identifiers import new_id
from gateway.identity.credentials import Peppers
from gateway.policy.approvals import Requirement
from gateway.registry.database import Registry
from gateway.secrets.vault import Vault
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import Home
from tests.gateway.control.dashboard import filled, visits
from tests.gateway.control.dashboard.conftest import Served, serving
from tests.gateway.control.dashboard.test_pages import Things, both, shown

__all__ = ["both"]

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FOUND = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(
    FOUND is None, reason="there is no Chromium here: apt-get install chromium-headless-shell"
)


@dataclass
class Browser:
    """A page of a browser, and what it has complained of."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        answer = self.page.goto(self.url + path)
        assert answer.status == 200, path
        # A page of a live stream is never quiet.
        self.page.wait_for_load_state("domcontentloaded")

    def enter(self, link: str) -> None:
        self.open(f"/dashboard/enter?link={link}")
        self.page.click("button.primary")
        self.page.wait_for_url("**/o/default")


@pytest.fixture
def browser(served: Served) -> Iterator[Browser]:
    with entered(served) as found:
        yield found


@contextmanager
def entered(served: Served) -> Iterator[Browser]:
    """A browser in which an owner of the whole gateway is logged in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": 1280, "height": 900})
        found = Browser(page, served.url)
        page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("dialog", lambda dialog: found.complaints.append(dialog.message))
        found.enter(served.link(served.operator("olga")))
        yield found
        started.close()


def violations(browser: Browser) -> list[str]:
    """What axe finds against WCAG 2.2 AA. Its script comes in by the debugger, which no policy of a page stops."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(browser.page, options={"runOnly": {"type": "tag", "values": tags}}).response
    assert len(found["passes"]) > 10
    return [f"{each['id']}: {node['html'][:120]}" for each in found["violations"] for node in each["nodes"]]


@pytest.mark.slow
def test_a_person_enters_registers_an_agent_and_leaves(served: Served, browser: Browser) -> None:
    page = browser.page
    page.click("text=Agents")
    page.click("text=Register an agent")
    page.fill("input[name=name]", "new-bot")
    page.fill("input[name=owner]", "dana@example.org")
    page.click("button:has-text('Register')")
    page.wait_for_selector("text=new-bot is registered")
    assert page.locator(".secret code").inner_text().startswith("aig_sk_")
    page.click("text=To the agent")
    page.click("text=Suspend")
    page.fill("input[name=reason]", "in the browser")
    page.click("button:has-text('Suspend')")
    assert page.locator("span.badge", has_text="suspended").count() == 1
    assert violations(browser) == []
    page.click(".menu summary")
    page.click("text=Log out")
    page.wait_for_url("**/dashboard/login")
    assert browser.complaints == []


@pytest.mark.slow
def test_a_reviewer_looks_and_approves(served: Served, browser: Browser) -> None:
    """The whole call is shown by a form, which the pages that are opened by their addresses leave out."""
    evil = "<img src=x onerror=alert(1)>" + "W" * 300
    agent = served.home.agent("bot", owner="dana")
    request = asked(served.home, agent, Requirement(evil[:200]), body=evil.encode(), model=evil[:200])
    page = browser.page
    browser.open("/dashboard/o/default/approvals?state=waiting")
    page.click("tbody tr a")
    page.click("text=Look at the whole call")
    page.wait_for_selector("text=What will run")
    assert page.locator("pre").first.inner_text() == evil
    assert violations(browser) == []
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.locator("form", has_text="Approved, the call runs").locator("input[name=reason]").fill("fine")
    page.click("button:text-is('Approve')")
    page.wait_for_url(f"**/approvals/{request}")
    assert page.locator(".head span.badge").inner_text() == "approved"
    assert violations(browser) == []
    assert page.locator("img").count() == 0
    assert browser.complaints == []


@pytest.mark.slow
def test_a_reviewer_answers_many_calls(served: Served, browser: Browser) -> None:
    """By boxes and two buttons of one form, which work without the script; then all that wait."""
    agent = served.home.agent("bot", owner="dana")
    requests = [asked(served.home, agent, body=b"%d" % number) for number in range(4)]
    page = browser.page

    def check() -> None:
        assert violations(browser) == []
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.set_viewport_size({"width": 1280, "height": 900})

    browser.open(f"/dashboard/o/default/approvals/{requests[0]}")
    page.click("text=Look at the whole call")
    browser.open("/dashboard/o/default/approvals?state=waiting")
    for each in requests[:2]:
        page.check(f"input[value={each}]")
    check()
    page.click("text=Approve the chosen that you have looked at")
    page.wait_for_selector("text=1 call was left as before")
    assert "open it and look first" in page.locator("tr", has_text=requests[1][-12:]).inner_text()
    check()
    page.click("text=Approvals that wait")
    page.check(f"input[value={requests[2]}]")
    page.click("button:text-is('Deny the chosen')")  # the browser keeps it until there is a reason
    assert page.evaluate("document.querySelector('input[name=reason]').validity.valueMissing")
    page.fill("input[name=reason]", "not this one")
    page.keyboard.press("Enter")  # of the two buttons it means the one that approves nothing
    page.wait_for_selector("text=1 call was reviewed.")
    page.click("text=Approvals that wait")
    page.click("text=Deny all that wait")
    page.wait_for_selector("text=2 calls")
    check()
    page.fill(".card input[name=reason]", "enough")
    page.click("button:text-is('Deny them')")
    page.wait_for_selector("text=2 calls were denied.")
    check()
    states = {each: reviews.one(served.home.registry, "default", each).state for each in requests}
    assert list(states.values()) == ["approved", "denied", "denied", "denied"]
    assert browser.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_error_or_a_violation(
    served: Served, both: dict[str, Things], browser: Browser, scheme: str
) -> None:
    browser.page.emulate_media(color_scheme=scheme)
    for page in shown():
        browser.open(both["default"].of(page))
        found = violations(browser)
        assert (page.path, found) == (page.path, [])
    assert browser.complaints == []


@pytest.mark.slow
def test_pages_fit_a_narrow_screen_and_work_without_the_script(
    served: Served, both: dict[str, Things], browser: Browser
) -> None:
    browser.page.set_viewport_size({"width": 400, "height": 800})
    for page in shown():
        browser.open(both["default"].of(page))
        assert browser.page.evaluate("document.documentElement.scrollWidth") <= 400, page.path
    assert len(pages.PAGES) > len(shown())


@pytest.mark.slow
def test_every_page_of_a_gateway_with_200_agents_and_100_000_entries(tmp_path: Path) -> None:
    """What `test_large.py` holds to little time is also without an error or a violation of AA where there is much."""
    data = filled.create(tmp_path / "gateway", 200, 100_000)
    with closing(Registry.open(data)) as registry:
        home = Home(data, registry, Peppers.load(data.keys), Vault.load(data.keys))
        found = [(name, address) for name, address in visits.visits(data, registry, Cursors(home.peppers.current))]
        with serving(home) as served, entered(served) as browser:
            for name, address in found:
                if ("(" in name and "middle" not in name) or name.endswith("proof"):
                    continue  # a page that was looked at with another filter, or a file
                browser.open(address)
                assert violations(browser) == [], name
                assert browser.complaints == [], name
    assert len(found) > 70


@pytest.mark.slow
def test_live_decisions_come_as_they_are_made(served: Served, both: dict[str, Things], browser: Browser) -> None:
    browser.open("/dashboard/o/default/decisions/live")
    browser.page.wait_for_selector("[data-live-state]:text-is('live')", timeout=30_000)
    rows = browser.page.locator("tbody tr")
    before = rows.count()
    writer = AuditWriter(served.home.data, boot=new_id("boot"), deployment="test")
    evil = {"model": "<img src=x onerror=alert(1)>", "agent_name": "bob"}
    writer.write_sync(
        Decided(
            organization="default",
            event_id=new_id("dec"),
            allow=False,
            reason="policy_denied",
            open=False,
            fields=evil,
            agent="agt_one",
            key="key_one",
            private=b"{}",
        )
    )
    writer.close()
    rows.nth(before).wait_for(timeout=30_000)
    assert rows.first.inner_text().split()[1:4] == ["bob", "denied", "policy_denied"]
    assert browser.page.locator("img").count() == 0
    assert browser.complaints == []


@pytest.mark.slow
def test_the_pictures_of_the_documentation_are_of_pages(tmp_path: Path) -> None:
    from tests.gateway.control.dashboard import pictures

    made = {path.name: path.stat().st_size for path in pictures.make(tmp_path)}
    assert min(made.values()) > 20_000  # an empty page has less
    assert made.keys() == {path.name for path in pictures.FOLDER.glob("dashboard-*.png")}
    page = (pictures.FOLDER.parent / "how-to" / "operate" / "dashboard.md").read_text("utf-8")
    assert [name for name in made if name not in page] == []
