"""A gateway as its users run it, in front of a provider that speaks two APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.dataplane.processes import Live, write_policy

POLICY = """\
package bot.authz

default allow := false

allow if input.action == "models.list"

allow if regex.match(`^(gpt-4o|claude|text-embedding|mock-)`, input.resource.model)

deny contains "this tool is not for agents" if "delete_everything" in {tool.name | some tool in input.request.tools}

obligations.strip_tools := {"web_search", "web_search_20250305"}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway that all tests of a module share. At the end its log is whole and every decision in it closed."""
    found = Live(tmp_path_factory.mktemp("clients"))
    try:
        write_policy(found.data / "policies", POLICY)
        provider = found.provider.line(r"base URL (\S+)")[1]
        found.run("upstreams", "add", "claude", "--provider", "anthropic", "--base-url", provider, "--no-key")
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
