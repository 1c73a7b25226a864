"""Keeps the logins of `gateway login`: each server's operator token, in a file that only this user can read.

The files are in `$XDG_CONFIG_HOME/agent-identity-gateway/`, or `~/.config/agent-identity-gateway/`. One that others may
read is refused, because its token may be known to them.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError

_FOLDER: Final = "agent-identity-gateway"
_MOST: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A token for a server, and how that server is spoken to. A `session` is of a login in the browser."""

    origin: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    insecure_http: bool = False
    session: bool = False


def path_of(origin: str, env: Mapping[str, str] | None = None) -> Path:
    """The file of a server. Two origins never share one: what a name cannot hold is written as its number."""
    variables = os.environ if env is None else env
    base = variables.get("XDG_CONFIG_HOME", "")
    # The specification: a path that is not absolute is ignored.
    home = Path(base) if os.path.isabs(base) else Path(variables.get("HOME") or Path.home()) / ".config"
    name = re.sub(r"[^a-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", origin)
    return home / _FOLDER / f"{name}.json"


def find(origin: str) -> Login | None:
    """The login for a server, if there is one."""
    path = path_of(origin)
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_MOST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {_why(error)}") from error
    if stat.S_IMODE(mode) & 0o077:
        hint = f"revoke that token if others have read it; then type `gateway login --server {origin}`"
        path_hint = f"type `chmod 600 {path}`, or {hint}"
        raise _unusable(path, "is open to other users", path_hint)
    try:
        document = json.loads(text)
        ca_file = document["ca_file"]
        found = Login(
            origin=str(document["server"]),
            token=str(document["token"]),
            ca_file=None if ca_file is None else Path(ca_file),
            insecure_http=bool(document["insecure_http"]),
            session=bool(document.get("session")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(path, "is not a login", f"type `gateway login --server {origin}`") from error
    if found.origin != origin:
        raise _unusable(path, "is the login of another server", f"type `gateway login --server {origin}`")
    return found


def store(login: Login) -> Path:
    """Keep a login in place of an earlier one. The file is complete and private at any moment."""
    path = path_of(login.origin)
    document = {
        "server": login.origin,
        "token": login.token,
        "ca_file": None if login.ca_file is None else str(login.ca_file.absolute()),
        "insecure_http": login.insecure_http,
        "session": login.session,
    }
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(document, stream, indent=2)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
    except OSError as error:
        raise _unusable(path, f"cannot be written: {_why(error)}") from error
    return path


def remove(origin: str) -> bool:
    """Forget a login; whether there was one."""
    path = path_of(origin)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, f"cannot be removed: {_why(error)}") from error
    return True


def _unusable(path: Path, why: str, hint: str = "") -> GatewayError:
    return GatewayError("login_unusable", f"the login in `{path}` {why}", subject=str(path), hint=hint)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
