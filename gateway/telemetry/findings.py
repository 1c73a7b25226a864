"""One line of `gateway status` about what needs a person. The supervisor loads this file, so it imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found, and what to do about it."""

    level: Literal["problem", "remark"]
    message: str
    todo: str
