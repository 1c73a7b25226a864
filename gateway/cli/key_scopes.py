"""Scopes of keys as the command line shows them."""

from __future__ import annotations


def shown(scope: dict[str, list[str]] | None) -> str:
    """A scope in one line; empty if there is none."""
    return "; ".join(f"{name} {' '.join(part)}" for name, part in (scope or {}).items())
