"""The names of things of several servers: each means one thing."""

from __future__ import annotations

import itertools

import pytest

from gateway.mcp import joined
from gateway.mcp.pins import MAX_NAME


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a__t", ("a", "t")),
        ("a__b__t", ("a__b", "t")),
        ("a___t", ("a_", "t")),
        ("a____t", ("a_", "_t")),
        ("a__b__", ("a", "b__")),
        ("a__", None),
        ("__t", None),
        ("t", None),
        ("b__t", None),
    ],
)
def test_a_name_belongs_to_the_longest_server(name: str, expected: tuple[str, str] | None) -> None:
    assert joined.owner(name, {"a", "a_", "a__b"}) == expected


def test_no_two_things_have_one_name() -> None:
    """All short names of servers and tools of two letters."""
    words = ["".join(each) for size in range(1, 5) for each in itertools.product("a_", repeat=size)]
    servers = {each for each in words if each[0] == "a"}
    shown = [
        joined.exposed(server, tool) for server in servers for tool in words if joined.has_name(server, tool, servers)
    ]
    assert len(shown) == len({*shown}) > 100


def test_a_long_name_is_none() -> None:
    assert joined.has_name("a", "t" * (MAX_NAME - 3), {"a"})
    assert not joined.has_name("a", "t" * (MAX_NAME - 2), {"a"})
