"""SIGHUP: new settings without a failed request, and what a mistake in them does."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes import reload
from gateway.settings import Settings
from tests.gateway.dataplane.processes import Live, request
from tests.rigs.processes.reload import Clients, configure, live  # noqa: F401  # fixtures among them


def test_what_is_settled_at_the_start_stays(caplog: pytest.LogCaptureFixture) -> None:
    before = Settings(port=0, workers=1)
    in_force = Settings(port=4711, workers=1)
    given, settings = reload.settle(before, Settings(port=8888, host="::1", workers=2), in_force)
    assert (given.port, given.host, given.workers) == (0, "127.0.0.1", 2)
    assert (settings.port, settings.host, settings.workers) == (4711, "127.0.0.1", 2)
    assert [each.getMessage() for each in caplog.records] == [
        "`host`, `port` cannot change while the gateway runs: restart it for that"
    ]
    assert reload.differences(in_force, settings) == ["workers"]


def test_tls_does_not_end_on_an_address_that_stays_open_to_a_network() -> None:
    secured = Settings(host="0.0.0.0", tls_cert=Path("server.pem"), tls_key=Path("server.key"))
    for now in (Settings(host="127.0.0.1"), Settings(host="0.0.0.0", insecure=True)):
        with pytest.raises(GatewayError, match=r"host `0\.0\.0\.0` is not a loopback address") as caught:
            reload.settle(secured, now, secured)
        assert caught.value.code == "insecure_bind"
    assert reload.settle(secured, replace(secured, workers=1), secured)[1].workers == 1


def test_which_changes_concern_the_control_process() -> None:
    assert not reload.concern_control(["workers", "upstream_retries", "breaker_pause"])
    assert reload.concern_control(["workers", "policies_ref"])


def test_every_setting_is_settled_once() -> None:
    assert set(reload.FIXED) <= set(reload.SCHEMA)
    data = DataDirectory(Path("elsewhere"))
    assert reload.settle(Settings(), Settings(data=data), Settings())[1] == Settings()


def hang_up(live: Live) -> None:
    assert live.up is not None
    os.kill(live.up.process.pid, signal.SIGHUP)


@pytest.mark.slow
def test_no_request_fails_while_the_workers_are_replaced(live: Live) -> None:
    assert live.up is not None
    up = live.up
    clients = [Clients(live, keep=keep) for keep in (True, True, False, False)]
    clients.append(Clients(live, keep=True, model="mock-delay-1500"))
    for each in clients:
        each.start()
    try:
        for number in range(1, 4):
            before = set(live.children())
            configure(live, f"max_requests = {1000 + number}\n")
            hang_up(live)
            live.wait(lambda: up.text.count("new settings are in force: max_requests") == number)  # noqa: B023  # awaited here
            live.wait(lambda: len(live.children()) == 2 and not before & set(live.children()))  # noqa: B023
            done = [each.done for each in clients]
            live.wait(lambda: all(each.done > 3 + old for each, old in zip(clients[:4], done, strict=False)))  # noqa: B023
    finally:
        for each in clients:
            each.stopped.set()
        for each in clients:
            each.join()
    assert [failure for each in clients for failure in each.failures] == []
    assert clients[0].connections > 1, "it was told to connect anew"


@pytest.mark.slow
def test_a_mistake_in_the_file_changes_nothing(live: Live) -> None:
    assert live.up is not None
    up = live.up
    workers = set(live.children())
    refused = [line for line in lines(live) if "the settings stay as they were: " in line]
    for text, says in (
        ("upstream_retires = 3\n", "unknown setting `upstream_retires`"),
        ("upstream_retries = 99\n", "`upstream_retries`"),
        ("= nonsense", "is not TOML"),
    ):
        before = len(refused)
        configure(live, text)
        hang_up(live)
        live.wait(lambda: sum("the settings stay as they were: " in line for line in lines(live)) > before)  # noqa: B023
        refused = [line for line in lines(live) if "the settings stay as they were: " in line]
        assert len(refused) == before + 1
        assert says in refused[-1]
    assert set(live.children()) == workers
    with socket.create_connection(("127.0.0.1", live.port), timeout=240) as client:
        client.sendall(request(live.key))
        assert client.recv(12) == b"HTTP/1.1 200"
    assert "Traceback" not in up.text


@pytest.mark.slow
def test_more_workers_fewer_workers_and_another_interval_of_the_control_process(live: Live) -> None:
    (control,) = live.children("control")
    configure(live, "checkpoint_seconds = 7\nport = 1234\n")
    hang_up(live)
    live.wait(lambda: any("in force" in line and "checkpoint_seconds" in line for line in lines(live)))
    live.wait(lambda: live.children("control") not in ([], [control]))
    assert not any("`port` cannot" in line for line in lines(live)), "the flag --port is stronger"
    for workers in (3, 1, 2):
        configure(live, f"checkpoint_seconds = 7\nworkers = {workers}\n")
        hang_up(live)
        live.wait(lambda: len(live.children()) == workers)  # noqa: B023
    configure(live, "checkpoint_seconds = 7\ninsecure = true\n")
    hang_up(live)
    live.wait(lambda: any("`insecure` cannot change while the gateway runs" in line for line in lines(live)))
    live.wait(lambda: "the settings have not changed" in "\n".join(lines(live)))
    live.stop()
    live.check_log()


def lines(live: Live) -> list[str]:
    assert live.up is not None
    return live.up.text.splitlines()
