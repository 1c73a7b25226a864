"""Shared parts of the tests in `tests/gateway/clients/test_frameworks.py`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live

PROGRAMS = Path(__file__).resolve().parents[2] / "gateway" / "clients" / "programs"
SAID = "You said: hello there"
Program = Callable[..., dict[str, Any]]


@pytest.fixture
def run(live: Live, known: dict[str, str]) -> Program:
    """Run one of the programs, and return what it found."""

    def start(name: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
        command = [python, str(PROGRAMS / f"{name}.py"), *arguments]
        done = subprocess.run(
            command,
            env=known,
            cwd=live.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return start


def needs(package: str) -> None:
    """Skip a test whose package is missing. It is not imported here: some read the network when they are."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: it belongs to the extra `clients`")
