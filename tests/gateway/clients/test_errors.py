"""The exceptions of `openai` and `anthropic` for each error, and the errors that they try again: both were made by the
same generator.

The gateway's own refusals tell a client by `x-should-retry` whether it may try again. A provider's errors pass as they
are, so a client treats them as it would without a gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.dataplane.processes import Live

# Real processes, which take their time.
pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]
Call = Callable[..., Any]
APIS: dict[str, Call] = {
    "chat": lambda client, **more: client.chat.completions.create(messages=HELLO, **more),
    "responses": lambda client, **more: client.responses.create(input="hello there", **more),
    "messages": lambda client, **more: client.messages.create(messages=HELLO, max_tokens=100, **more),
}

# The model, and the class in either package. The mock provider fails as the model's name says.
CLASSES = [
    ("mock-status-400", "BadRequestError"),
    ("mock-status-404", "NotFoundError"),
    ("mock-status-409", "ConflictError"),
    ("mock-status-422", "UnprocessableEntityError"),
    ("mock-status-429", "RateLimitError"),
    ("mock-status-500", "InternalServerError"),
    ("mock-status-503", "InternalServerError"),
    ("mock-status-529", "InternalServerError"),
    # The provider does not know the gateway. This is the operator's business, and must not look like a bad key here.
    ("mock-status-401", "InternalServerError"),
    ("mock-status-403", "InternalServerError"),
    ("o3", "PermissionDeniedError"),
]


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(live: Live, api: str, anthropic_url: str) -> Call:
    """Make a client of this API."""

    def made(*, asynchronous: bool = False, key: str = live.key, max_retries: int = 0) -> Any:
        package, name, url = (
            (anthropic, "Anthropic", anthropic_url) if api == "messages" else (openai, "OpenAI", live.base_url)
        )
        kind = getattr(package, f"Async{name}" if asynchronous else name)
        return kind(base_url=url, api_key=key, max_retries=max_retries, timeout=300)

    return made


def raised(make: Call, use: Call, *, asynchronous: bool = False, **options: Any) -> Any:
    """The error that a call ends with."""

    async def wait() -> None:
        async with make(asynchronous=True, **options) as client:
            await use(client)

    def work() -> None:
        with make(**options) as client:
            use(client)

    with pytest.raises((openai.APIError, anthropic.APIError)) as found:
        asyncio.run(wait()) if asynchronous else work()
    return found.value


def class_named(api: str, name: str) -> type[Exception]:
    found: type[Exception] = getattr(anthropic if api == "messages" else openai, name)
    return found


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("model", "name"), CLASSES)
def test_the_class_of_an_error(make: Call, api: str, model: str, name: str, stream: bool, asynchronous: bool) -> None:
    error = raised(make, lambda c: APIS[api](c, model=model, stream=stream), asynchronous=asynchronous)
    assert isinstance(error, class_named(api, name)), repr(error)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_key_that_is_not_valid(make: Call, live: Live, api: str, asynchronous: bool) -> None:
    options = {"key": f"{live.key[:-4]}0000", "max_retries": 2}
    error = raised(make, lambda c: APIS[api](c, model="gpt-4o"), asynchronous=asynchronous, **options)
    assert isinstance(error, class_named(api, "AuthenticationError"))
    assert retries(error) == 0


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_route_that_is_not_there(make: Call, api: str, asynchronous: bool) -> None:
    def use(client: Any) -> Any:
        return (client.messages if api == "messages" else client).batches.retrieve("batch_1")

    error = raised(make, use, asynchronous=asynchronous, max_retries=2)
    assert isinstance(error, class_named(api, "NotFoundError"))
    assert (retries(error), code(error)) == (0, "unknown_route")


@pytest.mark.parametrize(
    ("model", "tried_again", "reason"),
    [
        ("mock-status-400", 0, None),
        ("mock-status-429", 1, None),
        ("mock-status-503", 1, None),
        # An error of status 502, which these clients try again unless they are told not to.
        ("mock-status-401", 0, "upstream_unavailable"),
        ("o3", 0, "policy_denied"),
    ],
)
def test_what_is_tried_again(make: Call, api: str, model: str, tried_again: int, reason: str | None) -> None:
    error = raised(make, lambda c: APIS[api](c, model=model), max_retries=1)
    assert (retries(error), code(error)) == (tried_again, reason)
    decision = error.response.headers["x-decision-id"]
    assert decision.startswith("dec_")
    # A developer sees the text of the exception only. The provider's own text is left as it is.
    assert (f"(decision {decision})" in str(error)) is (reason is not None)


def test_a_stream_that_breaks_off(make: Call, api: str) -> None:
    """It has begun, so it is not tried again. `openai` passes the error of a response as an event, like any other."""
    seen: list[Any] = []
    error = raised(make, lambda c: seen.extend(APIS[api](c, model="mock-cut", stream=True)), max_retries=2)
    told = seen[-1] if api == "responses" else error
    assert re.search(r"the upstream could not be reached or broke off \(decision dec_[0-9a-f-]+\)", told.message)
    assert retries(error) == 0


def test_a_client_that_does_not_wait(make: Call, api: str) -> None:
    error = raised(make, lambda c: APIS[api](c, model="mock-delay-5000", timeout=0.5))
    assert isinstance(error, class_named(api, "APITimeoutError"))


def retries(error: Any) -> int:
    """The number of times that the client had tried again before it gave up: it says so in each request."""
    return int(error.request.headers["x-stainless-retry-count"])


def code(error: Any) -> str | None:
    """The gateway's reason, which each API has in its own place; None for an error of the provider."""
    body = error.body or {}
    found = (body.get("error") or body).get("code")
    return None if found is None else str(found)
