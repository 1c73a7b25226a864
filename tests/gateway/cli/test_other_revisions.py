"""`gateway explain ID --commit`: what another revision would have decided."""

from __future__ import annotations

import json

import pytest

from gateway.audit import storage
from gateway.cli import main
from tests.gateway.conftest import Home
from tests.gateway.control.dashboard.policies import POLICY, Policies


def test_another_revision_is_asked(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    storage.create(home.data)
    policies = Policies.made(home)
    decision = policies.decided(policies.activate())
    loose = policies.commit({"starter/authz.rego": POLICY.replace('"web_search"', '"code"')})

    def explain(*options: str) -> tuple[int, str, str]:
        code = main(["explain", decision, *options, "--data", str(home.data.path)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    code, out, _ = explain("--commit", loose[:8])
    assert (code, "recorded  denied policy_denied (no web search)" in out) == (0, True), out
    assert "now       allowed" in out
    assert "✗ this revision gives another verdict" in out
    code, out, err = explain("--commit", "in-force", "--json")
    found = json.loads(out)
    assert (code, found["agrees"], found["unchanged"]) == (0, True, ["starter"])
    assert "decides as the one that judged" in err
    code, _, err = explain("--bundle", "starter")
    assert (code, "--bundle needs --commit" in err) == (1, True)
    code, _, err = explain("--commit", "nowhere")
    assert (code, "no commit, branch or tag `nowhere`" in err) == (1, True)
