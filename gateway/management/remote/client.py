"""Requests to the control API of a gateway elsewhere: to one origin, with one token, and errors as commands have them.

No redirect is followed, so the token reaches no other origin. A request that may be repeated is repeated when the
connection breaks off: reading changes nothing, and each POST has an Idempotency-Key.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from gateway.errors import GatewayError
from gateway.management.servers import Access

PREFIX: Final = "/api/v1"
PAGE: Final = 500
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 0.3

# What a control API says of a member of a body that it does not know; commands send no others.
_NO_MEMBER: Final = "there is no such member"
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_HEADERS: Final = {
    "accept": "application/json",
    # Hints name commands then, and not members of bodies.
    "gateway-client": "command-line",
}


class Document(dict[str, Any]):
    """An object in an answer. What a gateway of another version leaves out is an error that says so."""

    def __missing__(self, name: str) -> Any:
        raise incomplete([name])


def incomplete(missing: Sequence[str]) -> GatewayError:
    """The error for an answer without these members. A change may have been made before, or be still to come."""
    names = ", ".join(f"`{each}`" for each in missing)
    message = f"the gateway is older than this command: its answer lacks {names}"
    hint = "look whether it has changed anything; upgrade the gateway, or use a command line of its version"
    return GatewayError("older_gateway", message, hint=hint)


@dataclass(frozen=True, slots=True)
class Reply:
    """The JSON of an answer, and the version that it is of."""

    body: Any
    tag: str


class ApiError(GatewayError):
    """A problem that the gateway has answered, with its HTTP status and the members that are wrong."""

    def __init__(self, code: str, message: str, hint: str, status: int, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(code, message, hint=hint)
        self.status = status
        self.errors = errors


class Client:
    """Used by one thread. `warn` is told what the gateway adds to its answers."""

    def __init__(self, access: Access, warn: Callable[[str, str], None] | None = None) -> None:
        self._origin = access.origin
        plain = access.origin.startswith("http://")
        self._http = httpx.Client(
            base_url=access.origin,
            headers={**_HEADERS, **({"authorization": f"Bearer {access.token}"} if access.token else {})},
            verify=_trusted(access),
            timeout=_TIMEOUT,
            follow_redirects=False,
            # A proxy would read what is sent over plain HTTP.
            trust_env=not plain,
        )
        self._warn = warn

    def close(self) -> None:
        self._http.close()

    def get(self, *path: str, **query: Any) -> Reply:
        return self.send("GET", *path, **query)

    def pages(
        self, *path: str, most: int | None = None, size: int | None = None, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """The pages of a list, of `size` items each, until it ends or has `most` items."""
        left, size = most, size or PAGE
        while True:
            limit = size if left is None else min(size, left)
            page = self.get(*path, **query, limit=str(limit)).body
            if not {"items", "next"} <= page.keys():
                raise self._not_a_gateway()
            yield page
            if left is not None:
                left -= len(page["items"])
            if page["next"] is None or (left is not None and left <= 0):
                return
            query["cursor"] = page["next"]

    def items(self, *path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        return [each for page in self.pages(*path, **query) for each in page["items"]]

    def send(
        self,
        method: str,
        *path: str,
        body: dict[str, Any] | None = None,
        match: str = "",
        once: bool = False,
        key: str | None = None,
        seconds: float | None = None,
        **query: Any,
    ) -> Reply:
        """One request, not repeated if it must be sent `once`.

        `key` is its idempotency key, if it was sent before, and its answer may take `seconds` to come. Raises
        `GatewayError` with the code, the text and the hint of the problem.
        """
        headers = {"if-match": match} if match else {}
        if method == "POST":
            headers["idempotency-key"] = key or uuid.uuid4().hex
        request = self._http.build_request(
            method,
            PREFIX + "".join(f"/{_part(each)}" for each in path),
            params={name: value for name, value in query.items() if value is not None},
            headers=headers,
            json=body,
            timeout=_TIMEOUT if seconds is None else httpx.Timeout(seconds, connect=_TIMEOUT.connect),
        )
        response = self._exchanged(request, repeatable=method in ("GET", "POST") and not once)
        if response.status_code >= 300:
            raise self._failure(response)
        for text in response.headers.get_list("gateway-warning"):
            if self._warn is not None:
                self._warn(text, "")
        try:
            found = response.json(object_hook=Document)
        except ValueError as error:
            raise self._not_a_gateway() from error
        if not isinstance(found, dict):
            raise self._not_a_gateway()
        return Reply(found, response.headers.get("etag", ""))

    def _exchanged(self, request: httpx.Request, *, repeatable: bool) -> httpx.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._http.send(request)
            except httpx.ConnectError as error:
                if attempt == ATTEMPTS or isinstance(error.__context__, ssl.SSLError) or "CERTIFICATE" in str(error):
                    raise self._unreachable(error) from error
            except httpx.TransportError as error:
                if attempt == ATTEMPTS or not repeatable:
                    raise self._unreachable(error) from error
            else:
                # A change that is answered with 503 may be in force: only its entry is missing.
                if response.status_code != 503 or attempt == ATTEMPTS or request.method != "GET":
                    return response
            time.sleep(PAUSE_SECONDS * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _failure(self, response: httpx.Response) -> GatewayError:
        if response.is_redirect:
            message = f"{self._origin} answers with a redirect, which is not followed: the token is for it alone"
            return GatewayError("redirected", message, hint="name the control listener itself")
        if response.headers.get("content-type") != "application/problem+json":
            return self._not_a_gateway()
        try:
            problem = dict(response.json())
        except (ValueError, TypeError):
            return self._not_a_gateway()
        code, detail = str(problem.get("code")), str(problem.get("detail"))
        if response.status_code == 401 and code == "bad_credentials":
            message = f"{self._origin} does not take the token: it is unknown, wrong, revoked or expired"
            return GatewayError(code, message, hint=f"type `gateway login --server {self._origin}`")
        if code == "unknown_path" or response.status_code == 405:
            message = f"the gateway at {self._origin} is older than this command, and cannot do this"
            return GatewayError("older_gateway", message, hint="upgrade that gateway")
        hint = str(problem.get("hint", ""))
        hint = "" if f"{PREFIX}/" in hint else hint  # a path is for programs
        errors = [each for each in problem.get("errors") or () if isinstance(each, dict)]
        if code == "invalid_body" and not hint and any(each.get("message") == _NO_MEMBER for each in errors):
            hint = "the gateway may be older than this command: leave that out, or upgrade the gateway"
        return ApiError(code, detail, hint, response.status_code, errors)

    def _unreachable(self, error: httpx.TransportError) -> GatewayError:
        why = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            message = f"the certificate of {self._origin} is not trusted"
            return GatewayError("server_untrusted", message, hint="add --ca-file FILE with the authority's certificate")
        hint = "see that the gateway is up, and that this machine reaches its control listener"
        return GatewayError("server_unreachable", f"cannot reach {self._origin}: {why}", hint=hint)

    def _not_a_gateway(self) -> GatewayError:
        hint = "name its control listener, by default the port 8081, and not the one of agents"
        return GatewayError("not_a_gateway", f"{self._origin} does not answer as a control API", hint=hint)


def _part(text: str) -> str:
    """One segment of a path. Segments of dots alone would be resolved as folders are."""
    return quote(text, safe="").replace(".", "%2E") if not text.strip(".") else quote(text, safe="")


def _trusted(access: Access) -> ssl.SSLContext | bool:
    if access.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(access.ca_file))
    except (OSError, ssl.SSLError) as error:
        message = f"`{access.ca_file}` cannot be used as a file of certificates"
        raise GatewayError("file_unusable", message, hint="it must be PEM") from error
