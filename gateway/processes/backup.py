"""Copies a data directory while its gateway runs, so that a gateway can go on from the copy (operations.md).

The parts are copied one after the other, in an order in which each may be older than the next one, and never newer:

1. `signer-state` names what was signed. A log that is older than it is not served: it could be signed a second time.
2. `registry.db` keeps owed entries in its outbox. Those that the log has already are recorded once all the same.
3. `audit.db` names bundles, and bundles and policies are only ever added.

Keys are the exception: `gateway vault rotate` and `gateway keys remove-pepper` delete some. So they are read first and
must be the same at the end.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.data_directory import DataDirectory
from gateway.errors import ConflictError, GatewayError
from gateway.storage import database_files, durable

_FILES = ("gateway.toml", "prices.json", "prices-table.json")


def copy(source: DataDirectory, to: Path) -> int:
    """Copy a data directory to `to`, which must not exist; returns how many bytes the copy has.

    After any failure there is a whole copy under that name or none. Raises `GatewayError`.
    """
    source.check()
    if os.path.lexists(to):
        raise ConflictError(
            "backup_exists", f"`{to}` exists already", subject=str(to), hint="name a directory that does not exist yet"
        )
    if to.resolve().is_relative_to(source.path.resolve()):
        raise GatewayError(
            "backup_inside", f"`{to}` is inside of what is copied", subject=str(to), hint="name a directory elsewhere"
        )
    with _complete_or_absent(to) as made:
        made.create()
        _copy_file(source.signer_state, made.signer_state)
        keys = _keys(source)
        if source.runtime_db.exists():  # the first `gateway up` makes it
            _copy_database(source.runtime_db, made.runtime_db)
        _copy_database(source.registry_db, made.registry_db)
        _copy_database(source.audit_db, made.audit_db)
        database_files.create(made.audit_lock)
        shutil.copytree(source.bundles, made.bundles, dirs_exist_ok=True)
        _copy_repository(source.policies, made.policies)
        for name in _FILES:
            _copy_file(source.path / name, made.path / name)
        shutil.copytree(source.keys, made.keys, dirs_exist_ok=True)
        if not keys == _keys(source) == _keys(made):
            raise _changed(to, "keys were replaced")
        return _flush(made.path)


@contextmanager
def _complete_or_absent(to: Path) -> Iterator[DataDirectory]:
    """A directory beside `to` that gets its name when everything has gone well, and is deleted otherwise."""
    try:
        with durable.complete_or_absent(to) as made:
            yield DataDirectory(made)
    except shutil.Error as error:  # a list of what could not be copied, each with its text
        raise _changed(to, str(error.args[0][0][2])) from error
    except FileNotFoundError as error:
        raise _changed(to, f"`{error.filename}` is gone") from error
    except (OSError, sqlite3.Error) as error:
        raise _failed(to, error) from error


def _copy_database(source: Path, to: Path) -> None:
    """All that was committed when the copy began, with SQLite's own means: a copied file may lack its newest pages."""
    database_files.create(to)
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as reader,
        closing(sqlite3.connect(to)) as writer,
    ):
        reader.backup(writer)


def _copy_repository(source: Path, to: Path) -> None:
    """Names before objects: what a name points to is written before the name, and stays."""
    if source.is_dir():
        objects = Path(".git/objects")
        shutil.copytree(
            source,
            to,
            symlinks=True,
            ignore=lambda folder, _: [objects.name] if Path(folder) == source / objects.parent else [],
        )
        if (source / objects).is_dir():
            shutil.copytree(source / objects, to / objects)


def _copy_file(source: Path, to: Path) -> None:
    if source.exists():
        shutil.copy2(source, to)


def _keys(data: DataDirectory) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in data.keys.iterdir() if each.is_file()}


def _flush(directory: Path) -> int:
    """Make all of it survive a power failure; returns its size in bytes."""
    size = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                size += path.stat().st_size
                durable.sync(path)
        durable.sync(Path(folder))
    return size


def _failed(to: Path, error: Exception) -> GatewayError:
    reason = str(error.strerror).lower() if isinstance(error, OSError) else str(error)
    hint = "see that there is room, and that this user can write there"
    return GatewayError("backup_failed", f"cannot copy the gateway to `{to}`: {reason}", subject=str(to), hint=hint)


def _changed(to: Path, what: str) -> GatewayError:
    message = f"the gateway was not copied to `{to}`: {what} meanwhile"
    return GatewayError("backup_failed", message, subject=str(to), hint="try again")
