"""Shared parts of the tests in `tests/gateway/processes/test_reload.py`."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import orjson
import pytest

from tests.gateway.dataplane.processes import Live


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        configure(found, "")
        found.start()
        yield found
    finally:
        found.close()


class Clients(threading.Thread):
    """Requests one after the other until told to stop: over one connection as long as it lasts, or each on its own."""

    def __init__(self, live: Live, *, keep: bool, model: str = "gpt-4o") -> None:
        super().__init__()
        self._live = live
        self._keep = keep
        self._body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})
        self.done = 0
        self.connections = 0
        self.failures: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        headers = {"authorization": f"Bearer {self._live.key}", "content-type": "application/json"}
        while not self.stopped.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._live.port, timeout=60)
                    self.connections += 1
                connection.request("POST", "/v1/chat/completions", self._body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(str(answer.status))
                if answer.will_close or not self._keep:
                    connection.close()
                    connection = None
                self.done += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()


def configure(live: Live, text: str) -> None:
    """Replace the file in one step: a signal that is still on its way must not find half of it."""
    new = live.data / "gateway.toml.new"
    new.write_text("policy_deadline_ms = 1000\n" + ("" if "workers" in text else "workers = 2\n") + text)
    new.replace(live.data / "gateway.toml")
