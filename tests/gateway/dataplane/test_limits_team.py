"""A team's limit under attack: its agents call at once, while the limit changes, its window ends and workers die.

The provider writes down what each call made it do, under the number that the call's text carries. It streams, it
answers in one piece, it declines, it breaks connections off; clients leave and reset theirs. The limit is one of a
minute, and the calls are spread over the end of one, so calls decided before it end after it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gateway.audit.balance import MINUTE_NS, VALUES
from tests.gateway.audit.conftest import stored_balances
from tests.gateway.dataplane.processes import POLICY, Live, write_policy

pytestmark = pytest.mark.slow

AGENTS = ("bot", "ann", "ben", "cas")
OUTPUT = 40
INPUT = 11
UNITS = {"requests": 1, "tokens": INPUT + OUTPUT, "spend_microusd": (INPUT * 150 + OUTPUT * 600) // 1000 + 1}
"""The usage of one whole call of gpt-4o-mini."""


class Ledger:
    """A provider that knows of each call, by its number, how many tokens it has made for it."""

    def __init__(self, seed: int) -> None:
        self.tokens: Counter[int] = Counter()
        self._random = random.Random(seed)

    def of(self, metric: str, calls: set[int] | None = None) -> float:
        """The usage of these calls, or of all."""
        found = [tokens for call, tokens in self.tokens.items() if calls is None or call in calls]
        if metric == "requests":
            return len(found)
        if metric == "tokens":
            return INPUT * len(found) + sum(found)
        return (INPUT * len(found) * 150 + sum(found) * 600) / 1000

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = orjson.loads(await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0])))
                number = int(re.findall(r"call (\d+)", body["messages"][0]["content"])[0])
                assert number not in self.tokens, "a call was sent twice"
                self.tokens[number] = 0
                await self._answer(number, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, number: int, body: dict[str, int], writer: asyncio.StreamWriter) -> None:
        words = min(OUTPUT, body.get("max_completion_tokens") or body.get("max_tokens") or OUTPUT)
        usage = {"prompt_tokens": INPUT, "completion_tokens": words, "total_tokens": INPUT + words}
        cut = self._random.randrange(words) if self._random.random() < 0.2 else None
        if not body.get("stream"):
            await asyncio.sleep(self._random.random())
            self.tokens[number] += words
            if cut is not None:
                return reset(writer)  # all was made, and nothing is told
            answer = {"role": "assistant", "content": "word " * words}
            choice = {"index": 0, "message": answer, "finish_reason": "stop"}
            data = orjson.dumps({"id": "c", "model": "gpt-4o-mini", "choices": [choice], "usage": usage})
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)
            writer.write(head + data)
            return await writer.drain()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for word in range(words):
            self.tokens[number] += 1
            await _event(writer, {"choices": [{"index": 0, "delta": {"content": "word "}}]})
            if word == cut:
                return reset(writer)
            await asyncio.sleep(0.05)
        await _event(writer, {"choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        return await writer.drain()


async def _event(writer: asyncio.StreamWriter, event: dict[str, object]) -> None:
    data = b"data: " + orjson.dumps({"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o-mini", **event})
    writer.write(b"%x\r\n%s\n\n\r\n" % (len(data) + 2, data))
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with an RST."""
    made = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Team(Live):
    """Two workers, a team of four agents, and that provider."""

    def __init__(self, directory: Path) -> None:  # not that of `Live`: another provider
        self.directory, self.data = directory, directory / ".gateway"
        self.up = None
        self.base_url = ""
        self.keys = [orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]]
        with (self.data / "gateway.toml").open("a") as file:
            file.write("workers = 2\npolicy_deadline_ms = 1000\n")
        write_policy(self.data / "policies", POLICY)
        self.run("agents", "update", "bot", "--team", "red")
        for name in AGENTS[1:]:
            self.run("agents", "register", name, "--owner", "dana", "--team", "red")
            self.keys.append(self.run("keys", "create", name).strip())
            self.run("bind", name, "starter")

    def close(self) -> None:
        if self.up is not None:
            self.up.stop()

    async def limit(self, name: str, value: int) -> None:
        await asyncio.to_thread(self.run, "limits", "set", "team:red", name, str(value))

    async def call(self, number: int, chance: random.Random) -> tuple[int, str | None]:
        """One call; its status (0 if the gateway broke) and its decision's id, as far as the client was told."""
        leave, by_reset = chance.random() < 0.2, chance.random() < 0.5
        body: dict[str, object] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"call {number}"}]}
        if chance.random() < 0.7:
            body["stream"] = True
        if chance.random() < 0.7:
            body["max_tokens"] = OUTPUT
        data = orjson.dumps(body)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {chance.choice(self.keys)}\r\n"
        head += f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return 0, None
        try:
            writer.write(head.encode() + data)
            found = (await reader.readuntil(b"\r\n\r\n")).decode()
            decision = re.search(r"x-decision-id: (\S+)", found, re.IGNORECASE)
            while not leave and await reader.read(2000):
                pass
            if leave and by_reset:
                reset(writer)
            return int(found.split()[1]), decision[1] if decision else None
        except (OSError, asyncio.IncompleteReadError):
            return 0, None
        finally:
            writer.close()


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path)
    yield made
    made.close()


async def attack(team: Team, ledger: Ledger, metric: str, seed: int) -> dict[str, int]:
    """200 calls around the end of a minute; the calls by their decisions, as far as clients know these."""
    chance = random.Random(seed)
    server = await asyncio.start_server(ledger.serve, "127.0.0.1", 0, backlog=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await asyncio.to_thread(team.run, "upstreams", "add", "openai", "--base-url", url, "--no-key", "--default")
    name, unit = f"{metric}_per_minute", UNITS[metric]
    await team.limit(name, 20 * unit)
    await asyncio.to_thread(team.start)
    if (left := 60 - time.time() % 60) < 12:
        await asyncio.sleep(left)
    until = 60 - time.time() % 60
    end = time.time() + until
    await asyncio.sleep(max(0, until - 8))

    async def later(seconds: float, number: int) -> tuple[int, float, tuple[int, str | None]]:
        await asyncio.sleep(seconds)
        return number, time.time(), await team.call(number, chance)

    # Half at once, the others while the limit changes, workers die and the minute ends.
    running = [asyncio.create_task(later(0 if n < 100 else chance.uniform(0, 12), n)) for n in range(200)]
    for step in (team.limit(name, 12 * unit), team.limit(name, 20 * unit)):
        await asyncio.sleep(0.5)
        for process in team.children()[:1]:
            os.kill(process, signal.SIGKILL)
        await step
    found = await asyncio.gather(*running)
    # If the workers were long in coming back, no call was let in after the end of the minute.
    for number in range(200, 1000):
        if any(began > end and status == 200 for _, began, (status, _) in found):
            break
        found.append(await later(0.2, number))
    server.close()
    return {decision: number for number, _, (_, decision) in found if decision is not None}


@pytest.mark.parametrize("metric", UNITS)
def test_a_team_never_exceeds_its_limit_of_a_minute(team: Team, metric: str) -> None:
    ledger, cap = Ledger(seed=7), 20 * UNITS[metric]
    known = asyncio.run(attack(team, ledger, metric, seed=8))
    team.wait(lambda: team.rows("SELECT count(*) FROM open_decision") == [(0,)])
    entries = team.entries()
    minutes = {
        str(entry["id"]): orjson.loads(entry["reservation_json"])["minute"]
        for entry in entries
        if entry["kind"] == "decided" and entry["open"]
    }
    assert len(set(minutes.values())) >= 2  # the minute ended meanwhile
    assert {entry["reason"] for entry in entries if entry["kind"] == "decided"} >= {"limit_exceeded"}
    # By the provider's count, for the calls of each minute, and for those whose clients know no decision at worst.
    for minute in set(minutes.values()):
        calls = {known[decision] for decision, its in minutes.items() if its == minute and decision in known}
        assert ledger.of(metric, calls) <= cap
    assert 0 < ledger.of(metric) <= cap * len(set(minutes.values()))
    # By the log: each minute is within the cap, and nothing that the provider did is missing.
    member, unit = {"requests": ("requests", 1), "tokens": ("tokens", 1), "spend_microusd": ("nanousd", 1000)}[metric]
    settled: Counter[int] = Counter()
    for entry in entries:
        if entry["kind"] == "completed":
            settled[minutes[str(entry["decision"])]] += int(entry[f"settled_{member}"])
    assert all(amount <= cap * unit for amount in settled.values())
    assert settled.total() >= ledger.of(metric) * unit
    # The stored balance is of the last minute, and nothing is reserved any more.
    for balance in stored_balances(team.data / "audit.db").values():
        row = dict(zip(VALUES, balance.values(), strict=True))
        assert not any(amount for name, amount in row.items() if "reserved" in name or name == "open")
        assert row["minute"] <= time.time_ns() // MINUTE_NS
    team.stop()
    team.check_log()
