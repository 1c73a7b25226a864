"""A gateway as its users run it, in front of a provider that speaks three APIs, and the clients that need a place."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.dataplane.processes import ROOT, Live, environment, write_policy

HERE = Path(__file__).parent
CREWAI = ROOT / ".venv-crewai/bin/python"
FRAMEWORKS = ROOT / ".venv-frameworks/bin/python"

POLICY = """\
package bot.authz

default allow := false

allow if input.action == "models.list"

allow if regex.match(`^(gpt-4o|claude|gemini|text-embedding|mock-)`, input.resource.model)

deny contains "this tool is not for agents" if "delete_everything" in {tool.name | some tool in input.request.tools}

obligations.strip_tools := {"web_search", "web_search_20250305"}
"""


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway that all tests share. At the end its log is whole and every decision in it closed."""
    found = Live(tmp_path_factory.mktemp("clients"))
    try:
        with (found.data / "gateway.toml").open("a") as file:
            file.write("breaker_failures = 0\n")  # clients are to see every error that the provider was asked for
        write_policy(found.data / "policies", POLICY)
        provider = found.provider.line(r"base URL (\S+)")[1]
        found.run("upstreams", "add", "claude", "--provider", "anthropic", "--base-url", provider, "--no-key")
        # The mock provider tells the list of Gemini's models from OpenAI's by the header of the key.
        key = {"MOCK_KEY": "mock-key"}
        found.run("upstreams", "add", "gemini", "--base-url", provider, "--key-env", "MOCK_KEY", env=key)
        for name in ("groq", "mistral"):
            found.run("upstreams", "add", name, "--base-url", provider, "--no-key")
        found.start("--workers", "1")
        yield found
        found.stop()
        found.check_log()
    finally:
        found.close()


@pytest.fixture
def openai_url(live: Live) -> str:
    return live.base_url


@pytest.fixture
def anthropic_url(live: Live) -> str:
    """Without the version, which Anthropic's clients add."""
    return live.base_url.removesuffix("/v1") + "/claude"


@pytest.fixture
def gemini_url(live: Live) -> str:
    """Without the version, which Google's clients add."""
    return live.base_url.removesuffix("/v1") + "/gemini"


@pytest.fixture
def known(live: Live, openai_url: str, anthropic_url: str, gemini_url: str) -> dict[str, str]:
    """The environment of a client: it knows base URLs and a key."""
    root = live.base_url.removesuffix("/v1")
    return environment(
        OPENAI_BASE_URL=openai_url,
        OPENAI_API_KEY=live.key,
        ANTHROPIC_BASE_URL=anthropic_url,
        ANTHROPIC_API_KEY=live.key,
        GEMINI_BASE_URL=gemini_url,
        GEMINI_API_KEY=live.key,
        GOOGLE_API_KEY=live.key,
        GOOGLE_GEMINI_BASE_URL=gemini_url,
        # Their clients add the version, and that of Groq `/openai` before it.
        GROQ_BASE_URL=f"{root}/groq",
        MISTRAL_BASE_URL=f"{root}/mistral",
        # The files and answers of frameworks belong to the test alone.
        HOME=str(live.directory),
        # Reports of frameworks to their makers are no subject here, and must not be tried.
        OPENAI_AGENTS_DISABLE_TRACING="1",
        LANGSMITH_TRACING="false",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        CREWAI_DISABLE_TELEMETRY="true",
        CREWAI_TRACING_ENABLED="false",
        AGNO_TELEMETRY="false",
        HAYSTACK_TELEMETRY_ENABLED="False",
        OTEL_SDK_DISABLED="true",
    )


@pytest.fixture(scope="session")
def crewai() -> str:
    """The Python that has CrewAI, which cannot be installed beside the other clients."""
    if not CREWAI.exists():
        pytest.skip(f"CrewAI is not installed: {HERE.relative_to(ROOT)}/crewai.txt says how")
    return str(CREWAI)


@pytest.fixture(scope="session")
def frameworks() -> str:
    """The Python that has the frameworks of `frameworks.txt`."""
    if not FRAMEWORKS.exists():
        pytest.skip(f"these frameworks are not installed: {HERE.relative_to(ROOT)}/frameworks.txt says how")
    return str(FRAMEWORKS)


@pytest.fixture(scope="session")
def node(pytestconfig: pytest.Config) -> Path:
    """A directory with the clients for Node, and our programs."""
    return installed(pytestconfig, HERE / "node", "clients for Node")


def installed(pytestconfig: pytest.Config, source: Path, what: str, *, scripts: bool = False) -> Path:
    """A copy of `source` in which npm has installed its `package.json`, once for each; the test is skipped without npm.

    `scripts`: the packages fetch or choose their programs by scripts of theirs.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{what} need `node` and `npm`")
    assert pytestconfig.cache is not None
    wanted = (source / "package.json").read_bytes()
    place = pytestconfig.cache.mkdir(f"{what.lower().replace(' ', '-')}-{hashlib.sha256(wanted).hexdigest()[:12]}")
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        for path in (each for each in source.iterdir() if each.is_file()):
            # At once: a program of another process may be reading it just now.
            shutil.copyfile(path, place / f".{path.name}")
            os.replace(place / f".{path.name}", place / path.name)
        if not (place / "installed").exists():
            quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
            quiet += [] if scripts else ["--ignore-scripts"]
            done = subprocess.run(["npm", "install", *quiet], cwd=place, capture_output=True, text=True, timeout=500)
            if done.returncode != 0:
                pytest.skip(f"npm cannot install the {what}: {done.stderr.strip()[:200]}")
            (place / "installed").touch()
    return place
