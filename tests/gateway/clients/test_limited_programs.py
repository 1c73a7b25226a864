"""Programs of agents' frameworks with images, PDFs, searches and kept state, under a limit on money of each mode."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.gateway.dataplane.processes import Live, write_policy
from tests.rigs.clients.frameworks import PROGRAMS, needs

pytestmark = pytest.mark.slow

LIMIT = "spend_microusd_per_day"
# Name, arguments, the packages, and how many of its calls must have been made.
TABLE = [
    ("openai_agents", (), ("agents",), 9),
    ("pydantic_ai", ("openai:gpt-4o",), ("pydantic_ai",), 7),
    ("pydantic_ai", ("anthropic:claude-sonnet-4-5",), ("pydantic_ai",), 6),
    ("langgraph", ("openai",), ("langgraph", "langchain_openai"), 7),
    ("langgraph", ("anthropic",), ("langgraph", "langchain_anthropic"), 6),
    ("google", (), ("google.genai",), 4),
]
WITHOUT_A_BOUND = {"search without a cap", "code"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """In place of the other tests' gateway: upstreams are the makers', nothing is stripped, and agents have limits."""
    found = Live(tmp_path_factory.mktemp("limited"))
    try:
        write_policy(found.data / "policies", "package bot.authz\n\nallow := true\n")
        provider = found.provider.line(r"base URL (\S+)")[1]
        for name in ("openai", "anthropic"):
            found.run("upstreams", "add", name, "--base-url", provider, "--no-key")
        found.run("upstreams", "add", "gemini", "--base-url", provider, "--key-env", "KEY", env={"KEY": "mock-key"})
        for mode, value in (("hard", "$1000"), ("estimate", "$1000"), ("used-up", "$0.000001")):
            found.run("agents", "register", mode)
            found.run("bind", mode, "starter")
            found.run("limits", "set", mode, LIMIT, value, "--mode", mode if mode == "hard" else "estimate")
        found.start("--workers", "1")
        yield found
        found.stop()
        found.check_log()
    finally:
        found.close()


@pytest.fixture(scope="module")
def keys(live: Live) -> dict[str, str]:
    return {mode: live.run("keys", "create", mode).strip() for mode in ("hard", "estimate", "used-up")}


@pytest.fixture
def openai_url(live: Live) -> str:
    return live.base_url.removesuffix("/v1") + "/openai/v1"


@pytest.fixture
def anthropic_url(live: Live) -> str:
    return live.base_url.removesuffix("/v1") + "/anthropic"


@pytest.mark.parametrize("mode", ["hard", "estimate", "used-up"])
@pytest.mark.parametrize(("name", "arguments", "packages", "count"), TABLE, ids=lambda value: str(value))
def test_a_program(
    name: str,
    arguments: tuple[str, ...],
    packages: tuple[str, ...],
    count: int,
    mode: str,
    live: Live,
    keys: dict[str, str],
    known: dict[str, str],
) -> None:
    for package in packages:
        needs(package)
    key = {member: keys[mode] for member in known if member.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / f"limited_{name}_program.py"), *arguments],
        env={**known, **key, "AGENT": mode},
        cwd=live.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == count
    for call, came in found.items():
        if mode == "used-up":
            assert re.match("429 .*a limit has no room for this request", came, re.DOTALL), (call, came)
        elif mode == "hard" and call in WITHOUT_A_BOUND:
            assert re.match("403 .*--mode estimate", came, re.DOTALL), (call, came)
        else:
            assert came == "ok", (call, came)
    live.wait(lambda: live.rows("SELECT count(*) FROM open_decision") == [(0,)])
