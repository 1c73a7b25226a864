"""The control API under greed: an operator, organization or address that takes all it can get keeps nobody else out.

Each row of the table is a way to be greedy with one finite thing, tried against a real server process with sockets that
stay open. While they do, others do one thing after another, and each is carried out as if nobody else were there.
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.control import places
from tests.gateway.dataplane.processes import Live

MANY: Final = places.WAITING + 16
STRANGER: Final = "127.0.0.9"
"""Another address of this machine."""
FEW: Final = {"ann"}
ALL: Final = {"ann", "bea", "cid", "dot"}
"""One operator of acme, and all of them."""


@dataclass(frozen=True)
class Server:
    port: int
    tokens: dict[str, str]
    silent: socket.socket

    def ask(self, name: str, method: str, path: str, body: Any = None, *, prefix: str = "/api/v1", **more: str) -> Any:
        """One request of somebody that must be carried out; returns the document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            headers = {"authorization": f"Bearer {self.tokens[name]}", "content-type": "application/json", **more}
            connection.request(method, prefix + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.headers["content-type"] == "text/event-stream":
                assert answer.status == 200
                return None
            text = answer.read()
            assert answer.status in (200, 201), (name, method, path, answer.status, text)
            return json.loads(text) if prefix else None

    def begin(self, name: str | None, head: str, *, body: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        """A request of which no more comes than this."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(source, 0))
        line = "" if name is None else f"authorization: Bearer {self.tokens[name]}\r\n"
        opened.sendall(f"{head}\r\nhost: x\r\ncontent-type: application/json\r\n{line}\r\n".encode() + body)
        return opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("shares")) as found:
        yield found


@contextmanager
def started(directory: Path) -> Iterator[Server]:
    """The gateway's own olga, ben of beta, and the operators of acme."""
    with ExitStack() as stack:
        live = Live(directory)
        stack.callback(live.close)
        live.run("operators", "add", "olga", "--role", "owner")
        token = live.run("operators", "token", "create", "olga").split()[0]
        live.start("--workers", "1")
        assert live.up is not None
        port = int(live.up.line(r"control plane http://127.0.0.1:(\d+)")[1])
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        found = Server(port, {"olga": token}, silent)
        for organization, names in (("acme", sorted(ALL)), ("beta", ["ben"])):
            found.ask("olga", "POST", "/organizations", {"name": organization})
            for name in names:
                more = f"?organization={organization}"
                found.ask("olga", "POST", f"/operators{more}", {"name": name, "role": "owner"})
                made = found.ask("olga", "POST", f"/operators/{name}/tokens{more}", {})
                found.tokens[name] = made["token"]
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
            asked = {"name": "silent", "provider": "openai-compatible", "base_url": url, "secret": "sk-1"}
            found.ask("olga", "POST", f"/upstreams?organization={organization}", {**asked, "insecure": True})
        yield found


LONG: Final = "content-length: 200"
GREED: Final = {
    "bodies of changes": f"POST /api/v1/agents HTTP/1.1\r\n{LONG}",
    "bodies of restrictions": f"POST /api/v1/stops HTTP/1.1\r\n{LONG}",
    "bodies in pieces": "POST /api/v1/agents HTTP/1.1\r\ntransfer-encoding: chunked",
    "large bodies": f"POST /api/v1/fleet/apply HTTP/1.1\r\nif-match: *\r\ncontent-length: {16 * 1024 * 1024}",
    "plans": f"POST /api/v1/fleet/plan HTTP/1.1\r\n{LONG}",
    "streams": "GET /api/v1/events HTTP/1.1",
    "checks": "POST /api/v1/upstreams/silent/check HTTP/1.1\r\ncontent-length: 2",
}
STRANGERS: Final = {
    "logins": f"POST /api/v1/login HTTP/1.1\r\n{LONG}",
    "ends of logins": f"POST /api/v1/login/finish HTTP/1.1\r\n{LONG}",
    "restrictions without a token": f"POST /api/v1/stops HTTP/1.1\r\n{LONG}",
}


def others_notice_nothing(server: Server, names: list[str], number: int) -> None:
    for name in names:
        home = {"olga": "default", "ben": "beta"}.get(name, "acme")
        more = f"?organization={home}"
        agent = f"{name}-{number}"
        server.ask(name, "GET", "/me")
        server.ask(name, "POST", f"/agents{more}", {"name": agent}, **{"idempotency-key": agent})
        server.ask(name, "GET", f"/agents/{agent}{more}")
        server.ask(name, "POST", f"/fleet/plan{more}", {"document": {"v": 1, "agents": [{"name": agent}]}})
        server.ask(name, "GET", f"/permissions{more}&model=m")
        server.ask(name, "GET", f"/events{more}")
        server.ask(name, "POST", f"/agents/{agent}/suspend{more}", {"reason": "beside"})
        stop = server.ask(name, "POST", f"/stops{more}", {"reason": "emergency"})
        server.ask(name, "POST", f"/stops/{stop['id']}/resume", {})


@pytest.mark.slow
@pytest.mark.parametrize("who", ["operator", "organization"])
@pytest.mark.parametrize("greed", GREED)
def test_whoever_takes_all_keeps_nobody_out(server: Server, greed: str, who: str) -> None:
    number = 10 * list(GREED).index(greed) + (who == "operator")
    with ExitStack() as open_:
        held = []
        for name in sorted(FEW if who == "operator" else ALL):
            for _ in range(MANY):
                body = b"{}" if greed == "checks" else b""
                held.append(open_.enter_context(server.begin(name, GREED[greed], body=body)))
        others_notice_nothing(server, ["ben", "olga", *(["bea"] if who == "operator" else [])], number)
        answered, _, _ = select.select(held, [], [], 0)
        refused = [each for each in answered if each.recv(12) == b"HTTP/1.1 429"]
        assert refused, "it was given all that it asked for"
        if greed != "checks":  # those of the row before go on until their upstream's time is over
            assert len(refused) < len(held), "it was given nothing, and so has tried nothing"


@pytest.mark.slow
@pytest.mark.parametrize("greed", STRANGERS)
def test_whoever_has_no_token_keeps_nobody_out(server: Server, greed: str) -> None:
    with ExitStack() as open_:
        held = [open_.enter_context(server.begin(None, STRANGERS[greed], source=STRANGER)) for _ in range(MANY)]
        others_notice_nothing(server, ["ben", "olga"], 100 + list(STRANGERS).index(greed))
        with closing(server.begin(None, STRANGERS["logins"])) as other:
            other.sendall(b"x" * 200)
            assert other.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 415", b"HTTP/1.1 422")  # read, and wrong
        answered, _, _ = select.select(held, [], [], 0)
        assert any(each.recv(12) in (b"HTTP/1.1 429", b"HTTP/1.1 401") for each in answered)


BUSY: Final = {
    "metrics": ("GET", "/metrics", None),
    "plans": (
        "POST",
        "/fleet/plan",
        {"document": {"v": 1, "agents": [{"name": f"a{number}"} for number in range(50)]}},
    ),
    "questions": ("GET", "/permissions?model=m", None),
    "changes": ("POST", "/teams", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BUSY)
def test_whoever_asks_without_end_is_served_in_turn(server: Server, what: str) -> None:
    """Two dozen requests of one operator wait at any time; hardly more of them come before another's than are carried
    out at once. Without turns most of those that wait would."""
    method, path, body = BUSY[what]
    done, ended, numbers = [], threading.Event(), itertools.count()

    def ask(name: str) -> None:
        given = {"name": f"{what}-{next(numbers)}"} if what == "changes" else body
        server.ask(name, method, path, given, prefix="" if what == "metrics" else "/api/v1")

    def hammer() -> None:
        while not ended.is_set():
            ask("ann")
            done.append(None)

    with ThreadPoolExecutor(24) as threads:
        greedy = [threads.submit(hammer) for _ in range(24)]
        try:
            before_it = []
            for _ in range(5):
                while not done:
                    time.sleep(0.01)
                before = len(done)
                ask("ben")
                before_it.append(len(done) - before)
        finally:
            ended.set()
        for each in greedy:
            each.result()
    assert sorted(before_it)[2] <= 12, before_it


@pytest.mark.slow
def test_no_body_is_waited_for_where_there_is_none_to_read(server: Server) -> None:
    for method, path in (("GET", "/me"), ("DELETE", "/upstreams/none")):
        with closing(server.begin("ben", f"{method} /api/v1{path} HTTP/1.1\r\n{LONG}")) as asked:
            assert asked.recv(12) == b"HTTP/1.1 400"
