"""A page, and the things that its function can make of a visit."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from gateway.control.dashboard.door import ROOT, View


@dataclass(frozen=True, slots=True)
class Shown:
    """A template with its values."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """The request is carried out: the browser goes on to a page of ours."""

    to: str
    logs_out: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """A file."""

    name: str
    body: bytes
    media_type: str = "text/csv; charset=utf-8"


Found: TypeAlias = Shown | Redirect | Download

_SEGMENT: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page, or with `changes` what one of its forms does. Its path is below that of an organization, or of all."""

    path: str
    function: Callable[[View], Awaitable[Found]]
    changes: bool = False
    everywhere: bool = False
    most_bytes: int = 64 * 1024
    """The longest form that it takes."""

    @property
    def pattern(self) -> re.Pattern[str]:
        whole = f"{ROOT}/{self.path}" if self.everywhere else f"{ROOT}/o/{{organization}}/{self.path}".rstrip("/")
        parts = _SEGMENT.split(whole)
        return re.compile(
            "".join(f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
        )
