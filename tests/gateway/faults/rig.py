"""A gateway of real processes between raw clients and a hostile upstream, with a bystander's calls beside them."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.gateway.dataplane.processes import Background, Live, write_policy
from tests.gateway.faults import acts
from tests.gateway.faults.bystander import Bystander
from tests.gateway.faults.upstream import HostileUpstream

# Short, so that a hanging upstream is cheap to test, and long enough for a busy machine.
SETTINGS = """\
policy_deadline_ms = 1000
upstream_first_byte_timeout = 6
upstream_idle_timeout = 3
upstream_total_timeout = 20
write_timeout = 5
breaker_failures = 0
"""
POLICY = """\
package bot.authz

default allow := false

allow if {
  is_string(input.resource.model)
  startswith(input.resource.model, "gpt-4o")
}

allow if input.action == "files.create"
"""
DEADLINE = 90.0  # for anything: what takes longer hangs


@dataclass(frozen=True, slots=True)
class Got:
    """The answer that a client got. `complete` is false if the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    size: int
    complete: bool
    beginning: bytes
    end: bytes


class Rig(Live):
    """`Live` with two upstreams in this process: `faulty`, and `calm` for the bystander."""

    def __init__(self, directory: Path, settings: str = SETTINGS) -> None:  # deliberately not that of `Live`
        self.directory = directory
        self.data = directory / ".gateway"
        self.up: Background | None = None
        self.base_url = ""
        self.bystander: Bystander | None = None
        self.figures: list[str] = []
        self.faulty = HostileUpstream(acts.ACTS, acts.ordinary)
        self.calm = HostileUpstream({}, acts.ordinary)
        self.key = orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]
        with (self.data / "gateway.toml").open("a") as file:
            file.write(settings)
        write_policy(self.data / "policies", POLICY)
        self.run("upstreams", "add", "calm", "--base-url", self.calm.base_url, "--no-key")
        self.run("upstreams", "add", "faulty", "--base-url", self.faulty.base_url, "--no-key", "--default")

    def begin(self) -> None:
        """Start the gateway with one worker, which everybody shares, and the bystander."""
        self.start("--workers", "1")
        [self.worker] = self.children("data")
        self.bystander = Bystander(self.port, self.key, self.directory, self.worker)
        self.wait(lambda: self.bystander is not None and self.bystander.since(0).count > 5)

    def close(self) -> None:
        if self.bystander is not None:
            self.bystander.close()
        if self.up is not None:
            self.up.stop()
        self.faulty.close()
        self.calm.close()

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def peak(self) -> int:
        """The most memory that the worker had since `forget_peak`, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.worker}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.worker}/clear_refs").write_text("5")

    def closing(self, decision: str) -> dict[str, Any]:
        """The closing of this decision, once it is in the log."""
        found: list[dict[str, Any]] = []

        def recorded() -> bool:
            found[:] = [each for each in self.entries() if each.get("decision") == decision]
            return bool(found)

        self.wait(recorded, DEADLINE)
        [entry] = found
        return entry

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def request(self, body: bytes, *lines: str, path: str = "/v1/chat/completions") -> bytes:
        """A whole request; the connection closes after its answer."""
        if not any(line.lower().startswith("content-type:") for line in lines):
            lines = ("Content-Type: application/json", *lines)
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}", "Connection: close", *lines]
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "\r\n"]).encode() + body

    def send(self, data: bytes) -> Got:
        with self.connect() as connection:
            connection.sendall(data)
            return receive(connection)

    def call(self, act: str, *lines: str, path: str = "/v1/chat/completions", **members: object) -> Got:
        """A chat completion of which the faulty upstream makes this act."""
        return self.send(self.request(body(act, **members), *lines, path=path))


def body(act: str, **members: object) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    return orjson.dumps({"model": f"gpt-4o-{act}", "messages": messages, **members})


def receive(connection: socket.socket) -> Got:
    """An answer to its end. Only the beginning and the end of a large one are kept."""
    ends = time.monotonic() + DEADLINE
    beginning, end, size = b"", b"", 0
    while True:
        assert time.monotonic() < ends, "the answer does not end"
        try:
            piece = connection.recv(1024 * 1024)
        except ConnectionResetError:
            break
        if not piece:
            break
        size += len(piece)
        if len(beginning) < 65536:
            beginning += piece
        end = (end + piece)[-65536:]
    head, separator, rest = beginning.partition(b"\r\n\r\n")
    assert separator, f"no answer but {beginning[:200]!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status, size = int(first.split()[1]), size - len(head) - 4
    if "content-length" in headers:
        complete = size == int(headers["content-length"])
    else:
        complete = status == 204 or end.endswith(b"0\r\n\r\n")
    return Got(status, headers, size, complete, rest, end)
