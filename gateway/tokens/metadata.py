"""What OAuth clients read to find out how the data plane is opened: RFC 9728 for its resources, RFC 8414 for tokens.

All of it is for everybody, and says nothing of what exists: a resource is described for every name that an upstream
could have. Nobody logs in here, so no response type is supported; the place for that is named because clients of MCP
demand one, and it refuses.
"""

from __future__ import annotations

from typing import Final

import orjson

from gateway.dataplane.refusal_answers import RESOURCE_PREFIX
from gateway.identity.call_tokens import TYPE
from gateway.tokens.form import GRANTS
from gateway.upstream import routing

TOKEN_PATH: Final = b"/oauth/token"
AUTHORIZE_PATH: Final = b"/oauth/authorize"
KEYS_PATH: Final = b"/.well-known/jwks.json"
SERVER_PATH: Final = b"/.well-known/oauth-authorization-server"
NO_LOGIN: Final = orjson.dumps(
    {
        "error": "unsupported_response_type",
        "error_description": "nobody logs in here: an agent asks the token endpoint, with its own credential",
    }
)


class Metadata:
    """The documents of one data plane. `where` is its URL as others know it, `deployment` the `iss` of its tokens."""

    def __init__(self, where: str, deployment: str) -> None:
        self.where = where.rstrip("/")
        self._server = orjson.dumps(
            {
                "issuer": self.where,
                "authorization_endpoint": self.where + AUTHORIZE_PATH.decode(),
                "token_endpoint": self.where + TOKEN_PATH.decode(),
                "jwks_uri": self.where + KEYS_PATH.decode(),
                "response_types_supported": [],
                "grant_types_supported": [*GRANTS],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                # Not of RFC 8414: what servers behind the gateway need to verify who calls (call-tokens.md).
                "call_tokens": {"iss": deployment, "typ": TYPE, "alg": "EdDSA"},
                "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
            }
        )

    def document(self, path: bytes) -> bytes | None:
        """The document at a path; None if there is none."""
        if path == SERVER_PATH:
            return self._server
        text = path.decode("latin-1")
        if not text.startswith(RESOURCE_PREFIX):
            return None
        resource = text.removeprefix(RESOURCE_PREFIX)
        if resource and routing.resource(resource) is None:
            return None
        return orjson.dumps(
            {
                "resource": self.where + resource,
                "authorization_servers": [self.where],
                "bearer_methods_supported": ["header"],
                "resource_name": "Agent Identity Gateway",
            }
        )

    def resource(self, url: str) -> str | None:
        """The path of a resource of this data plane, empty for all of it; None for a URL of something else."""
        if url.rstrip("/") == self.where:
            return ""
        path = url.removeprefix(self.where)
        return path if path != url and routing.resource(path) is not None else None
