"""`gateway decide` on a call of a tool of an MCP server."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.cli import main
from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.registry.upstreams.changes import add_upstream
from tests.gateway.dataplane.conftest import ACTOR, MANIFEST, ORG, Prepared
from tests.rigs.dataplane.mcp import POLICY, SECRET, know, pins

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "input.schema.json").read_text("utf-8"))


@pytest.fixture
def ready(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory with an MCP server in it, of which two tools are approved."""
    data, registry, _, vault = prepared.copy(tmp_path, 9)
    where = {"actor": ACTOR, "organization": ORG, "name": "github", "provider": "mcp"}
    with closing(registry):
        add_upstream(registry, vault, **where, base_url="https://mcp.example.com", secret=SECRET)
        digest = policy_bundle.publish(data.bundles, {".manifest": MANIFEST, "authz.rego": POLICY.encode()})
        record = BundleRecord(name="bot", commit="d" * 40, digest=digest, author="", entrypoint="data.bot.authz")
        activations.activate(registry, actor=ACTOR, commit="d" * 40, author="dana", bundles=[record])
        know(registry, pins("pinned", "get_issue", "delete_repo"))
    monkeypatch.setenv("AIG_DATA", str(data.path))


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("get_issue", {"repo": "acme/app"}, "allowed"),
        ("get_issue", {"repo": "other/app"}, "policy_denied"),
        ("get_issue", {}, "policy_denied"),
        ("delete_repo", {"repo": "acme/app"}, "policy_denied"),
        ("list_issues", {"repo": "acme/app"}, "tool_unapproved"),
    ],
)
def test_the_call_of_a_tool(
    capsys: pytest.CaptureFixture[str], tool: str, arguments: dict[str, Any], reason: str
) -> None:
    asked = "decide", "--agent", "bot", "--upstream", "github", "--tool", tool, "--arguments", json.dumps(arguments)
    code = main([*asked, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["reason"], code) == (reason, 0 if reason == "allowed" else 1)
    named = found["input"]["resource"]["tool"]
    state = "new" if tool == "list_issues" else "pinned"
    assert (named["server"], named["name"], named["state"]) == ("github", tool, state)
    jsonschema.validate(found["input"], SCHEMA)
    main([*asked, "--explain"])
    assert f"mcp.tools.call {tool} at github" in capsys.readouterr().out


@pytest.mark.usefixtures("ready")
def test_what_cannot_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for given, told in [
        (["--tool", "x"], "a tool is one of an MCP server"),
        (["--upstream", "github"], "belong to --tool"),
        (["--upstream", "github", "--tool", "x", "--arguments", "["], "--arguments is not JSON"),
        (["--upstream", "github", "--tool", "x", "--arguments", "[]"], "must be a JSON object"),
        (["--upstream", "github", "--tool", "x", "--route", "/v1/models"], "given twice"),
    ]:
        assert main(["decide", "--agent", "bot", *given]) == 2
        assert told in capsys.readouterr().err
