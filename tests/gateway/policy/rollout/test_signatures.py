"""Commits that real `git` signed with real keys of `ssh-keygen`, and everything that is wrong with others."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.policy.rollout import signatures
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.sync import PolicySync
from gateway.registry import queries
from tests.gateway.conftest import Home

from .conftest import Repository

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or shutil.which("ssh-keygen") is None, reason="the commits are signed by git"
)

KINDS = [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "521"), ("rsa", "-b", "2048")]


class Signing:
    """Keys, a file of signers, and commits of a repository that git signs."""

    def __init__(self, directory: Path, repository: Repository) -> None:
        self.directory = directory
        self.repository = repository
        self.signers = directory / "allowed_signers"

    def key(self, name: str, *kind: str) -> Path:
        path = self.directory / name
        _run("ssh-keygen", "-q", "-t", *(kind or ("ed25519",)), "-N", "", "-C", name, "-f", str(path))
        return path

    def allow(self, *keys: Path, options: str = "") -> Path:
        lines = [f"{key.name}@acme.example {options} {key.with_suffix('.pub').read_text()}" for key in keys]
        self.signers.write_text("# those who may change policies\n\n" + "".join(lines))
        return self.signers

    def commit(self, key: Path | None, text: str = "# more\n") -> str:
        (self.repository.path / "b/README.md").write_text(text)
        sign = ["-c", f"user.signingkey={key}", "-c", "gpg.format=ssh"] if key else []
        git = ["git", "-C", str(self.repository.path), "-c", "user.name=Dana", "-c", "user.email=dana@acme.example"]
        _run(*git, "add", ".")
        _run(*git, *sign, "commit", "-qm", "Change", *(["-S"] if key else ["--no-gpg-sign"]))
        return GitSource(self.repository.path).head().commit

    def verify(self, commit: str) -> str:
        signed = GitSource(self.repository.path).signed(commit)
        return signatures.verify(signed.signature, signed.payload, signed.when, signatures.load(self.signers))


def _run(*command: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


@pytest.fixture
def signing(tmp_path: Path, repository: Repository) -> Signing:
    return Signing(tmp_path, repository)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_commit_that_git_signed(signing: Signing, kind: tuple[str, ...]) -> None:
    key = signing.key("dana", *kind)
    signing.allow(signing.key("other"), key)
    assert signing.verify(signing.commit(key)) == "dana@acme.example"


def test_what_ssh_keygen_signs(signing: Signing) -> None:
    """The format is OpenSSH's: a signature that another program makes over the same bytes is as good."""
    key = signing.key("dana")
    signing.allow(key)
    file = signing.directory / "payload"
    file.write_bytes(b"anything")
    _run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "git", str(file))
    made = file.with_name("payload.sig").read_bytes()
    signers = signatures.load(signing.signers)
    assert signatures.verify(made, b"anything", 0, signers) == "dana@acme.example"
    assert refusal(made, b"anything else", signers) == "bad_signature"
    file.with_name("payload.sig").unlink()
    _run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "file", str(file))
    other = file.with_name("payload.sig").read_bytes()
    assert refusal(other, b"anything", signers) == "bad_signature", "it was not made for git"


def refusal(signature: bytes | None, payload: bytes, signers: list[signatures.AllowedSigner]) -> str:
    with pytest.raises(GatewayError) as error:
        signatures.verify(signature, payload, 0, signers)
    return error.value.code


def test_commits_that_are_refused(signing: Signing) -> None:
    key = signing.key("dana")
    signing.allow(key)
    good = GitSource(signing.repository.path).signed(signing.commit(key))
    signers = signatures.load(signing.signers)
    assert good.signature is not None
    assert refusal(None, good.payload, signers) == "unsigned"
    assert refusal(b"-----BEGIN PGP SIGNATURE-----\n", good.payload, signers) == "unsigned"
    assert refusal(good.signature, good.payload + b"!", signers) == "bad_signature"
    assert refusal(good.signature[:90], good.payload, signers) == "bad_signature"
    cut = good.signature.replace(b"-----BEGIN SSH SIGNATURE-----\n", b"-----BEGIN SSH SIGNATURE-----\nAAAA")
    assert refusal(cut, good.payload, signers) == "bad_signature"
    other = signing.allow(signing.key("other"))
    assert refusal(good.signature, good.payload, signatures.load(other)) == "unknown_signer"


def test_the_time_of_a_key(signing: Signing) -> None:
    key = signing.key("dana")
    signing.allow(key)
    commit = signing.commit(key)
    signing.allow(key, options=f'valid-before="{time.strftime("%Y%m%d", time.gmtime(time.time() - 2 * 86400))}Z"')
    with pytest.raises(GatewayError, match="was not valid at the time"):
        signing.verify(commit)
    signing.allow(key, options='namespaces="file,git",valid-after="20200101"')
    assert signing.verify(commit)
    signing.allow(key, options='namespaces="file"')
    with pytest.raises(GatewayError, match="lists nobody"):
        signing.verify(commit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists nobody: add a line"),
        ("dana@acme.example\n", "line 1: the line must be: PRINCIPALS"),
        ("\n* cert-authority ssh-ed25519 AAAA\n", "line 2: the option `cert-authority` is not supported"),
        ("* ssh-ed25519 !!!\n", "line 1: the key is not base64"),
        ("* valid-after=tomorrow ssh-ed25519 AAAA\n", "line 1: `tomorrow` is not a time"),
    ],
)
def test_files_of_signers_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    """Otherwise a mistyped line would quietly shut somebody out, or all of them."""
    (tmp_path / "signers").write_text(text)
    with pytest.raises(GatewayError) as error:
        signatures.load(tmp_path / "signers")
    assert said in f"{error.value.message}: {error.value.hint}"


def test_only_signed_commits_come_into_force(home: Home, signing: Signing) -> None:
    key = signing.key("dana")
    sync = PolicySync(home.registry, home.data, GitSource(signing.repository.path), signers=signing.allow(key))
    assert sync.step().outcome == "unsigned", "the first commit was made by nobody"
    good = signing.commit(key)
    assert sync.step().outcome == "activated"
    unsigned = signing.commit(None, "# unsigned\n")
    found = sync.step()
    assert (found.commit, found.outcome) == (unsigned, "unsigned")
    assert "git -c gpg.format=ssh" in str(found.problems[0])
    other = signing.key("other")
    foreign = signing.commit(other, "# foreign\n")
    assert sync.step().outcome == "unknown_signer"
    active = queries.activation(home.registry)
    assert active is not None
    assert active.commit == good
    # The file is read each time: who is added may change policies from now on.
    signing.allow(key, other)
    assert (sync.step().outcome, queries.activation(home.registry).commit) == ("activated", foreign)  # type: ignore[union-attr]
    signing.signers.unlink()
    signing.commit(other, "# again\n")
    with pytest.raises(GatewayError, match="cannot read policies_signers"):
        sync.step()
