"""Shared parts of the tests in `tests/gateway/control/test_logins.py`."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn

from gateway.audit import search, storage
from gateway.control.server import ControlApi
from gateway.identity.logins import challenge
from gateway.registry import publication
from gateway.registry.operators import login_providers, operators
from tests.gateway.conftest import ACTOR, Home
from tests.gateway.control.conftest import elsewhere
from tests.gateway.control.oidc_provider import CLIENT, Provider

PORT = 49152


@dataclass
class Begun:
    """A login at which the browser has arrived with a code."""

    verifier: str
    begun: dict[str, Any]
    back: dict[str, str]

    def body(self, **more: Any) -> dict[str, Any]:
        sent = {"login": self.begun["login"], "code": self.back["code"], "code_verifier": self.verifier}
        return sent | {"iss": self.back.get("iss")} | more


@dataclass
class Rig:
    """A gateway with a provider, and a person with a browser."""

    home: Home
    provider: Provider
    http: httpx.Client
    url: str

    def add(self, **more: Any) -> None:
        """Make the provider known to the gateway."""
        login_providers.add_provider(
            self.home.registry,
            self.home.vault,
            actor=ACTOR,
            issuer=self.provider.url,
            insecure=True,
            **{"name": "acme", "client_id": CLIENT, **more},
        )

    def rule(self, role: str = "admin", organization: str | None = None, **claims: str) -> str:
        return login_providers.add_rule(
            self.home.registry,
            actor=ACTOR,
            provider="acme",
            claims=claims or {"groups": "platform"},
            role=role,
            organization=organization,
        ).id

    def begin(self, **more: Any) -> Begun:
        verifier = secrets.token_urlsafe(48)
        answer = self.http.post("/login", json={"code_challenge": challenge(verifier), "port": PORT} | more)
        assert answer.status_code == 200, answer.text
        begun = answer.json()
        arrived = httpx.get(begun["authorization_url"])
        assert arrived.status_code == 302, arrived.text
        address = urlsplit(arrived.headers["location"])
        assert f"{address.scheme}://{address.netloc}{address.path}" == begun["redirect_uri"]
        back = {name: value for name, (value,) in parse_qs(address.query).items()}
        assert back["state"] == begun["state"]
        return Begun(verifier, begun, back)

    def finish(self, begun: Begun, **more: Any) -> httpx.Response:
        return self.http.post("/login/finish", json=begun.body(**more))

    def log_in(self, **more: Any) -> dict[str, Any]:
        answer = self.finish(self.begin(**more))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, answer: httpx.Response) -> str:
        """The reason why a login was refused, as the log has it. The answer itself tells nothing."""
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "login_refused"
        assert answer.json()["detail"] == "the login was refused"
        self.nobody_got_in()
        deadline = time.monotonic() + 30
        while not (found := self.entries("operator_login.refused")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        why: str = found[-1]["refusal"]
        return why

    def nobody_got_in(self) -> None:
        assert [each for each in operators.all_operators(self.home.registry) if each.issuer is not None] == []

    def me(self, token: str) -> httpx.Response:
        return self.http.get("/me", headers={"authorization": f"Bearer {token}"})

    def entries(self, what: str = "") -> list[dict[str, Any]]:
        """The changes in all logs."""
        publication.publish(self.home.registry, self.home.data)
        with closing(storage.connect_read_only(self.home.data.audit_db)) as db:
            found = [dict(each.entry) for each in search.newest(db, 200) if each.kind == "change"]
        return [each for each in found if each["what"].startswith(what)]

    def client(self, role: str = "owner", organization: str | None = None, name: str = "root") -> dict[str, str]:
        """The header of an operator who was added by hand."""
        operators.add_operator(self.home.registry, actor=ACTOR, organization=organization, name=name, role=role)
        made = operators.create_token(
            self.home.registry, self.home.peppers, actor=ACTOR, organization=organization, operator=name
        )
        return {"authorization": f"Bearer {made.text}"}


@pytest.fixture
def bare(home: Home) -> Iterator[Rig]:
    """A gateway that knows no provider."""
    storage.create(home.data)
    api = ControlApi.open(elsewhere, home.data, "1.2.3")

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
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    provider = Provider()
    provider.start()
    with httpx.Client(base_url=f"{url}/api/v1") as http:
        yield Rig(home, provider, http, url)
    server.should_exit = True
    thread.join()
    api.close()
    provider.stop()


@pytest.fixture
def rig(bare: Rig) -> Rig:
    """A gateway that lets the people of one group in."""
    bare.add()
    bare.rule()
    return bare
