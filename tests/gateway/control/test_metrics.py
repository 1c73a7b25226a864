"""`GET /metrics`: which rows whom is told, and who is told nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.processes.metrics import Metrics
from gateway.processes.metrics_page import MetricsPage
from gateway.registry.organizations.changes import create_organization
from gateway.registry.upstreams.changes import add_upstream
from gateway.settings import load_settings
from gateway.telemetry.catalogue import KINDS
from gateway.telemetry.counts import Counts
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Client, Control, Reply, elsewhere, event_loop


@pytest.fixture
def page(control: Control) -> MetricsPage:
    """Two organizations with an upstream and an agent that has called."""
    data = control.home.data
    for name in ("acme", "beta"):
        create_organization(control.home.registry, actor=ACTOR, name=name)
        add_upstream(
            control.home.registry,
            control.home.vault,
            actor=ACTOR,
            organization=name,
            name=f"of-{name}",
            provider="openai",
            base_url="https://api.openai.com/v1",
            secret="sk-1",
        )
    with suppress(FileExistsError):
        data.metrics.mkdir()
    counts = Counts(data.metrics / "boot_1", 65536)
    for kind, labels in (
        ("agent", ("acme", "ann")),
        ("agent", ("beta", "bot")),
        ("request", ("beta", "of-beta", "chat.completions", "m", "ok", "ok")),
        ("refusal", ("overloaded",)),
    ):
        counts.numbers[counts.open(kind, labels, KINDS[kind].slots)] += 7
    settings = dataclasses.replace(load_settings({}, {}), data=data)
    metrics = Metrics(settings, control.home.registry, list)
    return MetricsPage(elsewhere, control.api, metrics.page, ["gateway.example"])


def get(page: MetricsPage, token: str | None, *, host: str = "127.0.0.1:8081") -> Reply:
    headers = [(b"host", host.encode())]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    client = Client(page, token)  # type: ignore[arg-type]  # it is called in the same way
    asking = client._exchange("GET", "/metrics", "", headers, b"")
    return asyncio.run_coroutine_threadsafe(asking, event_loop()).result(60)


def organizations(reply: Reply) -> set[str | None]:
    assert reply.status == 200, reply.raw
    families = text_string_to_metric_families(reply.raw.decode())
    return {sample.labels.get("organization") for each in families for sample in each.samples}


def test_an_operator_sees_the_rows_of_its_organization(control: Control, page: MetricsPage) -> None:
    acme = control.operator("ann", "viewer", "acme", scopes=["usage:read"])
    olga = control.operator("olga", "viewer")
    assert organizations(get(page, acme.token)) == {"acme"}
    assert b"bot" not in get(page, acme.token).raw
    assert organizations(get(page, olga.token)) >= {"acme", "beta", None}


def test_nobody_else_sees_any(control: Control, page: MetricsPage) -> None:
    other = control.operator("kay", "owner", scopes=["keys:write"])
    key = control.home.agent() and control.home.key()
    for token, status, code in (
        (None, 401, "bad_credentials"),
        (key, 401, "bad_credentials"),
        (other.token, 403, "token_scope"),
    ):
        assert get(page, token).problem(status) == code
    assert "www-authenticate" in get(page, None).headers


def test_a_name_that_a_browser_was_led_here_by_is_refused(control: Control, page: MetricsPage) -> None:
    olga = control.operator("olga", "viewer")
    for host in ("evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        assert get(page, olga.token, host=host).problem(421) == "unknown_host", host
    for host in ("127.0.0.1:8081", "[::1]:8081", "10.1.2.3", "localhost:8081", "LOCALHOST", "gateway.example:9"):
        assert get(page, olga.token, host=host).status == 200, host
