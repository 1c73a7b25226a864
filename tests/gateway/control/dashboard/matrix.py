"""Every page and every form of the dashboard, found by following its links as a person would, with what each one reads
and asks: what `test_matrix.py` and `test_hostile.py` multiply by people, other organizations and hostile texts.

Nothing here names a page. One that is added to `pages.PAGES` is found if a link leads to it and `both`, a fixture of
`test_pages.py`, has something that it can show; if not, `test_matrix.py` says so.
"""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import quote

from gateway.control import dispatch, operations
from gateway.control.dashboard import pages
from gateway.control.dashboard.door import ROOT, OperationReply, View
from gateway.control.dashboard.shown import ShownPage
from gateway.control.operation import Operation
from gateway.control.problems import Problem
from tests.gateway.control.dashboard.conftest import Person, Served

MOST_ALIKE: Final = 3
"""So many addresses of one page are looked at."""
EVERY: Final = operations.every()
_TABLE: Final = operations.matchers(EVERY)


@dataclass(frozen=True)
class Found:
    """A page or a form, by the address to which a link or a form leads, and the fields that the form has."""

    page: ShownPage
    address: str
    fields: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    @property
    def name(self) -> str:
        """The same for the same page or action about another thing."""
        _, path = pages.find(self.address, self.page.changes)
        method, root = "POST" if self.page.changes else "GET", "/" if self.page.everywhere else ""
        return f"{method} {root}{self.page.path.replace('{verb}', path.get('verb', ''))}"

    def about(self, **names: str) -> Found:
        """The same page or form with other names in its path."""
        _, path = pages.find(self.address, self.page.changes)
        path |= {name: text for name, text in names.items() if name in path}
        base = f"{ROOT}/" if self.page.everywhere else f"{ROOT}/o/{{organization}}/"
        quoted = {name: quote(text, safe="") for name, text in path.items()}
        return replace(self, address=(base + self.page.path).format(**quoted).rstrip("/"))

    @property
    def names(self) -> dict[str, str]:
        return pages.find(self.address, self.page.changes)[1]


class _Links(HTMLParser):
    """The links and forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, str, dict[str, str]]] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href", "").startswith(f"{ROOT}/"):
            self.links.append(given["href"])
        elif tag == "form":
            self.forms.append((given.get("method", "get"), given.get("action", ""), {}))
        elif tag == "button" and "formaction" in given:  # another way to send the fields of the form that it is in
            self.forms.append(("post", given["formaction"], self.forms[-1][2]))
        elif tag in ("input", "textarea", "select") and self.forms and "name" in given:
            self.forms[-1][2].setdefault(given["name"], given.get("value") or ("3" if "required" in given else ""))
            self._select = given["name"] if tag == "select" else ""
        elif tag == "option" and self.forms and self._select and ("selected" in given or not self._chosen):
            self.forms[-1][2][self._select] = given.get("value", "")

    @property
    def _chosen(self) -> str:
        return self.forms[-1][2][self._select]


def links(page: str) -> _Links:
    found = _Links()
    found.feed(page)
    return found


def crawl(person: Person, organization: str) -> dict[str, Found]:
    """All pages and forms of an organization that this person is led to, by their names."""
    start = f"{ROOT}/o/{organization}"
    found: dict[str, Found] = {}
    looked, waiting = {""}, [start]
    alike: dict[str, int] = {}
    while waiting:
        address = waiting.pop(0)
        try:
            page, path = pages.find(address, False)
        except Problem:
            continue  # the stream of events, and a form that has no page
        here = Found(page, address)
        if path.get("organization", organization) != organization or alike.get(here.name, 0) == MOST_ALIKE:
            continue
        answer = person.get(address)
        if answer.status_code == 404:
            continue  # the log of these tests tells of agents that were never registered
        assert answer.status_code in (200, 303), f"a link leads to {address}: {answer.status_code}"
        alike[here.name] = alike.get(here.name, 0) + 1
        found.setdefault(here.name, here)
        seen = links(answer.text)
        for method, action, fields in seen.forms:
            if method.lower() == "post":
                form = Found(pages.find(action or address, True)[0], action or address, fields)
                assert fields.get("csrf") == person.csrf(answer.text), f"a form of {address} has no token"
                found.setdefault(form.name, form)
        for each in [f"{ROOT}/", *seen.links]:
            target = html.unescape(each).partition("?")[0]
            if target not in looked:
                looked.add(target)
                waiting.append(target)
    return found


@dataclass
class Asked:
    """An operation that a page has asked, and the status of its answer."""

    operation: Operation
    organization: str | None
    status: int


@dataclass
class Visits:
    """What the pages of a gateway read and ask while it is watched; each is carried out as usual."""

    read: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)

    def clear(self) -> None:
        self.read.clear()
        self.filled.clear()
        self.asked.clear()


class _Noting(dict[str, str]):
    """Parameters or fields that note which ones are asked for."""

    def __init__(self, given: Mapping[str, str], noted: set[str]) -> None:
        super().__init__(given)
        self._noted = noted

    def get(self, name: str, default: Any = None) -> Any:
        self._noted.add(name)
        return super().get(name, default)


def watch(served: Served) -> Visits:
    visits = Visits()
    dashboard = served.api._dashboard
    carry_out = dashboard._shown

    async def shown(page: ShownPage, view: View, place: Any) -> Any:
        async def door(caller: Any, method: str, path: str, query: bytes, headers: Any, body: bytes) -> OperationReply:
            operation, _ = dispatch.find(method, path.encode(), _TABLE)
            organization = re.search(rb"(?:^|&)organization=([^&]*)", query)
            asked = Asked(operation, organization[1].decode() if organization else None, 200)
            visits.asked.append(asked)
            try:
                return await view.door(caller, method, path, query, headers, body)
            except Problem as problem:
                asked.status = problem.status
                raise

        query, form = _Noting(view.query, visits.read), _Noting(view.form, visits.filled)
        return await carry_out(page, replace(view, query=query, form=form, door=door), place)

    dashboard._shown = shown  # type: ignore[method-assign]
    return visits


def rows(served: Served) -> dict[str, list[Any]]:
    """All that the registry holds."""
    with closing(sqlite3.connect(served.home.data.registry_db)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}
