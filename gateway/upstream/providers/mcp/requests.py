"""A message to an MCP server as a call: the action that its method is, and what it names.

`gateway/mcp/` reads the message and compares it with the headers. Here its members are read so that no lenient server
finds another name in it, and the state at the server that it refers to is named: sessions, tasks, parked requests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gateway.call import CalledTool, NamedPrompt, Reference
from gateway.errors import Denied
from gateway.mcp import exchange, messages
from gateway.mcp.exchange import OLDER, VERSION_KEY
from gateway.mcp.messages import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Id, ProtocolError
from gateway.mcp.pins import Pin
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import RequestHead

DISCOVER, LIST_TOOLS, CALL_TOOL = "mcp.discover", "mcp.tools.list", "mcp.tools.call"
NOTIFY, ANSWER, LISTEN, END = "mcp.notify", "mcp.answer", "mcp.listen", "mcp.session.end"
ACTIONS: Final = {
    "server/discover": DISCOVER,
    "initialize": DISCOVER,
    "ping": DISCOVER,
    "tools/list": LIST_TOOLS,
    "tools/call": CALL_TOOL,
    "resources/list": "mcp.resources.list",
    "resources/templates/list": "mcp.resources.list",
    "resources/read": "mcp.resources.read",
    "resources/subscribe": "mcp.subscriptions.listen",
    "resources/unsubscribe": "mcp.subscriptions.listen",
    "subscriptions/listen": "mcp.subscriptions.listen",
    "prompts/list": "mcp.prompts.list",
    "prompts/get": "mcp.prompts.get",
    "completion/complete": "mcp.completion",
    "tasks/get": "mcp.tasks.get",
    "tasks/result": "mcp.tasks.get",
    "tasks/update": "mcp.tasks.update",
    "tasks/cancel": "mcp.tasks.cancel",
    "logging/setLevel": "mcp.logging",
}
"""The action of each method of a request. Any other method is unknown: `tasks/list` would show those of others."""

SESSION_HEADER: Final = "mcp-session-id"
_OLDEST: Final = "2025-03-26"  # says its revision in no header
_VERSION_HEADER: Final = "mcp-protocol-version"
_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS: Final = frozenset(
    {"name", "uri", "arguments", "argument", "ref", "context", "taskId", "task", "requestState", "inputResponses"}
    | {"_meta", "cursor", "protocolVersion", "capabilities", "clientInfo", "requestId", "notifications", "level"}
)
_META: Final = frozenset({VERSION_KEY, exchange.CAPABILITIES_KEY, exchange.CLIENT_KEY, "progressToken"})
_REF: Final = frozenset({"type", "name", "uri"})
_NOTIFICATION: Final = re.compile(r"notifications/[A-Za-z_/-]{1,100}", re.ASCII)
_SESSION: Final = re.compile(r"[!-~]{1,1024}")
_LONGEST_ID: Final = 256
_LONGEST_NAME: Final = 256
_LONGEST_URI: Final = 2048
_LONGEST_WORD: Final = 128
_LONGEST_SAID: Final = 1000
_MOST_SAID: Final = 4096

Asked = tuple[str, Id | None, dict[str, Any]]
"""The action of a message, its id, and the members of its call."""


def read(body: object, head: RequestHead, server: str, pins: Mapping[str, Pin], *, trusted: bool) -> Asked:
    """The message in a body. Raises `ProtocolError`, and `Denied` for names that could be taken for others."""
    if isinstance(body, dict) and "method" not in body and ("result" in body or "error" in body):
        return _answer(body, head)
    message = messages.read(body)
    of = message.id if isinstance(message, messages.Request) else None
    assert isinstance(body, dict)
    try:
        if isinstance(of, str) and len(of) > _LONGEST_ID:
            raise ProtocolError(INVALID_REQUEST, f"the member `id` has more than {_LONGEST_ID} characters")
        members.check_names(body, _MEMBERS)
        params = dict(message.params)
        members.check_names(params, _PARAMS)
        meta = params.get("_meta", {})
        if not isinstance(meta, dict):
            raise ProtocolError(INVALID_PARAMS, "`params._meta` must be an object", of=of)
        members.check_spelling(dict.fromkeys(meta), _META)
        asked = _exchange(message, head)
        action = ACTIONS.get(message.method) if of is not None else NOTIFY
        if action is None or (of is None and not _NOTIFICATION.fullmatch(message.method)):
            text = f"the gateway knows no method {_shown(message.method)}, so no policy could judge it"
            raise ProtocolError(METHOD_NOT_FOUND, text)
        facts: dict[str, Any] = {
            "protocol": _protocol(message.method, asked.version, asked.client),
            "references": (*_session(head), *_state(message.method, params)),
            "as_answer": of is not None and is_older(head),
        }
        return action, of, {**facts, **_named(message.method, params, server, pins, trusted=trusted)}
    except ProtocolError as error:
        error.of = of
        raise
    except Denied as denied:
        denied.message_id, denied.as_answer = of, of is not None and is_older(head)
        raise


def is_older(head: RequestHead) -> bool:
    """True if a request is of a revision with sessions."""
    return head.headers.get(_VERSION_HEADER) not in exchange.CURRENT


def without_body(method: str, head: RequestHead) -> dict[str, Any]:
    """The facts of a request for a stream, or of one that ends a session."""
    version = head.headers.get(_VERSION_HEADER, "")
    if version and version not in (*exchange.CURRENT, *OLDER, _OLDEST):
        data = {"supported": [*exchange.CURRENT, *OLDER, _OLDEST], "requested": version[:64]}
        raise ProtocolError(messages.UNSUPPORTED_VERSION, "this version of the protocol is not supported", data=data)
    return {"protocol": _protocol(method, version, None), "references": _session(head)}


def session_reference(session: str) -> Reference:
    """A session as the gateway remembers it: its id opens it, so the log has its digest."""
    return Reference("mcp_session", hashlib.sha256(session.encode()).hexdigest())


def state_reference(state: str) -> Reference:
    """The state of a request that the server has parked, which the client sends back."""
    return Reference("mcp_state", hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest())


def task_reference(task: str) -> Reference:
    return Reference("mcp_task", task)


def called_tool(
    name: str, arguments: Mapping[str, Any] | None, server: str, pins: Mapping[str, Pin], *, trusted: bool
) -> CalledTool:
    """A tool with what is known of it. One that nobody has seen is new."""
    pin = pins.get(name)
    if pin is None:
        return CalledTool(server, name, "", "new", trusted, {}, arguments)
    approved = trusted or pin.state == "pinned"
    return CalledTool(server, name, pin.digest, pin.state, approved, _said(pin.document), arguments)


def _answer(body: dict[str, Any], head: RequestHead) -> Asked:
    """A client's answer to a request of the server, which only older revisions have."""
    members.check_names(body, _MEMBERS)
    if body.get("jsonrpc") != "2.0" or ("result" in body) == ("error" in body) or "params" in body:
        raise ProtocolError(INVALID_REQUEST, "an answer has an `id`, and either a `result` or an `error`")
    if not isinstance(body.get("id"), str | int) or isinstance(body.get("id"), bool):
        raise ProtocolError(INVALID_REQUEST, "the member `id` must be a string or an integer")
    return ANSWER, None, without_body("", head)


def _exchange(message: messages.Message, head: RequestHead) -> exchange.Exchange:
    """How the message is asked. Clients of the oldest revision say none; what is only asked about has no headers."""
    if not head.headers:
        meta = message.params.get("_meta", {})
        client = message.params.get("clientInfo") or meta.get(exchange.CLIENT_KEY)
        return exchange.Exchange(version=str(meta.get(VERSION_KEY, "")), capabilities={}, client=client)
    headers = dict(head.headers)
    said = headers.get(_VERSION_HEADER, _OLDEST)
    oldest = said == _OLDEST and VERSION_KEY not in message.params.get("_meta", {})
    if oldest and message.method != "initialize":
        headers[_VERSION_HEADER] = OLDER[-1]
    found = exchange.exchange([(name.encode(), text.encode()) for name, text in headers.items()], message)
    if message.method == "initialize" and not found.is_current:
        version = _word(message.params.get("protocolVersion"))
        return exchange.Exchange(version=version, capabilities={}, client=found.client)
    return exchange.Exchange(version=said, capabilities={}, client=found.client) if oldest else found


def _protocol(method: str, version: str, client: Any) -> dict[str, Any]:
    said = client if isinstance(client, dict) else {}
    known = {name: _word(said[name]) for name in ("name", "version") if isinstance(said.get(name), str)}
    return {"method": method, "version": version, "untrusted": {"client": known}}


def _session(head: RequestHead) -> tuple[Reference, ...]:
    session = head.headers.get(SESSION_HEADER)
    if session is None:
        return ()
    if not _SESSION.fullmatch(session):
        raise ProtocolError(INVALID_REQUEST, "the header Mcp-Session-Id must be printable and not too long")
    return (session_reference(session),)


def _state(method: str, params: Mapping[str, Any]) -> tuple[Reference, ...]:
    found: list[Reference] = []
    if method.startswith("tasks/"):
        found.append(task_reference(_text(params.get("taskId"), "taskId")))
    if (state := params.get("requestState")) is not None:
        if not isinstance(state, str):
            raise ProtocolError(INVALID_PARAMS, "`params.requestState` must be a string")
        found.append(state_reference(state))
    return tuple(found)


def _named(
    method: str, params: Mapping[str, Any], server: str, pins: Mapping[str, Pin], *, trusted: bool
) -> dict[str, Any]:
    """The tool, prompt or resource that a request names."""
    if method == "tools/call":
        name, arguments = _text(params.get("name"), "name"), _arguments(params)
        pin = pins.get(name)
        members.check_integers(arguments)
        members.check_spelling(arguments, frozenset() if pin is None else _properties(pin.document))
        return {"tool": called_tool(name, arguments, server, pins, trusted=trusted)}
    if method == "prompts/get":
        arguments = _arguments(params)
        members.check_spelling(arguments, frozenset())
        return {"prompt": NamedPrompt(_text(params.get("name"), "name"), arguments)}
    if method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        return {"uri": _uri(params.get("uri"))}
    if method == "completion/complete":
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise ProtocolError(INVALID_PARAMS, "`params.ref` must be an object")
        members.check_names(ref, _REF)
        if ref.get("type") == "ref/prompt":
            return {"prompt": NamedPrompt(_text(ref.get("name"), "ref.name"))}
        if ref.get("type") == "ref/resource":
            return {"uri": _uri(ref.get("uri"))}
        raise ProtocolError(INVALID_PARAMS, "`params.ref.type` must be `ref/prompt` or `ref/resource`")
    return {}


def _properties(document: Mapping[str, Any]) -> frozenset[str]:
    """The names of the members that the approved definition of a tool declares for its arguments."""
    schema = document.get("inputSchema")
    declared = schema.get("properties") if isinstance(schema, dict) else None
    return frozenset(declared) if isinstance(declared, dict) else frozenset()


def _arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    found = params.get("arguments")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ProtocolError(INVALID_PARAMS, "`params.arguments` must be an object")
    return found


def _text(value: object, member: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
        return value
    text = f"`params.{member}` must be a string of at most {_LONGEST_NAME} printable characters"
    raise ProtocolError(INVALID_PARAMS, text)


def _uri(value: object) -> dict[str, str]:
    """A URI in its parts. One that leads up or elsewhere by its segments is refused: no policy could know where to."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_URI or not value.isprintable():
        text = f"`params.uri` must be a string of at most {_LONGEST_URI} printable characters"
        raise ProtocolError(INVALID_PARAMS, text)
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ProtocolError(INVALID_PARAMS, "`params.uri` is no URI") from None
    segments = re.split(r"[/\\]", unquote(unquote(parts.path)))
    if "." in segments or ".." in segments or ".." in re.split(r"[/\\]", unquote(parts.netloc)):
        raise ProtocolError(INVALID_PARAMS, "`params.uri` must have no segments `.` or `..`")
    return {
        "text": value,
        "scheme": parts.scheme,
        "authority": parts.netloc,
        "path": parts.path,
        "query": parts.query,
    }


def _said(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a server says of a tool, as far as policies see it."""
    found: dict[str, Any] = {
        name: text[:_LONGEST_SAID] for name in ("title", "description") if isinstance(text := document.get(name), str)
    }
    annotations = document.get("annotations")
    if isinstance(annotations, dict) and len(str(annotations)) <= _MOST_SAID:
        found["annotations"] = settings.plain(annotations)
    return found


def _word(text: object) -> str:
    return text[:_LONGEST_WORD] if isinstance(text, str) else ""


def _shown(method: str) -> str:
    return f"`{ascii(method)[1:-1][:64]}`"
