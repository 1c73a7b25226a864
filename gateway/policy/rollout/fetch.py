"""Fetches policies from a repository on another machine into the data directory, with dulwich.

The data of an unknown server is read by a child process with limits on time, memory and the size of files; `python -m
gateway.policy.rollout.fetch` is that child: an order on standard input, the result on standard output, both JSON. The
rest of the rollout reads the local copy, so a repository that cannot be reached changes nothing. The credential goes to
the child through the pipe alone. An https host is known by its certificate and an ssh host by its keys in a file;
neither is taken on trust, and redirects are not followed.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError
from gateway.policy.rollout import child
from gateway.remotes import Remote, parse
from gateway.settings import Settings

logger = logging.getLogger("gateway.policy.rollout.fetch")

SECONDS = 120.0
_MODULE = "gateway.policy.rollout.fetch"
_MAX_FILE = 512 * 1024 * 1024
_MAX_CREDENTIAL = 64 * 1024
_MARK = "fetched-from"
_SSH_OPTIONS = (
    "GlobalKnownHostsFile=/dev/null",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=2",
    "ForwardAgent=no",
    "ClearAllForwardings=yes",
)


@dataclass(frozen=True, slots=True)
class FetchState:
    """The last fetch: from where, when it was tried and when it last succeeded, and what went wrong ("" if nothing).

    `commit` is what the ref named at the last success.
    """

    repository: str
    tried_ns: int
    fetched_ns: int | None = None
    commit: str = ""
    error: str = ""


def state(settings: Settings) -> FetchState | None:
    """The last fetch of the remote repository in these settings; None if there is no remote, or no fetch yet."""
    if settings.remote is None:
        return None
    try:
        found = FetchState(**json.loads(settings.data.fetch_state.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.repository == settings.remote.address else None


def missing(settings: Settings) -> str:
    """The fault of these settings' copy of a remote repository; "" if there is a copy, or no remote."""
    if settings.remote is None or _origin(settings.repository) == settings.remote.address:
        return ""
    last = state(settings)
    return last.error if last and last.error else f"nothing was fetched from {settings.remote.address} yet"


class Fetcher:
    """Fetches for a running gateway, and remembers how that went."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._complaint = ""
        self._fetching = threading.Lock()

    def stop(self) -> None:
        """End the fetch that runs in another thread, and every later one."""
        self._stopped.set()

    def step(self) -> None:
        """Fetch once. A failure is logged when it is new: policies that are in force stay so."""
        remote = self._settings.remote
        if remote is None or self._stopped.is_set() or not self._fetching.acquire(blocking=False):
            return
        try:
            self._step(remote)
        finally:
            self._fetching.release()

    def _step(self, remote: Remote) -> None:
        before = state(self._settings) or FetchState(remote.address, 0)
        now = time.time_ns()
        try:
            commit = fetch(self._settings, remote, self._stopped)
        except GatewayError as error:
            if error.code == "fetch_stopped":
                return
            if error.message != self._complaint:
                logger.error("policies: %s; what is in force stays in force", error.message)
            self._complaint = error.message
            self._remember(replace(before, tried_ns=now, error=error.message))
            return
        if self._complaint:
            logger.info("policies: %s can be fetched again", remote.address)
        self._complaint = ""
        self._remember(replace(before, tried_ns=now, fetched_ns=now, commit=commit, error=""))

    def _remember(self, found: FetchState) -> None:
        target = self._settings.data.fetch_state
        draft = target.with_name(f".{target.name}.new")
        with suppress(OSError):  # it is only for people to read
            draft.write_text(json.dumps(asdict(found)), "utf-8")
            draft.replace(target)


def fetch(settings: Settings, remote: Remote, stop: threading.Event | None = None) -> str:
    """Bring the local copy up to date; returns the commit that the ref names. Blocks.

    Raises `GatewayError`: `policies_unreachable` if it cannot be done, `fetch_stopped` soon after `stop` is set.
    """
    order = {
        "address": remote.address,
        "ref": settings.policies_ref,
        "target": str(settings.repository),
        "credential": _credential(settings, remote),
        "key": str(settings.policies_credential_file or "") if remote.scheme == "ssh" else "",
        "known_hosts": str(settings.policies_known_hosts or ""),
        "certificates": str(settings.policies_ca_file or ""),
    }
    inherited = ("SSH_AUTH_SOCK", "HTTPS_PROXY", "NO_PROXY")
    try:
        result = child.run(_MODULE, order, seconds=SECONDS, stop=stop, inherited=inherited)
    except child.ChildError as error:
        if error.code == "child_stopped":
            raise GatewayError("fetch_stopped", "the fetch of the policies was stopped") from error
        raise _unreachable(remote, f"the fetch {error.message}") from error
    if problem := result.get("error"):
        secret = order["credential"]
        raise _unreachable(remote, problem.replace(secret, "…") if secret else problem)
    return str(result["commit"])


def _credential(settings: Settings, remote: Remote) -> str:
    """The token for https, from its file or variable; "" for none, and for ssh, whose key `ssh` reads itself."""
    if remote.scheme == "ssh":
        return ""
    if name := settings.policies_credential_env:
        token = os.environ.get(name, "").strip()
        if not token:
            raise _unreachable(remote, f"the variable {name}, which policies_credential_env names, is not set")
        return token
    if (path := settings.policies_credential_file) is None:
        return ""
    try:
        with path.open("rb") as stream:
            token = stream.read(_MAX_CREDENTIAL).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not ASCII").lower()
        raise _unreachable(remote, f"cannot read policies_credential_file `{path}`: {reason}") from error
    if not token or any(character.isspace() for character in token):
        raise _unreachable(remote, f"policies_credential_file `{path}` must hold one token, or user:password")
    return token


def _unreachable(remote: Remote, reason: str) -> GatewayError:
    message = f"cannot fetch policies from {remote.address}: {reason}"
    return GatewayError("policies_unreachable", message, subject=remote.address)


# The child


def _fetch(order: dict[str, Any]) -> str:
    """Fetch what one ref names into a bare repository, and set the same ref there."""
    from dulwich.client import GitClient, HttpGitClient, SSHGitClient
    from dulwich.refs import Ref
    from dulwich.repo import Repo

    remote = parse(order["address"])
    client: GitClient
    if remote.scheme == "https":
        port = f":{remote.port}" if remote.port else ""
        user, _, password = order["credential"].rpartition(":")
        client = HttpGitClient(f"https://{remote.host}{port}", pool_manager=_pool(order, user, password), config=None)
    else:
        client = SSHGitClient(
            remote.host.strip("[]"), port=remote.port, username=remote.user, vendor=_ssh(order), config=None
        )
    target = Path(order["target"])
    if _origin(target) != remote.address:  # of another address, or a first fetch that did not succeed
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        Repo.init_bare(str(target)).close()
    name = order["ref"].encode()
    candidates = (Ref(b"refs/heads/" + name), Ref(b"refs/tags/" + name), Ref(name))
    with Repo(str(target)) as repo:
        result = client.fetch(
            remote.path.encode(), repo, determine_wants=lambda refs, depth=None: [
                refs[each] for each in candidates if refs.get(each) is not None and refs[each] not in repo.object_store
            ][:1],
        )  # fmt: skip
        found = next((each for each in candidates if result.refs.get(each) is not None), None)
        if found is None:
            raise ValueError(f"it has no branch or tag `{order['ref']}`")
        identifier = result.refs[found]
        assert identifier is not None
        for each in candidates[:2]:
            if each != found and each in repo.refs:
                repo.refs.remove_if_equals(each, None)
        repo.refs[found] = identifier
    (target / _MARK).write_text(remote.address, "utf-8")
    return identifier.decode("ascii")


def _origin(target: Path) -> str:
    """The address that a local copy is of; "" if nothing was fetched into it yet."""
    try:
        return (target / _MARK).read_text("utf-8")
    except OSError:
        return ""


def _pool(order: dict[str, Any], user: str, password: str) -> Any:
    """Connections that check certificates, wait for a limited time, and follow no redirects."""
    import urllib3

    class Pool(urllib3.PoolManager):
        def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> Any:  # type: ignore[override]
            answer = super().urlopen(method, url, redirect=False, **more)
            if 300 <= answer.status < 400:
                raise ValueError("the server redirects: set policies_repository to the address that it leads to")
            return answer

    headers = {"User-Agent": "git/agent-identity-gateway"}
    if password:
        pair = f"{user or 'x-access-token'}:{password}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Pool(
        headers=headers,
        timeout=urllib3.Timeout(connect=10.0, read=60.0),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=order["certificates"] or None,
    )


def _ssh(order: dict[str, Any]) -> Any:
    """`ssh` with the given key and the given host keys only; it never asks anything."""
    from dulwich.client import SSHVendor, SubprocessWrapper

    class Vendor(SSHVendor):
        def run_command(  # type: ignore[override]
            self, host: str, command: bytes, username: str | None = None, port: int | None = None, **_: Any
        ) -> SubprocessWrapper:
            arguments = ["ssh", "-F", "/dev/null", "-x", "-T", "-o", f"UserKnownHostsFile={order['known_hosts']}"]
            for option in _SSH_OPTIONS:
                arguments += ["-o", option]
            if order["key"]:
                arguments += ["-i", order["key"], "-o", "IdentitiesOnly=yes"]
            if port:
                arguments += ["-p", str(port)]
            arguments += ["--", f"{username}@{host}" if username else host, command.decode()]
            pipe = subprocess.PIPE
            started = subprocess.Popen(  # noqa: S603  # no shell; the address was parsed
                arguments, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe
            )
            return SubprocessWrapper(started)

    return Vendor()


def _reason(error: BaseException) -> str:
    """The failure in one line, for people."""
    from dulwich import errors
    from dulwich.client import HTTPUnauthorized

    if isinstance(error, errors.NotGitRepository):
        return "there is no git repository at this address, or the credential does not open it"
    if isinstance(error, HTTPUnauthorized):
        return "the server refuses the credential, or wants one: set policies_credential_file"
    if isinstance(error, FileNotFoundError) and error.filename == "ssh":
        return "there is no program `ssh` on this machine"
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    if isinstance(error, errors.HangupException):
        lines = [line.decode("utf-8", "replace").strip() for line in error.stderr_lines or []]
        said = " ".join(filter(None, lines))
        if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
            return "the host has none of the keys in policies_known_hosts"
        return said or "the server hung up"
    text = " ".join(str(error).split()) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"the server's certificate is not trusted (policies_ca_file can name others): {text[-200:]}"
    return text[:300]


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (child.MEMORY, child.MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    order = json.loads(sys.stdin.buffer.read())
    try:
        result = {"commit": _fetch(order)}
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent reports it
        result = {"error": _reason(error)}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    _main()
