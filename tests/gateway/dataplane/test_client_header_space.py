"""The part of a request's head that goes upstream. Whole heads are tried in `tests/gateway/corpus`."""

from __future__ import annotations

import pytest

from gateway.dataplane import client_headers


@pytest.mark.parametrize("value", [b"t-1", b"t-1\t", b"t-1 \t ", b"\tt-1"])
def test_the_space_around_a_header_is_no_part_of_its_value(value: bytes) -> None:
    found = client_headers.forwarded({b"x-tenant": value}, frozenset({b"x-tenant"}), "agt_1")
    assert found["x-tenant"] == "t-1"
