"""The registry, its keys and bindings, and what is told of earlier times, against a model: `machine.py`."""

from __future__ import annotations

import pytest

from tests.gateway.registry.whole_machine import WholeMachine
from tests.rigs.registry.machine import run_machine


class HastyMachine(WholeMachine):
    stride = 10


def test_a_hundred_steps() -> None:
    run_machine(HastyMachine, 3, 35)


@pytest.mark.slow
def test_ten_thousand_steps() -> None:
    run_machine(WholeMachine, 200, 50)
