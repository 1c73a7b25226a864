"""Reads and checks the parts of a request to the control API: its path, parameters, headers and body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ValidationError

from gateway.control.operation import Operation
from gateway.control.problems import Problem
from gateway.errors import did_you_mean
from gateway.logs import without_keys
from gateway.upstream import strict_json

if TYPE_CHECKING:
    from starlette.types import Receive

NO_MEMBER: Final = "there is no such member"
_BODY_SECONDS: Final = 30.0
_DIGITS: Final = 18
_JSON: Final = re.compile(r"application/(json|merge-patch\+json)\s*(;\s*charset=utf-8\s*)?", re.IGNORECASE)


def part(value: bytes) -> str:
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "bad_request", "the path is not UTF-8") from None


def shown(text: str, most: int = 80) -> str:
    return without_keys(text if text.isprintable() else ascii(text))[:most]


def single_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, those that mean something here at most once."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found and name in (b"content-type", b"content-length", b"idempotency-key", b"if-match"):
            raise Problem(400, "bad_request", f"the request has several {name.decode()} headers", hint="send one")
        found[name] = value
    return found


def check_host(headers: Sequence[tuple[bytes, bytes]]) -> None:
    if sum(name == b"host" for name, _ in headers) != 1:  # RFC 9112, section 3.2
        raise Problem(400, "bad_request", "the request must have one Host header", hint="send one")


def announced(operation: Operation, headers: Mapping[bytes, bytes]) -> int:
    """The most bytes that the body may have; 0 if there is none, which is not waited for (RFC 9112, section 6.3)."""
    most = length(headers, operation.most_bytes)
    if most and operation.body is None:
        raise Problem(400, "bad_request", "this operation takes no body", hint="send the request without one")
    return most


def length(headers: Mapping[bytes, bytes], most: int) -> int:
    """The same for a body of at most `most` bytes."""
    given = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers:
        return most
    if not given.strip(b"0"):
        return 0
    if not given.isdigit() or len(given) > _DIGITS or int(given) > most:
        raise _too_large(most)
    return int(given)


def is_json(headers: Mapping[bytes, bytes]) -> bool:
    """True if the body is said to be JSON."""
    return _JSON.fullmatch(headers.get(b"content-type", b"").decode("latin-1").strip()) is not None


async def read(receive: Receive, headers: Mapping[bytes, bytes], most: int, seconds: float = _BODY_SECONDS) -> bytes:
    """The body, of at most so many bytes; one of none is not waited for."""
    if not most:
        return b""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "unsupported_encoding", "the body is compressed", hint="send it as it is")
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Problem(400, "bad_request", "the request broke off")
                body += message.get("body", b"")
                if len(body) > most:
                    raise _too_large(most)
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Problem(400, "bad_request", "the request's body did not come in time") from None


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"the body is longer than {most} bytes")


def parameters(query: bytes) -> dict[str, str]:
    """The parameters by their names, each at most once."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise Problem(400, "bad_request", "the parameters after the `?` cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            error = {"parameter": shown(name), "message": "given twice"}
            raise Problem(400, "invalid_parameter", "a parameter is given twice", errors=[error])
        found[name] = value
    return found


def validated_query(operation: Operation, query: dict[str, str]) -> BaseModel:
    try:
        return operation.query.model_validate(query)
    except ValidationError as error:
        errors = [
            {"parameter": shown(".".join(map(str, each["loc"]))), "message": _said(each)}
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        detail = f"parameter `{errors[0]['parameter']}`: {errors[0]['message']}"
        raise Problem(400, "invalid_parameter", detail, errors=errors) from None


def validated_body(operation: Operation, headers: Mapping[bytes, bytes], raw: bytes) -> BaseModel | None:
    if operation.body is None:
        return None
    if not raw:
        raw = b"{}"
    elif not is_json(headers):
        raise Problem(
            415, "unsupported_media_type", "the body must be JSON", hint="send content-type: application/json"
        )
    strict_json.parse(raw, operation.most_values)  # refuses JSON that parsers could read differently
    return body_of(operation, raw)


def body_of(operation: Operation, raw: bytes) -> BaseModel | None:
    """The body from JSON that only one way of reading it has."""
    if operation.body is None:
        return None
    try:
        return operation.body.model_validate_json(raw)
    except ValidationError as error:
        errors = [
            {"pointer": shown("".join(f"/{part}" for part in each["loc"])), "message": _said(each)}
            for each in sorted(
                error.errors(include_url=False, include_context=False, include_input=False),
                key=lambda each: each["type"] != "extra_forbidden",  # a mistyped name explains the missing one
            )
        ]
        detail = f"{errors[0]['pointer'] or 'the body'}: {errors[0]['message']}"
        hint = ""
        if errors[0]["message"] == NO_MEMBER:
            hint = did_you_mean(errors[0]["pointer"].removeprefix("/"), operation.body.model_fields)
        raise Problem(422, "invalid_body", detail, hint=hint, errors=errors) from None


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return NO_MEMBER if error["loc"] else "unexpected"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]


def tags(operation: Operation, headers: Mapping[bytes, bytes]) -> list[str] | None:
    text = headers.get(b"if-match")
    if operation.if_match is None:
        return None
    if text is None:
        if operation.if_match == "required":
            hint = "read it first, and send its ETag in If-Match; `If-Match: *` means whatever it is"
            raise Problem(428, "if_match_required", "the change must say which version it is of", hint=hint)
        return None
    return [each.strip() for each in text.decode("latin-1").split(",")]
