"""`/metrics` of a running gateway: counters survive workers that are killed, and a restart of the control process."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.dataplane.processes import Live, request

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("metrics"))
    try:
        found.run("operators", "add", "prometheus", "--role", "viewer")
        token = found.run("operators", "token", "create", "prometheus", "--scope", "usage:read").split()[0]
        (found.directory / "token").write_text(token)
        found.start("--workers", "2")
        yield found
        found.stop()
    finally:
        found.close()


def control(live: Live) -> str:
    assert live.up is not None
    return live.up.line(r"control plane (http[^)]+)\)")[1]


Sample = tuple[str, frozenset[tuple[str, str]]]


def asked(live: Live) -> urllib.request.Request:
    headers = {"authorization": f"Bearer {(live.directory / 'token').read_text()}"}
    return urllib.request.Request(f"{control(live)}/metrics", headers=headers)


def scrape(live: Live) -> dict[Sample, float]:
    with urllib.request.urlopen(asked(live), timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(live: Live, model: str) -> int:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as connection:
        connection.sendall(request(live.key, model))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()  # all of it: a client that leaves before its end is counted as gone
        return answer.status


def total(found: dict[Sample, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (of, has), value in found.items() if of == name and wanted <= has)


def test_counters_never_fall_and_lose_nothing_when_processes_are_killed(live: Live) -> None:
    before = scrape(live)
    asked = 0

    def counted(denied: int) -> bool:
        found = scrape(live)
        outcomes = [total(found, "aig_requests_total", outcome=each) for each in ("ok", "denied")]
        # These come last for each request.
        times = [total(found, f"aig_{each}_seconds_count") for each in ("added_latency", "policy_duration")]
        return (outcomes, times) == ([asked, denied], [asked, asked + denied])

    for round_ in range(3):
        for _ in range(4):
            assert ask(live, "gpt-4o") == 200
            asked += 1
        assert ask(live, f"claude-{round_}") == 403
        live.wait(lambda: counted(round_ + 1))  # noqa: B023  # a request is counted after its answer was sent
        killed = [*live.children("data"), *(live.children("control") if round_ == 1 else [])]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        # A process that was just killed has no command line any more, but its socket listens until it is buried.
        live.wait(lambda: len({*live.children("data")} - {*killed}) == 2)  # noqa: B023  # used now
        live.wait(lambda: serving(live) and scrape_or_none(live, up=2) is not None)
        found = scrape(live)
        assert total(found, "aig_requests_total", outcome="ok") == asked
        assert total(found, "aig_requests_total", outcome="denied", model="other") == round_ + 1
        assert total(found, "aig_agent_requests_total", agent="bot", outcome="ok") == asked
        assert total(found, "aig_upstream_calls_total", upstream="mock", outcome="ok") == asked
        assert total(found, "aig_added_latency_seconds_count") == asked
        assert total(found, "aig_policy_duration_seconds_count") == asked + round_ + 1
        assert total(found, "aig_audit_commit_entries_sum") == 2 * asked + round_ + 1
        fallen = [
            sample
            for sample, value in before.items()
            if sample[0].endswith(("_total", "_count", "_bucket", "_sum")) and found.get(sample, -1.0) < value
        ]
        assert fallen == []
        before = found
    assert total(before, "aig_workers_configured") == 2
    assert total(before, "aig_requests_in_flight") == 0
    assert ask(live, "gpt-4o") == 200
    live.wait(lambda: total(scrape(live), "aig_upstream_last_success_timestamp_seconds", upstream="mock") > 1.7e9)
    assert total(before, "aig_policy_activation_age_seconds") > 0
    assert total(scrape(live), "aig_audit_entries") == sum(size for (size,) in live.rows("SELECT size FROM log"))


def serving(live: Live) -> bool:
    try:
        socket.create_connection(("127.0.0.1", live.port), timeout=60).close()
    except OSError:
        return False
    return True


def scrape_or_none(live: Live, up: int) -> dict[Sample, float] | None:
    """The page, once so many workers are up; None while they or the control process are being restarted."""
    try:
        found = scrape(live)
    except (OSError, urllib.error.URLError):
        return None
    return found if total(found, "aig_workers_up") == up else None


def test_a_start_begins_anew_and_other_pages_stay(live: Live) -> None:
    live.stop()
    live.start("--workers", "1")
    assert total(scrape(live), "aig_requests_total") == 0
    assert len(os.listdir(Path(live.data) / "metrics")) == 1
    for path in ("/nothing", "/metrics/", "/v1/models"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(control(live) + path, timeout=60)
        with raised.value as answer:
            assert answer.code == 404


DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def page(live: Live) -> str:
    with urllib.request.urlopen(asked(live), timeout=60) as answer:
        return str(answer.read().decode())


def test_the_dashboard_and_the_alerts_use_metrics_that_are_there(live: Live) -> None:
    there = set()
    for family in text_string_to_metric_families(page(live)):
        name = family.name + ("_total" if family.type == "counter" else "")
        there |= {name} if family.type != "histogram" else {f"{name}_{end}" for end in ("bucket", "sum", "count")}
    for file in ("grafana-dashboard.json", "prometheus-alerts.yml"):
        used = set(re.findall(r"\baig_\w+", (DEPLOY / file).read_text("utf-8")))
        # An alert's text names histograms as the documentation does.
        assert {name for name in used if name not in there and f"{name}_bucket" not in there} == set(), file


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt install prometheus)")
def test_promtool_accepts_the_page_and_the_alerts(live: Live) -> None:
    rules = subprocess.run(
        ["promtool", "check", "rules", DEPLOY / "prometheus-alerts.yml"], capture_output=True, text=True, timeout=60
    )
    assert rules.returncode == 0, rules.stdout + rules.stderr
    metrics = subprocess.run(
        ["promtool", "check", "metrics"], input=page(live), capture_output=True, text=True, timeout=60
    )
    assert metrics.returncode == 0, metrics.stdout + metrics.stderr


def test_top_shows_what_happens(live: Live) -> None:
    live.stop()
    live.start("--workers", "1")
    assert ask(live, "gpt-4o") == 200
    assert ask(live, "claude") == 403
    live.wait(lambda: total(scrape(live), "aig_requests_total") == 2)
    live.wait(lambda: json.loads(live.run("top", "--json", "--every", "0.2"))["upstreams"][0]["state"] == "ok")
    found = json.loads(live.run("top", "--json", "--every", "0.2"))
    assert found["workers"] == 1
    (bot,) = found["agents"]
    assert (bot["name"], bot["requests"], bot["denied"], bot["tokens"]) == ("bot", 2, 1, 6)
    (mock,) = found["upstreams"]
    assert (mock["name"], mock["calls"], mock["failures"]) == ("mock", 1, 0)
    text = live.run("top", "--once", "--every", "0.2")
    assert re.search(r"^ *bot +0 +0 +2 +1 +0 +0 +6 +\$0\.0000 *$", text, flags=re.MULTILINE), text
    assert re.search(r"^ *mock +ok +0 +1 +0 ", text, flags=re.MULTILINE), text


def test_a_listener_of_its_own(live: Live) -> None:
    """The page is there and nowhere else, and nothing else is there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    live.stop()
    with (live.data / "gateway.toml").open("a") as settings:
        settings.write(f"metrics_port = {port}\n")
    live.start("--workers", "1")
    own = asked(live)
    own.host = f"127.0.0.1:{port}"
    with urllib.request.urlopen(own, timeout=60) as answer:
        assert b"aig_workers_up 1.0" in answer.read()
    for url in (f"{control(live)}/metrics", f"http://127.0.0.1:{port}/api/v1/me", f"http://127.0.0.1:{port}/healthz"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(url, timeout=60)
        with raised.value as refused:
            assert refused.code == 404
