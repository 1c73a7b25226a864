"""Shared parts of the tests in `tests/gateway/cli/test_remote.py`."""

from __future__ import annotations

import asyncio
import functools
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from gateway.audit import storage
from gateway.cli import main
from gateway.control.server import ControlApi
from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.processes import status_answer
from gateway.registry.database import Registry
from gateway.registry.operators import operators
from gateway.secrets.vault import Vault
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, Done, Home, Run

URL = "https://gw.example:8081"


@dataclass
class Elsewhere:
    """A gateway that is reached by its control API only, and what was sent to it."""

    home: Home
    api: ControlApi
    requests: list[httpx.Request] = field(default_factory=list)

    def token(self, name: str = "olga", role: str = "owner", organization: str | None = None, **more: object) -> str:
        """The token of a new operator."""
        operators.add_operator(self.home.registry, actor=ACTOR, organization=organization, name=name, role=role)
        return operators.create_token(
            self.home.registry, self.home.peppers, actor=ACTOR, organization=organization, operator=name, **more
        ).text  # type: ignore[arg-type]  # keywords pass through

    def answer(self, request: httpx.Request) -> httpx.Response:
        """In the place of the network."""
        self.requests.append(request)
        assert str(request.url).startswith(f"{URL}/api/v1/")
        started: list[Message] = []
        parts: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.content, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
            else:
                parts.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("203.0.113.5", 4711),
        }
        asyncio.run(self.api(scope, receive, send))
        (start,) = started
        return httpx.Response(start["status"], headers=start["headers"], content=b"".join(parts), request=request)


async def nowhere(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nothing but the control API is asked")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login, no variables, and no request may leave."""

    def answer(_self: object, request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{request.url} is asked")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("AIG_DATA", "AIG_SERVER", "AIG_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def elsewhere(
    offline: None, tmp_path: Path, new_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Elsewhere]:
    data = DataDirectory(tmp_path / "elsewhere")
    data.create()
    shutil.copy(new_registry, data.registry_db)
    registry = Registry.open(data)
    home = Home(data, registry, Peppers.create(data.keys), Vault.create(data.keys))
    storage.create(data)
    settings = load_settings({"data": data.path}, {})
    health = functools.partial(status_answer.answer, settings)
    found = Elsewhere(home, ControlApi.open(nowhere, data, "1.2.3", health=health))
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _self, request: found.answer(request))
    yield found
    found.api.close()
    registry.close()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in a folder without a data directory."""
    place = tmp_path / "laptop"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it

    def run(*arguments: str, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            code = main(arguments)
        shown = capsys.readouterr()
        assert list(place.iterdir()) == []
        return Done(code, shown.out, shown.err)

    return run


@pytest.fixture
def there(elsewhere: Elsewhere, gateway: Run) -> Run:
    """Run a command on the gateway elsewhere, as an owner."""
    token = elsewhere.token()
    return lambda *arguments: gateway("--server", URL, *arguments, AIG_TOKEN=token)
