"""Schemathesis reads the OpenAPI document and asks what it allows, and more: no 5xx, no answer that is not documented.

It is not among the dependencies of the tests; without it (`pip install schemathesis`) this test is skipped.
"""

from __future__ import annotations

import importlib
import os
import random
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.stateful
import pytest
from starlette.types import Receive, Scope, Send

from gateway import identifiers
from gateway.control.server import ControlApi
from gateway.data_directory import DataDirectory
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Client, Control, elsewhere

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

pytestmark = pytest.mark.slow

_THERE = {"agent": "bot", "organization": "acme", "operator": "vera"}
# Members of a body that name things: what is made with them is mostly refused otherwise.
# The first does not end, the next ones send to whatever host was made up, and the last ends the operator's own token.
_LEFT_OUT = ["/events", "/webhooks/{webhook}/test", "/upstreams/{upstream}/check", "/login", "/logout"]

_NAMED = {
    "agent": "bot",
    "bundle": "base",
    "limit": "requests_per_day",
    "owner": "dana@example.com",
    "parent": None,
    "reason": "a test",
    "team": "",
}


@pytest.fixture
def headers(control: Control, owner: Client) -> dict[str, str]:
    """Those of an owner, in a gateway in which there is something to ask about."""
    control.home.agent("bot")
    control.home.activate("base")
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    control.operator("vera", "viewer")
    return {"authorization": f"Bearer {owner.token}"}


@pytest.fixture
def schema(control: Control) -> Any:
    loaded = schemathesis.openapi.from_asgi("/api/v1/openapi.json", control.api)
    return loaded.exclude(path=_LEFT_OUT)


def _checks(*more: str) -> list[Any]:
    general = importlib.import_module("schemathesis.checks")
    openapi = importlib.import_module("schemathesis.specs.openapi.checks")
    return [
        general.not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_headers_conformance,
        openapi.response_schema_conformance,
        *(getattr(openapi, name) for name in more),
    ]


def _settings(examples: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        **more,
    )


class _Repeatable:
    """A clock and random bytes that are the same in each chain, once it has begun.

    Hypothesis replays the beginnings of chains and gives up (`FlakyStrategyDefinition`) if they go on differently: if a
    key that ends after a second was alive in one of them, or if ids were in another order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._began = time.time_ns()
        self.begin()
        monkeypatch.setattr(time, "time_ns", lambda: self._ns)
        monkeypatch.setattr(time, "time", lambda: self._ns / 1e9)
        for module, name in ((os, "urandom"), (random, "_urandom")):
            monkeypatch.setattr(module, name, lambda size: self._random.randbytes(size))

    def begin(self) -> None:
        self._ns = self._began
        self._random = random.Random(0)
        identifiers._last = 0
        identifiers._after_fork()  # forgets the random bytes that are in store

    def tick(self) -> None:
        """Between two requests. The number of its looks at the clock depends on other threads."""
        self._ns += 10_000_000


def test_no_answer_is_undocumented(schema: Any, headers: dict[str, str]) -> None:
    examples = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "15"))
    asked = 0

    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        # Mostly about things that are there: anything else is 404 and says little.
        case.path_parameters = {name: _THERE.get(name, value) for name, value in (case.path_parameters or {}).items()}
        case.query = {name: value for name, value in (case.query or {}).items() if name != "organization"}
        case.call_and_validate(headers=headers, checks=_checks())

    for found in schema.get_all_operations():
        _settings(examples)(hypothesis.given(case=found.ok().as_strategy())(ask))()
    assert asked > 50 * min(examples, 5)


def test_nothing_is_undocumented_in_the_life_of_what_is_created(
    control: Control, headers: dict[str, str], owner: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains of requests along the links of the document: create, read, change, end, and ask again."""
    examples = int(os.environ.get("SCHEMATHESIS_CHAINS", "60"))
    answered: Counter[tuple[str, int]] = Counter()
    checks = _checks("use_after_free", "ensure_resource_availability")
    # Operations that must not be carried out: everything else would be refused from then on.
    mine = {"olga", "default"}
    mine |= {owner("GET", path).ok()["id"] for path in ("/operators/olga", "/organizations/default")}
    current = control.api
    repeatable = _Repeatable(monkeypatch)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await current(scope, receive, send)

    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app).exclude(path=_LEFT_OUT)

    class Life(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Each chain begins with the same gateway."""
            nonlocal current
            repeatable.begin()
            self.data = DataDirectory(tmp_path / "copy")
            shutil.copytree(control.home.data.path, self.data.path)
            current = ControlApi.open(elsewhere, self.data, "1.2.3")

        def teardown(self) -> None:
            current.close()
            shutil.rmtree(self.data.path)

        def before_call(self, case: Any) -> None:
            repeatable.tick()
            case.query = {name: value for name, value in (case.query or {}).items() if name != "organization"}
            case.path_parameters = {
                name: _THERE.get(name, value) if value in mine else value
                for name, value in (case.path_parameters or {}).items()
            }
            # Wrong tokens have tests of their own, and who sends many of them is refused for a while.
            case.headers = {name: value for name, value in case.headers.items() if name.lower() != "authorization"}
            case.headers |= headers
            if isinstance(case.body, dict):
                case.body |= {name: value for name, value in _NAMED.items() if name in case.body}
                if isinstance(case.body.get("name"), str):
                    case.body["name"] = re.sub("[^a-z0-9]", "", case.body["name"])[:20] or "n"

        def after_call(self, response: Any, case: Any) -> None:
            answered[f"{case.method} {case.path}", response.status_code] += 1

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            case.validate_response(response, checks=checks)

    hypothesis.stateful.run_state_machine_as_test(Life, settings=_settings(examples, stateful_step_count=20))
    done = {operation for operation, status in answered if status < 300}
    assert len(done) >= 30, sorted(done)
