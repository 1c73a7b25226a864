"""Two copies of a data directory never run at the same time: both would sign, and each would contradict the other."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes.creation import create_empty
from gateway.storage.liveness import OnlyCopy
from tests.gateway.conftest import environment
from tests.gateway.dataplane.processes import COMMAND


@pytest.fixture
def place(tmp_path: Path) -> Path:
    create_empty(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy", symlinks=True)
    return tmp_path


def test_a_copy_does_not_start_beside_its_original(place: Path) -> None:
    """Nor the original beside its copy. The message is a line of JSON, because nobody sits at a terminal."""
    original = OnlyCopy(DataDirectory(place / "first"))
    up = [*COMMAND, "up", "--data", str(place / "copy"), "--port", "0", "--control-port", "0"]
    done = subprocess.run(up, env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    told = orjson.loads(line)
    assert (told["level"], told["process"]) == ("error", "supervisor")
    assert told["message"].startswith(f"process {os.getpid()} runs a gateway with the same signing key as `")
    original.close()
    OnlyCopy(DataDirectory(place / "copy")).close()


def test_another_gateway_stops_nobody(place: Path) -> None:
    create_empty(place / "other")
    held = OnlyCopy(DataDirectory(place / "first"))
    OnlyCopy(DataDirectory(place / "other")).close()
    with pytest.raises(GatewayError, match="copy_running"):
        OnlyCopy(DataDirectory(place / "copy"))
    held.close()


def test_the_right_ends_with_its_process(place: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gateway.data_directory import DataDirectory; "
        "from gateway.storage.liveness import OnlyCopy; "
        "held = OnlyCopy(DataDirectory(Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place / "first")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(GatewayError, match=f"process {process.pid} runs"):
            OnlyCopy(DataDirectory(place / "copy"))
        process.kill()
        process.wait()
    OnlyCopy(DataDirectory(place / "copy")).close()


def test_a_foreign_listener_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody on the machine could listen there, and must not keep a gateway from starting."""
    held = OnlyCopy(DataDirectory(place / "first"))
    monkeypatch.setattr(
        socket.socket, "getsockopt", lambda *_: (os.getpid()).to_bytes(4, "little") + b"\x67\x12" + b"\0" * 6
    )
    OnlyCopy(DataDirectory(place / "copy")).close()
    held.close()
