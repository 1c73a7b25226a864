"""The address of a git repository on another machine: which ones are understood, and why others are not.

An address is an `https://` or `ssh://` URL, or git's short form of the latter, `user@host:path`. It is shown in logs,
so it never holds a credential.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_URL = re.compile(r"\w[\w+.-]*://", re.ASCII)
_SHORT = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?P<path>.*)", re.ASCII | re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on another machine. `scheme` is `https` or `ssh`; `port` is None for the usual one."""

    address: str
    scheme: str
    host: str
    path: str
    user: str | None = None
    port: int | None = None


def is_remote(text: str) -> bool:
    """True if a text is meant as the address of a repository elsewhere, not as a path."""
    return _URL.match(text) is not None or _SHORT.fullmatch(text) is not None


def parse(text: str) -> Remote:
    """The remote that an address means. Raises `ValueError` with a reason, which never quotes the address."""
    if not text.isprintable() or " " in text:
        raise ValueError("an address has no blanks and no control characters")
    short = None if _URL.match(text) else _SHORT.fullmatch(text)
    remote = Remote(text, "ssh", short["host"], short["path"], short["user"]) if short else _of_url(text)
    if not _HOST.fullmatch(remote.host) or not remote.path.strip("/"):
        raise ValueError("the address needs a host and the path of a repository")
    if remote.user is not None and not _USER.fullmatch(remote.user):
        raise ValueError("the user in the address is not one")
    return remote


def _of_url(text: str) -> Remote:
    scheme = text.partition("://")[0].lower()
    if scheme == "http":
        raise ValueError(
            "the scheme http:// is not supported, because anybody on the way could change policies: use https"
        )
    if scheme == "file":
        raise ValueError("the scheme file:// is not supported: write the path alone")
    if scheme not in ("https", "ssh"):
        raise ValueError(f"the scheme {scheme}:// is not supported: use https:// or ssh://, or a path")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("the host or the port in the address is not one") from None
    if url.password is not None or (scheme == "https" and url.username is not None):
        raise ValueError(
            "the address must not contain a credential: put it into a file of its own, and name that file in "
            "policies_credential_file"
        )
    if url.query or url.fragment:
        raise ValueError("the address must end with the path of a repository")
    host = f"[{url.hostname}]" if url.hostname and ":" in url.hostname else url.hostname or ""
    return Remote(text, scheme, host, url.path, url.username, port)
