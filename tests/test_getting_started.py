"""docs/getting-started.md, followed to the letter: its files are written and its commands typed, in their order.

What the page shows in a block of `text` is what the command before it prints, where `…` stands for anything.

Only the ports are others, so that it runs beside anything. A command that the page marks with `# keeps running` stays
up until the end; every other one must succeed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Real processes, which take their time.
pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parent.parent / "docs" / "getting-started.md"
KEEPS_RUNNING = "# keeps running"


class Reader:
    """A person at a terminal, in an empty directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {shown: str(free_port()) for shown in ("8080", "8081", "9100")}
        self.running: list[subprocess.Popen[bytes]] = []
        # The last decision that a command has named, which the page calls `DEC_ID`.
        self.decision = "DEC_ID"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIG_PORT": self.ports["8080"],
            "AIG_CONTROL_PORT": self.ports["8081"],
            "AIG_CHECKPOINT_SECONDS": "1",
            **{
                f"GIT_{role}_{what}": "reader@example.com"
                for role in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }

    def write(self, name: str, content: str) -> None:
        parent = self.directory if name.startswith("agent/") else self.directory / ".gateway/policies"
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_text(self._with_ports(content), "utf-8")

    def type(self, line: str) -> str:
        """What the command printed. `audit verify` is typed again while it says that entries are not signed yet."""
        command = self._with_ports(line).replace("DEC_ID", self.decision)
        if line.endswith(KEEPS_RUNNING):
            self._start(command)
            return ""
        for _ in range(50):
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.directory, env=self.environment, capture_output=True, timeout=60
            )
            if not (line == "gateway audit verify --reexecute" and done.returncode == 3):
                break
            time.sleep(0.2)
        printed = done.stdout.decode()
        assert done.returncode == 0, f"`{line}` failed:\n{printed}{done.stderr.decode()}"
        if ids := re.findall(r"refused: \S+ (dec_\S+)", printed):
            self.decision = ids[-1]
        return printed

    def _start(self, command: str) -> None:
        with (self.directory / f"output-{len(self.running)}").open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        self.running.append(process)
        port = int(self.ports["9100" if "mock-provider" in command else "8080"])
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        pytest.fail(f"`{command}` does not come up:\n{Path(output.name).read_text('utf-8')}")

    def compare(self, shown: str, printed: str) -> None:
        """Fail unless a command printed what the page shows, where `…` stands for anything."""
        pattern = re.escape(self._with_ports(shown)).replace("…", ".*?")
        assert re.fullmatch(pattern, printed, flags=re.DOTALL), f"the page shows\n{shown}\nbut it prints\n{printed}"

    def _with_ports(self, text: str) -> str:
        return re.sub("|".join(self.ports), lambda found: self.ports[found[0]], text)

    def leave(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    someone = Reader(tmp_path)
    yield someone
    someone.leave()


@pytest.mark.skipif(shutil.which("git") is None, reason="the page commits policies with git")
def test_the_page_works_as_written(reader: Reader) -> None:
    printed: dict[str, str] = {}
    last = ""
    pattern = re.compile(r"^(?:`(\S+/\S+)`\n\n)?```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    for name, language, content in pattern.findall(PAGE.read_text("utf-8")):
        if name:
            reader.write(name, content)
        elif language == "sh":
            for line in content.splitlines():
                printed[line] = last = reader.type(line)
        elif language == "text":
            reader.compare(content, last)
    assert "PASS: " in printed["policy test .gateway/policies"]
    hello, refused = printed["python3 agent/chat.py"].splitlines()
    assert hello == "You said: Hello"
    assert refused.startswith("refused: policy_denied dec_")
    assert len(re.findall(r"\bdecided\b", printed["gateway audit list"])) == 2
    assert "the log is valid" in printed["gateway audit verify --reexecute"]
