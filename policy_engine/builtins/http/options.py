"""The parameters of http.send, checked and with their defaults.

Caching across queries is left out: `cache` and what belongs to it is checked, and answers are kept for one query.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from policy_engine.builtins import gojson, uri
from policy_engine.builtins.http import request_object
from policy_engine.builtins.layouts.durations import DurationError, parse_duration
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import NUMBERS, charged, int64, operand_error, shown
from policy_engine.builtins.table import Context
from policy_engine.values import Value, sorted_items, to_term, type_name

NAME: Final = "http.send"
_SECOND: Final = 1_000_000_000
_DEFAULT_TIMEOUT: Final = 5.0
LONGEST: Final = 60.0
"""Seconds for one call, with all of its attempts and redirections, whatever the policy asks for."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_IN_VALUES: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_NOT_FORWARDED: Final = frozenset({"host", "content-length", "transfer-encoding", "trailer"})
"""Headers that the connection itself decides."""


class RequestError(Exception):
    """A request that was not made, or got no answer. `code` is what policies see."""

    INTERNAL = "eval_http_send_internal_error"
    NETWORK = "eval_http_send_network_error"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class TLS:
    """`None` is what was not given. Certificates and keys are PEM."""

    insecure: bool = False
    system_roots: bool | None = None
    server_name: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    """By parameter: tls_ca_cert, tls_client_cert, tls_client_key, each also with _file and _env_variable."""


@dataclass(slots=True)
class RequestOptions:
    method: str
    url: str
    target: uri.URI
    body: bytes
    headers: dict[str, str]
    """By canonical name; `Host` is in `host`."""
    host: str
    tls: TLS
    timeout: float
    redirect: bool
    retries: int
    force_json: bool
    force_yaml: bool


def read_options(given: dict[Any, Value], ctx: Context) -> RequestOptions:
    """Raises `RequestError`, and `BuiltinError` for what OPA calls a wrong operand."""
    for keyword in ("cache", "force_cache"):
        _flag(given, keyword)
    if given.get("force_cache") and "force_cache_duration_seconds" not in given:
        raise RequestError("'force_cache' set but 'force_cache_duration_seconds' parameter is missing")
    texts = {key: _text(key, value) for key, value in sorted_items(given, ctx.charge) if key in _TEXTS}
    body = to_bytes(texts["raw_body"]) if "raw_body" in texts else request_object.body(given, ctx)
    tls = TLS(
        _loose_flag(given, "tls_insecure_skip_verify") or False,
        _loose_flag(given, "tls_use_system_certs"),
        texts.get("tls_server_name", ""),
        {key: text for key, text in texts.items() if text and key.startswith("tls_c")},
    )
    headers = _headers(given, ctx)
    host = headers.pop("Host", "")
    method = texts["method"].upper() or "GET"
    if not _TOKEN.fullmatch(method):
        raise RequestError(f'net/http: invalid method "{method}"')
    try:
        target = uri.split(texts["url"], ctx.charge)
    except uri.URIError as error:
        raise RequestError(str(error)) from None
    return RequestOptions(
        method,
        texts["url"],
        target,
        body,
        headers,
        host,
        tls,
        _timeout(given),
        _loose_flag(given, "enable_redirect") or False,
        _count(given, "max_retry_attempts"),
        _flag(given, "force_json_decode"),
        _flag(given, "force_yaml_decode"),
    )


_TEXTS: Final = frozenset(
    (
        *(
            "method",
            "url",
            "raw_body",
            "tls_server_name",
            "tls_ca_cert",
            "tls_ca_cert_file",
            "tls_ca_cert_env_variable",
        ),
        *("tls_client_cert", "tls_client_cert_file", "tls_client_cert_env_variable"),
        *("tls_client_key", "tls_client_key_file", "tls_client_key_env_variable"),
    )
)


def _text(key: str, value: Value) -> str:
    if value.__class__ is not str:
        type_name(value)
        raise RequestError(f'"{key}" must be a string')
    # Quotes around it do not belong to it, OPA says.
    return str(value).strip('"')


def _flag(given: dict[Any, Value], key: str) -> bool:
    value = given.get(key, False)
    if value.__class__ is not bool:
        raise RequestError(f'invalid value for "{key}" field')
    return bool(value)


def _loose_flag(given: dict[Any, Value], key: str) -> bool | None:
    """A flag that may also be 1 or 0; None if it is not given."""
    if key not in given:
        return None
    value = given[key]
    if value.__class__ is bool or (value.__class__ is int and value in (0, 1)):
        return bool(value)
    raise RequestError(f"not a boolean: {shown(value)}")


def _count(given: dict[Any, Value], key: str) -> int:
    value = given.get(key, 0)
    count = int64(value) if value.__class__ in NUMBERS else None
    if count is None or count < 0:
        raise RequestError(f'invalid value {shown(value)} for field "{key}"')
    return count


def _timeout(given: dict[Any, Value]) -> float:
    """In seconds; zero and less are no limit in OPA."""
    if "timeout" not in given:
        return _DEFAULT_TIMEOUT
    value = given["timeout"]
    if value.__class__ is str:
        nanoseconds = int(value) if re.fullmatch("[+-]?[0-9]{1,18}", value) else _duration(value)
    elif value.__class__ in NUMBERS:
        found = int64(value)
        if found is None:
            raise RequestError(f"invalid timeout number value {shown(value)}, must be int64")
        nanoseconds = found
    else:
        operand_error(NAME, 1, f"'timeout' must be one of {{string, number}} but got {type_name(value)}")
    return min(nanoseconds / _SECOND, LONGEST) if nanoseconds > 0 else LONGEST


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except DurationError as error:
        raise RequestError(f"invalid timeout value {shown(text)}: {error}") from None


def _headers(given: dict[Any, Value], ctx: Context) -> dict[str, str]:
    headers = given.get("headers", {})
    if headers.__class__ is not dict:
        raise RequestError("invalid type for headers key")
    found: dict[str, str] = {}
    for key, value in charged(ctx, sorted_items(headers, ctx.charge)):
        if value.__class__ is not str:
            raise RequestError(f"invalid type for headers value {shown(value)}")
        found[canonical(key if key.__class__ is str else to_term(key, ctx.charge))] = value
    return found


def canonical(name: str) -> str:
    """A header's name with capitals at the beginning of its words, if it is a name at all."""
    return "-".join(word.capitalize() for word in name.split("-")) if _TOKEN.fullmatch(name) else name


def sendable(headers: dict[str, str], host: str, fail: Callable[[str], RequestError]) -> dict[str, str]:
    """Those to send. Raises what `fail` makes of a message for those that would break the request."""
    for name, value in (*headers.items(), ("Host", host)):
        if not _TOKEN.fullmatch(name):
            raise fail(f"net/http: invalid header field name {gojson.quote(name)}")
        if _NOT_IN_VALUES.search(value):
            raise fail(f"net/http: invalid header field value for {gojson.quote(name)}")
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED}


def host_of(target: uri.URI) -> str:
    return from_bytes(target.host.encode("latin-1"))
