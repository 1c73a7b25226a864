"""Verification of a data directory's own log, with all that lies beside it; as a program, that of a run.

    python -m gateway.processes.verifying DIRECTORY

`gateway audit verify` and a run that was asked for in the dashboard check the same.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.audit import signer, verification_runs, verify
from gateway.audit.log_files import log_directory, opened_log
from gateway.audit.verification_runs import VerificationRun
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.registry.history.agreement import Difference

MOST_SECONDS: Final = 6 * 3600
_TELL_SECONDS: Final = 0.5
_NICE: Final = 10
_FINDINGS: Final = 100


def remembered(directory: DataDirectory) -> list[str]:
    """The checkpoints in `signer-state`. A database that was rolled back does not contain them."""
    return list(signer.load_state(directory).values())


def live_boots(directory: DataDirectory) -> frozenset[str] | None:
    """The live processes, whose open decisions are requests under way."""
    from gateway.storage.liveness import members

    try:
        return frozenset(members(directory))
    except OSError:
        return None  # the directory belongs to another user: it is not known


def edited_by_hand(directory: DataDirectory) -> list[Difference] | None:
    """The differences of the registry from the changes that the log has; None if the registry cannot be read."""
    from gateway.registry.history import agreement

    if not directory.registry_db.exists():
        return []
    with (
        suppress(GatewayError),
        local.reading(directory.path) as registry,
        opened_log(directory) as db,
    ):
        return agreement.found(registry, db)
    return None


def main(data: DataDirectory) -> None:
    os.nice(_NICE)
    signal.alarm(MOST_SECONDS)
    parent = os.getppid()
    run, told = verification_runs.newest(data), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal run, told
        if os.getppid() != parent:
            sys.exit(1)  # the gateway has ended
        if time.monotonic() - told > _TELL_SECONDS:
            told, run = time.monotonic(), replace(run, done=done, total=total)
            verification_runs.write(data, run)

    try:
        directory = log_directory(data.path)
        verifier = signer.load_verifier(signer.public_key_path(directory))
        known = remembered(directory)
        report = verify.verify(directory, verifier, live_boots=live_boots(directory), known=known, progress=tell)
        edited = [] if report.status == "tampered" else edited_by_hand(directory) or []
        ended = replace(
            run,
            status="tampered" if edited else report.status,
            done=report.entries,
            total=report.entries,
            findings=[
                *map(str, report.findings[:_FINDINGS]),
                *(f"registry: {each}: it was not changed by the gateway" for each in edited[:_FINDINGS]),
            ],
            logs=[{name: asdict(each)[name] for name in ("origin", "size", "signed")} for each in report.logs],
            public_key=report.public_key,
        )
    except (GatewayError, OSError) as error:
        ended = replace(run, status="failed", problem=str(error))
    verification_runs.write(data, VerificationRun(**{**asdict(ended), "ended_ns": time.time_ns()}))


if __name__ == "__main__":
    main(DataDirectory(Path(sys.argv[1])))
