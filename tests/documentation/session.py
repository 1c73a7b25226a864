"""A reader at a terminal, who types what a page shows into an empty directory and compares what it prints.

Anything that differs from one run to the next has a placeholder on both sides: ids, keys, times, durations, large
numbers, digests. `…` in a page stands for anything. If a placeholder stands in an output, its columns may have other
widths.

Only the ports are others than in the page, so that it runs beside anything. A command with `# keeps running` stays up
until the end of the page.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.documentation.pages import ROOT, Block, commands, typed

KEEPS_RUNNING = "# keeps running"
UNSIGNED = 3
"""The exit code of `gateway audit verify` while the newest entries are not signed yet."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
_PLACEHOLDERS = (
    (re.compile(rf"\b(org|agt|key|rul|bnd|ups|dec|end|chg|act|boot)_{_UUID}"), r"\1_ID"),
    (re.compile(r"\baig_sk_\w+"), "aig_sk_KEY"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?"), "TIME"),
    (re.compile(r"\b\d[\d,]*(\.\d+)?\s?(ns|µs|ms|s)\b"), "DURATION"),
    (re.compile(r"\b\d{1,3}(,\d{3})+\b"), "NUMBER"),
    (re.compile(r"\b(commit |sha256:)?(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,64}\b"), r"\1DIGEST"),
)

_WORKERS, _EACH = 8, 1250
"""Into how many ranges the ports are divided, and how large each is."""

_BUNDLE_FILE = re.compile(r"\w+/(\.manifest|\w+\.rego)")


class Session:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shown = ("8080", "8081", "8090", "8180", "8181", "9100")
        self.ports = dict(zip(shown, map(str, _free_ports(len(shown))), strict=True))
        self.running: list[subprocess.Popen[bytes]] = []
        self.printed = ""
        # The last ones that a command has printed, which the page cannot know.
        self.seen = {"dec": "", "aig_sk": ""}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIG_", "GIT_", "POLICY_"))}
        self.environment = clean | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CLONE": str(ROOT),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "XDG_CONFIG_HOME": str(directory.parent / "config"),
            "BROWSER": "curl -sL -o /dev/null %s",  # goes where it is sent
            "AIG_NO_CHECK": "1",  # no test asks a real provider
            "AIG_PORT": self.ports["8080"],
            "AIG_CONTROL_PORT": self.ports["8081"],
            "AIG_CHECKPOINT_SECONDS": "1",
            "GITHUB_TOKEN": "ghp-none",
            **{f"{provider}_API_KEY": "sk-none" for provider in ("OPENAI", "ANTHROPIC", "GEMINI", "AZURE_OPENAI")},
        }

    def begin(self, page: list[Block]) -> None:
        """Write the files of the page that are no bundles of its gateway: it may use them before it shows them."""
        for block in page:
            if block.name and not _BUNDLE_FILE.fullmatch(block.name):
                self.write(block)

    def take(self, block: Block) -> None:
        """Do what a block says. Raises `AssertionError` if something else comes of it than the page shows."""
        if block.name:
            self.write(block)
        elif block.language in ("sh", "hidden"):
            for command in commands(block.content):
                self.succeed(command, block)
        elif block.language == "console":
            for command, shown in typed(block.content):
                self.type(command)
                self.compare(shown, f"{block}: `{command}`")
        elif block.language == "text":
            self.compare(block.content, str(block))
        elif block.language == "python":
            self.succeed(f"python3 - <<'END'\n{block.content}END", block)

    def write(self, block: Block) -> None:
        """A file of the page. Bundles belong into the policies of the gateway, if the page has made one."""
        policies = self.directory / ".gateway" / "policies"
        bundle = _BUNDLE_FILE.fullmatch(block.name)
        path = (policies if bundle and policies.is_dir() else self.directory) / block.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._own(block.content), "utf-8")

    def succeed(self, command: str, block: Block) -> None:
        code = self.type(command)
        assert code == 0, f"{block}: `{command}` exits with {code}:\n{self.printed}\n{self._logs()}"

    def type(self, command: str) -> int:
        """Type a command; what it prints is in `printed`. `audit verify` is repeated until all entries are signed."""
        own = self._own(command)
        if command.startswith("cd "):
            self.directory = (self.directory / command.removeprefix("cd ")).resolve(strict=True)
            return 0
        if command.endswith(KEEPS_RUNNING):
            self._start(own)
            return 0
        for _ in range(50):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", own],
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=300,
            )
            if not (command.startswith("gateway audit verify") and done.returncode == UNSIGNED):
                break
            time.sleep(0.2)
        self.printed = done.stdout.decode()
        for prefix in self.seen:
            if found := re.findall(rf"\b{prefix}_[\w-]{{20,}}", self.printed):
                self.seen[prefix] = found[-1]
        return done.returncode

    def compare(self, shown: str, where: str) -> None:
        """Fail unless the last command printed this."""
        printed = self._as_in_the_page(self.printed)
        expected, found = _with_placeholders(shown), _with_placeholders(printed)
        if found != printed:
            expected, found = _narrow(expected), _narrow(found)
        pattern = re.escape(expected).replace("…", ".*?")
        assert re.fullmatch(pattern, found, flags=re.DOTALL), f"{where}: the page shows\n{shown}\nbut it is\n{printed}"

    def leave(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=240)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    def _logs(self) -> str:
        return "\n".join(each.read_text("utf-8") for each in sorted(self.directory.parent.glob("output-*")))

    def _start(self, command: str) -> None:
        """Start a command that keeps running, and wait until it serves: until it says so, or listens."""
        output = self.directory.parent / f"output-{len(self.running)}"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.directory,
                env=self.environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        name = " ".join(command.split()[:2])
        deadline = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < deadline:
            if name == "gateway mock-provider":
                if _listens(int(self.ports["9100"])):
                    return
            # A worker listens before the gateway is up, for which `gateway status` may be asked next.
            elif ("gateway is up: " if name == "gateway up" else "\n") in output.read_text("utf-8", "replace"):
                return
            time.sleep(0.1)
        raise AssertionError(f"`{command}` does not come up:\n{output.read_text('utf-8')}")

    def _own(self, text: str) -> str:
        """The text that the reader types or writes, with the ports, ids and keys of this run."""
        text = re.sub("|".join(self.ports), lambda found: self.ports[found[0]], text)
        text = re.sub(rf"DEC_ID|dec_{_UUID}|dec_…", self.seen["dec"] or "DEC_ID", text)
        text = text.replace("aig_sk_…", self.seen["aig_sk"] or "aig_sk_…")
        public = self.directory / ".gateway" / "keys" / "signing.pub"
        return re.sub(r"\b\w+\+[0-9a-f]{8}\+\S*…\S*", lambda _: public.read_text("utf-8").strip(), text)

    def _as_in_the_page(self, printed: str) -> str:
        for shown, own in self.ports.items():
            printed = re.sub(rf"\b{own}\b", shown, printed)
        return printed


def _with_placeholders(text: str) -> str:
    for pattern, placeholder in _PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


def _narrow(text: str) -> str:
    """Text whose columns have no widths."""
    return re.sub(r"(?m)^ +| +$", "", re.sub(r" {2,}", " ", text))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(number: int) -> list[int]:
    """Ports below those that the kernel gives to connections, because they are used later than they are chosen.

    Each worker of a divided test run takes them from a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    own = range(20_000 + worker * _EACH, 20_000 + (worker + 1) * _EACH)
    # Not from the generator that all tests share: some give it a seed, and then two runs would choose alike.
    return [port for port in random.SystemRandom().sample(own, 50) if not _listens(port)][:number]
