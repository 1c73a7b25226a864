"""The files that `gateway init` adds to its policies repository for those who commit there with git.

A hook checks what is about to be committed, as the gateway will check it, and prints the verdict; `git commit
--no-verify` skips it, as usual. If git knows no author, commits would fail at once, so the repository gets one.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import sys
from pathlib import Path

from dulwich.config import StackedConfig
from dulwich.repo import Repo

_HOOK = """#!/bin/sh
# Checks what is about to be committed as the gateway will check it. `git commit --no-verify` skips this.
gateway={command}
[ -x "$gateway" ] || gateway=$(command -v gateway) || {{
    echo "policies: not checked, because there is no command gateway here" >&2
    exit 0
}}
[ -f ../registry.db ] && set -- --data ..
exec "$gateway" policies check --staged "$@" .
"""


def prepare(repository: Path) -> None:
    """Install the hook, and set an author if git's own settings have none."""
    hooks = repository / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    hook = hooks / "pre-commit"
    hook.write_text(_HOOK.format(command=shlex.quote(_command())), "utf-8")
    hook.chmod(0o755)
    with Repo(str(repository)) as repo:
        theirs, own = StackedConfig.default(), repo.get_config()
        user = login() or "gateway"
        for key, value in ((b"name", user), (b"email", f"{user}@{_host()}")):
            if not _has(theirs, key):
                own.set((b"user",), key, value.encode())
        own.write_to_path()


def _has(settings: StackedConfig, key: bytes) -> bool:
    try:
        return bool(settings.get((b"user",), key))
    except KeyError:
        return False


def _command() -> str:
    """The `gateway` of this installation; the hook looks for another one if that is gone."""
    beside = Path(sys.executable).parent / "gateway"
    return str(beside) if beside.exists() else shutil.which("gateway") or "gateway"


def login() -> str:
    """The user's name; empty if there is none, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _host() -> str:
    return "".join(filter(lambda each: each.isalnum() or each in ".-", socket.gethostname())) or "localhost"
