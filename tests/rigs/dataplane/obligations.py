"""Shared parts of the tests in `tests/gateway/dataplane/test_obligations.py`."""

from __future__ import annotations

import orjson

from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import ACTOR, Gateway

POLICY = """\
package bot.authz

allow := true

obligations.model := "gpt-4o-mini" if input.resource.model == "gpt-4o"

obligations.strip_tools := {tool.name | some tool in input.request.tools; startswith(tool.name, "delete_")}

obligations.set_headers["x-data-class"] := "internal use"

obligations.max_output_tokens := 50 if input.request.stream
"""


def put_into_force(gateway: Gateway, source: str = POLICY) -> None:
    manifest = {"roots": ["bot"], "metadata": {"gateway": {"entrypoint": "data.bot.authz", "models": True}}}
    digest = policy_bundle.publish(
        gateway.data.bundles, {".manifest": orjson.dumps(manifest), "authz.rego": source.encode()}
    )
    gateway.plane._policies.load(digest)
    record = BundleRecord(name="bot", commit=digest[:40], digest=digest, author="", entrypoint="data.bot.authz")
    activations.activate(gateway.registry, actor=ACTOR, commit=digest[:40], author="dana", bundles=[record])
