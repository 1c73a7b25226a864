"""Making the requests of http.send: connections, TLS, redirections, attempts, and a limit of time for all of them.

Everything is bounded: a server that answers slowly is cut off when time is over, by a timer that shuts the connection
down, and an answer may be 16 MiB. Proxies of the environment are not used. Importing this imports `ssl`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin

from policy_engine.builtins import resolver, uri
from policy_engine.builtins.http.options import LONGEST, TLS, RequestError, RequestOptions, host_of, sendable
from policy_engine.builtins.octets import to_bytes

LARGEST_BODY: Final = 16 << 20
_REDIRECTS: Final = 10
_FIRST_DELAY: Final = 0.1
_GROWTH: Final = 1.6
_AGENT: Final = "agent-identity-gateway"


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


def send(options: RequestOptions) -> Response:
    """The answer to a request. Raises `RequestError`."""
    end = time.monotonic() + LONGEST
    delay = _FIRST_DELAY
    for attempt in range(options.retries + 1):
        try:
            return _follow(options, min(time.monotonic() + options.timeout, end))
        except RequestError as error:
            if attempt == options.retries or error.code != RequestError.NETWORK or time.monotonic() + delay > end:
                raise
        time.sleep(delay)
        delay *= _GROWTH
    raise AssertionError("the last attempt returns or raises")


def _follow(options: RequestOptions, end: float) -> Response:
    for _ in range(_REDIRECTS):
        response = _exchange(options, end)
        location = next((value for name, value in response.headers if name.lower() == "location"), "")
        if not options.redirect or response.status not in (301, 302, 303, 307, 308) or not location:
            return response
        options = _redirected(options, response.status, location)
    raise _failure(options, f"stopped after {_REDIRECTS} redirects")


def _redirected(options: RequestOptions, status: int, location: str) -> RequestOptions:
    """The next request. Headers that identify the policy to one host are not sent to another."""
    url = urljoin(options.url, location)
    try:
        target = uri.split(url)
    except uri.URIError as error:
        raise _failure(options, f"failed to parse Location header: {error}") from None
    headers, host = options.headers, options.host
    if target.host != options.target.host or target.scheme != options.target.scheme:
        secret = ("Authorization", "Cookie", "Cookie2", "Www-Authenticate", "Proxy-Authorization")
        headers, host = {name: value for name, value in headers.items() if name not in secret}, ""
    if status in (307, 308):
        return replace(options, url=url, target=target, headers=headers, host=host)
    method = options.method if options.method in ("GET", "HEAD") else "GET"
    return replace(options, url=url, target=target, headers=headers, host=host, method=method, body=b"")


def _failure(options: RequestOptions, text: str) -> RequestError:
    """Go's form of an error about a URL, without the password in it."""
    url = options.url
    user = options.target.user or ""
    if ":" in user:
        before, _, after = url.partition("@")
        url = f"{before.rpartition(':')[0]}:***@{after}"
    return RequestError(f'{options.method.capitalize()} "{url}": {text}', RequestError.NETWORK)


def _exchange(options: RequestOptions, end: float) -> Response:
    """One request and its answer."""
    target = options.target
    if target.scheme not in ("http", "https"):
        raise _failure(options, f'unsupported protocol scheme "{target.scheme}"')
    if not target.hostname:
        raise _failure(options, "http: no Host in request URL")
    port = target.port or ("443" if target.scheme == "https" else "80")
    if len(port) > 5 or int(port) > 65535:
        raise _failure(options, f"dial tcp: address {port}: invalid port")
    headers = sendable(options.headers, options.host, lambda text: _failure(options, text))
    # Certificates that cannot be used are an error even where they are not needed.
    context = _context(options.tls) if target.scheme == "https" or options.tls.texts else None
    connection = _Connection(options, int(port), context if target.scheme == "https" else None, end)
    try:
        with _cut_off(connection, end) as over:
            response = _converse(connection, options, headers)
        if over.is_set():
            # The bytes read until then look like a complete answer.
            raise TimeoutError
        return response
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= end or isinstance(error, TimeoutError):
            raise _failure(options, "request timed out") from None
        raise _failure(options, _described(error)) from None
    finally:
        connection.close()


def _described(error: Exception) -> str:
    if isinstance(error, resolver.ResolutionError):
        return f"dial tcp: {error}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    return str(error) or error.__class__.__name__


class _Connection(http.client.HTTPConnection):
    """To the addresses that the host had within the time, over TLS if there is a context for it."""

    def __init__(self, options: RequestOptions, port: int, context: ssl.SSLContext | None, end: float) -> None:
        super().__init__(options.target.hostname, port)
        self._options = options
        self._context = context
        self._end = end

    def connect(self) -> None:
        failure: OSError = OSError("no address")
        for address in resolver.resolve(self.host, self._left()):
            try:
                self.sock = socket.create_connection((address, self.port), self._left())
                break
            except OSError as error:
                place = f"[{address}]" if ":" in address else address
                reason = (error.strerror or str(error)).lower()
                failure = OSError(f"dial tcp {place}:{self.port}: connect: {reason}")
        else:
            raise failure
        if self._context is not None:
            name = self._options.tls.server_name or self._options.host.partition(":")[0] or self.host
            self.sock = self._context.wrap_socket(self.sock, server_hostname=name)

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextlib.contextmanager
def _cut_off(connection: _Connection, end: float) -> Iterator[threading.Event]:
    """Enforce the overall deadline: single socket timeouts never expire if bytes keep trickling in."""
    over = threading.Event()

    def stop() -> None:
        over.set()
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(end - time.monotonic(), 0.001), stop)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def _converse(connection: _Connection, options: RequestOptions, headers: dict[str, str]) -> Response:
    target = options.target
    path = (target.escaped_path or "/") + (f"?{target.query}" if target.query else "")
    connection.putrequest(options.method, _ascii(path), skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", to_bytes(options.host or host_of(target)))
    own = {"User-Agent": _AGENT, "Connection": "close"}
    if target.user is not None and "Authorization" not in headers:
        own["Authorization"] = "Basic " + base64.b64encode(target.user.encode("latin-1")).decode()
    if options.body or options.method in ("POST", "PUT", "PATCH"):
        own["Content-Length"] = str(len(options.body))
    for name, value in {**own, **headers}.items():
        connection.putheader(name, to_bytes(value))
    connection.endheaders(options.body or None)
    answer = connection.getresponse()
    body = answer.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise http.client.HTTPException(f"the answer is larger than {LARGEST_BODY} bytes")
    if answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return Response(answer.status, answer.reason, answer.getheaders(), body)


def _ascii(octets: str) -> str:
    """Octets beyond ASCII, which a URL should not have, escaped."""
    return "".join(char if "!" <= char <= "~" else f"%{ord(char):02X}" for char in octets)


_WAYS: Final = ("", "_file", "_env_variable")
"""To give a certificate or key: as it is, or where it is."""


def _context(tls: TLS) -> ssl.SSLContext:
    given = [(way, _pem(tls, f"tls_ca_cert{way}")) for way in _WAYS if f"tls_ca_cert{way}" in tls.texts]
    for way, text in given:
        # Nothing to trust must not become trust in what the system trusts.
        if "-----BEGIN CERTIFICATE-----" not in text:
            named = tls.texts[f"tls_ca_cert{way}"]
            where = f'could not add CA certificates from envvar "{named}": ' if way == "_env_variable" else ""
            raise RequestError(f"{where}could not append certificates")
    try:
        context = ssl.create_default_context(cadata="\n".join(text for _, text in given) or None)
        # As Go verifies, whatever the version of Python: any certificate that is given is trusted, extensions or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if given and tls.system_roots:
            context.load_default_certs()
        if tls.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for way in _WAYS:
            if f"tls_client_cert{way}" in tls.texts and f"tls_client_key{way}" in tls.texts:
                _load_pair(context, _pem(tls, f"tls_client_cert{way}"), _pem(tls, f"tls_client_key{way}"))
    except (OSError, ValueError) as error:
        raise RequestError(f"tls: {error}") from None
    return context


def _pem(tls: TLS, parameter: str) -> str:
    """The text that a parameter gives, names the file of, or names the environment variable of."""
    text = tls.texts[parameter]
    if parameter.endswith("_env_variable"):
        return os.environ.get(text, "")
    if not parameter.endswith("_file"):
        return text.replace("\\n", "\n")
    try:
        with open(text, encoding="ascii", errors="replace") as file:
            return file.read(LARGEST_BODY)
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise RequestError(f"open {text}: {reason}") from None


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python reads them from files only; this one is readable to nobody else and gone at once."""
    if "-----BEGIN" not in certificate:
        raise RequestError("tls: failed to find any PEM data in certificate input")
    if "-----BEGIN" not in key:
        raise RequestError("tls: failed to find any PEM data in key input")
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        # An encrypted key must not make the process ask for a password at its terminal.
        context.load_cert_chain(file.name, password="")
