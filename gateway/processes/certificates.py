"""Finds certificates of the data plane that have expired or are about to (mtls.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from gateway.errors import GatewayError, Hint
from gateway.settings import Settings

_LEFT: Final = 0.1
"""The part of its time that a certificate has left when somebody must look: renewal comes much sooner."""


def expiring(settings: Settings, now_ns: int) -> list[GatewayError]:
    """One error for each of the two files that is of no use any more, or will soon be none.

    The gateway's own chain ends with the first certificate in it that does. One of the agents' authorities is enough.
    A file that cannot be read is left out: `gateway up` says so.
    """
    now = now_ns / 1e9
    found = []
    if settings.tls_cert is not None and (chain := _times(settings.tls_cert)):
        found.append(("tls_cert", settings.tls_cert, min(chain, key=lambda each: each[1]), "agents"))
    if settings.client_ca is not None and (authorities := _times(settings.client_ca)):
        found.append(
            ("client_ca", settings.client_ca, max(authorities, key=lambda each: each[1]), "agents with certificates")
        )
    return [
        _error(name, path, end, what, over=end <= now)
        for name, path, (begin, end), what in found
        if end - now < _LEFT * (end - begin)
    ]


def _times(path: Path) -> list[tuple[float, float]]:
    """When each certificate in a file begins and ends, in seconds since 1970."""
    try:
        read = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [(each.not_valid_before_utc.timestamp(), each.not_valid_after_utc.timestamp()) for each in read]


def _error(name: str, path: Path, end: float, what: str, *, over: bool) -> GatewayError:
    when = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = f"expired at {when}, so {what} cannot connect" if over else f"expires at {when}"
    hint = Hint("renew it, and send SIGHUP to `gateway up`")
    return GatewayError("certificate_expiring", f"{name} `{path}` {said}", subject=str(path), hint=hint)
