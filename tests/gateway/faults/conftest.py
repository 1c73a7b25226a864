"""One gateway for all tests of a module; at its end the log is checked, and the figures are printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.faults import rig as rigs


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rigs.Rig]:
    made = rigs.Rig(tmp_path_factory.mktemp("faults"))
    try:
        made.begin()
        worker = made.worker
        yield made
        assert made.children("data") == [worker], "a worker was restarted"
        made.stop()
        made.check_log()
    finally:
        made.close()
        print("\n" + "\n".join(made.figures))
