"""Schemathesis reads the OpenAPI document and asks what it allows, and more: no 5xx, no answer that is not documented.

It is not among the dependencies of the tests; without it (`pip install schemathesis`) this test is skipped.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import hypothesis
import pytest

from gateway.registry import changes
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Control

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

pytestmark = pytest.mark.slow

_THERE = {"agent": "bot", "organization": "acme", "operator": "vera"}


def test_no_answer_is_undocumented(control: Control) -> None:
    general = importlib.import_module("schemathesis.checks")
    openapi = importlib.import_module("schemathesis.specs.openapi.checks")
    checks = [
        general.not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_headers_conformance,
        openapi.response_schema_conformance,
    ]
    control.home.agent("bot")
    control.home.activate("base")
    changes.create_organization(control.home.registry, actor=ACTOR, name="acme")
    control.operator("vera", "viewer")
    headers = {"authorization": f"Bearer {control.operator().token}"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", control.api)
    examples = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "15"))
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    asked = 0

    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        # Mostly about things that are there: anything else is 404 and says little.
        case.path_parameters = {name: _THERE.get(name, value) for name, value in (case.path_parameters or {}).items()}
        case.query = {name: value for name, value in (case.query or {}).items() if name != "organization"}
        case.call_and_validate(headers=headers, checks=checks)

    for found in schema.exclude(path="/events").get_all_operations():  # which does not end
        settings(hypothesis.given(case=found.ok().as_strategy())(ask))()
    assert asked > 50 * min(examples, 5)
