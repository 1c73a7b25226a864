"""A small server that speaks the OpenAI API: deterministic answers, streams, usage, latency and failures on request.

It stands in for a provider in `gateway demo`, in tests and on a developer's machine, costs nothing and needs no
network. The same request always gets the same answer. It is not part of a gateway: it checks no credentials and decides
nothing. `FAULTS` lists the failures that can be injected; `gateway mock-provider --help` prints it.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from starlette.types import Message, Receive, Scope, Send

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small")

FAULTS = """\
The model's name injects a fault into one answer:
  mock-status-503    answer with this status (400 to 599)
  mock-delay-1500    wait this many milliseconds before the answer
  mock-pause-200     wait this many milliseconds before every event of a stream
  mock-words-500     answer with this many words
  mock-cut           break the connection in the middle of the answer
  mock-no-usage      answer without usage
Every other name gets an ordinary answer."""

# A fixed clock keeps answers equal from run to run.
_CREATED = 1_700_000_000
_FAULT = re.compile(r"mock-(status|delay|pause|words|cut|no-usage)(?:-(\d{1,5}))?")


@dataclass(slots=True)
class Faults:
    """What to inject into answers: from the command line for all, changed by the model's name for one."""

    latency_ms: int = 0
    error_rate: float = 0.0
    fail_next: int = 0
    status: int = 503
    pause_ms: int = 0
    words: int = 0
    cut: bool = False
    usage: bool = True


class MockProvider:
    """The ASGI application. `requests` counts the requests so far."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults or Faults()
        self._chance = random.Random(0)  # noqa: S311  # a fixed seed: which requests fail is part of determinism
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.requests += 1
        body = await _read(receive)
        match scope["method"], scope["path"]:
            case "GET", "/v1/models":
                await _document(send, 200, _models())
            case "POST", "/v1/chat/completions":
                await self._chat(body, send)
            case "GET", "/healthz":
                await _document(send, 200, {"status": "ok"})
            case method, path:
                await _document(send, 404, _error(404, f"no route {method} {path}"))

    async def _chat(self, body: bytes, send: Send) -> None:
        try:
            request = orjson.loads(body)
            model, messages = str(request["model"]), list(request["messages"])
        except (ValueError, KeyError, TypeError):
            await _document(send, 400, _error(400, "the body must hold `model` and `messages`"))
            return
        status, faults = self._faults_of(model)
        await asyncio.sleep(faults.latency_ms / 1000)
        if status != 200:
            await _document(send, status, _error(status, f"injected failure with status {status}"))
            return
        words = _answer(request, messages, faults)
        usage = _usage(messages, words) if faults.usage else None
        if request.get("stream"):
            with_usage = usage is not None and bool((request.get("stream_options") or {}).get("include_usage"))
            await _stream(send, model, words, usage if with_usage else None, faults)
        else:
            await _document(send, 200, _completion(model, words, usage), cut=faults.cut)

    def _faults_of(self, model: str) -> tuple[int, Faults]:
        """The status of this answer and the faults in it."""
        general = self._faults
        faults = Faults(latency_ms=general.latency_ms)
        status = 200
        if general.fail_next > 0:
            general.fail_next -= 1
            status = general.status
        elif general.error_rate and self._chance.random() < general.error_rate:
            status = general.status
        if found := _FAULT.fullmatch(model):
            kind, number = found[1], int(found[2] or 0)
            match kind:
                case "status":
                    status = number if 400 <= number <= 599 else 500
                case "delay":
                    faults.latency_ms = number
                case "pause":
                    faults.pause_ms = number
                case "words":
                    faults.words = number
                case "cut":
                    faults.cut = True
                case _:
                    faults.usage = False
        return status, faults


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _answer(request: Message, messages: list[Message], faults: Faults) -> list[str]:
    """The words of the answer: an echo of the last message, as long as the request allows."""
    asked = _text(messages[-1].get("content")) if messages else ""
    words = ["You", "said:", *asked.split()]
    if faults.words:
        words = [f"word{number}" for number in range(faults.words)]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    return words[:limit] if isinstance(limit, int) else words


def _usage(messages: list[Message], words: list[str]) -> Message:
    """One token per word, which is close enough and easy to check."""
    prompt = sum(len(_text(message.get("content")).split()) for message in messages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": len(words),
        "total_tokens": prompt + len(words),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _completion(model: str, words: list[str], usage: Message | None) -> Message:
    message = {"role": "assistant", "content": " ".join(words), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [choice],
    }
    return answer if usage is None else {**answer, "usage": usage}


def _events(model: str, words: list[str], usage: Message | None) -> Iterator[Message]:
    base: Message = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
    }
    if usage is not None:
        base["usage"] = None

    def chunk(delta: Message, finish: str | None = None) -> Message:
        return {**base, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for position, word in enumerate(words):
        yield chunk({"content": word if position == 0 else " " + word})
    yield chunk({}, "stop")
    if usage is not None:
        yield {**base, "choices": [], "usage": usage}


async def _stream(send: Send, model: str, words: list[str], usage: Message | None, faults: Faults) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"req_mock")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for position, event in enumerate(_events(model, words, usage)):
        if faults.pause_ms:
            await asyncio.sleep(faults.pause_ms / 1000)
        if faults.cut and position == 2:
            return
        body = b"data: " + orjson.dumps(event) + b"\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def _models() -> Message:
    data = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"} for name in MODELS]
    return {"object": "list", "data": data}


def _error(status: int, message: str) -> Message:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def _document(send: Send, status: int, document: Message, cut: bool = False) -> None:
    body = orjson.dumps(document)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", b"req_mock"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if cut:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        return
    await send({"type": "http.response.body", "body": body, "more_body": False})
