"""Two gateways under random calls, while either is killed: `python -m tests.gateway.border --seconds 120 --seed 1`.

Agents of `acme` at one call an agent of `globex` at the other. Meanwhile workers and whole gateways are killed, peers
disabled and enabled, agents suspended and resumed. Then both run again, and what the clients saw, what each log says
and what the other one says of it must agree.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from tests.gateway.crash.rig import send
from tests.gateway.dataplane.processes import Live, write_policy

TEXTS: Final = ("ten chairs", "ten chairs on credit", "a secret")
SENDING: Final = """package bot.authz

default allow := false

allow if input.resource.agent.organization == "globex"

deny contains "no secrets" if contains(input.request.body.params.message.parts[0].text, "secret")
"""
RECEIVING: Final = """package bot.authz

default allow := false

allow if {
	input.agent.organization == "acme"
	input.agent.credential.method == "peer"
}

deny contains "no credit" if contains(input.request.body.params.message.parts[0].text, "credit")
"""


class Side(Live):
    """One of the gateways; it keeps its port through restarts."""

    def __init__(self, directory: Path, organization: str) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.organization = organization
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.own_port = str(probe.getsockname()[1])
        with (self.data / "gateway.toml").open("a") as file:
            file.write("checkpoint_seconds = 1\n")
        self.run("orgs", "create", organization)

    def begin(self) -> None:
        self.start("--port", self.own_port, "--workers", "2")

    def kill(self) -> None:
        """SIGKILL for every process."""
        assert self.up is not None
        processes = [*self.children("control"), *self.children("data"), self.up.process.pid]
        for process in processes:
            send(process, signal.SIGKILL)
        self.up.process.wait(240)
        self.up = None
        for process in processes:
            while Path(f"/proc/{process}").exists():
                time.sleep(0.005)

    def of(self, *arguments: str) -> str:
        return self.run(*arguments, "--org", self.organization)


class Walk:
    """Both gateways, with what clients have seen."""

    def __init__(self, directory: Path, agents: int, limit: int) -> None:
        self.limit = limit
        self.home, self.abroad = Side(directory / "home", "acme"), Side(directory / "abroad", "globex")
        self.seen: list[tuple[str, int, str, str]] = []
        self.ended = threading.Event()
        write_policy(self.home.data / "policies", SENDING)
        write_policy(self.abroad.data / "policies", RECEIVING)
        self.names = [f"buyer-{number}" for number in range(agents)]
        self.keys = []
        for name in self.names:
            self.home.of("agents", "register", name, "--owner", "ada@acme.example")
            self.keys.append(self.home.of("keys", "create", name).strip())
        self.abroad.of("agents", "register", "sales", "--owner", "olga@globex.example")
        url = f"http://127.0.0.1:{self.abroad.own_port}/a2a/globex/sales"
        self.home.of(
            "upstreams", "add", "sales", "--provider", "a2a", "--base-url", url, "--auth", "peer", "--no-check"
        )
        self.home.begin()
        self.abroad.begin()
        endpoint = self.abroad.provider.line(r"base URL (\S+)")[1].removesuffix("/v1") + "/a2a"
        self.abroad.of("agents", "publish", "sales", "--endpoint", endpoint)
        self.abroad.of("bind", "sales", "starter", "--effect", "receive")
        self.home.of("bind", "org:acme", "starter")
        self.abroad.of("limits", "set", "sales", "requests_per_day", str(limit), "--counterparty", "from:acme")
        for side, other in ((self.home, self.abroad), (self.abroad, self.home)):
            keys = directory / f"{other.organization}.json"
            keys.write_text(other.run("peers", "keys"))
            side.run("peers", "add", "peer", "--keys", str(keys), "--speaks-for", other.organization)

    def close(self) -> None:
        self.ended.set()
        self.home.close()
        self.abroad.close()

    def call(self, key: str, draw: random.Random) -> None:
        """Random calls of one agent, one after the other."""
        while not self.ended.is_set():
            text = draw.choice(TEXTS)
            message = {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": text}]}
            request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
            headers = {"Authorization": f"Bearer {key}", "A2A-Version": "1.0"}
            try:
                url = f"http://127.0.0.1:{self.home.own_port}/sales/a2a"
                reply = httpx.post(url, json=request, headers=headers, timeout=60)
                body = reply.json()
                reason = body["error"]["data"]["reason"] if "error" in body else "ok"
                self.seen.append((text, reply.status_code, reason, reply.headers.get("x-decision-id", "")))
            except (httpx.HTTPError, ValueError, LookupError):
                self.seen.append((text, 0, "broken", ""))
                time.sleep(0.05)

    def trouble(self, draw: random.Random) -> str:
        """One of the things that happen to gateways."""
        side = draw.choice((self.home, self.abroad))
        kind = draw.choice(("kill", "kill", "worker", "disable", "suspend"))
        if kind == "kill":
            side.kill()
            time.sleep(draw.uniform(0, 0.5))
            side.begin()
        elif kind == "worker":
            if children := side.children("data"):
                send(draw.choice(children), signal.SIGKILL)
        elif kind == "disable":
            side.run("peers", "disable", "peer")
            time.sleep(draw.uniform(0, 0.3))
            side.run("peers", "enable", "peer")
        else:
            agent = "sales" if side is self.abroad else draw.choice(self.names)
            side.of("agents", "suspend", agent, "--reason", "drill")
            time.sleep(draw.uniform(0, 0.3))
            side.of("agents", "resume", agent)
        return f"{kind} {side.organization}"

    def run(self, seconds: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
        draw = random.Random(seed)
        for side in (self.home, self.abroad):
            if side.up is None:
                side.begin()
        self.ended.clear()
        clients = [threading.Thread(target=self.call, args=(key, random.Random(draw.random()))) for key in self.keys]
        for each in clients:
            each.start()
        ends = time.monotonic() + seconds
        troubles: Counter[str] = Counter()
        try:
            while time.monotonic() < ends:
                time.sleep(draw.uniform(0.3, 1.5))
                done = self.trouble(draw)
                troubles[done] += 1
                tell(done)
        finally:
            self.ended.set()
            for each in clients:
                each.join()
        for side in (self.home, self.abroad):
            side.stop()
            side.begin()  # recovers what a killed one has left
            side.stop()
        return self.judged() | {"troubles": dict(troubles)}

    def match(self, other: Path, *options: str, code: int = 0) -> str:
        """Compare the caller's log with a copy of the other one."""
        key = str(self.abroad.data / "keys" / "signing.pub")
        return self.home.run("audit", "match", str(other), "--other-key", key, *options, code=code)

    def judged(self) -> dict[str, Any]:
        """What was seen, and everything that should not have been."""
        wrong = [f"allowed: {each}" for each in self.seen if each[2] == "ok" and each[0] != TEXTS[0]]
        for side, other in ((self.home, self.abroad), (self.abroad, self.home)):
            side.run("audit", "verify")
            if side.rows("SELECT count(*) FROM open_decision") != [(0,)]:
                wrong.append(f"{side.organization} has open decisions")
            if side.entries(other.organization):
                wrong.append(f"{side.organization} has a log of {other.organization}")
        match = json.loads(self.match(self.abroad.data / "audit.db", "--json"))
        ends = {each["decision"]: each for each in self.home.entries("acme") if each["kind"] == "completed"}
        for text, _, reason, decision in self.seen:
            if reason == "ok" and "receipt" not in ends.get(decision, {}):
                wrong.append(f"answered without a receipt: {text} {decision}")
        ran = [each for each in self.abroad.entries("globex") if each["kind"] == "decided" and each["allow"] is True]
        if len(ran) > self.limit:
            wrong.append(f"{len(ran)} calls ran over a limit of {self.limit}")
        return {
            "seen": dict(Counter(reason for _, _, reason, _ in self.seen)),
            "ran": len(ran),
            "match": match,
            "wrong": wrong + match["findings"],
        }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--agents", type=int, default=10)
    options.add_argument("--limit", type=int, default=1000, help="calls that the called side lets through in all")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="border-") as directory:
        walk = Walk(Path(directory), given.agents, given.limit)
        try:
            found = walk.run(given.seconds, given.seed, print)
        finally:
            walk.close()
    print(json.dumps(found, indent=2))
    raise SystemExit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
