"""A small server that speaks the APIs of OpenAI, Anthropic and Gemini, and MCP: answers, streams, usage, failures.

It stands in for a provider in `gateway demo`, in tests and on a developer's machine, costs nothing and needs no
network. The same request always gets the same answer, which `mock_answers.py` makes. It is not part of a gateway: it
checks no credentials and decides nothing. `gateway mock-provider --help` prints `ANSWERS` and `FAULTS`, which list what
it can do and the failures that can be injected.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import orjson
from starlette.types import Receive, Scope, Send

from gateway.demo import mock_agent, mock_answers, mock_gemini, mock_messages, mock_responses, mock_tools
from gateway.demo.mock_answers import BadRequestError, Choice, Document, ToolCall
from gateway.demo.mock_media import MockMedia

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small")

ANSWERS = """\
It speaks chat completions, responses and embeddings as OpenAI does, messages as
Anthropic does, and generation, counting and embeddings as Gemini does. It echoes
the last message (at most 16,384 words of it), a token for each word, and calls a
tool that the message names or `tool_choice` demands. JSON mode, JSON Schemas, `n`, `stop`, limits, usage,
embeddings and the list of models work as at a provider. Images are one pixel,
files are kept until it stops. At /mcp it is an MCP server of an order system
with the tools get_order, get_invoice and cancel_order, and at /a2a an agent
that sells whatever it is asked for."""

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
    """The faults to inject into answers: from the command line for all, changed by the model's name for one."""

    latency_ms: int = 0
    error_rate: float = 0.0
    fail_next: int = 0
    status: int = 503
    pause_ms: int = 0
    words: int = 0
    cut: bool = False
    usage: bool = True


_Answer = Callable[[Send, str, Document, Faults], Awaitable[None]]
_Error = Callable[..., Document]
"""A status, a text and perhaps the member that is wrong, as a refusal in the shape of one API."""


class MockProvider:
    """The ASGI application. `requests` counts the requests so far."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults or Faults()
        self._chance = random.Random(0)  # noqa: S311  # a fixed seed: which requests fail is part of determinism
        self._media = MockMedia()
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.requests += 1
        body = await _read(receive)
        # Three APIs have `/v1/models`.
        headers = {name for name, _ in scope.get("headers", ())}
        anthropic, google = b"anthropic-version" in headers, b"x-goog-api-key" in headers
        match scope["method"], scope["path"]:
            case "GET", "/v1/models" if anthropic:
                await _document(send, 200, mock_messages.models())
            case "GET", path if anthropic and path.removeprefix("/v1/models/") in mock_messages.MODELS:
                await _document(send, 200, mock_messages.model(path.removeprefix("/v1/models/")))
            case "GET", path if (google or "/v1beta" in path) and (found := mock_gemini.MODEL.fullmatch(path)):
                await _document(send, 200, mock_gemini.model(found[1]) if found[1] else mock_gemini.models())
            case "GET", "/v1/models":
                await _document(send, 200, _models())
            case "GET", path if path.removeprefix("/v1/models/") in MODELS:
                await _document(send, 200, _model(path.removeprefix("/v1/models/")))
            case "POST", path if path.removeprefix("/v1") in _ANSWERED:
                path = path.removeprefix("/v1")
                error = mock_messages.error if path in _ANTHROPIC else _error
                await self._answer(_ANSWERED[path], error, body, send)
            case "POST", path if (found := mock_gemini.CALL.fullmatch(path)) and found["verb"] in _GEMINI:
                sse = b"alt=sse" in scope.get("query_string", b"").split(b"&")
                answer = _GEMINI[found["verb"]]
                answer = _gemini_events if sse and answer is _gemini_array else answer
                await self._answer(answer, mock_gemini.error, body, send, model=found["model"])
            case "POST", mock_tools.PATH:
                await _mcp(send, body)
            case "POST", mock_agent.PATH:
                await _a2a(send, body)
            case "GET", "/healthz":
                await _document(send, 200, {"status": "ok"})
            case method, path:
                await self._other(scope, body, send, f"no route {method} {path}")

    async def _other(self, scope: Scope, body: bytes, send: Send, unknown: str) -> None:
        try:
            reply = await self._media.answer(scope, body)
        except (BadRequestError, ValueError) as error:
            await _document(send, 400, _error(400, str(error), getattr(error, "param", None)))
            return
        if reply is None:
            await _document(send, 404, _error(404, unknown))
            return
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _answer(
        self, answer: _Answer, error: _Error, body: bytes, send: Send, *, model: str | None = None
    ) -> None:
        """Answer, with the faults that the model's name asks for; the path names the `model` or else the body."""
        try:
            request = orjson.loads(body)
            if not isinstance(request, dict):
                raise BadRequestError("the body must be an object")
            if not isinstance(model := model or request.get("model"), str):
                raise BadRequestError("the body must be an object with `model`", "model")
            status, faults = self._faults_of(model)
            await asyncio.sleep(faults.latency_ms / 1000)
            if status != 200:
                await _document(send, status, error(status, f"injected failure with status {status}"))
            else:
                await answer(send, model, request, faults)
        except BadRequestError as wrong:
            await _document(send, 400, error(400, str(wrong), wrong.param))
        # The fault deep inside of it.
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as wrong:
            await _document(send, 400, error(400, f"the request cannot be understood: {wrong}"))

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


async def _embeddings(send: Send, model: str, request: Document, faults: Faults) -> None:
    await _document(send, 200, mock_answers.embeddings(request), cut=faults.cut)


async def _chat(send: Send, model: str, request: Document, faults: Faults) -> None:
    choices = mock_answers.choices(request, faults.words)
    usage = mock_answers.usage(request, choices) if faults.usage else None
    options, turn = request.get("stream_options"), mock_answers.turn(request)
    if not request.get("stream"):
        if options is not None:
            raise BadRequestError("`stream_options` is only allowed with `stream`", "stream_options")
        await _document(send, 200, _completion(model, turn, choices, usage), cut=faults.cut)
        return
    wanted = bool((options or {}).get("include_usage"))
    events = _events(model, turn, choices, usage if wanted else None)
    await _stream(
        send, chain((b"data: " + orjson.dumps(event) + b"\n\n" for event in events), [b"data: [DONE]\n\n"]), faults
    )


def _completion(model: str, turn: int, choices: Sequence[Choice], usage: Document | None) -> Document:
    answer = {
        "id": f"chatcmpl-mock-{turn}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [
            {"index": index, "message": _message(choice), "logprobs": None, "finish_reason": choice.finish}
            for index, choice in enumerate(choices)
        ],
    }
    return answer if usage is None else {**answer, "usage": usage}


def _message(choice: Choice) -> Document:
    content = None if choice.pieces is None else "".join(choice.pieces)
    message: Document = {"role": "assistant", "content": content, "refusal": None}
    if choice.calls:
        message["tool_calls"] = [_call(number, call, "".join(call.pieces)) for number, call in enumerate(choice.calls)]
    return message


def _call(number: int, call: ToolCall, given: str) -> Document:
    inside = {"name": call.name, "arguments" if call.kind == "function" else "input": given}
    return {"id": f"call_mock_{number}", "type": call.kind, call.kind: inside}


def _events(model: str, turn: int, choices: Sequence[Choice], usage: Document | None) -> Iterator[Document]:
    base: Document = {
        "id": f"chatcmpl-mock-{turn}",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
    }
    if usage is not None:
        base["usage"] = None
    for index, choice in enumerate(choices):
        for delta, finish in _deltas(choice):
            yield {**base, "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]}
    if usage is not None:
        yield {**base, "choices": [], "usage": usage}


def _deltas(choice: Choice) -> Iterator[tuple[Document, str | None]]:
    """The parts of one answer in a stream, a token each, and how it ended."""
    yield {"role": "assistant", "content": None if choice.pieces is None else ""}, None
    for piece in choice.pieces or ():
        yield {"content": piece}, None
    for number, call in enumerate(choice.calls):
        yield {"tool_calls": [{"index": number, **_call(number, call, "")}]}, None
        name = "arguments" if call.kind == "function" else "input"
        for piece in call.pieces:
            yield {"tool_calls": [{"index": number, call.kind: {name: piece}}]}, None
    yield {}, choice.finish


def _one_answer(asked: Document, faults: Faults) -> tuple[Choice, Document | None]:
    [choice] = mock_answers.choices(asked, faults.words)
    return choice, mock_answers.usage(asked, [choice]) if faults.usage else None


async def _responses(send: Send, model: str, request: Document, faults: Faults) -> None:
    choice, usage = _one_answer(mock_responses.as_chat(request), faults)
    if request.get("stream"):
        await _stream(send, map(_named, mock_responses.events(request, choice, usage)), faults)
    else:
        await _document(send, 200, mock_responses.response(request, choice, usage), cut=faults.cut)


async def _input_tokens(send: Send, model: str, request: Document, faults: Faults) -> None:
    usage = mock_answers.usage(mock_responses.as_chat(request), ())
    counted = {"object": "response.input_tokens", "input_tokens": usage["prompt_tokens"]}
    await _document(send, 200, counted, cut=faults.cut)


async def _compact(send: Send, model: str, request: Document, faults: Faults) -> None:
    asked = mock_responses.as_chat(request)
    [choice] = mock_answers.choices(asked, faults.words)
    await _document(send, 200, mock_responses.compaction(request, mock_answers.usage(asked, [choice])), cut=faults.cut)


async def _messages(send: Send, model: str, request: Document, faults: Faults) -> None:
    asked = mock_messages.as_chat(request)
    turn = mock_answers.turn(asked)
    choice, usage = _one_answer(asked, faults)
    if request.get("stream"):
        await _stream(send, map(_named, mock_messages.events(model, turn, choice, usage)), faults)
    else:
        await _document(send, 200, mock_messages.message(model, turn, choice, usage), cut=faults.cut)


async def _count_tokens(send: Send, model: str, request: Document, faults: Faults) -> None:
    usage = mock_answers.usage(mock_messages.as_chat(request, counting=True), ())
    await _document(send, 200, {"input_tokens": usage["prompt_tokens"]}, cut=faults.cut)


async def _gemini(send: Send, model: str, request: Document, faults: Faults) -> None:
    await _document(send, 200, mock_gemini.content(model, *_gemini_answer(request, faults)), cut=faults.cut)


async def _gemini_events(send: Send, model: str, request: Document, faults: Faults) -> None:
    parts = mock_gemini.contents(model, *_gemini_answer(request, faults))
    await _stream(send, (b"data: " + orjson.dumps(part) + b"\r\n\r\n" for part in parts), faults)


async def _gemini_array(send: Send, model: str, request: Document, faults: Faults) -> None:
    parts = [*mock_gemini.contents(model, *_gemini_answer(request, faults))]
    await _document(send, 200, parts, cut=faults.cut)


def _gemini_answer(request: Document, faults: Faults) -> tuple[list[Choice], Document | None]:
    asked = mock_gemini.as_chat(request)
    choices = mock_answers.choices(asked, faults.words)
    return choices, mock_answers.usage(asked, choices) if faults.usage else None


async def _gemini_tokens(send: Send, model: str, request: Document, faults: Faults) -> None:
    asked = mock_gemini.as_chat(request.get("generateContentRequest") or request)
    await _document(send, 200, {"totalTokens": mock_answers.usage(asked, ())["prompt_tokens"]}, cut=faults.cut)


async def _gemini_embedding(send: Send, model: str, request: Document, faults: Faults) -> None:
    [made] = mock_answers.embeddings(mock_gemini.as_embeddings(request))["data"]
    await _document(send, 200, {"embedding": {"values": made["embedding"]}}, cut=faults.cut)


async def _gemini_embeddings(send: Send, model: str, request: Document, faults: Faults) -> None:
    made = [mock_answers.embeddings(mock_gemini.as_embeddings(each))["data"][0] for each in request["requests"]]
    await _document(send, 200, {"embeddings": [{"values": each["embedding"]} for each in made]}, cut=faults.cut)


_GEMINI: dict[str, _Answer] = {
    "generateContent": _gemini,
    "streamGenerateContent": _gemini_array,
    "countTokens": _gemini_tokens,
    "embedContent": _gemini_embedding,
    "batchEmbedContents": _gemini_embeddings,
}
_ANTHROPIC: dict[str, _Answer] = {"/messages": _messages, "/messages/count_tokens": _count_tokens}
_ANSWERED: dict[str, _Answer] = {
    "/chat/completions": _chat,
    "/embeddings": _embeddings,
    "/responses": _responses,
    "/responses/input_tokens": _input_tokens,
    "/responses/compact": _compact,
    **_ANTHROPIC,
}


def _named(event: Document) -> bytes:
    """An event that says its type twice, as both APIs do."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


async def _stream(send: Send, events: Iterable[bytes], faults: Faults) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"req_mock")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for position, event in enumerate(events):
        if faults.pause_ms:
            await asyncio.sleep(faults.pause_ms / 1000)
        if faults.cut and position == 2:
            return
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _models() -> Document:
    return {"object": "list", "data": [_model(name) for name in MODELS]}


def _model(name: str) -> Document:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}


def _error(status: int, message: str, param: str | None = None) -> Document:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


async def _json_rpc(send: Send, body: bytes) -> Document | None:
    """A message of JSON-RPC; None if it is none and was answered."""
    try:
        message = orjson.loads(body)
    except ValueError:
        message = None
    if isinstance(message, dict):
        return message
    await _document(send, 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no JSON"}})
    return None


async def _a2a(send: Send, body: bytes) -> None:
    """Answer a message of another agent."""
    if (message := await _json_rpc(send, body)) is None:
        return
    found = mock_agent.answer(message)
    if len(found) == 1:
        await _document(send, 200, found[0])
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for each in found:
        await send({"type": "http.response.body", "body": b"data: " + orjson.dumps(each) + b"\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _mcp(send: Send, body: bytes) -> None:
    """Answer a message of the Model Context Protocol."""
    if (message := await _json_rpc(send, body)) is None:
        return
    status, found = mock_tools.answer(message)
    if found is not None:
        await _document(send, status, found)
        return
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _document(send: Send, status: int, document: Document | list[Document], cut: bool = False) -> None:
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
