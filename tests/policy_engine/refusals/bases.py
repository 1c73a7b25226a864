"""Modules without a mistake, which cases of mistakes change: mistakes/bases.yaml."""

from __future__ import annotations

from pathlib import Path

from tests.cases import read_yaml

DIRECTORY = Path(__file__).with_name("mistakes")
BASES: dict[str, str] = read_yaml(DIRECTORY.joinpath("bases.yaml"))
