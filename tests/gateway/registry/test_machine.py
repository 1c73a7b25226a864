"""The registry, its keys and bindings, and what is told of earlier times, against a model: `machine.py`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.gateway.registry.whole_machine import WholeMachine


class HastyMachine(WholeMachine):
    stride = 10


def run_machine(machine: type[WholeMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # of Hypothesis
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_hundred_steps() -> None:
    run_machine(HastyMachine, 3, 35)


@pytest.mark.slow
def test_ten_thousand_steps() -> None:
    run_machine(WholeMachine, 200, 50)
