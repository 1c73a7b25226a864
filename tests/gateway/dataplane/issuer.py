"""An outside issuer for tests: a small HTTP server with its discovery document and keys, and tokens that it signs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from joserfc import jwk, jws

ALGORITHMS = {"RS256": ("RSA", 2048), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}


def new_key(algorithm: str, kid: str) -> Any:
    kind, parameter = ALGORITHMS[algorithm]
    return jwk.generate_key(kind, parameter, {"kid": kid})  # type: ignore[call-overload]  # one of three kinds


def signed(header: Mapping[str, Any], claims: Mapping[str, Any] | bytes, key: Any) -> str:
    """A token in compact form with exactly this header."""
    registry = _Anything(
        algorithms=["RS256", "ES256", "EdDSA", "HS256", "none", "PS256", "ES512"], strict_check_header=False
    )
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact(dict(header), payload, key, registry=registry)


class _Anything(jws.JWSRegistry):
    """Signs whatever a test wants, without a word of warning."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        pass


class Issuer:
    """Runs on a port of this machine. `asked` counts requests by path; while it is `down`, none is answered."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.key = new_key(algorithm, "first")
        self.asked: dict[str, int] = {}
        self.port = 0
        self.down = False
        self.answers: dict[str, bytes] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.serve("/.well-known/openid-configuration", discovery)
        self.publish(self.key)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    def publish(self, *keys: Any) -> None:
        self.serve("/keys", {"keys": [{**each.as_dict(private=False), "use": "sig"} for each in keys]})

    def serve(self, path: str, document: object, status: str = "200 OK", *lines: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *lines]
        self.answers[path] = "\r\n".join(head).encode() + b"\r\nconnection: close\r\n\r\n" + body

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.down:
                return
            path = head.split()[1].decode()
            self.asked[path] = self.asked.get(path, 0) + 1
            missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            writer.write(self.answers.get(path, missing))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def claims(self, **more: Any) -> dict[str, Any]:
        """The claims of a token as a pipeline's are. Members that are None are left out."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": "gateway",
            "sub": "repo:acme/app:ref:refs/heads/main",
            "repository": "acme/app",
            "ref": "refs/heads/main",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": "4f6c",
        }
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def token(self, **more: Any) -> str:
        return signed({"alg": self.algorithm, "kid": "first", "typ": "JWT"}, self.claims(**more), self.key)
