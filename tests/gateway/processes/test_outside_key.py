"""A running gateway whose vault has its key from a command: no request fails while the key is replaced."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.gateway.dataplane.processes import Live
from tests.rigs.processes.reload import Clients

pytestmark = pytest.mark.slow

PROGRAM = "import sys; print(open(sys.argv[1]).read())"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    found = Live(tmp_path)
    try:
        yield found
    finally:
        found.close()


def give(live: Live, *keys: bytes) -> None:
    """Let the command print these keys. The file is replaced whole, as the gateway may read it meanwhile."""
    new = live.directory / "given.new"
    new.write_text("\n".join(base64.b64encode(key).decode() for key in keys))
    new.replace(live.directory / "given")


def configure(live: Live) -> None:
    command = [sys.executable, "-c", PROGRAM, str(live.directory / "given")]
    with (live.data / "gateway.toml").open("a") as file:
        file.write(f"workers = 2\nkek_command = {orjson.dumps(command).decode()}\n")


def seal(live: Live, secret: str) -> None:
    """Give the upstream a new secret, which is sealed under the key of now."""
    url = live.provider.line(r"base URL (\S+)")[1]
    arguments = ("upstreams", "add", "mock", "--base-url", url, "--default", "--replace", "--key-env", "MAKER")
    live.run(*arguments, env={"MAKER": secret})


def test_the_key_is_replaced_while_requests_run(live: Live) -> None:
    first, second = os.urandom(32), os.urandom(32)
    seal(live, "sk-under-the-file")
    give(live, first)
    configure(live)
    live.start()
    clients = [Clients(live, keep=keep) for keep in (True, True, False, False)]
    for each in clients:
        each.start()
    try:
        for keys in ((first,), (second, first)):
            give(live, *keys)
            live.run("vault", "rotate")
            state = orjson.loads(live.run("vault", "status", "--json"))
            assert state["left"] == 0
            assert state["sealed"]["upstreams"] == {state["key"]: 1}
            seal(live, f"sk-under-key-{len(keys)}")
            done = [each.done for each in clients]
            live.wait(lambda: all(each.done > old + 5 for each, old in zip(clients, done, strict=True)))  # noqa: B023
    finally:
        for each in clients:
            each.stopped.set()
        for each in clients:
            each.join()
    assert [each.failures for each in clients] == [[]] * 4
    live.stop()
    # A gateway that starts now needs neither the file nor the older key.
    give(live, second)
    (live.data / "keys" / "kek").unlink()
    live.start()
    assert "sealed" not in live.run("status")
    after = Clients(live, keep=False)
    after.start()
    live.wait(lambda: after.done > 5)
    after.stopped.set()
    after.join()
    assert after.failures == []
