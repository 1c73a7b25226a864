"""A request for a token as it arrives: the form, what it asks for, and how it is refused (RFC 6749, section 5.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from gateway.errors import Denied, PrincipalHint

MAX_BYTES = 32 * 1024
_FORM = re.compile(rb"application/x-www-form-urlencoded(?:\s*;\s*charset\s*=\s*\"?utf-8\"?)?\s*", re.IGNORECASE)
_MAX_FIELDS = 32

TYPES = "urn:ietf:params:oauth:token-type:"
GRANTS = {
    "client_credentials": "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer": "jwt_bearer",
}
# Errors by reason code; whatever has no entry here is a fault of the gateway.
_BY_REASON = {
    "bad_credentials": ("invalid_client", 401),
    "agent_suspended": ("unauthorized_client", 403),
    "registry_unavailable": ("temporarily_unavailable", 503),
    "audit_unavailable": ("temporarily_unavailable", 503),
    "overloaded": ("temporarily_unavailable", 503),
    "too_large": ("invalid_request", 413),
    "wrong_method": ("invalid_request", 405),
}
_UNSAID = re.compile(r"[^ !#-\[\]-~]")


class Refusal(Exception):
    """A request for a token is refused. `error` is one of OAuth's codes, `denied` how it is counted."""

    def __init__(self, error: str, why: str, status: int = 400, denied: Denied | None = None) -> None:
        super().__init__(why)
        self.error = error
        self.why = _UNSAID.sub("?", why)[:500]
        self.status = status
        self.denied = denied or Denied("bad_request")

    @classmethod
    def of(cls, denied: Denied) -> Refusal:
        error, status = _BY_REASON.get(denied.code, ("invalid_request", denied.reason.status))
        return cls(error, denied.text, status, denied)

    @classmethod
    def bad_token(cls, why: str, text: str, hint: PrincipalHint | None = None) -> Refusal:
        """A token that was handed in is not valid. Only the log is told exactly why."""
        return cls("invalid_grant", text, 400, Denied("bad_credentials", f"token_{why}", principal_hint=hint))


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The parameters, each at most once; one without a value was not given. `body` is what they were read from."""

    grant: str
    parameters: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def get(self, name: str) -> str:
        return self.parameters.get(name, "")

    def need(self, name: str) -> str:
        if name not in self.parameters:
            raise Refusal("invalid_request", f"the parameter {name} is missing")
        return self.parameters[name]

    def type_of(self, name: str) -> str:
        """The type of a token parameter without the prefix that all types of RFC 8693 have."""
        return self.need(f"{name}_type").removeprefix(TYPES)


def parse(headers: Mapping[bytes, bytes], body: bytes) -> TokenRequest:
    """The request in a form; raises `Refusal`. Parameters that are not known are ignored, as RFC 6749 demands."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal("invalid_request", "the form must not be compressed")
    if not _FORM.fullmatch(headers.get(b"content-type", b"")):
        raise Refusal("invalid_request", "the content type must be application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:  # also of bytes that are not ASCII
        raise Refusal("invalid_request", "the body is no form") from None
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise Refusal("invalid_request", "a parameter appears twice")
        seen.add(name)
        if value:
            found[name] = value
    grant = found.get("grant_type")
    if grant is None:
        raise Refusal("invalid_request", "the parameter grant_type is missing")
    if grant not in GRANTS:
        raise Refusal("unsupported_grant_type", f"this gateway takes: {', '.join(GRANTS)}")
    return TokenRequest(GRANTS[grant], found, body)
