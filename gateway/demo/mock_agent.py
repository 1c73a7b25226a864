"""The mock provider as an agent that others call by A2A: it sells whatever it is asked for, and never anything.

Tasks are completed at once and not kept, so nothing can be asked about one afterwards.
Specification: https://a2a-protocol.org/v1.0/specification, section 9.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.demo.mock_answers import Document
from gateway.identifiers import uuid7

PATH: Final = "/a2a"
_NO_METHOD: Final = -32601
_NO_PARAMS: Final = -32602


def answer(message: Document) -> list[Document]:
    """The answer to one message, or the events of a stream."""
    method, given = message.get("method"), message.get("params")
    said = given.get("message") if isinstance(given, dict) else None
    if method not in ("SendMessage", "SendStreamingMessage"):
        return [_error(message, _NO_METHOD, f"no method {method}")]
    parts = said.get("parts") if isinstance(said, dict) else None
    texts = [str(each["text"]) for each in parts if isinstance(each, dict) and "text" in each] if parts else []
    if not isinstance(said, dict) or not texts:
        return [_error(message, _NO_PARAMS, "no text in this message")]
    task: dict[str, Any] = {"id": f"task-{uuid7()}", "contextId": said.get("contextId") or f"ctx-{uuid7()}"}
    sold = {"artifactId": "order", "parts": [{"text": f"sold: {' '.join(texts)}"}]}
    done = {"state": "TASK_STATE_COMPLETED"}
    if method == "SendMessage":
        return [_result(message, {"task": task | {"status": done, "artifacts": [sold]}})]
    of_task = {"taskId": task["id"], "contextId": task["contextId"]}
    return [
        _result(message, {"task": task | {"status": {"state": "TASK_STATE_WORKING"}}}),
        _result(message, {"artifactUpdate": of_task | {"artifact": sold}}),
        _result(message, {"statusUpdate": of_task | {"status": done}}),
    ]


def _result(message: Document, result: Document) -> Document:
    return {"jsonrpc": "2.0", "id": message.get("id"), "result": result}


def _error(message: Document, code: int, text: str) -> Document:
    return {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": code, "message": text}}
