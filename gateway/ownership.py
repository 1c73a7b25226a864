"""The owners and modes of a data directory, which decide if anything in it is read.

A data directory names programs (`kek_command`), and its keys seal secrets: whoever can write there acts as everybody
who types a command there. By default it is `./.gateway`, so anybody could leave one in a directory that others visit.
Therefore nothing in it is read before its owner and its modes are known: it belongs to this user, or to root, and
nobody else can write to it, or put something else in its place. Links on the way count as the directories do.

Reading is another matter: what others can read is reported (`readable`), and the keys among it are refused where they
are loaded. All of this knows names and modes only, and never opens a file.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError, Hint

_MOST_LINKS: Final = 40  # as the kernel
_GROUP_AND_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_REPOSITORY: Final = ("", "config", "hooks", "hooks/*", "HEAD", "objects", "refs")
_INSIDE: Final = (
    "*",
    "keys/*",
    "policies/.git",
    *(f"policies/.git/{name}".rstrip("/") for name in _REPOSITORY if name),
    *(f"policies-remote/{name}" for name in _REPOSITORY if name),
)
"""The files that are looked at: everything at the top, the keys, and what makes git run programs."""
_SECRET: Final = ("*.db", "*.db-wal", "gateway.toml", "keys/*")


def check(directory: Path) -> None:
    """Raise `data_foreign` or `data_open` unless only this user and root can have written what is in `directory`.

    A path that does not exist passes.
    """
    found = _real(directory)
    if found is None:
        return
    real, about = found
    if not _trusted(about.st_uid):
        raise foreign(directory, about.st_uid)
    if stat.S_ISDIR(about.st_mode):
        if open_to := _writers(about):
            raise _open(directory, directory, open_to, real)
        _check_inside(directory, real, about)


def check_file(path: Path) -> None:
    """The same of a file that stands somewhere else, such as the settings that `AIG_CONFIG` names. A device is none."""
    found = _real(path)
    if found is not None and stat.S_ISREG(found[1].st_mode):
        real, about = found
        if not _trusted(about.st_uid):
            raise foreign(path, about.st_uid)
        if open_to := _writers(about):
            raise _open(path, path, open_to, real)


def readable(directory: Path) -> list[Path]:
    """The secrets in a data directory that other users can read: databases, settings and keys."""
    return [
        path
        for pattern in _SECRET
        for path in sorted(directory.glob(pattern))
        if path.suffix != ".pub" and _is_readable(path, directory)
    ]


def strangers_above(directory: Path) -> list[tuple[Path, str]]:
    """The directories on the way that belong to other users, who can put something else in their place."""
    found = []
    whole = directory.absolute()
    for path, about in _way(whole):
        if path != whole and stat.S_ISDIR(about.st_mode) and not _trusted(about.st_uid):
            found.append((path, user(about.st_uid)))
    return found


def user(uid: int) -> str:
    """A user's name, or the number if it has none here."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def foreign(path: Path, owner: int, above: Path | None = None) -> GatewayError:
    """The error for what belongs to another user."""
    inside = "" if above is None or above == path else f" in `{above}`"
    name = user(owner)
    if os.geteuid() == 0:
        # `sudo` takes a number only behind this sign.
        whom = f"#{owner}" if name == str(owner) else name
        hint = f"run it as that user: `sudo -u {shlex.quote(whom)} gateway …`"
    else:
        hint = Hint("run it as that user, or name a directory of your own with --data")
    message = f"`{path}`{inside} belongs to user {name}, and this is user {user(os.geteuid())}: nothing in it was read"
    return GatewayError("data_foreign", message, subject=str(path), hint=hint)


def _check_inside(directory: Path, real: Path, top: os.stat_result) -> None:
    # Users who cannot search the directory cannot write to anything in it, whatever its modes are.
    searchers = (top.st_mode & (stat.S_IXGRP | stat.S_IXOTH)) << 1
    elsewhere: set[str] = set()  # others may reach the target of a link by another path
    for pattern in _INSIDE:
        for path in real.glob(pattern):
            inner = path.relative_to(real)
            shown = directory / inner
            try:
                found = (path, path.lstat())
                if not _trusted(found[1].st_uid):  # the owner of a link counts as well
                    raise foreign(shown, found[1].st_uid)
                if stat.S_ISLNK(found[1].st_mode):
                    target = _real(path)
                    if target is None:
                        continue
                    found = target
                    elsewhere.add(inner.parts[0])
            except FileNotFoundError:
                continue  # it was removed meanwhile
            where, about = found
            if not _trusted(about.st_uid):
                raise foreign(shown, about.st_uid)
            reachable = _GROUP_AND_OTHERS if inner.parts[0] in elsewhere else searchers
            if open_to := _writers(about, reachable):
                raise _open(directory, shown, open_to, where)


def _real(path: Path) -> tuple[Path, os.stat_result] | None:
    """The file or directory that a path leads to; None if there is none. Raises if others can change where it leads."""
    last = None
    try:
        for step, about in _way(path.absolute()):
            if last is not None:
                where, above = last
                # Without the sticky bit, whoever can write to a directory can replace what others have put there.
                if not above.st_mode & stat.S_ISVTX and (open_to := _writers(above, parent=True)):
                    raise _open(path, where, open_to, where)
            if stat.S_ISLNK(about.st_mode):
                if not _trusted(about.st_uid):
                    raise foreign(step, about.st_uid)
            else:
                last = step, about
    except (FileNotFoundError, NotADirectoryError):
        return None
    return last


def _way(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every step on the way to a path, from the root to what it names, and through links. Raises `OSError`."""
    here = Path("/")
    left = list(reversed(path.parts[1:]))
    links = 0
    yield here, here.lstat()
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        about = step.lstat()
        yield step, about
        if not stat.S_ISLNK(about.st_mode):
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise GatewayError("data_missing", f"`{path}` leads through too many links", subject=str(path))
        target = Path(os.readlink(step))
        if target.is_absolute():
            here, parts = Path("/"), target.parts[1:]
        else:
            parts = target.parts
        left += reversed(parts)


def _trusted(uid: int) -> bool:
    return uid in (0, os.geteuid())


def _writers(about: os.stat_result, reachable: int = _GROUP_AND_OTHERS, *, parent: bool = False) -> str:
    """The users beside the owner who can write there, in words; empty if there are none.

    Root may have given a directory above to a group. A group that has nobody else in it is its user.
    """
    mode = about.st_mode & reachable
    if mode & stat.S_IWOTH:
        return "all users"
    if mode & stat.S_IWGRP and not (parent and about.st_uid == 0) and not _is_private(about.st_gid):
        return f"group {_group(about.st_gid)}"
    return ""


@cache
def _is_private(gid: int) -> bool:
    """True if a group has nobody in it but this user, as those that Linux makes for each user."""
    if gid == 0:
        return True
    try:
        mine = pwd.getpwuid(os.geteuid())
        return mine.pw_gid == gid and grp.getgrgid(gid).gr_name == mine.pw_name and not _others(gid, mine.pw_name)
    except KeyError:
        return False


def _others(gid: int, name: str) -> bool:
    return any(member != name for member in grp.getgrgid(gid).gr_mem)


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _is_readable(path: Path, directory: Path) -> bool:
    """True if the modes of a file, and of all directories down to it, let others read it."""
    with suppress(OSError):
        searchers = stat.S_IXGRP | stat.S_IXOTH
        for above in path.parents:
            searchers &= above.stat().st_mode
            if above == directory:
                break
        about = path.stat()
        # The bit for searching is two below that for reading.
        return stat.S_ISREG(about.st_mode) and bool(about.st_mode & (searchers << 2))
    return False


def _open(directory: Path, path: Path, open_to: str, real: Path) -> GatewayError:
    of = "" if path == directory else f", which `{directory}` depends on"
    message = f"{open_to} can write to `{path}`{of}: nothing in it was read"
    hint = f"look at what is there, then type `chmod go-w {shlex.quote(str(real))}`"
    return GatewayError("data_open", message, subject=str(path), hint=hint)
