"""`policy sign`, and the options with which other verbs verify signatures. The format is in `bundle_signatures`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from policy_engine.bundle_files import SIGNATURES, directory_files
from policy_engine.bundle_signatures import BundleKey, signature
from policy_engine.cli.diagnostics import show, standard_error
from policy_engine.errors import BUNDLE_ERROR, PolicyError

Algorithm = Annotated[
    str,
    typer.Option("--signing-alg", metavar="NAME", help="The key's algorithm: RS256, PS256, ES256, HS256, …, EdDSA."),
]
Scope = Annotated[
    str, typer.Option("--scope", metavar="TEXT", show_default=False, help="The scope that the signature states.")
]
VerificationKey = Annotated[
    str,
    typer.Option(
        "--verification-key",
        metavar="KEY",
        show_default=False,
        help="Verify bundles with this key: a PEM file with a public key or certificate, or a secret.",
    ),
]
Directory = Annotated[
    Path, typer.Argument(metavar="BUNDLE", show_default=False, help="The bundle's directory.", file_okay=False)
]
SigningKey = Annotated[
    str,
    typer.Option(
        "--signing-key", metavar="KEY", show_default=False, help="A PEM file with a private key, or a secret."
    ),
]


def sign(bundle: Directory, *, signing_key: SigningKey, signing_alg: Algorithm = "RS256", scope: Scope = "") -> None:
    """Sign a bundle: write its .signatures.json, which lists the digest of every file.

    OPA verifies it, and so do the other verbs with `--verification-key`. Changing, adding or removing a file makes the
    signature invalid. Exits with 2 if the bundle or the key cannot be used.
    """
    try:
        files = directory_files(_existing(bundle), lambda _: True)
        content = signature(files, read_key(signing_key), signing_alg, scope)
        _replace(bundle / SIGNATURES, content)
    except PolicyError as error:
        show(standard_error(), error, {})
        raise typer.Exit(2) from None


def bundle_key(verification_key: str, signing_alg: str, scope: str) -> BundleKey | None:
    """The key that the options select; None if they do not ask for verification."""
    if not verification_key:
        if scope:
            raise typer.BadParameter("--scope needs --verification-key")
        return None
    return BundleKey(read_key(verification_key), signing_alg, scope)


def read_key(key: str) -> str:
    """A key's text: the content of the file with that name or, as in OPA, the argument itself."""
    try:
        if len(key) < _LONGEST_PATH and Path(key).is_file():
            return Path(key).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"cannot read the key in `{key}`: {error}") from None
    return key


_LONGEST_PATH = 4096


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        hint = "sign the directory of a bundle, then pack it"
        raise PolicyError(BUNDLE_ERROR, f"there is no directory `{directory}`", hint=hint)
    return directory


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise PolicyError(BUNDLE_ERROR, f"cannot write `{path}`: {error.strerror}") from None
