"""http.send: one HTTP request, refused unless the policies are allowed to use the network.

A query asks once and remembers the answer, failures included. Requests may hold secrets, so what is recorded of one is
its method, where it went, and a digest of the rest.
"""

from __future__ import annotations

from typing import Any, Final

from policy_engine.builtins import gojson
from policy_engine.builtins.http import request_object
from policy_engine.builtins.http.options import NAME, RequestError, RequestOptions, host_of, read_options
from policy_engine.builtins.jwt.tokens import digest_of
from policy_engine.builtins.network import require_network
from policy_engine.builtins.octets import from_bytes
from policy_engine.builtins.operands import object_
from policy_engine.builtins.table import Builtin, Context
from policy_engine.builtins.yaml import reader
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, STRING, FunctionType
from policy_engine.types import object_ as object_of
from policy_engine.values import Value


def send(ctx: Context, operand: Value) -> Value:
    """The response; with `raise_error: false` an object with an `error` instead of a failure."""
    given = object_(operand, NAME, 1)
    raises = given.get("raise_error", True)
    if raises.__class__ is not bool:
        raise BuiltinError(f"{NAME}: invalid value for raise_error field")
    try:
        request_object.request(given, NAME)
        options = read_options(given, ctx)
    except RequestError as error:
        if raises:
            raise BuiltinError(f"{NAME}: {error}") from None
        return _failed(RequestError.INTERNAL, f"{NAME}: {error}")
    except BuiltinError as error:
        if raises:
            raise
        return _failed(RequestError.INTERNAL, f"{error.code}: {error.message}")
    place = f"{options.target.scheme}://{host_of(options.target)}{options.target.escaped_path}"
    answer = ctx.remember(NAME, (options.method, place, digest_of(ctx, given)), lambda: _answer(ctx, options))
    if raises and "error" in answer:
        raise BuiltinError(f"{NAME}: {answer['error']['message']}")
    return answer


def _failed(code: str, message: str) -> dict[str, Value]:
    return {"status_code": 0, "error": {"code": code, "message": message}}


def _answer(ctx: Context, options: RequestOptions) -> Value:
    """Send the request; the result is the answer, or the failure, that the query remembers."""
    require_network(ctx, NAME)
    from policy_engine.builtins.http import transport

    try:
        response = transport.send(options)
    except RequestError as error:
        return _failed(error.code, str(error))
    ctx.charge(len(response.body) // 64)
    headers: dict[str, Any] = {}
    for name, value in response.headers:
        headers.setdefault(name.lower(), []).append(from_bytes(value.encode("latin-1", "replace")))
    text = from_bytes(response.body)
    return {
        "status": f"{response.status} {response.reason}",
        "status_code": response.status,
        "headers": headers,
        "raw_body": text,
        "body": _decoded(ctx, text, headers.get("content-type", [""])[0], options),
    }


def _decoded(ctx: Context, text: str, content_type: str, options: RequestOptions) -> Value:
    """The value that the body is, null if it is none."""
    media_type = content_type.partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or (media_type.startswith("application/") and "+json" in media_type)
    try:
        if options.force_json or is_json:
            return gojson.read(text, ctx)
        if options.force_yaml or "application/yaml" in content_type or "application/x-yaml" in content_type:
            return reader.read(text, ctx.charge)
    except (gojson.JSONError, reader.YAMLError):
        pass
    return None


BUILTINS: Final = (
    Builtin(
        NAME,
        FunctionType((object_of(STRING, ANY),), object_of(ANY, ANY)),
        send,
        context=True,
        nondeterministic=True,
    ),
)
