"""Policies on another machine: real git servers over https and ssh on this one, and a gateway that follows them."""

from __future__ import annotations

import base64
import datetime
import getpass
import ipaddress
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from gateway.errors import GatewayError
from gateway.policy.rollout.fetch import Fetcher, fetch, missing, state
from gateway.policy.rollout.source import GitSource, create_repository
from gateway.policy.rollout.sync import PolicySync
from gateway.policy.rollout.whereabouts import missing_step
from gateway.processes.creation import starter_files
from gateway.registry import queries
from gateway.settings import Settings, load_settings
from tests.gateway.conftest import Home
from tests.gateway.dataplane.processes import COMMAND, Background, environment

from .conftest import Repository

# Real processes, which take their time.
pytestmark = pytest.mark.slow

TOKEN = "glpat-secret-of-the-gateway"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class HttpsServer:
    """dulwich's web server behind TLS and, if wanted, a token. `seen` are the credentials that clients sent."""

    def __init__(self, repository: Path, certificate: Path, key: Path, token: str = "") -> None:
        self.seen: list[str] = []
        self.token = token
        self.redirect = ""
        app = make_wsgi_chain(DictBackend({"/policies.git": Repo(str(repository))}))

        def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
            sent = environ.get("HTTP_AUTHORIZATION", "")
            self.seen.append(base64.b64decode(sent.removeprefix("Basic ")).decode() if sent else "")
            if self.redirect:
                start("302 Found", [("Location", self.redirect)])
                return [b""]
            if self.token and not self.seen[-1].endswith(f":{self.token}"):
                start("401 Unauthorized", [("WWW-Authenticate", "Basic")])
                return [b""]
            return app(environ, start)

        self._server: WSGIServer = make_server("127.0.0.1", 0, guarded, handler_class=Quiet)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that trust nobody
        self.port = self._server.server_port
        self.url = f"https://127.0.0.1:{self.port}/policies.git"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "git")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "cert.pem").write_bytes(made.public_bytes(pem))
    (directory / "key.pem").write_bytes(key.private_bytes(pem, private, plain))
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
def server(repository: Repository, certificate: tuple[Path, Path]) -> Iterator[HttpsServer]:
    started = HttpsServer(repository.path, *certificate, token=TOKEN)
    yield started
    started.stop()


@pytest.fixture
def settings(home: Home, server: HttpsServer, certificate: tuple[Path, Path], tmp_path: Path) -> Settings:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return _settings(
        home, server.url, policies_ca_file=certificate[0], policies_credential_file=tmp_path / "token"
    )  # fmt: skip


def _settings(home: Home, url: str, **more: object) -> Settings:
    return load_settings({"data": home.data, "policies_repository": url, **more}, env={})


def _fetch(settings: Settings) -> str:
    assert settings.remote is not None
    return fetch(settings, settings.remote)


def _fails(settings: Settings) -> str:
    with pytest.raises(GatewayError) as error:
        _fetch(settings)
    assert error.value.code == "policies_unreachable"
    assert TOKEN not in error.value.message
    return error.value.message


def test_over_https(home: Home, repository: Repository, server: HttpsServer, settings: Settings) -> None:
    assert _fetch(settings) == repository.first
    assert set(server.seen) == {f"x-access-token:{TOKEN}"}
    sync = PolicySync.of(settings, home.registry)
    assert sync.step().outcome == "activated"
    second = repository.commit({"b/README.md": "# More\n"})
    assert sync.step().outcome == "unchanged", "nothing is fetched but at its time"
    assert _fetch(settings) == second
    assert (sync.step().outcome, sync.step().commit) == ("activated", second)
    assert _fetch(settings) == second, "a fetch of nothing new"


def test_the_credential_is_in_no_file(settings: Settings) -> None:
    _fetch(settings)
    for path in settings.data.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_tag_and_a_branch_that_was_rewritten(repository: Repository, settings: Settings, home: Home) -> None:
    with Repo(str(repository.path)) as repo:
        repo.refs[b"refs/tags/v1"] = repository.first.encode()  # type: ignore[index, assignment]
    second = repository.commit({"b/README.md": "# More\n"})
    assert _fetch(settings) == second
    with Repo(str(repository.path)) as repo:
        repo.refs[b"refs/heads/main"] = repository.first.encode()  # type: ignore[index, assignment]
    assert _fetch(settings) == repository.first
    assert GitSource(settings.repository).head().commit == repository.first
    assert settings.remote is not None
    tagged = load_settings(
        {"data": home.data, "policies_repository": settings.remote.address, "policies_ref": "v1",
         "policies_ca_file": settings.policies_ca_file, "policies_credential_file": settings.policies_credential_file},
        env={},
    )  # fmt: skip
    assert _fetch(tagged) == repository.first


def test_what_goes_wrong_over_https(
    home: Home, server: HttpsServer, settings: Settings, certificate: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trusted = {"policies_ca_file": certificate[0]}
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-token")
    assert "certificate is not trusted (policies_ca_file" in _fails(_settings(home, server.url))
    assert "refuses the credential, or wants one" in _fails(_settings(home, server.url, **trusted))
    refused = _fails(_settings(home, server.url, policies_credential_file=wrong, **trusted))
    assert "refuses the credential" in refused
    assert "wrong-token" not in refused
    other = server.url.replace("policies.git", "other.git")
    credential = settings.policies_credential_file
    assert "no git repository" in _fails(_settings(home, other, policies_credential_file=credential, **trusted))
    gone = _settings(home, server.url, policies_credential_file=tmp_path / "gone", **trusted)
    assert "cannot read policies_credential_file" in _fails(gone)
    by_variable = _settings(home, server.url, policies_credential_env="POLICIES_TOKEN", **trusted)
    assert "the variable POLICIES_TOKEN" in _fails(by_variable)
    monkeypatch.setenv("POLICIES_TOKEN", f"oauth2:{TOKEN}")
    _fetch(by_variable)
    assert server.seen[-1] == f"oauth2:{TOKEN}"
    no_ref = _settings(home, server.url, policies_credential_file=credential, policies_ref="nowhere", **trusted)
    assert "it has no branch or tag `nowhere`" in _fails(no_ref)
    server.redirect = "https://127.0.0.1:9/elsewhere"
    assert "the server redirects" in _fails(settings)


def test_a_server_that_is_gone_changes_nothing(
    home: Home, repository: Repository, server: HttpsServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    fetcher, sync = Fetcher(settings), PolicySync.of(settings, home.registry)
    assert state(settings) is None
    fetcher.step()
    assert sync.step().outcome == "activated"
    before = state(settings)
    assert before is not None
    assert (before.commit, before.error, before.fetched_ns) == (repository.first, "", before.tried_ns)
    server.stop()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            fetcher.step()
    assert len(caplog.records) == 1, "told once"
    after = state(settings)
    assert after is not None
    assert (after.fetched_ns, after.commit) == (before.fetched_ns, repository.first)
    assert after.tried_ns > before.tried_ns
    assert server.url in after.error
    assert sync.step().outcome == "unchanged"
    active = queries.activation(home.registry)
    assert active is not None
    assert active.commit == repository.first


def test_a_server_that_says_nothing_does_not_keep_a_gateway_from_stopping(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = _settings(home, f"https://127.0.0.1:{silent.getsockname()[1]}/p.git")
        fetcher = Fetcher(settings)
        timer = threading.Timer(0.5, fetcher.stop)
        timer.start()
        fetcher.step()
        timer.join()
    assert state(settings) is None


class Sshd:
    """A real sshd that lets one key run `git upload-pack`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("host", "user", "stranger"):
            _keygen(directory / name)
        (directory / "authorized").write_bytes((directory / "user.pub").read_bytes())
        # Another process may take the port before sshd does: then it ends, and gets another one.
        while not self._start():
            assert "Address already in use" in self._log(), self._log()
        self.known = self._known("known", "host")

    def _start(self) -> bool:
        """Start it on a port that is free now; returns whether it listens there."""
        directory = self.directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (directory / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {directory}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
        )
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(directory / "config")], stderr=log)
        while "listening" not in self._log():
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def _log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    def _known(self, name: str, key: str) -> Path:
        public = " ".join((self.directory / f"{key}.pub").read_text().split()[:2])
        (self.directory / name).write_text(f"[127.0.0.1]:{self.port} {public}\n")
        return self.directory / name

    def other_host(self) -> Path:
        return self._known("other-known", "stranger")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not os.path.exists(SSHD) or shutil.which("ssh") is None or shutil.which("git") is None:
        pytest.skip("there is no sshd")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    started = Sshd(tmp_path_factory.mktemp("sshd"))
    yield started
    started.stop()


def test_over_ssh(home: Home, repository: Repository, sshd: Sshd) -> None:
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}{repository.path}"
    known = {"policies_known_hosts": sshd.known}
    settings = _settings(home, address, policies_credential_file=sshd.directory / "user", **known)
    assert _fetch(settings) == repository.first
    assert PolicySync.of(settings, home.registry).step().outcome == "activated"
    # The key decides on this side, the host's key on the other.
    stranger = _settings(home, address, policies_credential_file=sshd.directory / "stranger", **known)
    assert "Permission denied" in _fails(stranger)
    elsewhere = _settings(
        home, address, policies_credential_file=sshd.directory / "user", policies_known_hosts=sshd.other_host()
    )
    assert "the host has none of the keys in policies_known_hosts" in _fails(elsewhere)
    with pytest.raises(GatewayError, match="must name a file with the host's keys"):
        _settings(home, address)
    assert json.loads(home.data.fetch_state.read_text() if home.data.fetch_state.exists() else "{}") == {}


def test_a_gateway_that_follows_a_repository_elsewhere(
    tmp_path: Path, certificate: tuple[Path, Path], open_repository: type[Repository]
) -> None:
    """The real command, from its settings file: a good commit, a bad one, and a server that goes away."""
    create_repository(tmp_path / "elsewhere", starter_files(), "Start")
    repository = open_repository(tmp_path / "elsewhere")
    server = HttpsServer(repository.path, *certificate, token=TOKEN)
    (tmp_path / "token").write_text(TOKEN)
    subprocess.run([*COMMAND, "init"], cwd=tmp_path, env=environment(), check=True, stdout=subprocess.DEVNULL)
    (tmp_path / ".gateway/gateway.toml").write_text(
        f'[policies]\nrepository = "{server.url}"\nca_file = "{certificate[0]}"\n'
        'credential_file = "../token"\nfetch = 1\npoll = 0.2\n'
    )
    up = Background("up", "--port", "0", "--control-port", "0", cwd=tmp_path, output=tmp_path / "up.txt")
    try:
        up.line("gateway is up")
        up.line(f"commit {repository.first[:12]} is in force: starter")
        bad = repository.commit({"starter/authz.rego": "package starter.authz\n\nhelper if input.x\n"})
        rejected = up.line(rf"commit {bad[:12]} of Dana Example .* is rejected \(bad_decision\): (.*)")
        assert "bundle starter: authz.rego:3: `helper` is not a member of a decision" in rejected[1]
        server.stop()
        up.line(f"cannot fetch policies from {server.url}: ")
        found = state(load_settings({"data": tmp_path / ".gateway"}, env={}))
        assert found is not None
        assert found.commit == bad
        told = json.loads(_output(tmp_path, "status", "--json"))["policies"]
        assert (told["repository"], told["head"]) == (server.url, bad)
        assert f"cannot fetch policies from {server.url}: " in told["problem"]
        # A fetched commit can be checked by its name, though the server is gone.
        assert "`helper` is not a member of a decision" in _output(tmp_path, "policies", "check", "--data", ".gateway")
    finally:
        server.stop()
        assert up.stop() == 0, up.text
    assert TOKEN not in up.text


def _output(cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    return done.stdout


def test_what_is_told_before_anything_was_fetched(home: Home) -> None:
    settings = _settings(home, "https://127.0.0.1:9/p.git")
    assert missing(settings) == "nothing was fetched from https://127.0.0.1:9/p.git yet"
    Fetcher(settings).step()
    assert missing(settings).startswith("cannot fetch policies from https://127.0.0.1:9/p.git: ")
    assert missing_step(settings, home.registry, "b") == missing(settings)


def test_another_address_is_another_copy(
    home: Home, repository: Repository, server: HttpsServer, settings: Settings
) -> None:
    """A commit fetched from the former address must not be followed because the new one is out of reach."""
    _fetch(settings)
    assert missing(settings) == ""
    moved = _settings(home, server.url.replace("127.0.0.1", "localhost"), policies_ca_file=settings.policies_ca_file)
    assert missing(moved).startswith("nothing was fetched from https://localhost:")
    _fails(moved)
    assert missing(moved)
    assert _fetch(settings) == repository.first
