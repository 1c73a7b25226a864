"""Finds users beside its own whom the modes of a data directory let in.

The supervisor loads this file and stays small, so it imports nothing that knows the registry or the log.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway import ownership
from gateway.data_directory import DataDirectory
from gateway.telemetry.findings import Finding

_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets that other users can read, and the other users (with their directories) above the data directory."""

    readable: list[Path] = field(default_factory=list)
    strangers: list[tuple[Path, str]] = field(default_factory=list)


def access(data: DataDirectory) -> Access:
    """The users beside this one that the modes of a data directory let in. Those who can write were refused before."""
    return Access(ownership.readable(data.path), ownership.strangers_above(data.path))


def too_open(access: Access, data: Path) -> Iterator[Finding]:
    """Findings about them, for `gateway up` and `gateway status`."""
    if access.readable:
        names = ", ".join(str(each.relative_to(data)) for each in access.readable[:_NAMES])
        more = len(access.readable) - _NAMES
        shown = f"{names} and {more} more" if more > 0 else names
        yield Finding(
            "problem",
            f"other users can read {shown} in `{data}`",
            f"type `chmod go-rwx {shlex.quote(str(data))}`, and replace the keys if others have read them",
        )
    for path, user in access.strangers:
        yield Finding(
            "remark",
            f"`{path}` belongs to user {user}, who can put something else in the place of `{data}`",
            "keep the data directory where only its own user and root can write",
        )
