"""A program of the fuzzer: modules, data, an input, and the documents that are compared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Program:
    """`paths` are the documents to ask for; a path that is a package is asked for in the traced build too."""

    modules: dict[str, str]
    data: Any
    input: Any
    paths: list[str] = field(default_factory=list)

    def packages(self) -> list[str]:
        """The paths that are whole packages."""
        names = {name for text in self.modules.values() for name in re.findall(r"^package (.+)", text, re.MULTILINE)}
        return [path for path in self.paths if path.removeprefix("data.") in names]
