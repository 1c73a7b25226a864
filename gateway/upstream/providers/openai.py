"""The OpenAI API, as OpenAI and the many compatible servers speak it: chat completions and the list of models.

Strict where upstreams are known to differ: a member that a policy relies on must have its one documented type and its
one spelling (some servers match names regardless of case), a role must be one that exists, and one request names one
model. Members that no policy relies on pass as they are. Specification: docs/architecture.md, sections 6 and 7.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import orjson

from gateway.call import Call, Reference, Tool, Usage
from gateway.errors import Denied
from gateway.identity.credentials import PREFIXES
from gateway.upstream.providers.base import Route
from gateway.upstream.strict_json import shown
from gateway.upstream.taps import DocumentTap, EventTap, Tap

CHAT_COMPLETIONS = "chat.completions"
MODELS_LIST = "models.list"

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
_MAX_LIMIT = 2**64 - 1  # what a request can say, and an input document hold
_MAX_ANSWERS = 128

# Members by which compatible servers do what no policy could see, and why that is refused.
_ONE_MODEL = "one request names one model and its own tools"
_ONE_LIMIT = "the output limit is `max_tokens` or `max_completion_tokens`"
_UNSEEN = {
    **dict.fromkeys(("engine", "fallbacks", "models", "plugins", "preset", "route"), _ONE_MODEL),
    # Where such a name is known it beats the documented ones, and with them a policy's cap.
    **dict.fromkeys(("max_new_tokens", "n_predict", "num_predict"), _ONE_LIMIT),
    "chat_template": "prompts are written in `messages`",
}

# Members whose other spellings are refused, per kind of object.
_CALL_NAMES = frozenset(
    {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "functions", "web_search_options", "n"}
    | set(_TOKEN_LIMITS)
    | _UNSEEN.keys()
)
_MESSAGE_NAMES = frozenset({"role", "content", "audio"})
_DEFINITIONS = frozenset({"function", "custom"})
_TOOL_NAMES = frozenset({"type", "name"}) | _DEFINITIONS
_PART_NAMES = frozenset({"type", "file", "file_id"})
_OPTION_NAMES = frozenset({"include_usage"})

# Policies may give any number of reasons; an error that nobody can read explains nothing.
_MAX_REASONS = 4000

_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip


class OpenAI:
    """The provider; see `base.Provider` for what each member promises."""

    name = "openai"
    prefix = "/v1"
    routes: Sequence[Route] = (
        Route("POST", "/chat/completions", CHAT_COMPLETIONS, has_body=True, request_headers=frozenset({b"accept"})),
        Route("GET", "/models", MODELS_LIST, has_body=False, request_headers=frozenset({b"accept"})),
    )
    response_headers: tuple[bytes, ...] = (
        b"openai-*",
        b"x-ratelimit-*",
        b"x-request-id",
        b"retry-after",
        b"retry-after-ms",
    )

    def parse_call(
        self, route: Route, *, upstream: str, path: str, params: Mapping[str, str], raw: bytes, body: Any
    ) -> Call:
        if not route.has_body:
            return Call(route.action, upstream, self.name, route.method, path, raw, None, params=params)
        if not isinstance(body, dict):
            _refuse("the body must be an object")
        _check_spelling(body, _CALL_NAMES)
        if unseen := sorted(_UNSEEN.keys() & body.keys()):
            _refuse(f"`{unseen[0]}` is not supported: {_UNSEEN[unseen[0]]}")
        messages = _messages(body.get("messages"))
        return Call(
            action=route.action,
            upstream=upstream,
            provider=self.name,
            method=route.method,
            path=path,
            params=params,
            raw=raw,
            body=body,
            model=_model(body.get("model")),
            stream=_stream(body),
            max_output_tokens=_output_limit(body),
            tools=_tools(body),
            roles=tuple(message["role"] for message in messages),
            messages=len(messages),
            system_prompts=tuple(_digest(m.get("content")) for m in messages if m["role"] in _SYSTEM_ROLES),
            references=_references(messages),
        )

    def ask_for_usage(self, body: dict[str, Any]) -> dict[str, Any] | None:
        options = body.get("stream_options")
        if not body.get("stream") or (options and options.get("include_usage")):
            return None
        return {**body, "stream_options": {**(options or {}), "include_usage": True}}

    def cap_output(self, body: dict[str, Any], cap: int) -> dict[str, Any] | None:
        # Each of several answers gets its share. If there are more answers than tokens, the second judgement says no.
        share = max(1, cap // _answers(body))
        named = [name for name in _TOKEN_LIMITS if body.get(name) is not None]
        changed = {name: share for name in named or _TOKEN_LIMITS[:1] if not named or body[name] > share}
        return {**body, **changed} if changed else None

    def credential(self, secret: str) -> tuple[str, str]:
        return "Authorization", f"Bearer {secret}"

    def error(self, denied: Denied) -> bytes:
        message = denied.message
        if denied.reasons:
            message += ": " + "; ".join(denied.reasons)[:_MAX_REASONS]
        kind = _ERROR_TYPES.get(denied.reason.status, "server_error")
        return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": denied.code}})

    def tap(self, *, events: bool, hide_usage: bool) -> Tap:
        if events:
            return EventTap(
                terminal=b"[DONE]", read_usage=read_usage, is_usage_only=_is_usage_only, hide_usage=hide_usage
            )
        return DocumentTap(read_usage)


def read_usage(document: dict[str, Any]) -> Usage | None:
    """Usage as chat completions report it, in an answer or in a chunk of a stream; None where there is none."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    input_tokens, output_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if input_tokens is None:
        return None
    return Usage(
        input=input_tokens,
        output=output_tokens or 0,
        cached=_count(usage.get("prompt_tokens_details"), "cached_tokens") or 0,
        reasoning=_count(usage.get("completion_tokens_details"), "reasoning_tokens") or 0,
    )


def _count(details: object, name: str) -> int | None:
    value = details.get(name) if isinstance(details, dict) else None
    return value if value.__class__ is int and 0 <= value < 2**53 else None


def _is_usage_only(document: dict[str, Any]) -> bool:
    return document.get("choices") == []


def _model(value: object) -> str:
    if not isinstance(value, str) or not value:
        _refuse("`model` must be a string")
    # No folding of any kind: the exact text is judged and forwarded, so it must look like what it is.
    if len(value) > 256 or not value.isascii() or not value.isprintable() or " " in value:
        _refuse("`model` must be at most 256 printable ASCII characters without spaces")
    # The model's name is recorded and shown in many places, where no secret may be.
    if any(prefix in value for prefix in PREFIXES.values()):
        _refuse("`model` holds a key of this gateway")
    return value


def _stream(body: dict[str, Any]) -> bool:
    stream = body.get("stream")
    if stream is not None and stream.__class__ is not bool:
        _refuse("`stream` must be true or false")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        _refuse("`stream_options` must be an object")
    _check_spelling(options or {}, _OPTION_NAMES)
    include = (options or {}).get("include_usage")
    if include is not None and include.__class__ is not bool:
        _refuse("`stream_options.include_usage` must be true or false")
    return bool(stream)


def _answers(body: dict[str, Any]) -> int:
    """How many answers are asked for; each of them may be as long as the limit says."""
    answers = body.get("n")
    if answers is None:
        return 1
    if answers.__class__ is not int or not 1 <= answers <= _MAX_ANSWERS:
        _refuse(f"`n` must be a whole number from 1 to {_MAX_ANSWERS}")
    return int(answers)


def _output_limit(body: dict[str, Any]) -> int | None:
    """The limit of all answers together."""
    answers = _answers(body)
    limits = set()
    for name in _TOKEN_LIMITS:
        value = body.get(name)
        if value is None:
            continue
        if value.__class__ is not int or not 1 <= value <= _MAX_LIMIT // answers:
            _refuse(f"`{name}` must be a whole number from 1 to {_MAX_LIMIT // answers}")
        limits.add(value * answers)
    if len(limits) > 1:
        _refuse("`max_tokens` and `max_completion_tokens` contradict each other: name one of them")
    return limits.pop() if limits else None


def _messages(value: object) -> list[dict[str, Any]]:
    messages = _objects(value, "messages", _MESSAGE_NAMES)
    if not messages:
        _refuse("`messages` must hold at least one message")
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            _refuse("`role` of a message must be one of " + ", ".join(sorted(_ROLES)))
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            _objects(content, "content", _PART_NAMES)
        if content is None and role in _SYSTEM_ROLES:
            _refuse(f"a message of role {role} must have content")
    return messages


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    tools = [_tool(item) for item in _objects(body.get("tools"), "tools", _TOOL_NAMES)]
    tools += [Tool("function", _name(item)) for item in _objects(body.get("functions"), "functions", _TOOL_NAMES)]
    if body.get("web_search_options") is not None:
        tools.append(Tool("web_search", ""))
    return tuple(tools)


def _tool(item: dict[str, Any]) -> Tool:
    # Some compatible servers take a function without its type.
    kind = item.get("type", "function" if "function" in item else None)
    if not isinstance(kind, str) or not kind:
        _refuse("`type` of a tool must be a string")
    # Some servers look for a function whatever the type says: what is called must not have two names.
    if more := sorted(item.keys() & (_DEFINITIONS - {kind})):
        _refuse(f"a tool of type {shown(kind)} must not have a member `{more[0]}`")
    definition = item.get(kind)
    if kind in _DEFINITIONS:
        if "name" in item:
            _refuse(f"the name of a tool of type {kind} stands in its member `{kind}`")
        if not isinstance(definition, dict):
            _refuse(f"a tool of type {kind} must have a member `{kind}`")
        _check_spelling(definition, _TOOL_NAMES)
        return Tool(kind, _name(definition))
    # The provider runs it itself: its type says what it is.
    return Tool(kind, "")


def _name(definition: dict[str, Any]) -> str:
    name = definition.get("name")
    if not isinstance(name, str) or not name:
        _refuse("`name` of a tool must be a string")
    return name


def _references(messages: list[dict[str, Any]]) -> tuple[Reference, ...]:
    """What a message can name of the provider's state: uploaded files, and the audio of an earlier answer."""
    found: list[Reference] = []
    for message in messages:
        if (audio := message.get("audio")) is not None:
            found.append(Reference("audio", _id(_object(audio, "audio").get("id"))))
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            # Some servers take the id from the part itself.
            holders = [part] if part.get("file") is None else [part, _object(part["file"], "file")]
            found += [Reference("file", _id(each["file_id"])) for each in holders if each.get("file_id") is not None]
    return tuple(found)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"`{name}` must be an object")
    _check_spelling(value, _PART_NAMES)
    return value


def _id(value: object) -> str:
    if not isinstance(value, str) or not value:
        _refuse("an id in a message must be a string")
    return value


def _digest(content: object) -> str:
    """SHA-256 of a system prompt: of the UTF-8 of a string, of the RFC 8785 form of a list of parts.

    For ASCII member names and integers within 2**53, sorted orjson *is* RFC 8785; other parts are refused, since no
    system prompt needs them and two spellings of one prompt must not have two digests.
    """
    if isinstance(content, str):
        return hashlib.sha256(content.encode()).hexdigest()
    if not _is_plain(content):
        _refuse("the parts of a system prompt may hold only ASCII member names and whole numbers")
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(key.isascii() and _is_plain(member) for key, member in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, float) and not (isinstance(value, int) and abs(value) >= 2**53)


def _objects(value: object, name: str, names: frozenset[str]) -> list[dict[str, Any]]:
    """`value` as a list of objects, each with its `names` spelled as documented; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(f"`{name}` must be a list")
    for item in value:
        if not isinstance(item, dict):
            _refuse(f"`{name}` must hold objects")
        _check_spelling(item, names)
    return value


def _check_spelling(item: dict[str, Any], names: frozenset[str]) -> None:
    """Refuse names that a lenient parser would take for one of `names`: other case, or compatibility characters."""
    for key in item.keys() - names:
        fold: Callable[[str], str] = str.lower if key.isascii() else _fold
        if (plain := fold(key)) in names:
            _refuse(f"the member {shown(key)} must be spelled `{plain}`")


def _fold(key: str) -> str:
    return unicodedata.normalize("NFKC", key).casefold()


def _refuse(reason: str) -> NoReturn:
    raise Denied("bad_request", reasons=[reason])
