"""`gateway mock-provider` and `gateway sign-proxy`: what listens on this machine and is no part of a gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files
from gateway.demo.mock_provider import ANSWERS, FAULTS
from gateway.errors import GatewayError
from gateway.settings import url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Each line of the text on its own, as it is written.
_HELP = "Stand in for a provider, with deterministic answers, for tests and first steps.\n\n\b\n"
_HELP += f"{ANSWERS}\n\n\b\n{FAULTS}"


def mock_provider(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes any.")] = 9100,
    latency_ms: Annotated[
        int, typer.Option("--latency-ms", min=0, max=600_000, help="Wait this long before every answer.")
    ] = 0,
    error_rate: Annotated[
        float, typer.Option("--error-rate", min=0, max=1, help="Fail this share of the requests, always the same ones.")
    ] = 0.0,
    fail_next: Annotated[int, typer.Option("--fail-next", min=0, help="Fail this many of the first requests.")] = 0,
    status: Annotated[int, typer.Option("--status", min=400, max=599, help="The status of injected failures.")] = 503,
) -> None:
    from gateway.demo.mock_provider import Faults, MockProvider

    provider = MockProvider(Faults(latency_ms=latency_ms, error_rate=error_rate, fail_next=fail_next, status=status))
    _serve(provider, host, port, lambda at: f"mock provider is up: base URL {url(host, at)}/v1")


mock_provider.__doc__ = _HELP


def sign_proxy(
    key: Annotated[Path, typer.Option("--key", metavar="KEY.pem", help="The agent's private key.")],
    gateway: Annotated[
        str, typer.Option("--gateway", metavar="URL", help="The gateway's address, without a path.")
    ] = "http://127.0.0.1:8080",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes any.")] = 8090,
) -> None:
    """Sign the requests of programs on this machine, and pass them to the gateway.

    For agents that cannot sign themselves: give them this proxy as their base URL, and any text as their key. It
    listens on 127.0.0.1 only. Whoever can connect to it acts as the agent. See docs/how-to/identity/signatures.md.
    """
    from gateway.client.sign_proxy import SignProxy
    from gateway.client.signing import Signer
    from gateway.identity import public_keys

    proxy = SignProxy(Signer(public_keys.read_private(key)), gateway)
    plain = {"server_header": False, "date_header": False, "proxy_headers": False}
    up = "sign-proxy is up: base URL http://127.0.0.1:"
    _serve(proxy, "127.0.0.1", port, lambda at: f"{up}{at}/v1, for {gateway}", proxy.close, **plain)


async def _nothing() -> None:
    pass


def _serve(
    application: Any,
    host: str,
    port: int,
    line: Callable[[int], str],
    close: Callable[[], Awaitable[None]] = _nothing,
    **config: Any,
) -> None:
    """Listen until Ctrl-C. A reader of the line may connect at once."""
    import uvicorn

    from gateway.http.listener import BACKLOG
    from gateway.http.sockets import bind

    try:
        listener = bind(host, port, shared=False)
    except OSError as error:
        message = f"cannot listen on {url(host, port).removeprefix('http://')}: {files.why(error)}"
        raise GatewayError("port_unavailable", message, hint="choose another port with --port") from error
    listener.listen(BACKLOG)
    typer.echo(line(listener.getsockname()[1]))
    settings = uvicorn.Config(
        application, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=2, **config
    )

    async def serve() -> None:
        try:
            await uvicorn.Server(settings).serve(sockets=[listener])
        finally:
            await close()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass  # this is how it is stopped
