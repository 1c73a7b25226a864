"""The pictures of the dashboard in the documentation: pages of `gateway demo --keep`, as its user sees them.

    python -m tests.gateway.control.dashboard.pictures        # writes docs/pictures/dashboard-*.png

Times and ids differ in each run, so pictures are made anew when pages have changed, and are not compared.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.gateway.control.dashboard.test_browser import FOUND

FOLDER: Final = Path(__file__).parents[4] / "docs" / "pictures"
_SIZE: Final = {"width": 1180, "height": 760}


def _denied(page: Any, home: str) -> None:
    page.goto(f"{home}/decisions?allow=false")
    page.click("tbody tr a")


def _registered(page: Any, home: str) -> None:
    page.goto(f"{home}/agents/new")
    page.fill("input[name=name]", "research")
    page.fill("input[name=owner]", "dana@example.org")
    page.fill("input[name=bundle]", "analytics")
    page.click("button:has-text('Register')")


def _agent(page: Any, home: str) -> None:
    page.goto(f"{home}/agents")
    page.click("tbody tr a:text-is('analytics')")


def _commit(page: Any, home: str) -> None:
    page.goto(f"{home}/policies")
    page.click("text=Look at the files")


def _at(path: str) -> Callable[[Any, str], None]:
    return lambda page, home: page.goto(f"{home}{path}")


PAGES: Final[dict[str, Callable[[Any, str], None]]] = {
    "home": _at(""),
    "agents": _at("/agents"),
    "agent": _agent,
    "registered": _registered,
    "decisions": _at("/decisions"),
    "decision": _denied,
    "policies": _at("/policies"),
    "commit": _commit,
    "usage": _at("/usage?by=model&days=7"),
    "log": _at("/log"),
    "organization": _at("/organization"),
}
"""The name of a picture → how a visitor gets to its page, from the first one of an organization."""


def make(folder: Path) -> Iterator[Path]:
    """Write all pictures into the folder; yields each when it is there."""
    from playwright.sync_api import sync_playwright

    with _demo() as link, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE)
        page.goto(link)
        page.click("button.primary")
        page.wait_for_url("**/o/default")
        home = page.url
        for name, go in PAGES.items():
            go(page, home)
            page.wait_for_load_state()
            path = folder / f"dashboard-{name}.png"
            page.screenshot(path=path)
            yield path
        browser.close()


@contextmanager
def _demo() -> Iterator[str]:
    """The link to the dashboard of a demo that goes on."""
    command = [sys.executable, "-m", "gateway", "demo", "--keep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            yield next(found[0] for line in demo.stdout if (found := re.search(r"http://\S+/dashboard/\S+", line)))
        finally:
            demo.terminate()


if __name__ == "__main__":
    for made in make(FOLDER if len(sys.argv) < 2 else Path(sys.argv[1])):
        print(made)
