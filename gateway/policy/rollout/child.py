"""A child process with an order on its standard input and a result on its standard output, both JSON.

It does work on data of others, so it runs with limits on time and memory, and without the secrets of this process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import gateway
from gateway.errors import GatewayError

MEMORY = 2 * 1024 * 1024 * 1024
_POLL_SECONDS = 0.1  # between two looks at the clock and at the order to stop
_INHERITED = ("PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR")


class ChildError(GatewayError):
    """The child has no result: `child_stopped` soon after it was asked to stop, `child_late`, or `child_failed`."""


def run(
    module: str,
    order: object,
    *arguments: str,
    seconds: float,
    stop: threading.Event | None,
    inherited: Collection[str] = (),
) -> dict[str, Any]:
    """The result of a module that is run as a program. `inherited` are further variables. Blocks; raises `ChildError`.

    It has ended when this returns or raises.
    """
    stop = stop or threading.Event()
    try:
        with tempfile.TemporaryFile() as stream:  # not a pipe, which this process would have to go on filling
            stream.write(json.dumps(order).encode())
            stream.seek(0)
            child = subprocess.Popen(  # noqa: S603  # no shell, and nothing in it comes from outside
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=stream,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(inherited),
                start_new_session=True,  # so that what it starts ends with it
            )
    except OSError as error:
        raise ChildError("child_failed", f"could not be started: {error.strerror}") from error
    stdout, stderr = _await(child, seconds, stop)
    try:
        result = json.loads(stdout)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise ChildError("child_failed", f"ended with exit code {child.returncode}: {last}")
    return result


def _await(child: subprocess.Popen[bytes], seconds: float, stop: threading.Event) -> tuple[bytes, bytes]:
    ends = time.monotonic() + seconds
    with child:
        while not stop.is_set() and time.monotonic() < ends:
            with suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=_POLL_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    if stop.is_set():
        raise ChildError("child_stopped", "was stopped")
    raise ChildError("child_late", f"took more than {seconds:g} s")


def environment(inherited: Collection[str] = ()) -> dict[str, str]:
    """The child's environment: enough to find this package, and no secrets of this process."""
    kept = {name: os.environ[name] for name in (*_INHERITED, *inherited) if name in os.environ}
    return kept | {"PYTHONPATH": python_path()}


def python_path() -> str:
    """A child finds this very package there, wherever it starts, and whatever its parent finds in other places."""
    source, others = str(Path(gateway.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")
    return f"{source}{os.pathsep}{others}" if others else source
