"""A walk in a browser through every page of a gateway that others have filled with hostile texts (`hostile_things.py`).

    python -m tests.gateway.control.dashboard.hostile_walk     # all texts on every page, for minutes

On each page, wide and narrow: nothing of others runs or is asked for, no element or attribute is there that templates
do not have, the head is where it is on a harmless page, nothing sticks out, and each character can be seen.
"""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway.audit import storage
from gateway.control.dashboard import pages, rendering
from gateway.control.dashboard.door import ROOT
from gateway.control.problems import Problem
from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.registry.database import Registry
from gateway.registry.organizations.changes import create_organization
from gateway.secrets.vault import Vault
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.gateway.control.dashboard import hostile, hostile_things
from tests.gateway.control.dashboard.conftest import Served, serving
from tests.gateway.control.dashboard.hostile_things import Kept
from tests.gateway.control.dashboard.test_browser import Browser, entered
from tests.gateway.control.dashboard.test_pages import shown, two_filled

WIDTHS: Final = (1280, 400)
_FILES: Final = ("log/{entry}/proof",)
"""Pages that are files."""
_TEMPLATES: Final = Path(rendering.__file__).parent / "templates"
_ELEMENTS: Final = {
    "tbody",  # of any table
    *(name for each in _TEMPLATES.iterdir() for name in re.findall(r"<([a-z0-9]+)", each.read_text("utf-8"))),
}

_LOOK: Final = """() => {
  const shown = document.documentElement.cloneNode(true);
  shown.querySelectorAll("textarea").forEach((each) => each.remove());
  const typed = [...document.querySelectorAll("input, textarea")].map((each) => each.value);
  const wrong = [];
  for (const each of document.querySelectorAll("*")) {
    for (const { name, value } of each.attributes) {
      if (/^(on|style$|srcdoc$|hx-|x-|v-|ng-|data-hx)/.test(name)) wrong.push(`${each.localName} ${name}=${value}`);
      if (!["href", "src", "action", "formaction"].includes(name)) continue;
      if (new URL(value, document.baseURI).origin !== location.origin) wrong.push(`${each.localName} ${name}=${value}`);
    }
  }
  return {
    ran: window.ran,
    wrong,
    elements: [...new Set([...document.querySelectorAll("*")].map((each) => each.localName))],
    shown: shown.textContent,
    typed: typed.join("\\n"),
    links: [...document.querySelectorAll("a[href]")].map((each) => each.getAttribute("href")),
    ends: document.body.lastElementChild.localName,
  };
}"""
_FORMS: Final = """() => document.querySelectorAll("main form").length"""
_SEND: Final = """([number, text]) => {
  const form = document.querySelectorAll("main form")[number];
  form.noValidate = true;
  for (const each of form.elements) {
    if (!each.matches("input, textarea") || ["hidden", "checkbox", "radio"].includes(each.type)) continue;
    if (each.localName === "input") each.type = "text";
    each.value = text;
  }
  form.requestSubmit(form.querySelector("button:not([type=button])"));
}"""
_MEASURE: Final = """() => {
  const scrolls = (each) => getComputedStyle(each).overflowX !== "visible" && !each.classList.contains("table");
  const inside = (each) => { while (each && !scrolls(each)) each = each.parentElement; return each; };
  const width = document.scrollingElement.clientWidth;
  const out = [];
  for (const each of document.body.querySelectorAll("*")) {
    const box = each.getBoundingClientRect();
    if (box.width === 0 || box.right <= width + 1 || inside(each.parentElement)) continue;
    out.push(`${each.outerHTML.slice(0, 150)} ends at ${box.right}`);
  }
  const head = [".top", ".brand", ".top nav", ".who"].map((each) => {
    const { x, y, width, height } = document.querySelector(each).getBoundingClientRect();
    return [each, x, y, width, height].join(" ");
  });
  const main = document.querySelector("main").getBoundingClientRect();
  const place = [...head, main.x, main.y, main.width];
  return { wide: document.scrollingElement.scrollWidth - width, out: out.slice(0, 3), place };
}"""


@dataclass
class Walk:
    """Visits, and what they have found: nothing, if all is well."""

    browser: Browser
    texts: Sequence[str]
    seen: dict[str, set[str]] = field(default_factory=dict)
    """The name of a page → the texts that were on it."""
    visited: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    """The name of a page → how often a form of it was sent."""
    again: Counter[str] = field(default_factory=Counter)
    """The name of a page → how often a form was shown again with the text."""
    wrong: list[str] = field(default_factory=list)
    _places: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.texts = [rendering.visible(each) for each in self.texts]
        self.browser.page.on("request", self._requested)

    def harmless(self, address: str) -> None:
        """Take from a page, before anything has such texts, where its head is."""
        self.browser.open(address)
        self._places = {width: self._measured(width)["place"] for width in WIDTHS}

    def everywhere(self, starts: Iterable[str], most: int) -> None:
        """Visit these addresses and all to which they lead: so many of each page and filter, far from each other."""
        pools: dict[str, list[str]] = {}
        known: set[str] = set()
        found = [*starts]
        while found:
            for address in found:
                if address not in known and (kind := _kind(address)) is not None:
                    known.add(address)
                    pools.setdefault(kind, []).append(address)
            # First each page at all, so that there is a choice of others.
            unseen = [kind for kind in pools if not self.visited[kind]]
            chosen = dict.fromkeys(unseen, 1) or {kind: most - self.visited[kind] for kind in pools}
            found = []
            for kind, many in chosen.items():
                for address in _spread(pools[kind], many):
                    pools[kind].remove(address)
                    self.visited[kind] += 1
                    found += self.visit(address)

    def visit(self, address: str) -> list[str]:
        """Look at a page; returns the links of it."""
        answer = self.browser.page.goto(self.browser.url + address)
        if answer.status != 404:  # the log of these tests tells of agents that were never registered
            assert answer.status == 200, (address, answer.status)
        return self.look(address)

    def send(self, addresses: Iterable[str], most: int) -> None:
        """Send each form of these pages with a text in all its fields: it is shown again with that, or it is done."""
        texts, page = itertools.cycle(self.texts), self.browser.page
        for address in addresses:
            number = 0
            while page.goto(self.browser.url + address).status == 200 and number < page.evaluate(_FORMS):
                for text in itertools.islice(texts, most):
                    page.goto(self.browser.url + address)
                    if page.evaluate(_FORMS) <= number:
                        break  # what the form was about has been done
                    with page.expect_navigation():
                        page.evaluate(_SEND, [number, text])
                    self.sent[_name(address)] += 1
                    self.look(address)
                    self.again[_name(address)] += text in page.evaluate(_LOOK)["typed"]
                number += 1
        self.browser.complaints.clear()  # of pages about what is gone by now

    def look(self, where: str) -> list[str]:
        """Look at the page that the browser has."""
        found = self.browser.page.evaluate(_LOOK)
        wrong = list(found["wrong"])
        if found["ran"] is not None:
            wrong.append("something ran")
        wrong += [f"an element {each}" for each in found["elements"] if each not in _ELEMENTS]
        wrong += sorted({f"a hidden {each!a}" for each in found["shown"] if not (each.isprintable() or each in "\n\t")})
        wrong += [each for each in self.browser.complaints if "the server responded with a status of 4" not in each]
        if found["ends"] != "main":
            wrong.append(f"the page ends with {found['ends']}")
        self.browser.complaints.clear()
        for width in WIDTHS:
            measured = self._measured(width)
            if measured["wide"] > 0 or measured["out"]:
                wrong.append(f"{width}: {measured['wide']} too wide: {measured['out']}")
            if measured["place"] != self._places[width]:
                wrong.append(f"{width}: the head is at {measured['place']}")
        self.wrong += [f"{where}: {each}" for each in wrong]
        said = f"{found['shown']}\n{found['typed']}"
        self.seen.setdefault(_name(where), set()).update(each for each in self.texts if each in said)
        return [each.partition("#")[0] for each in found["links"] if each.startswith(f"{ROOT}/")]

    def _measured(self, width: int) -> Any:
        self.browser.page.set_viewport_size({"width": width, "height": 900})
        return self.browser.page.evaluate(_MEASURE)

    def _requested(self, request: Any) -> None:
        url = urlsplit(request.url)
        if not request.url.startswith(f"{self.browser.url}{ROOT}/"):
            self.browser.complaints.append(f"a request to {url.geturl()}")


def _spread(addresses: Sequence[str], many: int) -> list[str]:
    """So many of these, from the first to the last one."""
    last, many = len(addresses) - 1, min(many, len(addresses))
    return [addresses[number * last // max(1, many - 1)] for number in range(many)]


def _name(address: str) -> str:
    """The path of the page at an address, with its verb."""
    try:
        page, path = pages.find(address.partition("?")[0], False)
    except Problem:
        return ""
    return f"{'/' if page.everywhere else ''}{page.path.replace('{verb}', path.get('verb', ''))}"


def _kind(address: str) -> str | None:
    """The name of a page and its filters, if it is a page that can be looked at, and not of another organization."""
    name, query = _name(address), parse_qs(urlsplit(address).query)
    if (
        address.startswith(f"{ROOT}/o/acme")
        or "format" in query
        or name in _FILES
        or (not name and "/events" in address)
    ):
        return None
    return f"{name}?{'&'.join(sorted(query))}"


def walked(served: Served, browser: Browser, texts: Sequence[tuple[str, str]], most: int) -> tuple[Walk, Kept]:
    """Fill the gateway with these texts, and visit so many of each page."""
    both = two_filled(served)
    walk = Walk(browser, [text for _, text in texts])
    walk.harmless("/dashboard/o/default")
    with ThreadPoolExecutor() as pool:  # the driver of the browser has this thread's loop
        kept = pool.submit(hostile_things.fill, served, texts).result()
    starts = [both["default"].of(page) for page in shown()]
    walk.everywhere(starts, most)
    walk.send(starts, max(1, most // 50))
    return walk, kept


def main() -> None:
    """Walk with all texts, over all that has them, and say what was visited and what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        data = DataDirectory(Path(folder) / "gateway-data")
        data.create()
        with closing(Registry.create(data, "test")) as registry:
            create_organization(registry, actor=ACTOR, name=ORG)
            home = Home(data, registry, Peppers.create(data.keys), Vault.create(data.keys))
            storage.create(data)
            with serving(home) as served, entered(served) as browser:
                walk, _ = walked(served, browser, hostile.TEXTS, 2 * len(hostile.TEXTS))
    for kind, many in sorted(walk.visited.items()):
        print(f"{many:5} visits, {len(walk.seen[kind.partition('?')[0]]):4} texts  {kind}")
    print(f"{walk.sent.total()} forms were sent, and {walk.again.total()} shown again with a text")
    missing = set(walk.texts) - set().union(*walk.seen.values())
    print(
        f"{walk.visited.total()} visits, {len(hostile.TEXTS)} texts, {len(missing)} on no page", *walk.wrong, sep="\n"
    )
    sys.exit(bool(walk.wrong or missing))


if __name__ == "__main__":
    main()
