"""Reads files of cases. PyYAML's parser in C, where there is one, is ten times as fast as the one in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The document of a YAML file."""
    text = path.read_text("utf-8")
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # half a surrogate pair, which the parser in C refuses
