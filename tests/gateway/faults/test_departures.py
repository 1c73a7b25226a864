"""Clients that leave a thousand times, in every way and at every moment, and clients that read slowly or not at all."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter

import pytest

from tests.gateway.faults.rig import Got, Rig, body, receive

pytestmark = pytest.mark.slow

LEAVE = 1000
AT_A_TIME = 40
MEMORY = 150_000_000

# The way in which a client leaves, and the outcomes that its decision may have, if one was recorded.
GONE, OK, CUT = "client_disconnected", "ok", "upstream_timeout"


async def leave(rig: Rig, number: int, draw: random.Random) -> str:
    """One client that leaves; returns how."""
    moment = ("in the head", "in the body", "before the answer", "in the stream")[number % 4]
    how = draw.choice(("close", "reset", "half-close"))
    act = "hang_before_head" if moment == "before the answer" else "paced"
    data = rig.request(body(act, stream=True))
    head = data.index(b"\r\n\r\n") + 4
    match moment:
        case "in the head":
            data = data[: draw.randrange(1, head - 1)]
        case "in the body":
            data = data[: draw.randrange(head, len(data) - 1)]
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(data)
    await writer.drain()
    if moment == "in the stream":
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(draw.uniform(0, 0.3))
    else:
        await asyncio.sleep(draw.uniform(0, 0.3))
    match how:
        case "reset":
            linger = struct.pack("ii", 1, 0)
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        case "half-close":
            writer.write_eof()
            await asyncio.sleep(0.2)
    writer.close()
    return f"{moment}, {how}"


async def crowd(rig: Rig) -> Counter[str]:
    draw, turns, ways = random.Random(7), asyncio.Semaphore(AT_A_TIME), Counter[str]()

    async def one(number: int) -> None:
        async with turns:
            ways[await leave(rig, number, draw)] += 1

    await asyncio.gather(*(one(number) for number in range(LEAVE)))
    return ways


def test_clients_that_leave(rig: Rig) -> None:
    assert rig.bystander is not None
    seen_before, decisions_before = rig.faulty.seen.total(), _decisions(rig)
    descriptors = rig.descriptors()
    with rig.bystander.watching(f"{LEAVE} clients that leave", rig.figures):
        ways = asyncio.run(crowd(rig))
    assert len(ways) == 12
    # Those who left in the head or the body have no decision; all the others have one.
    rig.wait(lambda: _decisions(rig) - decisions_before >= LEAVE // 2)
    rig.wait(lambda: rig.rows("SELECT count(*) FROM open_decision WHERE 1") <= [(1,)])  # one is the bystander's
    rig.wait(lambda: rig.descriptors() <= descriptors + 8)
    closings = _outcomes(rig)
    rig.figures[-1] += f"; closings: {dict(closings)}"
    assert set(closings) <= {OK, GONE, CUT}, closings
    # Nothing was forwarded without a record.
    assert rig.faulty.seen.total() - seen_before <= _decisions(rig) - decisions_before
    assert rig.call("").status == 200


def _decisions(rig: Rig) -> int:
    """The decisions of calls to the faulty upstream."""
    return sum(1 for each in rig.entries() if each["kind"] == "decided" and each["upstream"] == "faulty")


def _outcomes(rig: Rig) -> Counter[str]:
    entries = rig.entries()
    faulty = {each["id"] for each in entries if each["kind"] == "decided" and each["upstream"] == "faulty"}
    return Counter(each["outcome"] for each in entries if each["kind"] == "completed" and each["decision"] in faulty)


@pytest.mark.parametrize("act", ["large_document", "large_stream"])
def test_a_slow_reader_of_a_large_answer(rig: Rig, act: str) -> None:
    """It reads a kilobyte a hundred times a second for a while, and then at full speed."""
    assert rig.bystander is not None
    rig.forget_peak()
    with rig.bystander.watching(f"slow reader, {act}", rig.figures), rig.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.sendall(rig.request(body(act, stream=act == "large_stream")))
        begun = b""
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            begun += connection.recv(1024)
            time.sleep(0.01)
        slowly = rig.peak()
        got = receive(Beginning(begun, connection))  # type: ignore[arg-type]
    rig.figures[-1] += f"; memory up to {slowly / 1e6:.0f} MB while it read slowly, {rig.peak() / 1e6:.0f} MB in all"
    assert (got.status, got.complete) == (200, True)
    assert rig.closing(got.headers["x-decision-id"])["outcome"] == "ok"
    assert rig.peak() < MEMORY


class Beginning:
    """A socket of which a part was read already."""

    def __init__(self, begun: bytes, connection: socket.socket) -> None:
        self._begun, self._connection = begun, connection

    def recv(self, size: int) -> bytes:
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        return self._connection.recv(size)


@pytest.mark.parametrize("act", ["large_document", "large_stream"])
def test_a_client_that_reads_nothing_more(rig: Rig, act: str) -> None:
    """It is cut off after `write_timeout`, and its record is closed."""
    assert rig.bystander is not None
    rig.forget_peak()
    with rig.bystander.watching(f"no reader, {act}", rig.figures), rig.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.sendall(rig.request(body(act, stream=act == "large_stream")))
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1024)
        decision = head.partition(b"x-decision-id: ")[2].partition(b"\r\n")[0].decode()
        closing = rig.closing(decision)
        rest: Got | None = None
    rig.figures[-1] += f"; {closing['outcome']}, memory up to {rig.peak() / 1e6:.0f} MB"
    assert rest is None
    assert closing["outcome"] == "client_disconnected"
    assert rig.peak() < MEMORY
