"""A PostgreSQL server for the time of the tests: its own folder, a Unix socket there, no network, nothing durable."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

_QUICK = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "20",
    "autovacuum": "off",
}


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest; Debian has them outside of PATH. None if there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


@contextmanager
def running(folder: Path) -> Iterator[URL]:
    """A server with an empty database `postgres`; its URL. PostgreSQL does not run as root, so another user does."""
    place = Path(tempfile.mkdtemp(prefix="pg-"))  # the path of a socket must be short
    user = _user()
    if user is not None:
        os.chown(place, pwd.getpwnam(user).pw_uid, -1)
    data = place / "data"
    made = ["--username=test", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={data}"]
    subprocess.run([folder / "initdb", *made], check=True, capture_output=True, user=user, cwd=place)
    options = [each for name, value in _QUICK.items() for each in ("-c", f"{name}={value}")]
    options += ["-c", f"unix_socket_directories={place}"]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen([folder / "postgres", "-D", data, *options], stderr=log, user=user, cwd=place)
    try:
        _await(place, server)
        yield URL.create("postgresql+psycopg", username="test", database="postgres", query={"host": str(place)})
    finally:
        server.terminate()  # with connections still open it ends at `kill`
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(place, ignore_errors=True)


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _await(place: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            psycopg.connect(host=str(place), user="test", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError((place / "log").read_text())
