"""`gateway login` in a browser: the visit to a port of this machine, and the whole way through a real provider."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.errors import GatewayError
from gateway.management import browser_login, logins
from gateway.management.browser_login import Wanted, log_in
from gateway.management.servers import ServerAccess
from gateway.registry.operators import login_providers, operators
from tests.gateway.conftest import ACTOR, Done, Run
from tests.rigs.control.logins import Rig, bare, rig  # noqa: F401  # fixtures

BROWSER = f"{sys.executable} -c 'import sys,httpx;httpx.get(sys.argv[1],follow_redirects=True)' %s"


@contextmanager
def visited(there: Rig, visit: Any) -> Iterator[dict[str, Any]]:
    """A login whose person does `visit` with the address that is shown; what came of it."""
    found: dict[str, Any] = {}

    def tell(text: str) -> None:
        address = next((word for word in text.split() if word.startswith("http")), None)
        if address is not None:
            found["thread"] = threading.Thread(target=visit, args=(address, found), daemon=True)
            found["thread"].start()

    try:
        found["token"] = log_in(ServerAccess(origin=there.url, token=""), Wanted(opens_browser=False), tell)
    except GatewayError as error:
        found["error"] = error
    found["thread"].join(30)
    yield found


def test_the_browser_brings_the_code(rig: Rig) -> None:
    def visit(address: str, found: dict[str, Any]) -> None:
        found["page"] = httpx.get(address, follow_redirects=True)

    with visited(rig, visit) as found:
        assert rig.me(found["token"]["token"]).json()["name"] == "olga"
        assert "Go back to the terminal" in found["page"].text
        assert found["token"]["token"] not in found["page"].text


def test_visits_that_are_none_of_this_login(rig: Rig) -> None:
    """Another state, another name for this machine, another path; and a connection that says nothing."""

    def visit(address: str, found: dict[str, Any]) -> None:
        asked = parse_qs(urlsplit(address).query)
        back, state = asked["redirect_uri"][0], asked["state"][0]
        port = urlsplit(back).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)):
            wrong = [
                httpx.get(f"{back}?code=evil&state=evil"),
                httpx.get(f"{back}?code=evil"),
                httpx.get(f"{back}?code=evil&state={state}&state={state}"),
                httpx.get(f"{back}/?code=evil&state={state}"),
                httpx.get(f"{back}?code=evil&state={state}", headers={"host": f"evil.example:{port}"}),
                httpx.get(f"{back}?code=evil&state={'%C3%BC' * 10}"),
                httpx.post(f"{back}?code=evil&state={state}"),
            ]
            found["wrong"] = [each.status_code for each in wrong]
            assert "evil" not in "".join(each.text for each in wrong)
            httpx.get(address, follow_redirects=True)

    with visited(rig, visit) as found:
        assert found["wrong"] == [404] * 6 + [501]
        assert rig.me(found["token"]["token"]).status_code == 200


@pytest.mark.parametrize(
    ("brought", "message"),
    [
        ("error=access_denied", "the provider has refused the login: access_denied"),
        ("error=%1b[31mred", "the provider has refused the login: it does not say why"),
        ("", "the provider has refused the login: no code came back"),
        ("code=made-up", "the login was refused"),
    ],
)
def test_a_login_that_is_refused(rig: Rig, brought: str, message: str) -> None:
    def visit(address: str, found: dict[str, Any]) -> None:
        asked = parse_qs(urlsplit(address).query)
        iss = f"&iss={rig.provider.url}"
        httpx.get(f"{asked['redirect_uri'][0]}?state={asked['state'][0]}&{brought}{iss}")

    with visited(rig, visit) as found:
        assert found["error"].message == message


def test_only_pages_of_the_web_are_opened() -> None:
    for address in ("file:///etc/passwd", "http://evil.example/", "javascript:alert(1)", "https://a.example/\x1b[31m"):
        with pytest.raises(GatewayError, match="is none to a login"):
            browser_login._check_address(address)


def test_a_port_that_is_taken(rig: Rig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(GatewayError, match="cannot listen on 127"):
            log_in(ServerAccess(origin=rig.url, token=""), Wanted(port=taken.getsockname()[1]), print)


@pytest.fixture
def laptop(run: Run, tmp_path: Any) -> Run:
    """Run a command as a process elsewhere, with a browser that goes where it is sent."""

    def gateway(*arguments: str, **variables: str) -> Done:
        return run(*arguments, XDG_CONFIG_HOME=str(tmp_path / "config"), BROWSER=BROWSER, **variables)

    return gateway


@pytest.mark.slow
def test_the_whole_way(rig: Rig, laptop: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    done = laptop("login", "--server", rig.url, "--browser")
    assert done.out.startswith(f"logged in to {rig.url} as admin olga of the whole gateway, until "), done.err
    assert "your browser opens the login" in done.err
    assert laptop("--server", rig.url, "agents", "register", "bot").code == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    kept = logins.find(rig.url)
    assert kept is not None
    assert kept.session
    (token,) = operators.tokens(rig.home.registry, None, "olga")
    assert laptop("logout", "--server", rig.url, "--json").json == {"server": rig.url, "changed": True, "ended": True}
    (token,) = operators.tokens(rig.home.registry, None, "olga")
    assert token.status(time.time_ns()) == "revoked"
    assert rig.me(kept.token).status_code == 401
    assert "`gateway login" in laptop("--server", rig.url, "agents", "list").complains()


@pytest.mark.slow
def test_a_logout_that_cannot_reach_the_gateway_forgets_the_login(
    rig: Rig,
    laptop: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        logins.store(logins.Login(origin=origin, token=rig.log_in()["token"], session=True))
        done = laptop("logout", "--server", origin)
    assert done.out == f"logged out from {origin}\n"
    assert "its token was not ended" in done.err
    assert logins.find(origin) is None


@pytest.mark.slow
def test_what_login_says_of_wrong_options(bare: Rig, laptop: Run) -> None:
    assert "has no login provider" in laptop("login", "--server", bare.url, "--browser").complains()
    done = laptop("login", "--server", bare.url, "--browser", "--with-token")
    assert "leave --with-token and --token-file out" in done.complains(2)
    assert "standard input" in laptop("login", "--server", bare.url).complains()  # no terminal: a token is expected
    bare.add()
    login_providers.add_provider(
        bare.home.registry, bare.home.vault, actor=ACTOR, name="b", issuer="https://b.example", client_id="x"
    )
    assert "name one with --provider" in laptop("login", "--server", bare.url, "--browser").complains()
    done = laptop("login", "--server", bare.url, "--provider", "acne")
    assert "did you mean `acme`?" in done.complains()
