"""Shared parts of the tests in `tests/gateway/dataplane/test_measures.py`."""

from __future__ import annotations

from gateway.telemetry import collection
from gateway.telemetry.catalogue import KINDS
from tests.gateway.dataplane.conftest import Gateway


def counted(gateway: Gateway, kind: str) -> dict[tuple[str, ...], list[int]]:
    totals = collection.collect(gateway.data.metrics, {"boot_test"})
    return {labels: numbers for (name, labels), numbers in totals.blocks.items() if name == kind}


def numbers(gateway: Gateway, kind: str, metric: str, *labels: str) -> list[int]:
    """The numbers of one metric of one block."""
    at = KINDS[kind].offset(metric)
    slots = next(family.slots for family in KINDS[kind].families if family.name == metric)
    return counted(gateway, kind)[labels][at : at + slots]
