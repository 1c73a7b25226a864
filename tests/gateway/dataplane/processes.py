"""A gateway as its users run it: the command line, the supervisor and its children, and a mock provider beside it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.entry import decode

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]

POLICY = """\
package bot.authz

default allow := false

allow if input.action == "models.list"

allow if regex.match(`^(gpt-4o|mock-)`, input.resource.model)

deny contains "one system prompt at most" if count(input.request.system_prompts) > 1
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIG_", "OPENAI_"))}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


class Background:
    """A command that goes on running; `line` waits for a line of its output."""

    def __init__(self, *arguments: str, cwd: Path, output: Path) -> None:
        self._output = output
        with output.open("wb") as stream:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], cwd=cwd, env=environment(), stdout=stream, stderr=subprocess.STDOUT
            )

    def line(self, pattern: str, seconds: float = 240) -> re.Match[str]:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            ended = self.process.poll() is not None  # before its output is read, which is whole then
            text = self.text
            # A line may be written in pieces.
            found = re.search(pattern, text if ended else text.rpartition("\n")[0])
            if found:
                return found
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {pattern!r} in:\n{self.text}")

    @property
    def text(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 120) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Live:
    """A data directory with one agent, its key, and the processes on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / ".gateway"
        self.provider = Background("mock-provider", "--port", "0", cwd=directory, output=directory / "provider.txt")
        self.up: Background | None = None
        self.base_url = ""
        try:
            provider_url = self.provider.line(r"base URL (\S+)")[1]
            self.key = orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]
            with (self.data / "gateway.toml").open("a") as file:
                file.write("policy_deadline_ms = 1000\n")  # no subject here, and a busy machine may stop a process
            write_policy(self.data / "policies", POLICY)
            self.run("upstreams", "add", "mock", "--base-url", provider_url, "--no-key", "--default")
        except BaseException:
            self.close()
            raise

    def run(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """One command to its end; returns what it wrote on standard output."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *flags: str) -> None:
        number = len(list(self.directory.glob("up-*.txt")))
        self.up = Background(
            "up", "--port", "0", "--control-port", "0", *flags, cwd=self.directory,
            output=self.directory / f"up-{number}.txt",
        )  # fmt: skip
        self.base_url = self.up.line(r"base URL (\S+)")[1]

    def stop(self) -> None:
        if self.up is not None:
            assert self.up.stop() == 0, self.up.text
            self.up = None

    def close(self) -> None:
        if self.up is not None:
            self.up.stop()
        self.provider.stop()

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    def children(self, kind: str = "data") -> list[int]:
        """The process ids of the running children of one kind."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            mine = self.up is not None and parent == self.up.process.pid
            if mine and b"gateway.processes.app" in command and kind.encode() in command:
                found.append(int(entry.name))
        return found

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        db = sqlite3.connect(f"file:{self.data / 'audit.db'}?mode=ro", uri=True, timeout=60)
        try:
            return db.execute(statement, parameters).fetchall()
        finally:
            db.close()

    def entries(self, organization: str = "default") -> list[dict[str, Any]]:
        rows = self.rows(
            "SELECT leaf FROM entry JOIN log ON log.id = log_id WHERE organization = ? ORDER BY seq", organization
        )
        return [dict(decode(leaf)) for (leaf,) in rows]

    def wait(self, what: Callable[[], object], seconds: float = 240) -> None:
        ends = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < ends, "it did not happen in time" + (self.up.text if self.up else "")
            time.sleep(0.02)

    def check_log(self) -> None:
        """The whole log is valid, and every decision to go on was closed exactly once."""
        self.run("audit", "verify")
        decided = [entry for entry in self.entries() if entry["kind"] == "decided" and entry["open"]]
        closings = [entry["decision"] for entry in self.entries() if entry["kind"] == "completed"]
        assert sorted(closings) == sorted(entry["id"] for entry in decided)
        assert self.rows("SELECT count(*) FROM open_decision") == [(0,)]


def has_ended(process: int) -> bool:
    """True if a process that somebody else may have to reap has ended: from then on it holds no lock and no port."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def write_policy(repository: Path, policy: str, **settings: object) -> None:
    """Commit a policy under the starter bundle's name, so that the first agent's binding leads to it.

    `settings` join the entrypoint in its manifest.
    """
    from dulwich.config import StackedConfig
    from dulwich.repo import Repo

    manifest = {"roots": ["bot"], "metadata": {"gateway": {"entrypoint": "data.bot.authz", **settings}}}
    starter = repository / "starter"
    gone = [path for path in starter.rglob("*") if path.is_file()]
    for path in gone:
        path.unlink()
    (starter / ".manifest").write_bytes(orjson.dumps(manifest))
    (starter / "authz.rego").write_text(policy)
    names = {str(path.relative_to(repository)) for path in [*gone, starter / ".manifest", starter / "authz.rego"]}
    with Repo(str(repository)) as repo:
        tree = repo.get_worktree()
        settings = StackedConfig([])
        tree.stage(sorted(names), config=settings)
        author = b"Dana <dana@acme.example>"
        tree.commit(message=b"Change", author=author, committer=author, sign=False, no_verify=True, config=settings)


def request(key: str, model: str = "gpt-4o", **more: object) -> bytes:
    """A whole request for a chat completion."""
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hello there"}], **more})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
