"""One gateway of real processes for all files of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .rig import Rig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("corpus"))
    try:
        yield made
        made.stop()
        made.check_log()  # all that has happened is in it
    finally:
        made.close()
