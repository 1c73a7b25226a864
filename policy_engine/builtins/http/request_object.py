"""The first checks of a request object, shared by http.send and providers.aws.sign_req."""

from __future__ import annotations

from typing import Any, Final

from policy_engine.builtins import gojson
from policy_engine.builtins.octets import to_bytes
from policy_engine.builtins.operands import object_, operand_error, shown
from policy_engine.builtins.table import Context
from policy_engine.values import Value

_REQUIRED: Final = ("method", "url")
_KNOWN: Final = frozenset(
    (
        *("method", "url", "body", "raw_body", "headers", "enable_redirect", "timeout", "raise_error"),
        *("force_json_decode", "force_yaml_decode", "max_retry_attempts"),
        *("cache", "force_cache", "force_cache_duration_seconds", "caching_mode", "cache_ignored_headers"),
        *("tls_use_system_certs", "tls_ca_cert", "tls_ca_cert_file", "tls_ca_cert_env_variable"),
        *("tls_client_cert", "tls_client_cert_file", "tls_client_cert_env_variable"),
        *("tls_client_key", "tls_client_key_file", "tls_client_key_env_variable"),
        *("tls_insecure_skip_verify", "tls_server_name"),
    )
)


def request(operand: Value, name: str) -> dict[Any, Value]:
    """The operand if it is an object with the parameters that are needed, and no unknown ones."""
    given = object_(operand, name, 1)
    unknown = [key for key in given if key not in _KNOWN]
    if unknown:
        operand_error(name, 1, f"invalid request parameters(s): {listed(unknown)}")
    missing = [key for key in _REQUIRED if key not in given]
    if missing:
        operand_error(name, 1, f"missing required request parameters(s): {listed(missing)}")
    return given


def listed(keys: list[Any]) -> str:
    """Names in the text of an error, a few at most."""
    return f"{{{', '.join(sorted(map(shown, keys[:_LISTED])))}{', …' * (len(keys) > _LISTED)}}}"


_LISTED: Final = 10


def body(given: dict[Any, Value], ctx: Context) -> bytes:
    """The bytes to send: `raw_body` as it is, or `body` as JSON."""
    if "raw_body" in given:
        raw = given["raw_body"]
        return to_bytes(raw) if raw.__class__ is str else b""
    return to_bytes(gojson.write(given["body"], ctx.charge)) if "body" in given else b""
