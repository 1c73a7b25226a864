"""http.send, net.lookup_ip_addr and opa.runtime: refused by default, like OPA when allowed, safe from the other side.

Servers run on 127.0.0.1, and nothing else is asked.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policy_engine.builtins.http import transport
from policy_engine.values import Number, Set, Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict, without_words

SEND: Final = "http.send"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: ClassVar[dict[str, tuple[str, bytes]]] = {
        "/json": ("application/json", b'{"a": 1.0, "b":[1]}'),
        "/bad": ("application/json", b'{"a"'),
        "/text": ("text/plain", b"hi\xff"),
        "/yaml": ("application/yaml", b"a: 1\nb: [x]\n"),
        "/jtext": ("text/plain", b'{"a":1}'),
        "/empty": ("application/json", b""),
        "/vnd": ("application/vnd.x+json; charset=utf-8", b"[1]"),
        "/xyaml": ("application/x-yaml", b"a: 1"),
        "/large": ("text/plain", b"x" * (transport.LARGEST_BODY + 1)),
    }

    def answer(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/echo":
            headers = {name: value for name, value in self.headers.items() if name not in _OWN_HEADERS}
            seen = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode("latin-1")}
            self.reply(200, "application/json", json.dumps(seen).encode())
        elif path == "/to":
            self.reply(int(query[:3]), "", b"", {"Location": query[3:]})
        elif path == "/loop":
            self.reply(302, "", b"", {"Location": "/loop"})
        elif path == "/404":
            self.reply(404, "", b"", {"X-A": "1"})
        else:
            self.reply(200, *self.answers[path])

    def reply(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {}), "Content-Length": str(len(body))}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        pass


_OWN_HEADERS: Final = ("Host", "User-Agent", "Connection", "Accept-Encoding", "Referer")
"""Those that each client sends in its own way."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str] = []
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: Any) -> None:
        """A client that does not trust the server hangs up, which is not worth a traceback."""


@contextlib.contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[_Server]:
    with _Server(context) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with _serving() as running:
        yield running


def allowed() -> Query:
    query = Query()
    query.allow_network = True
    return query


def send(request: dict[str, Value], query: Query | None = None) -> str:
    return re.sub(r'"date": \["[^"]*"\]', "", outcome(SEND, request, query=query or allowed()))


def opa_send(oracle: Oracle, request: dict[str, Value]) -> str:
    return re.sub(r'"date": \["[^"]*"\]', "", opa_outcome(oracle.call(SEND, request)))


@pytest.mark.parametrize(
    "more",
    [
        *({"url": path} for path in ("/json", "/bad", "/text", "/yaml", "/jtext", "/empty", "/vnd", "/xyaml", "/404")),
        *({"url": path, "method": "head"} for path in ("/json", "/404")),
        *({"url": path, "force_json_decode": True} for path in ("/jtext", "/text")),
        *({"url": path, "force_yaml_decode": True} for path in ("/jtext", "/bad")),
        {"url": "/echo?x=1", "method": "post", "body": {"a": Set([1])}, "headers": {"x-a": "b", "content-type": "t"}},
        {"url": "/echo", "method": "PUT", "raw_body": "zé", "headers": {"User-Agent": "me"}},
        {"url": "/echo", "method": "delete", "headers": {1: "a", "content-length": "7", "Transfer-Encoding": "x"}},
        {"url": "/to?302/json"},
        *(
            {"url": f"/to?{status}/echo", "enable_redirect": True, "method": "post", "raw_body": "x"}
            for status in (301, 307)
        ),
        {"url": "/json", "enable_redirect": 1, "tls_insecure_skip_verify": 0, "tls_server_name": "x"},
        {"url": "/json", "timeout": 0},
        {"url": "/json", "timeout": "-1s"},
        {"url": "/json", "force_cache": True, "force_cache_duration_seconds": 5},
    ],
)
def test_answers_are_what_opa_makes_of_them(oracle: Oracle, server: _Server, more: dict[str, Value]) -> None:
    request = {"method": "get", **more, "url": server.url + more["url"]}
    got, expected = without_words(send(request)), opa_send(oracle, request)
    assert got.startswith('[{"body": ')
    assert got == expected


@pytest.mark.parametrize(
    "more",
    [
        {"raise_error": 1},
        {"method": 1},
        {"method": "g t"},
        {"url": 1},
        {"url": ":"},
        {"url": ""},
        {"url": "/json"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1:1/"},
        {"url": "http://127.0.0.1:1/", "raise_error": False},
        {"timeout": "x"},
        {"timeout": True},
        {"timeout": 1.5},
        {"headers": 1},
        {"headers": {"a": 1}},
        {"headers": {"a b": "x"}},
        {"headers": {"a": "x\r\ny: z"}},
        {"enable_redirect": "true"},
        {"force_json_decode": 1},
        {"max_retry_attempts": -1},
        {"max_retry_attempts": "x"},
        {"max_retry_attempts": Number("1e3")},
        {"raw_body": 1},
        {"cache": 1},
        {"force_cache": True},
        {"tls_ca_cert": "x"},
        {"tls_ca_cert": 1},
        {"tls_ca_cert_file": "/nonexistent"},
        {"tls_ca_cert_env_variable": "NOT_SET"},
        {"tls_client_cert": "x", "tls_client_key": "y"},
        {"unknown": 1},
    ],
)
def test_wrong_requests_fail_as_in_opa(oracle: Oracle, server: _Server, more: dict[str, Value]) -> None:
    request = {"method": "get", "url": f"{server.url}/json", **more}
    got, expected = without_words(send(request)), opa_send(oracle, request)
    assert got == expected
    assert '"status_code": 200' not in got


@pytest.mark.parametrize("operand", [1, {}, {"method": "get"}, {"method": "get", "url": "x", "zz": 1}])
def test_operands_are_checked_before_the_permission(oracle: Oracle, operand: Value) -> None:
    assert verdict(SEND, operand) == opa_outcome(oracle.call(SEND, operand))


def test_the_network_is_refused_by_default(server: _Server) -> None:
    server.requests.clear()
    for raises in (True, False):
        refused = outcome(SEND, {"method": "get", "url": f"{server.url}/json", "raise_error": raises})
        assert refused.startswith("eval_builtin_error: http.send: policies may not use the network")
    assert server.requests == []
    assert "policies may not use the network" in outcome("net.lookup_ip_addr", "name.invalid")


def test_a_query_asks_once_and_records_no_secret(server: _Server) -> None:
    server.requests.clear()
    query = allowed()
    request = {
        "method": "get",
        "url": f"{server.url.replace('://', '://user:hidden1@')}/echo?token=hidden2",
        "headers": {"authorization": "hidden3"},
    }
    first = send(request, query)
    assert '"status_code": 200' in first
    assert send(request, query) == first
    assert len(server.requests) == 1
    for name, args in query.remembered:
        assert name == SEND
        assert f"{server.url}/echo" in args
        assert "hidden" not in args


def test_a_failure_is_remembered_too(server: _Server) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        request = {"method": "get", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/"}
    query = allowed()
    assert "connection refused" in send(request, query)
    query.allow_network = False
    assert "connection refused" in send(request, query)


def test_credentials_stay_with_the_host_they_are_for(server: _Server) -> None:
    secrets = {"Authorization": "secret", "Cookie": "secret", "X-Other": "kept"}
    with _serving() as other:
        there = f"{server.url}/to?302{other.url}/echo"
        answer = send({"method": "get", "url": there, "headers": secrets, "enable_redirect": True})
    assert "kept" in answer
    assert "secret" not in answer


def test_redirections_end(server: _Server) -> None:
    loop = {"method": "get", "url": f"{server.url}/loop", "enable_redirect": True}
    assert "stopped after 10 redirects" in send(loop)
    assert 'unsupported protocol scheme "file"' in send(
        {"method": "get", "url": f"{server.url}/to?302file:///etc/passwd", "enable_redirect": True}
    )


def test_an_answer_may_not_be_larger_than_the_limit(server: _Server) -> None:
    assert "the answer is larger than" in send({"method": "get", "url": f"{server.url}/large"})


def test_half_an_answer_is_none() -> None:
    def answer(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(10_000)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n[1]")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        got = send({"method": "get", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/"})
    assert got.startswith("eval_builtin_error: ")


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_server_that_drips_is_cut_off(beginning: bytes) -> None:
    """Each octet comes well within the time limit, the answer never does: the server goes on until it is cut off."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.sendall(beginning or b"HTTP/1.1 200 OK\r\nX-Header: ")
            while not over.wait(0.05):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        answer = send({"method": "get", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/", "timeout": "400ms"})
        over.set()
    assert "request timed out" in answer


class _Authority:
    """A certificate authority, and a certificate for 127.0.0.1 with its key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.pem = self.made(self.key, self.name, x509.BasicConstraints(ca=True, path_length=None))
        self.server_key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test server")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("named")])
        self.server_pem = self.made(self.server_key, subject, names)
        self.server_key_pem = self.server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def made(self, key: ec.EllipticCurvePrivateKey, subject: x509.Name, extension: x509.ExtensionType) -> str:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def authority() -> _Authority:
    return _Authority()


@pytest.fixture(scope="module")
def secure(authority: _Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """A server that wants a client's certificate, and takes those of the authority."""
    directory: Path = tmp_path_factory.mktemp("tls")
    (directory / "server.pem").write_text(authority.server_pem + authority.server_key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.pem)
    context.load_cert_chain(directory / "server.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 wants extensions that the authority does not write
    with _serving(context) as running:
        yield running


def test_only_trusted_servers_are_talked_to(
    secure: _Server, authority: _Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"method": "get", "url": f"{secure.url}/json"}
    assert "tls: " in send(request)
    assert "tls: " in send({**request, "tls_use_system_certs": True})
    assert '"status_code": 200' in send({**request, "tls_ca_cert": authority.pem})
    assert '"status_code": 200' in send({**request, "tls_ca_cert": authority.pem.replace("\n", "\\n")})
    assert '"status_code": 200' in send({**request, "tls_ca_cert": authority.pem, "tls_server_name": "named"})
    assert "tls: " in send({**request, "tls_ca_cert": authority.pem, "tls_server_name": "other"})
    assert "tls: " in send({**request, "tls_ca_cert": authority.pem, "headers": {"host": "other"}})
    assert '"status_code": 200' in send({**request, "tls_insecure_skip_verify": True})
    (tmp_path / "ca.pem").write_text(authority.pem)
    assert '"status_code": 200' in send({**request, "tls_ca_cert_file": str(tmp_path / "ca.pem")})
    monkeypatch.setenv("TEST_AUTHORITY", authority.pem)
    assert '"status_code": 200' in send({**request, "tls_ca_cert_env_variable": "TEST_AUTHORITY"})


def test_clients_show_their_certificate(secure: _Server, authority: _Authority) -> None:
    request = {"method": "get", "url": f"{secure.url}/json", "tls_ca_cert": authority.pem}
    mine = {"tls_client_cert": authority.server_pem, "tls_client_key": authority.server_key_pem}
    assert '"status_code": 200' in send({**request, **mine})
    stranger = _Authority()
    foreign = {"tls_client_cert": stranger.server_pem, "tls_client_key": stranger.server_key_pem}
    assert '"status_code": 200' not in send({**request, **foreign})
    assert "tls: " in send({**request, **mine, "tls_client_key": stranger.server_key_pem})


@pytest.mark.parametrize(
    "host", ["10.0.0.0", "::", "1:0::2", "::ffff:1.2.3.4", "", "a b", "1.2.3.4.5", "127.1", 1, None]
)
def test_addresses_are_their_own_address(oracle: Oracle, host: Value) -> None:
    name = "net.lookup_ip_addr"
    assert verdict(name, host, query=allowed()) == opa_outcome(oracle.call(name, host))


def test_localhost_needs_nobody() -> None:
    assert outcome("net.lookup_ip_addr", "localhost") == '[{"127.0.0.1", "::1"}]'
    assert outcome("net.lookup_ip_addr", "127.0.0.1") == '[{"127.0.0.1"}]'


def test_there_is_no_runtime_to_tell_about(oracle: Oracle) -> None:
    assert verdict("opa.runtime") == "[{}]" == opa_outcome(oracle.call("opa.runtime"))
