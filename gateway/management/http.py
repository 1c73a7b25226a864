"""Requests to the control API of a gateway elsewhere: to one origin, with one token, and errors as commands have them.

No redirect is followed, so the token reaches no other origin. A request that may be repeated is repeated when the
connection breaks off: reading changes nothing, and each POST has an Idempotency-Key.
"""

from __future__ import annotations

import ssl
import time
import uuid
from typing import Final

import httpx

from gateway.errors import GatewayError
from gateway.management.client import AnswerDocument, ApiError, ApiRequest, Reply, target
from gateway.management.servers import ServerAccess

PREFIX: Final = "/api/v1"
PAGE: Final = 500
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 0.3

# A control API's text about a member of a body that it does not know. Only an older one does not know a member that a
# command sends.
_NO_MEMBER: Final = "there is no such member"
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_HEADERS: Final = {
    "accept": "application/json",
    # Hints name commands then, and not members of bodies.
    "gateway-client": "command-line",
}


class HttpTransport:
    """`Transport` of `client.py`. Used by one thread."""

    page = PAGE
    is_here = False

    def __init__(self, access: ServerAccess) -> None:
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

    def close(self) -> None:
        self._http.close()

    def exchange(self, request: ApiRequest) -> Reply:
        headers = {"if-match": request.match} if request.match else {}
        if request.method == "POST":
            headers["idempotency-key"] = request.key or uuid.uuid4().hex
        timeout = _TIMEOUT if request.seconds is None else httpx.Timeout(request.seconds, connect=_TIMEOUT.connect)
        built = self._http.build_request(
            request.method,
            PREFIX + target(request.path),
            params=request.query,
            headers=headers,
            json=request.body,
            timeout=timeout,
        )
        response = self._exchanged(built, repeatable=request.method in ("GET", "POST") and not request.once)
        if response.status_code >= 300:
            raise self._failure(response)
        try:
            found = response.json(object_hook=AnswerDocument)
        except ValueError as error:
            raise self.no_list() from error
        if not isinstance(found, dict):
            raise self.no_list()
        warnings = response.headers.get_list("gateway-warning")
        return Reply(found, response.headers.get("etag", ""), warnings)

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
            return self.no_list()
        try:
            problem = dict(response.json())
        except (ValueError, TypeError):
            return self.no_list()
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

    def no_list(self) -> GatewayError:
        """The error for a server that answers and is no gateway."""
        hint = "name its control listener, by default the port 8081, and not the one of agents"
        return GatewayError("not_a_gateway", f"{self._origin} does not answer as a control API", hint=hint)


def _trusted(access: ServerAccess) -> ssl.SSLContext | bool:
    if access.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(access.ca_file))
    except (OSError, ssl.SSLError) as error:
        message = f"`{access.ca_file}` cannot be used as a file of certificates"
        raise GatewayError("file_unusable", message, hint="it must be PEM") from error
