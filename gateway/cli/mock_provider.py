"""`gateway mock-provider`: a stand-in for a provider, for tests and first steps."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.demo.mock_provider import ANSWERS, FAULTS

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
    import uvicorn

    from gateway.demo.mock_provider import Faults, MockProvider
    from gateway.errors import GatewayError
    from gateway.http.listener import BACKLOG
    from gateway.http.sockets import bind
    from gateway.settings import url

    try:
        listener = bind(host, port, shared=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        address = url(host, port).removeprefix("http://")
        raise GatewayError(
            "port_unavailable", f"cannot listen on {address}: {reason}", hint="choose another port with --port"
        ) from error
    listener.listen(BACKLOG)  # whoever reads the next line may connect at once
    provider = MockProvider(Faults(latency_ms=latency_ms, error_rate=error_rate, fail_next=fail_next, status=status))
    typer.echo(f"mock provider is up: base URL {url(host, listener.getsockname()[1])}/v1")
    config = uvicorn.Config(
        provider, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # this is how it is stopped


mock_provider.__doc__ = _HELP
