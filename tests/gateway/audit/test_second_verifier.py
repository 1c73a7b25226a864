"""A verifier that was written from the page of formats alone agrees with the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.audit.second_verifier_runs import differences


def test_it_imports_nothing_of_the_gateway() -> None:
    text = Path(__file__).with_name("second_verifier.py").read_text("utf-8")
    assert "import gateway" not in text
    assert "from gateway" not in text


@pytest.mark.slow
def test_both_verifiers_agree_on_manipulations(tmp_path: Path) -> None:
    found, both = differences(tmp_path, 40, seed=7)
    assert found == []
    assert both > 20
