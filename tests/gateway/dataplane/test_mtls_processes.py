"""TLS and certificates of clients against real processes: who is let in, and what a SIGHUP changes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import orjson
import pytest

from gateway.client import CertificateAuth
from tests.gateway.dataplane.authority import (
    BOT,
    OTHER,
    REMOVED,
    Authority,
    Pair,
    authority_usage,
    bad_forms,
    bad_names,
)
from tests.gateway.dataplane.processes import Live

pytestmark = pytest.mark.slow

BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
PATH = "/v1/chat/completions"


@dataclass
class Secured:
    """A gateway with TLS, its authority of servers, and its authority of clients."""

    live: Live
    servers: Authority
    clients: Authority
    directory: Path

    def context(self, pair: Pair | None = None, *chain: Pair, name: str = "client") -> ssl.SSLContext:
        """The TLS context of a client that trusts this gateway, with or without a certificate."""
        made = ssl.create_default_context(cadata=self.servers.pair.pem.decode())
        if pair is not None:
            made.load_cert_chain(*pair.write(self.directory, name, *chain))
        return made

    def ask(self, context: ssl.SSLContext, headers: dict[str, str] | None = None, path: str = PATH) -> int | str:
        """The status of one request over a connection of its own; a text if TLS was refused."""
        connection = http.client.HTTPSConnection("localhost", self.live.port, timeout=120, context=context)
        try:
            connection.request("POST", path, BODY, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (ssl.SSLError, ConnectionError, http.client.BadStatusLine) as error:
            return f"refused: {error}"
        finally:
            connection.close()

    def hang_up(self, says: str) -> None:
        """Let the supervisor read its settings and files again; wait for what it says then, once more than before."""
        up = self.live.up
        assert up is not None
        before = up.text.count(says)
        os.kill(up.process.pid, signal.SIGHUP)
        self.live.wait(lambda: up.text.count(says) > before)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("mtls")
    servers, clients = Authority.make("servers"), Authority.make("ours")
    certificate, key = servers.server().write(directory, "server")
    ca, _ = clients.pair.write(directory, "clients")
    live = Live(directory)
    found = Secured(live, servers, clients, directory)
    try:
        with (live.data / "gateway.toml").open("a") as file:
            file.write(f'tls_cert = "{certificate}"\ntls_key = "{key}"\nclient_ca = "{ca}"\nworkers = 2\n')
        live.run("agents", "register", "other")
        live.run("keys", "add-spiffe", "--agent", "bot", BOT)
        live.run("keys", "add-spiffe", "--agent", "other", OTHER)
        live.run("keys", "add-spiffe", "--agent", "bot", REMOVED)
        live.run("keys", "revoke", REMOVED)
        live.start()
        yield found
        live.stop()
        live.check_log()
    finally:
        live.close()


def test_a_certificate_is_an_agent(secured: Secured) -> None:
    live = secured.live
    assert live.base_url.startswith("https://127.0.0.1:")
    context = secured.context(secured.clients.issue(BOT))
    assert secured.ask(context) == 200
    decided = [each for each in live.entries() if each["kind"] == "decided"][-1]
    assert (decided["agent_name"], decided["credential_method"], decided["credential_strength"]) == ("bot", "mtls", 2)
    listed = orjson.loads(live.run("keys", "list", "bot", "--json"))
    assert {each["key_id"]: each["id"] for each in listed}[BOT] == decided["key"]
    # The other agent's name is the other agent, whom no policy lets do anything.
    assert secured.ask(secured.context(secured.clients.issue(OTHER))) == 403


def test_a_chain_up_to_the_authority(secured: Secured) -> None:
    middle = secured.clients.issue(ca=True, usage=authority_usage(), common_name="middle")
    leaf = Authority(middle).issue(BOT)
    assert secured.ask(secured.context(leaf, middle)) == 200


def test_no_bad_certificate_is_let_in(secured: Secured) -> None:
    theirs = Authority.make("theirs")
    cases = {note: secured.clients.issue(*names) for note, names in bad_names().items()}
    cases |= bad_forms(secured.clients, theirs)
    assert len(cases) > 55
    refused = 0
    for note, pair in cases.items():
        context = secured.context(pair)
        for headers in ({}, {"authorization": f"Bearer {secured.live.key}"}):
            status = secured.ask(context, headers)
            # In a handshake that is refused nothing is asked.
            assert status in (400, 401) or str(status).startswith("refused: "), (note, status)
            refused += isinstance(status, str)
    assert 10 < refused < 30
    assert secured.ask(secured.context(secured.clients.issue(BOT))) == 200


def test_one_credential_or_another(secured: Secured) -> None:
    key, plain = secured.live.key, secured.context()
    certain = secured.context(secured.clients.issue(BOT))
    for name in ("authorization", "x-api-key", "api-key", "x-goog-api-key"):
        header = {name: f"Bearer {key}" if name == "authorization" else key}
        assert secured.ask(plain, header) == 200, "without a certificate a key is as good as ever"
        assert secured.ask(certain, header) == 400
    assert secured.ask(plain) == 401
    with socket.create_connection(("127.0.0.1", secured.live.port), timeout=120) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError):
            assert b"HTTP/1.1" not in client.recv(4096), "no plain HTTP is spoken there"


def test_old_versions_of_tls_are_refused(secured: Secured) -> None:
    context = secured.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert str(secured.ask(context)).startswith("refused: ")
    old = secured.context(secured.clients.issue(BOT))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert secured.ask(old) == 200


def test_a_name_that_is_taken_away_ends_at_the_next_request(secured: Secured) -> None:
    live, name = secured.live, f"{BOT}/short"
    live.run("keys", "add-spiffe", "--agent", "bot", name)
    with _connected(secured, secured.clients.issue(name)) as client:
        assert client.post(PATH, json=orjson.loads(BODY)).status_code == 200
        live.run("agents", "suspend", "bot", "--reason", "test")
        assert client.post(PATH, json=orjson.loads(BODY)).status_code == 403
        live.run("agents", "resume", "bot", "--reason", "test")
        assert client.post(PATH, json=orjson.loads(BODY)).status_code == 200
        live.run("keys", "revoke", name)
        assert client.post(PATH, json=orjson.loads(BODY)).status_code == 401
        # Another agent may have the name then.
        live.run("keys", "add-spiffe", "--agent", "other", name)
        assert client.post(PATH, json=orjson.loads(BODY)).status_code == 403, "which no policy lets do anything"


def test_the_packages_of_providers(secured: Secured) -> None:
    context = secured.context(secured.clients.issue(BOT))
    with openai.DefaultHttpxClient(verify=context, auth=CertificateAuth()) as http_client:
        client = openai.OpenAI(
            base_url=f"https://localhost:{secured.live.port}/v1",
            api_key="unused",
            http_client=http_client,
        )
        message = [{"role": "user", "content": "hello"}]
        answer = client.chat.completions.create(model="gpt-4o", messages=message)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
        pieces = list(client.chat.completions.create(model="gpt-4o", messages=message, stream=True))  # type: ignore[arg-type,call-overload]
        assert len(pieces) > 1


def test_a_token_for_a_certificate(secured: Secured) -> None:
    form = {"grant_type": "client_credentials"}
    with _connected(secured, secured.clients.issue(BOT)) as client:
        given = client.post("/oauth/token", data=form)
        assert given.status_code == 200, given.text
        bearer = {"authorization": f"Bearer {given.json()['access_token']}"}
        assert client.post(PATH, json=orjson.loads(BODY), headers=bearer).status_code == 400
        assert client.post("/oauth/token", data=form, headers=bearer).status_code == 400
    assert secured.ask(secured.context(), bearer) == 200


def test_what_operators_see(secured: Secured) -> None:
    live = secured.live
    status = orjson.loads(live.run("status", "--json", code=1))
    assert status["gateway"]["data_plane"] == live.base_url.removesuffix("/v1")
    shown = live.run("status", code=1)  # the other agent has no grant
    assert f"https://127.0.0.1:{live.port}" in shown
    assert "does not answer" not in shown
    with httpx.Client(base_url=live.base_url.removesuffix("/v1"), verify=secured.context()) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200


class Caller(threading.Thread):
    """Requests one after the other until told to stop: over one connection as long as it lasts, or each on its own."""

    def __init__(self, secured: Secured, context: ssl.SSLContext, *, keep: bool) -> None:
        super().__init__()
        self._port = secured.live.port
        self._context = context
        self._keep = keep
        self.done = 0
        self.failures: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        connection: http.client.HTTPSConnection | None = None
        while not self.stopped.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPSConnection(
                        "localhost", self._port, timeout=120, context=self._context
                    )
                connection.request("POST", PATH, BODY, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(str(answer.status))
                if answer.will_close or not self._keep:
                    connection.close()
                    connection = None
                self.done += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()


def test_sighup_swaps_the_certificate_without_a_failed_request(secured: Secured) -> None:
    live, in_force = secured.live, "new settings are in force: tls_key and its certificates"
    callers = [
        Caller(secured, secured.context(secured.clients.issue(BOT), name=f"caller-{number}"), keep=number < 2)
        for number in range(4)
    ]
    for each in callers:
        each.start()
    try:
        for _ in range(2):
            workers = set(live.children())
            fresh = secured.servers.server()
            fresh.write(secured.directory, "server")
            secured.hang_up(in_force)
            live.wait(lambda: len(live.children()) == 2 and not workers & set(live.children()))  # noqa: B023  # awaited here
            assert _served(live.port) == fresh.der
            done = [each.done for each in callers]
            live.wait(lambda: all(each.done > 3 + old for each, old in zip(callers, done, strict=True)))  # noqa: B023
    finally:
        for each in callers:
            each.stopped.set()
        for each in callers:
            each.join()
    assert [failure for each in callers for failure in each.failures] == []
    secured.hang_up("the settings have not changed")


def test_a_mistake_in_the_files_changes_nothing(secured: Secured) -> None:
    live = secured.live
    assert live.up is not None
    workers, before = set(live.children()), _served(live.port)
    certificate, key = secured.directory / "server.pem", secured.directory / "server.key"
    kept = certificate.read_bytes(), key.read_bytes()
    secured.servers.server().write(secured.directory, "stray")
    (secured.directory / "stray.key").replace(key)
    secured.hang_up(f"the settings stay as they were: tls_key `{key}` is not the key of the certificate")
    certificate.write_bytes(b"nonsense")
    secured.hang_up(f"the settings stay as they were: tls_cert `{certificate}` holds no certificate as PEM")
    certificate.unlink()
    secured.hang_up(f"the settings stay as they were: tls_cert `{certificate}` cannot be read: no such file")
    certificate.write_bytes(kept[0])
    key.write_bytes(kept[1])
    secured.hang_up("the settings have not changed")
    assert (set(live.children()), _served(live.port)) == (workers, before)


def _served(port: int) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=120))


def _connected(secured: Secured, pair: Pair) -> httpx.Client:
    base = f"https://localhost:{secured.live.port}"
    return httpx.Client(base_url=base, verify=secured.context(pair), timeout=120)
