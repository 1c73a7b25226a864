"""A bundle in the shadow, through the data plane: recorded, and without any effect on the request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from gateway.cli import main
from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.policies.bindings import bind, unbind
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import ACTOR, ORG, POLICY, Gateway, chat

SHADOW = """\
package trial.authz

allow if input.resource.model == "gpt-4o"

deny contains "too warm" if input.request.body.temperature > 1

deny contains "usage is missing" if not input.usage.requests

obligations.model := "gpt-4o-mini"
"""


def put_into_force(gateway: Gateway) -> None:
    bundles = []
    for name, source in (("bot", POLICY), ("trial", SHADOW)):
        entrypoint = f"data.{name}.authz"
        manifest = orjson.dumps({"roots": [name], "metadata": {"gateway": {"entrypoint": entrypoint}}})
        digest = policy_bundle.publish(gateway.data.bundles, {".manifest": manifest, "authz.rego": source.encode()})
        gateway.plane._policies.load(digest)
        bundles.append(BundleRecord(name=name, commit="e" * 40, digest=digest, author="", entrypoint=entrypoint))
    activations.activate(gateway.registry, actor=ACTOR, commit="e" * 40, author="dana", bundles=bundles)


def test_it_is_recorded_and_does_not_count(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []
    bound = {"organization": ORG, "kind": "agent", "subject": "bot", "bundle": "trial"}

    async def test(gateway: Gateway) -> None:
        put_into_force(gateway)
        bind(gateway.registry, actor=ACTOR, **bound, shadow=True)  # type: ignore[arg-type]
        for model, temperature in (("gpt-4o", 0), ("gpt-4o", 2), ("gpt-capped", 0), ("gpt-secret", 0)):
            reply = await gateway.chat(model, temperature=temperature)
            assert reply.status == (403 if model == "gpt-secret" else 200)
        assert gateway.upstream.seen[0].json == chat("gpt-4o", temperature=0)
        decided = await gateway.entries("decided")
        answers = [json.loads(entry["shadow_json"])[0] for entry in decided]
        assert [(each["code"], each["reasons"]) for each in answers] == [
            ("allowed", []),
            ("policy_denied", ["too warm"]),
            ("policy_undefined", []),  # it judges the request as it came, not as the cap has changed it
            ("policy_undefined", []),
        ]
        assert answers[0]["obligations"] == {"model": "gpt-4o-mini"}
        assert all(entry["recomputable"] for entry in decided), "it reads content, and the bundles that count do not"
        assert all("trial" not in entry["bundles_json"] for entry in decided)
        ids.append(decided[1]["id"])
        unbind(gateway.registry, actor=ACTOR, **bound, shadow=True)  # type: ignore[arg-type]
        await gateway.chat("gpt-4o")
        assert "shadow_json" not in (await gateway.entries("decided"))[-1]

    run(test)
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))
    assert main(["audit", "show", ids[0]]) == 0
    assert "shadow    trial (grant) would say policy_denied (too warm)" in capsys.readouterr().out
    assert main(["explain", ids[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agrees"] is True
