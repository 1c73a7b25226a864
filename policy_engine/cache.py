"""Compiled policies on disk, so that a start with unchanged policies takes milliseconds.

An entry answers one question about the policies: the code for a document or a query, the facts about a path, or the
outline that is needed before any question. Its name is a digest of everything that the answer depends on: the question,
every module's name and text, the options that change code, the engine's own files, and Python. So an entry never goes
stale. The entries that have not been used for longest are removed when the directory grows too large.

The code in an entry is run. It is read only if nobody but this user can have written it, and if it is complete:
private_files.py checks both. If anything is wrong there is no entry, and the policies are compiled.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import marshal
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from policy_engine import private_files
from policy_engine.errors import PolicyError
from policy_engine.syntax.versions import RegoV2
from policy_engine.values import Value, dumps, to_json

FORMAT: Final = 1
"""To be raised when the meaning of entries changes although no file of the engine does."""

SUFFIX: Final = ".policy"
MOST: Final = 256 * 1024 * 1024
"""The most bytes of all entries in a directory together."""


class Cache:
    """The entries of one set of policies. `key` is a digest of everything that they depend on."""

    def __init__(self, directory: Path, key: bytes) -> None:
        self._directory = directory
        self._key = key

    def get(self, kind: str, question: str = "") -> Any:
        """An entry, or None if there is none that can be trusted."""
        content = private_files.read(self._directory, self._name(kind, question))
        if content is None:
            return None
        try:
            return marshal.loads(content)  # noqa: S302  nobody but this user can have written it
        except (ValueError, EOFError, TypeError):
            return None

    def put(self, kind: str, question: str, entry: Any) -> None:
        """Keep an entry, which consists of constants, tuples, lists, dicts and code objects."""
        try:
            content = marshal.dumps(entry)
        except ValueError:  # constants may be nested more deeply than `marshal` follows
            return
        if len(content) <= MOST:
            private_files.write(self._directory, self._name(kind, question), content)
            private_files.prune(self._directory, SUFFIX, MOST)

    def _name(self, kind: str, question: str) -> str:
        return _digest((self._key, kind.encode(), question.encode("utf-8", "surrogatepass"))).hex() + SUFFIX


def key(
    modules: Mapping[str, str],
    *,
    strict: bool,
    schemas: Mapping[str, Value] | None,
    capabilities: Collection[str] | None,
    functions: Mapping[str, object],
) -> bytes | None:
    """The key of a set of policies; None if the engine's files cannot be read, or if a schema is no JSON.

    `functions` are the declarations of the host's functions. The order of modules is part of the key, because it is
    that of rules. So is the version of Rego that a module is written in.
    """
    engine = _engine()
    if engine is None:
        return None
    try:
        described = None if schemas is None else dumps(to_json(dict(schemas)))
    except (PolicyError, RecursionError):
        return None
    options = (
        strict,
        described,
        None if capabilities is None else sorted(capabilities),
        [(name, repr(functions[name])) for name in sorted(functions)],
        [name for name, source in modules.items() if isinstance(source, RegoV2)],
    )
    texts = [part.encode("utf-8", "surrogatepass") for item in modules.items() for part in item]
    return _digest((engine, repr(options).encode(), *texts))


@functools.cache
def _engine() -> bytes | None:
    """A digest of the engine's files and of Python's version; None if a file cannot be read.

    The content of the files counts: an archive may be unpacked with sizes and times that another version's files had.
    """
    here = os.path.dirname(__file__)
    parts = []
    try:
        for directory, inner, names in os.walk(here, onerror=_refuse):
            inner[:] = sorted(name for name in inner if name != "__pycache__")
            for name in sorted(names):
                path = os.path.join(directory, name)
                with open(path, "rb", buffering=0) as file:
                    parts += [os.fsencode(path[len(here) :]), file.read()]
    except OSError:
        return None
    python = (sys.version, sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER, sys.flags.optimize)
    return _digest((repr((FORMAT, python)).encode(), *parts)) if parts else None


def _refuse(error: OSError) -> None:
    raise error


def _digest(parts: Iterable[bytes]) -> bytes:
    """A digest of parts, which also depends on where each of them ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
