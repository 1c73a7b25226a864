"""The dashboard over a real socket: a gateway's home, its control API, and people with sessions."""

from __future__ import annotations

import functools
import html
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.audit import storage
from gateway.control.dashboard.sessions import Links
from gateway.control.server import ControlApi
from gateway.identifiers import new_id
from gateway.policy.rollout.whereabouts import is_followed
from gateway.processes import status_answer
from gateway.registry.agents.registration import register_agent
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, Home
from tests.gateway.control.conftest import elsewhere


@dataclass
class Person:
    """Somebody with a browser, as far as plain HTTP goes."""

    http: httpx.Client

    def get(self, path: str, **query: str) -> httpx.Response:
        return self.http.get(path, params=query or None)

    def page(self, path: str, **query: str) -> str:
        answer = self.get(path, **query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[-2000:])
        return answer.text

    def csrf(self, page: str) -> str:
        (found, *_) = re.findall(r'name="csrf" value="([^"]+)"', page)
        assert isinstance(found, str)
        return found

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """As a form of our own page that has the session's token, unless the fields say otherwise."""
        fields = dict(fields or {})
        if "csrf" not in fields:
            fields["csrf"] = self.csrf(self.http.get("/dashboard/", follow_redirects=True).text)
        fields = {name: value for name, value in fields.items() if value != "LEFT OUT"}
        origin = {"origin": str(self.http.base_url).rstrip("/")}
        return self.http.post(
            path, data=fields, headers={**origin, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )


@dataclass
class Served:
    """A gateway whose control listener runs."""

    home: Home
    api: ControlApi
    url: str
    people: list[httpx.Client] = field(default_factory=list)

    def stranger(self) -> Person:
        client = httpx.Client(base_url=self.url, follow_redirects=False, timeout=30)
        self.people.append(client)
        return Person(client)

    def link(self, operator: str) -> str:
        return Links(self.home.peppers.current).make(new_id("brw"), operator)

    def operator(self, name: str, role: str = "owner", organization: str | None = None) -> str:
        return operators.add_operator(
            self.home.registry, actor=ACTOR, organization=organization, name=name, role=role
        ).id

    def person(self, name: str = "olga", role: str = "owner", organization: str | None = None) -> Person:
        """A new operator who has used a link."""
        person = self.stranger()
        self.enter(person, self.operator(name, role, organization))
        return person

    def enter(self, person: Person, operator: str) -> None:
        answer = person.post("/dashboard/enter", {"link": self.link(operator), "csrf": ""})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/"), answer.text


@pytest.fixture
def served(home: Home) -> Iterator[Served]:
    storage.create(home.data)
    with serving(home) as found:
        yield found


@contextmanager
def serving(home: Home) -> Iterator[Served]:
    """The control listener of a gateway that exists."""
    settings = load_settings({"data": home.data.path}, {})
    health, followed = functools.partial(status_answer.answer, settings), functools.partial(is_followed, settings)
    api = ControlApi.open(elsewhere, home.data, "1.2.3", health=health, followed=followed)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: Any = None) -> None:
            await super().shutdown(sockets)
            await api.logins.close()

    server = Server(uvicorn.Config(api, port=0, lifespan="off", log_level="error", loop="asyncio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    found = Served(home, api, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    yield found
    for each in found.people:
        each.close()
    server.should_exit = True
    thread.join()
    api.close()


@pytest.fixture
def two_places(served: Served) -> Served:
    """A second organization, with an agent of its own."""
    create_organization(served.home.registry, actor=ACTOR, name="acme")
    served.home.agent("bot", owner="dana@example.org")
    register_agent(served.home.registry, actor=ACTOR, organization="acme", name="secret-bot")
    return served


def text_of(page: str) -> str:
    """What a page says, without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page))
