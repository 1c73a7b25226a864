"""providers.aws.sign_req: a request object with the headers of AWS Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from policy_engine.builtins import uri
from policy_engine.builtins.http import request_object
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import charged, int64, number, object_, operand_error, wrong
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, NUMBER, STRING, FunctionType
from policy_engine.types import object_ as object_of
from policy_engine.values import Value

_NAME: Final = "providers.aws.sign_req"
_REQUIRED: Final = ("aws_access_key", "aws_region", "aws_secret_access_key", "aws_service")
_UNSIGNED: Final = frozenset({"authorization", "user-agent", "x-amzn-trace-id"})
"""Headers that may change on the way."""

_HEADER: Final = 8
"""Steps for signing a header."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def sign_req(ctx: Context, operand: Value, configuration: Value, time_ns: Value) -> Value:
    request = object_(operand, _NAME, 1)
    config = _config(configuration)
    moment = int64(number(time_ns, _NAME, 1))
    if moment is None:
        operand_error(_NAME, 3, "could not convert time_ns value into a unix timestamp")
    request_object.request(request, _NAME)
    headers = request.get("headers", {})
    if headers.__class__ is not dict:
        wrong(_NAME, 0, headers, "object")
    invalid = [key for key in ("method", "url") if request[key].__class__ is not str]
    if invalid:
        values = "invalid values for required request parameters(s)"
        operand_error(_NAME, 1, f"{values}: {request_object.listed(invalid)}")
    try:
        target = uri.split(request["url"], ctx.charge)
    except uri.URIError as error:
        raise BuiltinError(f"{_NAME}: {error}") from None
    given = {_text(key): _text(value) for key, value in charged(ctx, headers.items(), lambda _: _HEADER)}
    body = request_object.body(request, ctx)
    unsigned_body = config.get("disable_payload_signing", False)
    if unsigned_body.__class__ is not bool:
        operand_error(_NAME, 2, "invalid value for 'disable_payload_signing' in AWS config")
    ctx.charge(len(body) // 64)
    digest = "UNSIGNED-PAYLOAD" if unsigned_body else hashlib.sha256(body).hexdigest()
    added = _added_headers(config, target, digest, moment)
    signed = _signed_headers(given, added)
    canonical = _canonical(request["method"], target, signed, digest)
    authorization = _authorization(config, added["x-amz-date"], ";".join(signed), canonical)
    return {**request, "headers": {**given, "Authorization": authorization, **added}}


def _text(value: Value) -> str:
    return value if value.__class__ is str else ""


def _config(operand: Value) -> dict[Any, Value]:
    config = object_(operand, _NAME, 1)
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        operand_error(_NAME, 2, f"missing required AWS config parameters(s): {request_object.listed(missing)}")
    invalid = [key for key in _REQUIRED if config[key].__class__ is not str]
    if invalid:
        operand_error(
            _NAME, 2, f"invalid values for required AWS config parameters(s): {request_object.listed(invalid)}"
        )
    return config


def _added_headers(config: dict[Any, Value], target: uri.URI, digest: str, moment: int) -> dict[str, str]:
    when = _EPOCH + timedelta(seconds=moment // 10**9)
    added = {"host": from_bytes(target.host.encode("latin-1")), "x-amz-date": f"{when:%Y%m%dT%H%M%SZ}"}
    # Other services do without it.
    if config["aws_service"] in ("s3", "glacier"):
        added["x-amz-content-sha256"] = digest
    if token := _text(config.get("aws_session_token")):
        added["x-amz-security-token"] = token
    return added


def _signed_headers(given: dict[str, str], added: dict[str, str]) -> dict[str, str]:
    """The signed headers by lower-case name, sorted. A header of the request takes precedence over an added one."""
    own = {name.lower(): value for name, value in given.items()}
    return dict(sorted({**added, **{name: own[name] for name in own if name not in _UNSIGNED}}.items()))


def _canonical(method: str, target: uri.URI, headers: dict[str, str], digest: str) -> bytes:
    lines = [
        to_bytes(method),
        target.escaped_path.encode("latin-1"),
        target.query.encode("latin-1"),
        *(to_bytes(f"{name}:{value}") for name, value in headers.items()),
        b"",
        to_bytes(";".join(headers)),
        digest.encode(),
    ]
    return b"\n".join(lines)


def _authorization(config: dict[Any, Value], when: str, names: str, canonical: bytes) -> str:
    day, region, service = when[:8], config["aws_region"], config["aws_service"]
    scope = f"{day}/{region}/{service}/aws4_request"
    key = to_bytes(f"AWS4{config['aws_secret_access_key']}")
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, to_bytes(part), "sha256")
    text = f"{_ALGORITHM}\n{when}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    signature = hmac.digest(key, to_bytes(text), "sha256").hex()
    credential = f"Credential={config['aws_access_key']}/{scope}"
    return f"{_ALGORITHM} {credential},SignedHeaders={names},Signature={signature}"


_OBJECT: Final = object_of(STRING, ANY)

BUILTINS: Final = (
    Builtin(_NAME, FunctionType((_OBJECT, _OBJECT, NUMBER), object_of(ANY, ANY)), sign_req, context=True),
)
