"""A gateway of real processes that may be killed, beside a provider; one data directory for all rounds."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import orjson

from tests.gateway.crash.faults import Faults, build
from tests.gateway.crash.load import Clients, Provider
from tests.gateway.dataplane.processes import POLICY, Background, Live, write_policy

SETTINGS = """\
workers = 2
drain_timeout = 2
checkpoint_seconds = 0.5
policy_deadline_ms = 1000
"""


class Rig(Live):
    """`Live` with a provider in this process, and with faults if they can be built."""

    def __init__(self, directory: Path) -> None:  # deliberately not that of `Live`: another provider
        self.directory = directory
        self.data = directory / ".gateway"
        self.up: Background | None = None
        self.base_url = ""
        self.upstream = Provider()
        library = build(directory)
        self.faults = None if library is None else Faults(library, directory, self.data)
        self.key = orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]
        (self.data / "gateway.toml").write_text(SETTINGS)
        write_policy(self.data / "policies", POLICY)
        self.run("upstreams", "add", "mock", "--base-url", self.upstream.url, "--no-key", "--default")

    def start(self, *flags: str) -> None:
        variables = self.faults.environment if self.faults else {}
        os.environ.update(variables)
        try:
            super().start(*flags)
        finally:
            for name in variables:
                del os.environ[name]

    def try_start(self) -> bool:
        """Start under a fault; false if the start was refused, which it must say in one line and end by itself."""
        try:
            self.start()
        except AssertionError:
            up, self.up = self.up, None
            assert up is not None
            assert up.process.wait(240) == 1, up.text
            assert "error: " in up.text, up.text
            assert "Traceback" not in up.text, up.text
            return False
        return True

    def kill(self) -> None:
        """SIGKILL for every process of the gateway."""
        assert self.up is not None
        processes = [*self.children("control"), *self.children("data"), self.up.process.pid]
        for process in processes:
            send(process, signal.SIGKILL)
        self.up.process.wait(240)
        self.up = None
        for process in processes:
            while Path(f"/proc/{process}").exists():
                time.sleep(0.005)

    def remember_synced(self) -> None:
        """Everything is on the disk now: the gateway does not run."""
        if self.faults:
            for path in self.data.iterdir():
                if path.is_file():
                    shutil.copyfile(path, self.faults.synced / path.name)

    def cut_power(self) -> None:
        """Kill everything and take back what was not synced."""
        assert self.faults
        self.kill()
        for path in self.data.iterdir():
            if path.is_file() and path.suffix != ".toml":
                path.unlink()
        for path in self.faults.synced.iterdir():
            if not path.name.startswith(".") and not path.name.endswith("-shm"):
                shutil.copyfile(path, self.data / path.name)
                (self.data / path.name).chmod(0o600)

    def clients(self) -> Clients:
        return Clients(lambda: self.port, self.key)

    def close(self) -> None:
        if self.up is not None:
            self.kill()
        self.upstream.close()


def send(process: int, number: signal.Signals) -> None:
    """A signal to a child of this rig, unless it has ended."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
