"""A message to an agent as a call: the action that its method is, and the task or conversation that it names.

Agents speak JSON-RPC over HTTP, in version 1.0 or with the method names of 0.3. Members are read so that no lenient
agent finds another name in them. The gateway refuses what would have the agent call somebody
else, or answer for another tenant than the one that was judged.
Specification: https://a2a-protocol.org/v1.0/specification, sections 3, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.call import AMOUNT, MOST_AMOUNT, Reference
from gateway.errors import Denied
from gateway.mcp import messages
from gateway.mcp.messages import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Id, ProtocolError
from gateway.upstream.providers import members
from gateway.upstream.providers.base import RequestHead

SEND, STREAM = "a2a.message.send", "a2a.message.stream"
GET, LIST, CANCEL, SUBSCRIBE = "a2a.tasks.get", "a2a.tasks.list", "a2a.tasks.cancel", "a2a.tasks.subscribe"
ACTIONS: Final = {
    "SendMessage": SEND,
    "SendStreamingMessage": STREAM,
    "GetTask": GET,
    "ListTasks": LIST,
    "CancelTask": CANCEL,
    "SubscribeToTask": SUBSCRIBE,
    "message/send": SEND,
    "message/stream": STREAM,
    "tasks/get": GET,
    "tasks/list": LIST,
    "tasks/cancel": CANCEL,
    "tasks/resubscribe": SUBSCRIBE,
}
"""The action of each method. No other is served: those about push notifications would have the agent call anybody."""

TASK, CONTEXT = "a2a_task", "a2a_context"
"""Kinds of state at an agent, which only the agent that began it may refer to."""

VERSION_HEADER: Final = "a2a-version"
_VERSIONS: Final = frozenset({"", "0.3", "1.0"})
_LONGEST_ID: Final = 256
_MAX_REFERENCES: Final = 64

_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS: Final = frozenset(
    {"message", "configuration", "metadata", "tenant", "id", "taskId", "contextId", "name", "historyLength"}
    | {"status", "statusTimestampAfter", "pageSize", "pageToken", "includeArtifacts", "lastUpdatedAfter"}
)
_MESSAGE: Final = frozenset(
    {"messageId", "contextId", "taskId", "role", "parts", "metadata", "extensions", "referenceTaskIds", "kind"}
)
_CONFIGURATION: Final = frozenset(
    {"acceptedOutputModes", "taskPushNotificationConfig", "pushNotificationConfig", "pushNotification"}
    | {"historyLength", "returnImmediately", "blocking"}
)
_PUSH: Final = ("taskPushNotificationConfig", "pushNotificationConfig", "pushNotification")
_PART: Final = frozenset(
    {"text", "raw", "url", "data", "file", "kind", "metadata", "filename", "mediaType", "mimeType", "bytes", "uri"}
)
_ROLES: Final = ("ROLE_USER", "user")
_FILES: Final = frozenset({"raw", "url", "file"})

Asked = tuple[str, Id, dict[str, Any]]
"""The action of a message, its id, and the members of its call."""


def read(body: object, head: RequestHead) -> Asked:
    """The message in a body. Raises `ProtocolError`, and `Denied` for names that could be taken for others."""
    message = messages.read(body)
    assert isinstance(body, dict)
    if not isinstance(message, messages.Request):
        raise ProtocolError(INVALID_REQUEST, "a request has an `id`: agents take no notifications")
    of = message.id
    try:
        if isinstance(of, str) and len(of) > _LONGEST_ID:
            raise ProtocolError(INVALID_REQUEST, f"the member `id` has more than {_LONGEST_ID} characters")
        members.check_names(body, _MEMBERS)
        if (action := ACTIONS.get(message.method)) is None:
            text = "the gateway knows no such method of agents, so no policy could judge it"
            raise ProtocolError(METHOD_NOT_FOUND, text)
        version = head.headers.get(VERSION_HEADER, "")
        if version not in _VERSIONS:
            raise ProtocolError(INVALID_REQUEST, "the header A2A-Version must be 1.0 or 0.3")
        return action, of, _facts(action, message.method, version, message.params)
    except ProtocolError as error:
        error.of = of
        raise
    except Denied as denied:
        denied.message_id = of
        raise


def task_reference(task: str) -> Reference:
    return Reference(TASK, task)


def context_reference(context: str) -> Reference:
    return Reference(CONTEXT, context)


def _facts(action: str, method: str, version: str, params: Mapping[str, Any]) -> dict[str, Any]:
    members.check_names(dict(params), _PARAMS)
    if params.get("tenant") not in (None, ""):
        raise ProtocolError(INVALID_PARAMS, "`params.tenant` is not served: each agent has a path of its own")
    facts: dict[str, Any] = {"protocol": {"method": method, "version": version, "untrusted": {"client": {}}}}
    facts["stream"] = action in (STREAM, SUBSCRIBE)
    if action in (SEND, STREAM):
        return {**facts, **_message(params)}
    if action == LIST:
        # An agent sees one client, the gateway: without a conversation it would list the tasks of everybody.
        context = _id(params.get("contextId"), "contextId")
        return {**facts, "references": (context_reference(context),)}
    return {**facts, "references": (task_reference(_id(params.get("id"), "id")),)}


def _message(params: Mapping[str, Any]) -> dict[str, Any]:
    message, configuration = params.get("message"), params.get("configuration", {})
    if not isinstance(message, dict) or not isinstance(configuration, dict):
        raise ProtocolError(INVALID_PARAMS, "`params.message` and `params.configuration` must be objects")
    members.check_names(message, _MESSAGE)
    members.check_names(configuration, _CONFIGURATION)
    if message.get("role") not in _ROLES:
        raise ProtocolError(INVALID_PARAMS, "`params.message.role` must be `ROLE_USER`, or `user` in version 0.3")
    if any(name in configuration for name in _PUSH):
        text = "push notifications are not served: the agent would send to an address that nobody has judged"
        raise ProtocolError(INVALID_PARAMS, text)
    metadata = message.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ProtocolError(INVALID_PARAMS, "`params.message.metadata` must be an object")
    amount = metadata.get(AMOUNT, 0)
    if amount.__class__ is not int or not 0 <= amount <= MOST_AMOUNT // 1000:
        text = f"`params.message.metadata.{AMOUNT}` must be a whole number of millionths of a dollar"
        raise ProtocolError(INVALID_PARAMS, text)
    parts = message.get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(each, dict) for each in parts):
        raise ProtocolError(INVALID_PARAMS, "`params.message.parts` must be a list of objects")
    for each in parts:
        members.check_names(each, _PART)
    others = message.get("referenceTaskIds", [])
    if not isinstance(others, list) or len(others) > _MAX_REFERENCES:
        text = f"`params.message.referenceTaskIds` must be a list of at most {_MAX_REFERENCES}"
        raise ProtocolError(INVALID_PARAMS, text)
    found = [task_reference(_id(each, "message.referenceTaskIds")) for each in others]
    if message.get("taskId") not in (None, ""):
        found.append(task_reference(_id(message["taskId"], "message.taskId")))
    if message.get("contextId") not in (None, ""):
        found.append(context_reference(_id(message["contextId"], "message.contextId")))
    return {
        "params": {AMOUNT: amount} if AMOUNT in metadata else {},
        "references": tuple(dict.fromkeys(found)),
        "messages": 1,
        "roles": ("user",),
        "modalities": ("file",) if any(each.keys() & _FILES for each in parts) else (),
    }


def _id(value: object, member: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable():
        return value
    text = f"`params.{member}` must be a string of at most {_LONGEST_ID} printable characters"
    raise ProtocolError(INVALID_PARAMS, text)
