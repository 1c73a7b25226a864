"""Reads documents from JSON, YAML and text files. `bundle` decides where in `data` they belong."""

from __future__ import annotations

from policy_engine.builtins.yaml import reader
from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.values import Value, loads


def read_document(name: str, content: bytes) -> Value:
    """The value of a JSON file (including a manifest) or a YAML file. Raises `PolicyError`."""
    return _json(name, content) if name.endswith((".json", ".manifest")) else _yaml(name, content)


def read_text(name: str, content: bytes) -> str:
    """The text of a file. Raises `PolicyError` if it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise PolicyError(BUNDLE_ERROR, "the file is not UTF-8 text", Location(name, row, 1)) from None


def _json(name: str, content: bytes) -> Value:
    try:
        return loads(read_text(name, content))
    except ValueError as error:
        row = getattr(error, "lineno", 1)
        raise PolicyError(BUNDLE_ERROR, f"the file is not JSON: {error}", Location(name, row, 1)) from None
    except RecursionError:
        raise PolicyError(BUNDLE_ERROR, "the file is nested too deeply", Location(name, 1, 1)) from None


def _yaml(name: str, content: bytes) -> Value:
    try:
        return reader.read(read_text(name, content))
    except reader.YAMLError as error:
        where = Location(name, error.row or 1, 1)
        raise PolicyError(BUNDLE_ERROR, f"the file is not YAML: {error.message}", where) from None
