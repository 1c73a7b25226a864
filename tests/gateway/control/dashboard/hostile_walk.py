"""A walk in a browser through every page of a gateway that others have filled with hostile texts (`hostile_things.py`).

    python -m tests.gateway.control.dashboard.hostile_walk     # all texts on every page, for minutes

On each page, wide and narrow: nothing of others runs or is asked for, no element or attribute is there that templates do
not have, the head is where it is on a harmless page, nothing sticks out, and each character can be seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway.control.dashboard import pages, rendering
from gateway.control.dashboard.door import ROOT
from gateway.control.problems import Problem
from tests.gateway.control.dashboard.test_browser import Browser

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
_MEASURE: Final = """() => {
  const scrolls = (each) => getComputedStyle(each).overflowX !== "visible" && !each.classList.contains("table");
  const inside = (each) => { while (each && !scrolls(each)) each = each.parentElement; return each; };
  const width = document.scrollingElement.clientWidth;
  const out = [];
  for (const each of document.body.querySelectorAll("*")) {
    const box = each.getBoundingClientRect();
    if (box.width === 0 || box.right <= width + 1 || each.closest(".skip, .drop") || inside(each.parentElement)) continue;
    out.push(`${each.outerHTML.slice(0, 150)} ends at ${box.right}`);
  }
  const head = [".top", ".brand", ".top nav", ".who"].map((each) => {
    const { x, y, width, height } = document.querySelector(each).getBoundingClientRect();
    return [each, x, y, width, height].join(" ");
  });
  const main = document.querySelector("main").getBoundingClientRect();
  return { wide: document.scrollingElement.scrollWidth - width, out: out.slice(0, 3), place: [...head, main.x, main.y, main.width] };
}"""


@dataclass
class Walk:
    """Visits, and what they have found: nothing, if all is well."""

    browser: Browser
    texts: Sequence[str]
    seen: dict[str, set[str]] = field(default_factory=dict)
    """The name of a page → the texts that were on it."""
    visited: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _places: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.browser.page.on("request", self._requested)

    def harmless(self, address: str) -> None:
        """Take from a page, before anything has such texts, where its head is."""
        self.browser.open(address)
        self._places = {width: self._measured(width)["place"] for width in WIDTHS}

    def everywhere(self, starts: Iterable[str], most: int) -> None:
        """Visit these addresses and all to which they lead: so many of each page and filter, spread over what is there."""
        known: set[str] = set()
        waiting = list(starts)
        while waiting:
            here: dict[str, list[str]] = {}
            for address in waiting:
                if address not in known and (kind := _kind(address)) is not None:
                    known.add(address)
                    here.setdefault(kind, []).append(address)
            waiting = []
            for kind, addresses in here.items():
                left = most - self.visited[kind]
                step = max(1, -(-len(addresses) // left)) if left > 0 else 0
                for address in addresses[::step] if step else ():
                    self.visited[kind] += 1
                    waiting += self.visit(address)

    def visit(self, address: str) -> list[str]:
        """Look at a page; returns the links of it."""
        answer = self.browser.page.goto(self.browser.url + address)
        if answer.status != 404:  # the log of these tests tells of agents that were never registered
            assert answer.status == 200, (address, answer.status)
        return self.look(address)

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


def _name(address: str) -> str:
    """The path of the page at an address, with its verb."""
    try:
        page, path = pages.find(address.partition("?")[0], False)
    except Problem:
        return ""
    return f"{'/' if page.everywhere else ''}{page.path.replace('{verb}', path.get('verb', ''))}"


def _kind(address: str) -> str | None:
    """The name of a page and its filters, if it is a page that can be looked at."""
    name, query = _name(address), parse_qs(urlsplit(address).query)
    if "format" in query or name in _FILES or (not name and "/events" in address):
        return None
    return f"{name}?{'&'.join(sorted(query))}"
