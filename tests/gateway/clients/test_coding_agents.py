"""Coding agents as people run them: unmodified, without a terminal, set up as coding-agents.md says.

Each is given a task; the model behind the gateway (`coding_agents/model.py`) has it run a command and tells the result.
They are installed with npm, from ranges of versions; without it these tests are skipped. Their reports elsewhere are
switched off, and otherwise meet a proxy that is not there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.gateway.clients.conftest import HERE, installed
from tests.gateway.clients.programs.limited import BALLAST, pdf, png
from tests.gateway.dataplane.processes import Live, write_policy

pytestmark = pytest.mark.slow

POLICY = """\
package bot.authz

default allow := false

allow if input.agent.name in {"bot", "spender", "hard", "estimate"}

deny contains "not during the freeze" if input.agent.name == "frozen"
"""
TASK = "run this command: echo hello > made.txt && cat made.txt"
MODES = ("hard", "estimate")
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Agent:
    """A run: arguments, environment and files, in which `<url>` and `<key>` are replaced."""

    name: str
    action: str
    command: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)

    def start(
        self, packages: Path, home: Path, url: str, key: str, task: str = TASK
    ) -> subprocess.CompletedProcess[str]:
        def filled(text: str) -> str:
            return text.replace("<url>", url).replace("<key>", key)

        for name, text in self.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(filled(text))
        program = str(packages / "node_modules/.bin" / self.command[0])
        return subprocess.run(
            [program, *self.command[1:], task],
            cwd=home,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "TERM": "dumb",
                "HTTPS_PROXY": NOWHERE,
                "NO_PROXY": "127.0.0.1",
                **{name: filled(value) for name, value in self.environment.items()},
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )


CLAUDE = Agent(
    "claude",
    "messages",
    ("claude", "--allowedTools", "Bash", "-p"),
    {
        "ANTHROPIC_BASE_URL": "<url>/anthropic",
        "ANTHROPIC_API_KEY": "<key>",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    },
)
_CODEX = ("codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
CODEX = Agent(
    "codex",
    "responses",
    _CODEX,
    {"AIG_KEY": "<key>"},
    {
        ".codex/config.toml": 'model = "gpt-5.5"\nmodel_provider = "gateway"\n[model_providers.gateway]\n'
        'name = "Agent Identity Gateway"\nbase_url = "<url>/openai/v1"\nenv_key = "AIG_KEY"\n'
    },
)
# Its own provider asks for a WebSocket first.
CODEX_OPENAI = Agent(
    "codex with its own provider",
    "responses",
    _CODEX,
    {},
    {
        ".codex/config.toml": 'model = "gpt-5.5"\nopenai_base_url = "<url>/openai/v1"\n',
        ".codex/auth.json": '{"OPENAI_API_KEY": "<key>"}',
    },
)
GEMINI = Agent(
    "gemini",
    "generate_content",
    ("gemini", "--skip-trust", "--yolo", "--prompt"),
    {"GEMINI_API_KEY": "<key>", "GOOGLE_GEMINI_BASE_URL": "<url>/gemini"},
    {
        ".gemini/settings.json": json.dumps(
            {
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "privacy": {"usageStatisticsEnabled": False},
                "general": {"enableAutoUpdate": False},
            }
        )
    },
)
OPENCODE = Agent(
    "opencode",
    "messages",
    ("opencode", "run", "--model", "anthropic/claude-sonnet-4-5"),
    {"AIG_KEY": "<key>"},
    {
        "opencode.json": json.dumps(
            {
                "autoupdate": False,
                "share": "disabled",
                "provider": {"anthropic": {"options": {"baseURL": "<url>/anthropic/v1", "apiKey": "{env:AIG_KEY}"}}},
            }
        )
    },
)


def _name(agent: Agent) -> str:
    return agent.name


@pytest.fixture(scope="session")
def packages(pytestconfig: pytest.Config) -> Path:
    return installed(pytestconfig, HERE / "coding_agents", "coding agents", scripts=True)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway in front of the model.

    Its agents: one may do all, one is denied, one has used up its limit, and two have a limit on money of each mode.
    """
    found = Live(tmp_path_factory.mktemp("coding"))
    model = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.clients.coding_agents.model"],
        cwd=HERE.parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert model.stdout is not None
    try:
        url = model.stdout.readline().split()[-1]
        write_policy(found.data / "policies", POLICY)
        for name, base in (("openai", url), ("anthropic", url), ("gemini", url.removesuffix("/v1"))):
            found.run("upstreams", "add", name, "--base-url", base, "--key-env", "KEY", env={"KEY": "provider-key"})
        for name in ("frozen", "spender", *MODES):
            found.run("agents", "register", name)
            found.run("bind", name, "starter")
        found.run("limits", "set", "spender", "requests_per_day", "1")
        for mode in MODES:
            found.run("limits", "set", mode, "spend_microusd_per_day", "$10000", "--mode", mode)
        found.start("--workers", "1")
        yield found
        found.stop()
        found.check_log()
    finally:
        found.close()
        model.terminate()
        model.wait(60)
        model.stdout.close()


@pytest.fixture(scope="session")
def keys(house: Live) -> dict[str, str]:
    """A key of each agent. The one request that `spender` has is made."""
    made = {name: house.run("keys", "create", name).strip() for name in ("frozen", "spender", *MODES)}
    request = urllib.request.Request(f"{house.base_url}/models", headers={"Authorization": f"Bearer {made['spender']}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    return {"bot": house.key, **made}


@pytest.mark.parametrize("agent", [CLAUDE, CODEX, CODEX_OPENAI, GEMINI, OPENCODE], ids=_name)
def test_a_task(agent: Agent, house: Live, keys: dict[str, str], packages: Path, tmp_path: Path) -> None:
    before = len(house.entries())
    done = agent.start(packages, tmp_path, house.base_url.removesuffix("/v1"), keys["bot"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The command said: " in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "made.txt").read_text() == "hello\n"
    house.wait(lambda: house.rows("SELECT count(*) FROM open_decision") == [(0,)])
    entries = house.entries()[before:]
    decided = [each for each in entries if each["kind"] == "decided"]
    assert {each["reason"] for each in decided} == {"allowed"}
    assert [each["action"] for each in decided if each["stream"]].count(agent.action) >= 2
    ended = [each for each in entries if each["kind"] == "completed"]
    assert {(each["outcome"], each["status"]) for each in ended} == {("ok", 200)}
    assert all(each["input_tokens"] > 0 and each["output_tokens"] > 0 for each in ended)


@pytest.mark.parametrize(
    ("agent", "name", "calls", "text"),
    [
        (CLAUDE, "frozen", 1, "not during the freeze"),
        (CODEX, "frozen", 6, "not during the freeze"),  # it tries any status again, five times within seconds
        (GEMINI, "frozen", 2, "not during the freeze"),
        (CLAUDE, "spender", 1, "has 0 requests left of 1 request"),
        (CODEX, "spender", 1, "Quota exceeded"),
        (GEMINI, "spender", 2, "has 0 requests left of 1 request"),
    ],
    ids=lambda value: value.name if isinstance(value, Agent) else str(value),
)
def test_a_refusal_ends_it_and_is_shown(
    agent: Agent, name: str, calls: int, text: str, house: Live, keys: dict[str, str], packages: Path, tmp_path: Path
) -> None:
    before = len(house.entries())
    done = agent.start(packages, tmp_path, house.base_url.removesuffix("/v1"), keys[name])
    assert done.returncode != 0
    assert text in done.stdout + done.stderr
    decided = [each for each in house.entries()[before:] if each["kind"] == "decided"]
    assert 1 <= len(decided) <= calls
    assert not any(each["open"] for each in decided)


def test_claude_code_asks_the_control_listener(
    house: Live, keys: dict[str, str], packages: Path, tmp_path: Path
) -> None:
    """Its tools are found, and a wrong token is told apart. Then the model has one called, as assistants.md says."""
    assert house.up is not None
    url = house.up.line(r"control plane (\S+)\)")[1] + "/mcp"
    house.run("operators", "add", "editor", "--role", "auditor")
    token = house.run("operators", "token", "create", "editor", "--scope", "read").strip()

    def typed(command: tuple[str, ...], last: str) -> str:
        claude = replace(CLAUDE, command=("claude", *command))
        done = claude.start(packages, tmp_path, house.base_url.removesuffix("/v1"), keys["bot"], last)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for name, sent in (("gateway", token), ("wrong", token[:-1] + "x")):
        typed(("mcp", "add", "--transport", "http", name, url, "--header"), f"Authorization: Bearer {sent}")
    found = typed(("mcp",), "list")
    assert re.search(rf"gateway: {url} \(HTTP\) - .*Connected", found)
    assert not re.search(rf"wrong: {url} \(HTTP\) - .*Connected", found)
    said = typed(("--allowedTools", "mcp__gateway__who_may_call", "-p"), "ask the gateway about: gpt-5")
    answer = json.loads(said[said.index("{") :])
    assert {each["agent"]: each["allowed"] for each in answer["items"]}["bot"] is True
    assert answer["call"]["model"] == "gpt-5"


CLAUDE_SEARCHING = replace(CLAUDE, command=("claude", "--allowedTools", "WebSearch", "-p"))
CODEX_IMAGE = replace(CODEX, command=(*_CODEX, "-i", "shot.png", "--"))
CODEX_NO_SEARCH = replace(CODEX, command=(*_CODEX, "-c", 'web_search="disabled"'))
LIMITED = {
    # After the task: the reason of what a hard limit refuses, and whether the agent goes on then.
    "claude, image": (CLAUDE, "read this file: <home>/shot.png", "", True),
    "claude, PDF": (CLAUDE, "read this file: <home>/page.pdf", "", True),
    "claude, search": (CLAUDE_SEARCHING, "search the web for: news", "", True),
    "codex, image": (CODEX_NO_SEARCH, "read this file: <home>/shot.png", "", True),
    "codex, image and search": (CODEX_IMAGE, TASK, "tools that the provider runs (web_search)", False),
    "gemini, image": (GEMINI, "read this file: <home>/shot.png", "", True),
    "gemini, PDF": (GEMINI, "read this file: <home>/page.pdf", "", True),
    "gemini, search": (GEMINI, "search the web for: news", "tools that the provider runs (googleSearch)", True),
    "opencode, image": (OPENCODE, "read this file: <home>/shot.png", "", True),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("agent", "task", "refused", "goes_on"), LIMITED.values(), ids=LIMITED)
def test_images_documents_and_searches_under_a_limit_on_money(
    agent: Agent,
    task: str,
    refused: str,
    goes_on: bool,
    mode: str,
    house: Live,
    keys: dict[str, str],
    packages: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "shot.png").write_bytes(png())
    (tmp_path / "page.pdf").write_bytes(pdf())
    before = len(house.entries())
    task = task.replace("<home>", str(tmp_path))
    done = agent.start(packages, tmp_path, house.base_url.removesuffix("/v1"), keys[mode], task)
    house.wait(lambda: house.rows("SELECT count(*) FROM open_decision") == [(0,)])
    entries = house.entries()[before:]
    decided = [each for each in entries if each["kind"] == "decided"]
    denied = [each for each in decided if each["reason"] != "allowed"]
    if mode == "hard" and refused:
        assert {each["reason"] for each in denied} == {"limit_unenforceable"}
        assert all(refused in each["reasons_json"] and "--mode estimate" in each["reasons_json"] for each in denied)
    else:
        assert denied == []
    if mode == "estimate" or goes_on:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "The command said: " in done.stdout, done.stdout + done.stderr
    else:
        assert "--mode estimate" in done.stdout + done.stderr
    if "search the web" not in task:
        assert max(each["request_bytes"] for each in decided) > BALLAST
    ended = [each for each in entries if each["kind"] == "completed"]
    assert {(each["outcome"], each["status"]) for each in ended} <= {("ok", 200)}
