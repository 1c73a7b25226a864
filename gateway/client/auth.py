"""`AgentAuth` and `CertificateAuth`: how an agent in Python signs its requests, or uses a certificate.

    from gateway.client import AgentAuth

    client = openai.OpenAI(
        base_url="http://127.0.0.1:8080/v1",
        api_key="unused",
        http_client=openai.DefaultHttpxClient(auth=AgentAuth("agent.pem")),
    )

They are authentication classes of httpx and of httpx2, whichever is installed. So they work in every client of either,
and in SDKs that are given one.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.client.signing import REPLACED, Signer
from gateway.identity import public_keys
from gateway.identity.message_signatures import PrivateKey, content_digest

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]  # the same methods, of requests of their own
        pass
else:

    def _installed() -> list[type]:
        found = []
        for name in ("httpx", "httpx2"):
            try:
                found.append(importlib.import_module(name).Auth)
            except ModuleNotFoundError:
                continue
        if not found:
            raise ModuleNotFoundError("`gateway.client` needs httpx or httpx2: `pip install httpx`")
        return found

    _Auth = type("_Auth", tuple(_installed()), {})


class AgentAuth(_Auth):
    """Signs each request with the private key in `key_file`, and takes away the key that an SDK has put into it.

    `key_file` is a PEM file that only its owner can read; a key object of `cryptography` does as well. Raises
    `gateway.errors.GatewayError` if the file holds no Ed25519 or P-256 key.
    """

    # A body is hashed before its first byte is sent.
    requires_request_body = True

    def __init__(self, key_file: str | os.PathLike[str] | PrivateKey) -> None:
        key = public_keys.read_private(Path(key_file)) if isinstance(key_file, str | os.PathLike) else key_file
        self._signer = Signer(key)

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Called for every request, also for one that is repeated: a signature opens the gateway once."""
        _without_key(request)
        target = request.url.raw_path.decode("ascii")
        digest = content_digest(request.content)
        request.headers.update(self._signed(request, target, digest))
        yield request

    def _signed(self, request: Any, target: str, digest: str) -> dict[str, str]:
        once = {name.lower(): value for name, value in request.headers.items()}
        return self._signer.headers(request.method, request.headers["host"], target, digest, once)


class CertificateAuth(_Auth):
    """Takes away the key that an SDK has put into each request: the client's certificate says who it is.

    The certificate itself is in the client's `verify`, an `ssl.SSLContext`. See mtls.md.
    """

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        _without_key(request)
        yield request


def _without_key(request: Any) -> None:
    for name in REPLACED:
        if name in request.headers:
            del request.headers[name]
