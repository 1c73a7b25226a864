"""The page as Prometheus' own parsers read it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from gateway.telemetry.catalogue import KINDS
from gateway.telemetry.collection import Totals
from gateway.telemetry.exposition import Bounds, Gauge, render

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def totals() -> Totals:
    found = Totals()
    for name, kind in KINDS.items():
        labels = tuple(f'{label} "of"\\\nmany' for label in kind.labels)
        found.blocks[name, labels] = list(range(1, kind.slots + 1))
    return found


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_parsers_accept_every_metric(accept: str) -> None:
    gauge = Gauge("aig_workers_up", "Workers.")
    gauge.set(2)
    body, content_type = render(totals(), Bounds(10, 10), [gauge], accept)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
    parse = openmetrics if accept else plain
    found = {family.name: family for family in parse(body.decode())}
    assert set(found) == {family.name for kind in KINDS.values() for family in kind.families} | {"aig_workers_up"}
    (tokens, *_) = found["aig_tokens"].samples
    assert tokens.labels["model"] == 'model "of"\\\nmany'
    assert tokens.value == 1


@pytest.mark.parametrize("version", ["abc", "1.x", "-", ".", "1.0.0\u00ff"])
def test_a_version_that_is_none_is_no_error(version: str) -> None:
    """`prometheus_client` compares the parts of versions as numbers, and fails if one is none."""
    for kind in ("application/openmetrics-text", "text/plain"):
        body, _ = render(totals(), Bounds(10, 10), [], f"{kind}; version={version}")
        assert b"aig_tokens" in body


def test_buckets_are_cumulative_and_in_seconds() -> None:
    kind = KINDS["worker"]
    numbers = [0] * kind.slots
    at = kind.offset("aig_policy_duration_seconds")
    numbers[at], numbers[at + 1], numbers[at + 12], numbers[at + 13] = 2, 1, 1, 2_000_500
    body, _ = render(Totals({("worker", ()): numbers}), Bounds(0, 0), [], "")
    lines = [line for line in body.decode().splitlines() if line.startswith("aig_policy_duration_seconds")]
    assert lines[0] == 'aig_policy_duration_seconds_bucket{le="0.0001"} 2.0'
    assert lines[1] == 'aig_policy_duration_seconds_bucket{le="0.00025"} 3.0'
    assert lines[-3:] == [
        'aig_policy_duration_seconds_bucket{le="+Inf"} 4.0',
        "aig_policy_duration_seconds_count 4.0",
        "aig_policy_duration_seconds_sum 2.0005",
    ]


def test_the_union_of_many_workers_is_bounded_and_no_series_changes_its_place() -> None:
    """After many restarts, each with other agents and models, there are as many series as the settings say."""
    bounds = Bounds(agents=3, models=2)
    slots = KINDS["agent"].slots
    found = Totals({("agent", ("acme", f"bot-{number}")): [1] * slots for number in range(3)})
    found.blocks["model", ("acme", "openai", "gpt-1")] = [5] * 6
    first = bounds.bounded(found.blocks)
    assert first == found.blocks
    # An older worker that is seen first names others now.
    later = Totals({("agent", ("acme", f"agent-{number}")): [1] * slots for number in range(50)})
    for number in range(50):
        later.blocks["model", ("acme", "openai", f"model-{number}")] = [1] * 6
        later.blocks["model", ("acme", "groq", f"model-{number}")] = [1] * 6
    later.blocks.update(found.blocks)
    second = bounds.bounded(later.blocks)
    assert second.keys() >= first.keys()
    assert second["agent", ("", "other")] == [50] * slots
    assert {labels for kind, labels in second if kind == "model"} == {
        *(("acme", "openai", name) for name in ("gpt-1", "model-0", "other")),
        *(("acme", "groq", name) for name in ("model-0", "model-1", "other")),
    }
    assert second["model", ("acme", "openai", "other")] == [49] * 6


def test_the_documentation_has_every_metric_with_its_type_and_labels() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "operate" / "observability.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    documented = {
        name: (row[1], re.sub(r" \(.*?\)", "", row[2])) for row in rows for name in re.findall(r"`(aig_\w+)`", row[0])
    }
    for kind in KINDS.values():
        for family in kind.families:
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = (*kind.labels, family.label) if family.label else kind.labels
            assert documented[name] == (family.type, ", ".join(labels)), name
