"""How commands read the sums of what was used: brought up to date with the log first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import output

if TYPE_CHECKING:
    from gateway.audit.log_reader import IndexedLog
    from gateway.usage.rollup import Rollup


@contextmanager
def sums(data: Path) -> Iterator[tuple[IndexedLog, Rollup]]:
    """The log of a data directory and the sums over it, up to date."""
    from gateway.usage.rollup import opened

    directory = log_directory(data)
    with opened_log(directory) as log, log.snapshot(), ExitStack() as stack:
        with output.progress("adding up") as progress:
            rollup = stack.enter_context(opened(directory.cache, log, progress))
        yield log, rollup
