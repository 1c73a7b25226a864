"""TLS of the data plane's listener: certificate, key and the authorities of clients, read from files (mtls.md).

Each worker reads them when it starts. On SIGHUP the supervisor compares them with what is in force, and replaces the
workers if they differ. A client need not have a certificate: it may use a key or a signature instead.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import stat
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError
from gateway.settings import Settings

_MAX_FILE: Final = 4 * 1024 * 1024
_CERTIFICATES: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII)


def context(settings: Settings) -> ssl.SSLContext | None:
    """The listener's TLS context; None if it speaks plain HTTP. Raises `GatewayError` that names the file."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.set_alpn_protocols(["http/1.1"])
    _check_certificates("tls_cert", settings.tls_cert)
    _check_key(settings.tls_key)
    try:
        made.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            hint = f"the first certificate in `{settings.tls_cert}` must be the one of this key"
            raise _unusable("tls_key", settings.tls_key, "is not the key of the certificate", hint) from error
        hint = "give both as PEM: an unencrypted key, and the certificate followed by those of its issuers"
        raise _unusable("tls_key", settings.tls_key, "is not a private key that can be used", hint) from error
    except _PassphraseError as error:
        hint = f"decrypt it into another file: `openssl pkey -in {settings.tls_key} -out decrypted.pem`"
        raise _unusable("tls_key", settings.tls_key, "has a passphrase, which nobody can enter here", hint) from error
    except OSError as error:
        raise _unreadable("tls_key", settings.tls_key, error) from error
    if settings.client_ca is not None:
        _trust(made, settings.client_ca)
    return made


def digest(settings: Settings) -> bytes:
    """One value for what the files hold: if it has changed, the listener needs another context."""
    found = hashlib.sha256()
    for name in ("tls_cert", "tls_key", "client_ca"):
        path: Path | None = getattr(settings, name)
        found.update(b"-" if path is None else hashlib.sha256(_read(name, path)).digest())
    return found.digest()


def _trust(made: ssl.SSLContext, path: Path) -> None:
    """Ask clients for a certificate of these authorities. One that has none may go on; any other one may not."""
    blocks = _check_certificates("client_ca", path)
    try:
        made.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
    except ssl.SSLError as error:
        raise _unusable("client_ca", path, "holds a certificate that cannot be read", "give PEM") from error
    known = made.get_ca_certs(binary_form=True)
    if not known:
        hint = "give the certificates of authorities (`CA:TRUE`), not those of clients"
        raise _unusable("client_ca", path, "holds no certificate of an authority", hint)
    made.verify_mode = ssl.CERT_OPTIONAL


def _check_certificates(name: str, path: Path) -> list[bytes]:
    """The certificates in a file, as PEM."""
    text = _read(name, path)
    if name == "client_ca" and b"PRIVATE KEY-----" in text:
        raise _unusable(name, path, "holds a private key, which has no business here", "give certificates only")
    blocks = _CERTIFICATES.findall(text)
    if not blocks:
        raise _unusable(name, path, "holds no certificate as PEM", "it must have a line BEGIN CERTIFICATE")
    return blocks


def _check_key(path: Path) -> None:
    """Refuse a key that other users may read. A group may: so a container's volumes are mounted."""
    _read("tls_key", path)
    mode = path.stat().st_mode
    if stat.S_IMODE(mode) & 0o037:
        hint = f"type `chmod 600 {path}`, and replace the key if others read it"
        raise _unusable("tls_key", path, "is open to other users", hint)


def _read(name: str, path: Path) -> bytes:
    try:
        # Not blocking: a pipe without a writer would never let go.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unusable(name, path, "is not a file")
            text = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise _unreadable(name, path, error) from error
    if len(text) > _MAX_FILE:
        raise _unusable(name, path, f"is larger than {_MAX_FILE} bytes")
    return text


class _PassphraseError(Exception):
    """Raised where OpenSSL asks for a passphrase: it would read one from the terminal otherwise."""


def _no_passphrase() -> str:
    raise _PassphraseError


def _unreadable(name: str, path: Path, error: OSError) -> GatewayError:
    return _unusable(name, path, f"cannot be read: {(error.strerror or type(error).__name__).lower()}")


def _unusable(name: str, path: Path, why: str, hint: str = "") -> GatewayError:
    return GatewayError("tls_unusable", f"{name} `{path}` {why}", subject=str(path), hint=hint)
