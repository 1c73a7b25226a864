"""A name that leads inside is not connected to, and looks like one that leads nowhere, whatever listens there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from yarl import URL

from gateway.errors import Denied
from gateway.identity.workload import WorkloadIssuer
from gateway.outbound.addresses import ANYWHERE, PUBLIC, is_inside_name
from gateway.outbound.client import NotConnectedError, Outgoing, UpstreamClient
from gateway.tokens.issuer_keys import IssuerKeys
from gateway.upstream import check
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination
from gateway.webhooks import sender

# As libc reads them; no list of forms would be complete.
INSIDE = ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]"]
NOWHERE = "nothing.invalid"


@contextmanager
def listening() -> Iterator[tuple[int, socket.socket]]:
    """A port that accepts connections, which wait in its queue."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        yield server.getsockname()[1], server


def nobody_came(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def upstream(host: str, port: int, reach: str) -> Destination:
    url = f"https://{host}:{port}/v1"
    return Destination("ups_1", "default", "it", PROVIDERS["openai"], url, True, "sk-x", reach=reach)


@pytest.mark.parametrize("host", [*INSIDE, NOWHERE])
def test_a_check_tells_a_tenant_nothing_of_what_is_inside(host: str) -> None:
    with listening() as (port, server):
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            refused = other.getsockname()[1]
        both = [upstream(host, port, PUBLIC), upstream(host, refused, PUBLIC)]
        found = asyncio.run(check.check(both))
        assert nobody_came(server)
    texts = {(each.problem.replace(host.strip("[]"), "HOST"), each.hint, each.reached, each.tls) for each in found}
    assert len(texts) == 1
    [(problem, _, reached, _)] = texts
    assert (problem.endswith("public address"), reached) == (True, False)
    if host == NOWHERE:
        assert "cannot be resolved" in problem


async def test_a_connection_for_one_reach_does_not_serve_another() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = URL(f"http://localhost:{server.sockets[0].getsockname()[1]}/")
    client = UpstreamClient(connect_timeout=5.0, idle_timeout=5.0)
    answer = await client.send(Outgoing("GET", url, {}, b""), lambda: None, ANYWHERE)
    while await answer.read():
        pass
    with pytest.raises(NotConnectedError) as denied:
        await client.send(Outgoing("GET", url, {}, b""), lambda: None, PUBLIC)
    assert denied.value.detail.endswith("`localhost` cannot be resolved to a public address")
    await client.close()
    await gone.wait()
    server.close()


def test_keys_of_a_tenants_issuer_come_from_outside() -> None:
    async def fault(issuer: WorkloadIssuer) -> str:
        with pytest.raises(Denied) as denied:
            await IssuerKeys().of(issuer, None)
        return denied.value.detail

    with listening() as (port, server):
        for host in (*INSIDE, NOWHERE):
            issuer = WorkloadIssuer("iss_1", "default", "ci", f"https://{host}:{port}", "aud", "", "", reach=PUBLIC)
            assert "public address" in asyncio.run(fault(issuer)), host
        assert nobody_came(server)


def test_a_webhook_tells_nothing_either() -> None:
    with listening() as (port, server):
        told = [
            asyncio.run(sender.send(f"https://{host}:{port}/", PUBLIC, "whsec_" + "A" * 32, "evt_1", b"{}"))
            for host in ("localhost", NOWHERE)
        ]
        assert nobody_came(server)
    assert told[0].replace("localhost", NOWHERE) == told[1]


@pytest.mark.parametrize(
    "host", ["vault", "localhost", "localhost.localdomain", "api.prod.svc", "a.svc.cluster.local", "DB.Internal."]
)
def test_names_of_one_network(host: str) -> None:
    assert is_inside_name(host)


def test_names_of_the_world() -> None:
    assert not any(map(is_inside_name, ("api.openai.com", "svc.example", "internal.example.org")))
