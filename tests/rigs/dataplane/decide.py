"""Shared parts of the tests in `tests/gateway/dataplane/test_decide.py`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `gateway decide` with a call on standard input, and nothing else."""
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))

    def run(call: Any, *arguments: str, agent: str = "bot") -> tuple[int, str, str]:
        raw = call if isinstance(call, str) else json.dumps(call)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw.encode())))
        code = main(["decide", "--agent", agent, "-i", "-", *arguments])
        return code, *capsys.readouterr()

    return run
