"""The impact of a candidate over HTTP: a commit or bundles that are sent, and who may ask."""

from __future__ import annotations

import base64

from tests.gateway.control.conftest import Client, Control
from tests.gateway.control.dashboard.policies import MANIFEST, POLICY, Policies


def test_a_commit_and_bundles_that_are_sent(control: Control, owner: Client) -> None:
    policies = Policies.made(control.home)
    decision = policies.decided(policies.activate())
    changed = POLICY.replace('"web_search"', '"code"')
    commit = policies.commit({"starter/authz.rego": changed})
    found = owner("POST", "/policies/impact", {"commit": commit}).ok()
    assert [(each["id"], each["before"], each["after"]) for each in found["items"]] == [(decision, "deny", "allow")]
    files = {".manifest": MANIFEST, "authz.rego": changed}
    sent = {"starter": {path: base64.b64encode(text.encode()).decode() for path, text in files.items()}}
    again = owner("POST", "/policies/impact", {"bundles": sent, "expect": [{"after": "allow"}]}).ok()
    assert (again["flips"], again["unexpected"], again["rules"][0]["rules"]) == (1, 0, ["starter/authz.rego:8 deny"])
    none = owner("POST", "/policies/impact", {"commit": commit, "until": "2020-01-01T00:00:00Z"}).ok()
    assert (none["decisions"], none["flips"]) == (0, 0)


def test_what_is_no_candidate(control: Control, owner: Client) -> None:
    Policies.made(control.home)
    ask = "POST", "/policies/impact"
    assert owner(*ask, {}).problem(422) == "bad_input"
    assert owner(*ask, {"commit": "main", "bundles": {}}).problem(422) == "bad_input"
    assert owner(*ask, {"bundles": {}}).problem(422) == "no_bundles"
    assert owner(*ask, {"bundles": {"starter": {"../x": ""}}}).problem(422) == "policies_file"
    manifest = base64.b64encode(MANIFEST.encode()).decode()
    broken = {".manifest": manifest, "authz.rego": base64.b64encode(b"package starter.authz\nallow if x").decode()}
    assert owner(*ask, {"bundles": {"starter": broken}}).problem(422) == "candidate_broken"
