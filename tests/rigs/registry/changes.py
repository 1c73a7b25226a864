"""Shared parts of the tests in `tests/gateway/registry/test_changes.py`."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError


def refusal(code: str) -> pytest.RaisesExc[GatewayError]:
    return pytest.RaisesExc(GatewayError, check=lambda error: error.code == code)
