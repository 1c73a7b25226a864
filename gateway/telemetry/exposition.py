"""Metrics as Prometheus reads them: in its text format or, if the reader asks for that, in OpenMetrics.

Only the control process uses this. The workers' counts are rendered with the names of `catalogue.py`; to it come
the gauges that the control process itself knows. Each worker bounds its labels; here the union of all workers is
bounded in the same way, and a name that has its own series keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.telemetry.catalogue import KINDS, MAX_LIMITED, BlockKind, MetricFamily
from gateway.telemetry.collection import Key, Totals

OTHER = "other"


@dataclass(slots=True)
class Gauge:
    """A gauge that the control process knows: its samples are pairs of label values and a number."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    samples: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def set(self, number: float, *labels: str) -> None:
        self.samples.append((labels, number))

    def of(self, organization: str) -> Gauge:
        """Only the samples of one organization."""
        found = [(values, number) for values, number in self.samples if _of(organization, self.labels, values)]
        return Gauge(self.name, self.help, self.labels, found)


class Bounds:
    """The agents, models and limits that have series of their own: the first ones seen, for as long as this lives."""

    def __init__(self, agents: int, models: int) -> None:
        self._most_agents = agents
        self._most_models = models
        self._agents: set[tuple[str, ...]] = set()
        self._models: dict[tuple[str, ...], set[str]] = {}
        self._limited: set[tuple[str, ...]] = set()

    def bounded(self, blocks: dict[Key, list[int]]) -> dict[Key, list[int]]:
        """The blocks, those of further agents and models added together."""
        found: dict[Key, list[int]] = {}
        for (kind, labels), numbers in blocks.items():
            key = (kind, self._labels(kind, labels))
            before = found.get(key)
            found[key] = numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
        return found

    def _labels(self, kind: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        if kind == "agent" and labels not in self._agents and labels[0]:
            if len(self._agents) >= self._most_agents:
                return ("", OTHER)
            self._agents.add(labels)
        elif kind == "limit" and labels not in self._limited and labels[0]:
            if len(self._limited) >= MAX_LIMITED:
                return ("", OTHER, labels[2])
            self._limited.add(labels)
        elif kind in ("request", "model"):
            at = KINDS[kind].labels.index("model")
            name, names = labels[at], self._models.setdefault(labels[:2], set())
            if name not in ("", OTHER) and name not in names:
                if len(names) >= self._most_models:
                    return (*labels[:at], OTHER, *labels[at + 1 :])
                names.add(name)
        return labels


class _Collected(Collector):
    def __init__(self, blocks: dict[Key, list[int]], gauges: Sequence[Gauge], *, of_all: bool) -> None:
        self._blocks = blocks
        self._gauges = gauges
        self._kinds = {name: kind for name, kind in KINDS.items() if of_all or "organization" in kind.labels}

    def collect(self) -> Iterator[Metric]:
        for name, kind in self._kinds.items():
            at = 0
            blocks = [(labels, numbers) for (of, labels), numbers in self._blocks.items() if of == name]
            for family in kind.families:
                yield _metric(family, kind, [(labels, numbers[at : at + family.slots]) for labels, numbers in blocks])
                at += family.slots
        for each in self._gauges:
            gauge = GaugeMetricFamily(each.name, each.help, labels=each.labels)
            for labels, number in each.samples:
                gauge.add_metric(labels, number)
            yield gauge


def _metric(family: MetricFamily, kind: BlockKind, blocks: Sequence[tuple[tuple[str, ...], list[int]]]) -> Metric:
    if family.type == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=kind.labels)
        bounds = [*(repr(round(float(bound * family.unit), 9)) for bound in family.bounds), "+Inf"]
        for labels, numbers in blocks:
            counted = 0
            buckets: list[tuple[str, float]] = []
            for bound, number in zip(bounds, numbers, strict=False):  # the last number is the sum
                counted += number
                buckets.append((bound, counted))
            histogram.add_metric(labels, buckets, round(numbers[-1] * family.unit, 9))
        return histogram
    names = (*kind.labels, family.label) if family.values else kind.labels
    make = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=names)
    for labels, numbers in blocks:
        if family.values:
            for value, number in zip(family.values, numbers, strict=True):
                metric.add_metric((*labels, value), round(number * family.unit, 9))
        else:
            metric.add_metric(labels, round(numbers[0] * family.unit, 9))
    return metric


def _of(organization: str, labels: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return dict(zip(labels, values, strict=True)).get("organization") == organization


def render(
    totals: Totals, bounds: Bounds, gauges: Sequence[Gauge], accept: str, organization: str | None = None
) -> tuple[bytes, str]:
    """The page and its content type, in the format that the `Accept` header prefers.

    With an organization only the rows that are labelled with it: the others are of somebody else, or of all together.
    """
    blocks = totals.blocks
    if organization is not None:
        blocks = {
            (kind, labels): numbers
            for (kind, labels), numbers in blocks.items()
            if _of(organization, KINDS[kind].labels, labels)
        }
        gauges = [each.of(organization) for each in gauges if "organization" in each.labels]
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version in it that is none
        encode, content_type = choose_encoder("")
    return encode(_Collected(bounds.bounded(blocks), gauges, of_all=organization is None)), content_type
