"""A provider whose model works like a coding agent's: it has a command run, and says what came of it.

It is the mock provider, which speaks the APIs of OpenAI, Anthropic and Gemini, with another model in it. A task names
its command, as in `run this command: echo hello`, or what to read, to search for or to ask the gateway's own tools:
`read this file: `, `search the web for: `, `ask the gateway about: `. If the request offers a tool for that, the model
calls it, and then repeats the result. Every other request, such as one for a title, gets a short text.

Run as a program, it prints its base URL.
"""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.demo import mock_answers, mock_provider
from gateway.demo.mock_answers import Choice, Document, ToolCall
from gateway.demo.mock_documents import instance
from gateway.http.listener import BACKLOG
from gateway.http.sockets import bind

_TASK = re.compile(r"(run this command|read this file|search the web for|ask the gateway about): ([^\n]+)")
_WORD = re.compile(r"\s*\S+|\s+\Z")
# The tool for each task, as agents call it, and the parameter that has the command, the file or the search.
_TOOLS = {
    "run this command": {
        "Bash": "command",  # Claude Code
        "bash": "command",  # opencode, mini-swe-agent
        "exec_command": "cmd",  # Codex
        "run_shell_command": "command",  # the Gemini CLI, Qwen Code
    },
    "read this file": {"Read": "file_path", "read": "filePath", "view_image": "path", "read_file": "file_path"},
    "search the web for": {"WebSearch": "query", "google_web_search": "query"},
    "ask the gateway about": {"mcp__gateway__who_may_call": "model"},  # the tools of the control listener
}
_echo = mock_answers.choices


def choices(request: Document, words: int = 0) -> list[Choice]:
    """The answer of this model to a chat completion, in place of the mock provider's echo."""
    texts: dict[str, list[str]] = {"user": [], "tool": []}
    for message in request["messages"]:
        texts.setdefault(message["role"], []).append(_text(message.get("content")))
    if texts["tool"]:
        return [Choice(_WORD.findall(f"The command said: {texts['tool'][-1].strip()}"))]
    task = _TASK.search("\n".join(texts["user"]))
    call = None if task is None else _call(request.get("tools") or (), _TOOLS[task[1]], task[2].strip("\"' "))
    if call is not None:
        return [Choice(calls=[call], finish="tool_calls")]
    if (request.get("response_format") or {}).get("type") in ("json_schema", "json_object"):
        return _echo({**request, "tools": []}, words)
    return [Choice(["A", " short", " answer."])]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content or ())


def _call(tools: Any, wanted: dict[str, str], value: str) -> ToolCall | None:
    """The call of one of the tools that are wanted, if there is one, with whatever else it demands."""
    for tool in tools:
        definition = tool.get(tool["type"]) or {}
        if (member := wanted.get(definition.get("name"))) is not None:
            schema = definition.get("parameters") or {}
            properties = {name: schema["properties"][name] for name in schema.get("required") or ()}
            needed = instance({"type": "object", "properties": properties, "required": [*properties]})
            given = {**needed, member: value}
            return ToolCall("function", definition["name"], _WORD.findall(json.dumps(given)))
    return None


class CodingModel:
    """The ASGI application. Its answers have ids of their own: agents take two calls with one id for the same."""

    def __init__(self) -> None:
        self._provider = mock_provider.MockProvider()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = next(self._numbers)

        async def numbered(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [each for each in message["headers"] if each[0] != b"content-length"]
            elif message.get("body"):
                message["body"] = message["body"].replace(b"_mock", b"_mock_%d" % number)
            await send(message)

        await self._provider(scope, receive, numbered)


if __name__ == "__main__":
    mock_answers.choices = choices
    listener = bind("127.0.0.1", 0, shared=False)
    listener.listen(BACKLOG)
    print(f"the model is up: base URL http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(CodingModel(), lifespan="off", ws="none", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
