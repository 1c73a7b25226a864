"""The command line where many commands follow each other: the same `main`, in this process."""

from __future__ import annotations

import sys

import pytest

from gateway.audit import storage
from gateway.cli import main
from tests.gateway.conftest import Done, Home, Run


@pytest.fixture
def at(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `gateway` on the data directory of `home`, which has an audit log: the same `main`, in this process."""
    storage.create(home.data)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it

    def gateway(*arguments: str, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setenv("AIG_DATA", str(home.data.path))
            for name, value in variables.items():
                patch.setenv(name, value)
            code = main(arguments)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return gateway
