"""`gateway sign-proxy`: signs requests on the machine of an agent that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    import asyncio

    import uvicorn

    from gateway.client.sign_proxy import SignProxy
    from gateway.client.signing import Signer
    from gateway.errors import GatewayError
    from gateway.http.listener import BACKLOG
    from gateway.http.sockets import bind
    from gateway.identity import public_keys

    proxy = SignProxy(Signer(public_keys.read_private(key)), gateway)
    try:
        listener = bind("127.0.0.1", port, shared=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message, hint = f"cannot listen on 127.0.0.1:{port}: {reason}", "choose another port with --port"
        raise GatewayError("port_unavailable", message, hint=hint) from error
    listener.listen(BACKLOG)  # whoever reads the next line may connect at once
    typer.echo(f"sign-proxy is up: base URL http://127.0.0.1:{listener.getsockname()[1]}/v1, for {gateway}")
    config = uvicorn.Config(
        proxy, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False, date_header=False,
        proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip

    async def serve() -> None:
        try:
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            await proxy.close()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass  # this is how it is stopped
