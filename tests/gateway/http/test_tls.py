"""The files of TLS: what is wrong with them is said before anything is served."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.errors import GatewayError
from gateway.http import handshakes, tls
from gateway.settings import Settings, load_settings
from tests.gateway.dataplane.authority import Authority

SERVERS, CLIENTS = Authority.make("servers"), Authority.make("clients")


@pytest.fixture
def files(tmp_path: Path) -> Settings:
    certificate, key = SERVERS.server().write(tmp_path, "server")
    ca, _ = CLIENTS.pair.write(tmp_path, "clients")
    return Settings(tls_cert=certificate, tls_key=key, client_ca=ca)


def test_good_files(files: Settings) -> None:
    made = tls.context(files)
    assert made is not None
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.verify_mode == ssl.CERT_OPTIONAL
    assert len(made.get_ca_certs()) == 1
    assert tls.context(Settings()) is None
    alone = tls.context(Settings(tls_cert=files.tls_cert, tls_key=files.tls_key))
    assert alone is not None
    assert alone.verify_mode == ssl.CERT_NONE, "nobody is asked for a certificate that nobody could judge"


def test_a_group_may_read_the_key(files: Settings) -> None:
    assert files.tls_key is not None
    files.tls_key.chmod(0o640)
    assert tls.context(files) is not None


def test_what_the_files_hold_has_a_digest(files: Settings, tmp_path: Path) -> None:
    before = tls.digest(files)
    assert tls.digest(files) == before
    SERVERS.server().write(tmp_path, "server")
    after = tls.digest(files)
    assert after != before
    Authority.make("clients").pair.write(tmp_path, "clients")
    assert tls.digest(files) not in (before, after)
    assert tls.digest(Settings()) == tls.digest(Settings())


def encrypted(path: Path) -> None:
    secret = serialization.BestAvailableEncryption(b"secret")
    pkcs8 = serialization.PrivateFormat.PKCS8
    path.write_bytes(SERVERS.pair.key.private_bytes(serialization.Encoding.PEM, pkcs8, secret))


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no certificate": ("tls_cert", Path.unlink, "cannot be read: no such file or directory"),
    "a folder": ("tls_cert", lambda path: (path.unlink(), path.mkdir()), "cannot be read: is a directory"),
    "a pipe": ("tls_key", lambda path: (path.unlink(), os.mkfifo(path)), "is not a file"),
    "no PEM": ("tls_cert", lambda path: path.write_bytes(SERVERS.pair.der), "holds no certificate as PEM"),
    "no key": ("tls_key", Path.unlink, "cannot be read: no such file or directory"),
    "an open key": ("tls_key", lambda path: path.chmod(0o644), "is open to other users"),
    "a key that others write": ("tls_key", lambda path: path.chmod(0o620), "is open to other users"),
    "another key": (
        "tls_key",
        lambda path: path.write_bytes(CLIENTS.pair.key_pem),
        "is not the key of the certificate",
    ),
    "a passphrase": ("tls_key", encrypted, "has a passphrase, which nobody can enter here"),
    "nonsense": ("tls_key", lambda path: path.write_bytes(b"nonsense"), "is not a private key that can be used"),
    "no authorities": ("client_ca", Path.unlink, "cannot be read: no such file or directory"),
    "an empty file": ("client_ca", lambda path: path.write_bytes(b""), "holds no certificate as PEM"),
    "a private key": (
        "client_ca",
        lambda path: path.write_bytes(CLIENTS.pair.pem + CLIENTS.pair.key_pem),
        "holds a private key, which has no business here",
    ),
    "a client as authority": (
        "client_ca",
        lambda path: path.write_bytes(CLIENTS.issue("spiffe://a/b").pem),
        "holds no certificate of an authority",
    ),
    "half a certificate": (
        "client_ca",
        lambda path: path.write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "holds a certificate that cannot be read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str, files: Settings) -> None:
    name, spoil, why = BAD[case]
    path: Path = getattr(files, name)
    spoil(path)
    with pytest.raises(GatewayError) as caught:
        tls.context(files)
    assert caught.value.message == f"{name} `{path}` {why}"


def test_the_settings_belong_together(tmp_path: Path) -> None:
    data = {"data": tmp_path}
    for given, missing in (
        ({"tls_cert": "c"}, "tls_cert is set without tls_key"),
        ({"tls_key": "k"}, "tls_key is set without tls_cert"),
        ({"client_ca": "a"}, "client_ca is set without tls_cert"),
    ):
        with pytest.raises(GatewayError, match=missing):
            load_settings({**data, **given}, env={})
    both = {**data, "tls_cert": "c", "tls_key": "k"}
    settings = load_settings({**both, "host": "0.0.0.0"}, env={})  # with TLS that is no risk
    assert settings.data_plane == "https://0.0.0.0:8080"
    with pytest.raises(GatewayError, match=r"control_host `0\.0\.0\.0` is not a loopback address"):
        load_settings({**both, "control_host": "0.0.0.0"}, env={})


def test_the_parts_of_uvloop_exist() -> None:
    """`handshakes.py` makes the event loop's own protocol of TLS, and listens to its beginning and its end."""
    assert {"connection_made", "connection_lost"} <= vars(handshakes.Handshake.__mro__[1]).keys()
