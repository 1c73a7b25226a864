"""Finds the gateway that a command is for: that of a data directory, or one elsewhere, by its control API (remote.md).

An address is an origin, `https://gw.example:8081`. Plain HTTP would show the token to everybody on the way, so it is
only for this machine, unless the user says otherwise.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import GatewayError
from gateway.identity import credentials
from gateway.settings import PREFIX

SERVER: Final = f"{PREFIX}SERVER"
TOKEN: Final = f"{PREFIX}TOKEN"

_MOST: Final = 4096
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+")
_EXAMPLE: Final = "write https://gw.example:8081, the address of its control listener"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A gateway elsewhere, and how it is spoken to. `token_file` is what the user has named, if anything.

    `named` has the options by which the user named it, as a shell takes them; empty if the environment did.
    """

    origin: str
    ca_file: Path | None = None
    insecure_http: bool = False
    token_file: Path | None = None
    named: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """A server with the token for it; the token is empty for a login."""

    origin: str
    token: str = field(repr=False)
    ca_file: Path | None = None


_MADE_THERE: Final = "whoever runs the gateway makes one on its machine: `operators token create NAME`"
"""Not with `--server`: that needs a token."""


def origin(address: str, *, insecure_http: bool) -> str:
    """The origin that an address is, in one form. Raises `invalid_server`, and never quotes a credential."""
    if "://" not in address:
        host = address.partition(":")[0]
        near = f"write http://{address}" if host in ("127.0.0.1", "localhost") else _EXAMPLE
        raise _invalid("the address of a server begins with https://", near)
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _invalid("the host or the port in the address is not one", _EXAMPLE) from None
    if parts.username is not None or parts.password is not None:
        raise _invalid("the address must not contain a credential", "type `gateway login --server URL`")
    if parts.scheme not in ("https", "http"):
        raise _invalid(f"the scheme {parts.scheme[:20]}:// is not supported", _EXAMPLE)
    if not _HOST.fullmatch(host):
        raise _invalid("the host in the address is not one", _EXAMPLE)
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        raise _invalid("the address must end with the host and the port", _EXAMPLE)
    if parts.scheme == "http" and not insecure_http and not _is_this_machine(host):
        raise GatewayError(
            "insecure_http",
            "over http:// everybody on the way could read the token",
            hint="use https://, or add --insecure-http if the network is trusted",
        )
    shown = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{shown}" + ("" if port in (None, usual) else f":{port}")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked(text: str, whence: str) -> str:
    """An operator's token, from text with blanks around it. The error does not quote it."""
    token = text.strip()
    parsed = credentials.parse(token)
    if parsed is None:
        message = f"what {whence} holds is not an operator's token"
        hint = f"it begins with aig_op_ and is complete; {_MADE_THERE}"
        raise GatewayError("bad_token", message, hint=hint)
    if parsed.kind != "operator":
        message = f"what {whence} holds is an agent's key, which opens nothing here"
        raise GatewayError("bad_token", message, hint=_MADE_THERE)
    return token


def read_token(path: Path) -> str:
    """The token in a file."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST).decode("utf-8", "replace")
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise GatewayError("file_unusable", f"cannot read `{path}`: {why}", subject=str(path)) from error
    return checked(text, f"`{path}`")


def given_token(server: Server, env: Mapping[str, str] | None = None) -> str | None:
    """The token that the user gives with the command; None if there is none, so that the one of a login counts."""
    if server.token_file is not None:
        return read_token(server.token_file)
    text = (os.environ if env is None else env).get(TOKEN)
    return None if not text else checked(text, TOKEN)


def _invalid(message: str, hint: str) -> GatewayError:
    return GatewayError("invalid_server", message, hint=hint)
