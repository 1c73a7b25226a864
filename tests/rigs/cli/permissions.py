"""Shared parts of the tests in `tests/gateway/cli/test_permissions.py`."""

from __future__ import annotations

import json
import time

from gateway.cli import output
from gateway.policy.bundle import publish
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.conftest import ACTOR, Home

MODELS = """package models.authz

default allow := false

allow if input.resource.model in {MODELS}

deny contains "no shell" if "shell" in {tool.name | some tool in input.request.tools}

obligations := {"max_output_tokens": 100}
"""


NAMES = """package names.authz

deny contains sprintf("%s is not prod", [input.agent.name]) if input.agent.environment != "prod"
"""


def activate(home: Home, commit: str, models: str) -> None:
    records = []
    for name, text in (("models", MODELS.replace("MODELS", models)), ("names", NAMES)):
        entrypoint = f"data.{name}.authz"
        manifest = {"roots": [name], "metadata": {"gateway": {"entrypoint": entrypoint}}}
        files = {".manifest": json.dumps(manifest).encode(), f"{name}/authz.rego": text.encode()}
        digest = publish(home.data.bundles, files)
        records.append(BundleRecord(name=name, commit=commit, digest=digest, author="dana", entrypoint=entrypoint))
    activations.activate(home.registry, actor=ACTOR, commit=commit, author="dana", bundles=records)


def moment() -> str:
    time.sleep(0.002)
    now = output.timestamp(time.time_ns())
    time.sleep(0.002)
    return now
