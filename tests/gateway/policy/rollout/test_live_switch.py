"""A running gateway with two workers, and commits to its policies while requests go on.

Real processes, real git, real HTTP. All requests are refused, each revision with a reason of its own, so that every
answer tells which revision gave it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.conftest import Done

    from .conftest import Repository

# Real processes, which take their time.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
MAIN = "import sys; from gateway.cli import main; sys.exit(main())"
BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})


def policy(reason: str) -> dict[str, str]:
    return {
        "starter/authz.rego": f'package starter.authz\n\ndefault allow := false\n\ndeny contains "{reason}"\n',
        "starter/authz_test.rego": "package starter.authz_test\n\ntest_denied if count(data.starter.authz.deny) == 1\n",
    }


@dataclass
class Seen:
    """One answer: when its request was sent, when it came, and which revision refused."""

    sent: float
    came: float
    status: int
    reason: str


@dataclass
class Running:
    """A gateway in processes of its own, and clients that ask it all the time."""

    port: int
    key: str
    seen: list[Seen] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> Seen:
        # A connection for each request: the kernel spreads connections over the workers.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            sent = time.monotonic()
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", BODY, headers)
            answer = connection.getresponse()
            error = json.loads(answer.read())["error"]
            return Seen(sent, time.monotonic(), answer.status, error["message"].rpartition(": ")[2].partition(" (")[0])
        finally:
            connection.close()

    def keep_asking(self) -> None:
        while not self.stop.is_set():
            self.seen.append(self.ask())
            time.sleep(0.005)

    def wait_for(self, reason: str) -> None:
        ends = time.monotonic() + 240
        while self.ask().reason != reason:
            assert time.monotonic() < ends, f"never refused with `{reason}`"
            time.sleep(0.05)

    def wait_until_seen(self, reason: str) -> None:
        """The clients, too, have been refused with it."""
        ends = time.monotonic() + 240
        while not any(each.reason == reason for each in list(self.seen)):
            assert time.monotonic() < ends, f"no client was refused with `{reason}`"
            time.sleep(0.05)


@pytest.fixture
def running(
    tmp_path: Path, run: Callable[..., Done], open_repository: Callable[[Path], Repository]
) -> Iterator[tuple[Running, Repository]]:
    data = tmp_path / "data"
    made = run("init", "--data", str(data), "--json").json
    upstream = ("upstreams", "add", "openai", "--base-url", "http://127.0.0.1:9/v1", "--key-env", "KEY")
    assert run(*upstream, "--data", str(data), KEY="sk-never-sent").code == 0
    repository = open_repository(data / "policies")
    repository.commit({**policy("first"), "starter/data.yaml": None})
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIG_")}
    options = ("--data", str(data), "--port", "0", "--control-port", "0", "--workers", "2")
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "up", *options],
            env=clean | {"PYTHONPATH": str(ROOT), "AIG_POLICIES_POLL": "0.2", "AIG_POLICY_DEADLINE_MS": "1000"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/v1", line)
        assert found, (line, (tmp_path / "up.log").read_text())
        yield Running(int(found[1]), made["key"]), repository
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(240)
        assert process.stdout is not None
        process.stdout.close()


def test_a_commit_switches_all_workers_at_once(running: tuple[Running, Repository]) -> None:
    gateway, repository = running
    gateway.wait_for("first")
    clients = [threading.Thread(target=gateway.keep_asking) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        repository.commit(policy("second"))
        gateway.wait_for("second")
        repository.commit({"starter/authz.rego": "package starter.authz\n\nallow := \n"})
        time.sleep(1.5)
        assert gateway.ask().reason == "second", "what does not compile changes nothing"
        repository.commit(policy("third"))
        gateway.wait_for("third")
        gateway.wait_until_seen("third")
    finally:
        gateway.stop.set()
        for client in clients:
            client.join(120)
    assert len(gateway.seen) > 30
    assert {seen.status for seen in gateway.seen} == {403}, "nobody met a worker that lacked the revision in force"
    assert {seen.reason for seen in gateway.seen} == {"first", "second", "third"}
    for older, newer in (("first", "second"), ("second", "third")):
        switched = min(seen.came for seen in gateway.seen if seen.reason == newer)
        late = [seen for seen in gateway.seen if seen.reason == older and seen.sent > switched]
        assert late == [], f"after the first answer by `{newer}` no worker answers by `{older}` any more"
