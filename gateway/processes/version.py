"""The version of this program, as its package has it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    try:
        return installed_version("agent-identity-gateway")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "(not installed)"
