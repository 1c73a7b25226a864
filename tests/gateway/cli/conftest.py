"""The command line where many commands follow each other: the same `main`, in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateway.audit import storage
from gateway.cli import main
from tests.gateway.conftest import Done, Home, Run


@pytest.fixture
def at(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `gateway` on the data directory of `home`, which has an audit log: the same `main`, in this process."""
    storage.create(home.data)
    return in_this_process(monkeypatch, capsys, AIG_DATA=str(home.data.path))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `gateway` in an empty working directory: the same `main`, in this process."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return in_this_process(monkeypatch, capsys)


def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **always: str) -> Run:
    """Runs `main` with arguments, and with these variables beside those of each run."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it

    def gateway(*arguments: str, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name in [each for each in os.environ if each.startswith("AIG_")]:
                patch.delenv(name)
            for name, value in {"AIG_NO_CHECK": "1", **always, **variables}.items():
                patch.setenv(name, value)
            code = main(arguments)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return gateway
