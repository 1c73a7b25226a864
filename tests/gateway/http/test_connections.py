"""Who is closed when a newcomer finds no place: whoever has waited longest, and without a key first of all."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.http.connections import Connections
from gateway.shares import Holder, NoShareError

AGENT = (Holder("agent", "agt_1"), Holder("organization", "acme"))


@dataclass(eq=False)
class Link:
    """A connection as far as it counts."""

    busy: bool = False
    closed: list[bool] = field(default_factory=list)

    def can_be_spared(self, *, known: bool) -> bool:
        return not self.busy

    def give_up(self) -> None:
        self.closed.append(True)


def test_the_one_that_was_used_last_stays() -> None:
    connections = Connections(8)
    links = [Link() for _ in range(4)]
    for each in links:
        connections.arrive(each, "192.0.2.1")
    connections.used(links[0])
    connections.arrive(Link(), "192.0.2.1")
    assert [bool(each.closed) for each in links] == [False, True, False, False]


def test_one_without_a_key_goes_first() -> None:
    connections = Connections(8)
    known, strangers = [Link() for _ in range(4)], [Link() for _ in range(3)]
    for number, each in enumerate(known):
        connections.arrive(each, f"192.0.2.{number}")
        connections.known(each, AGENT)
    for number, each in enumerate(strangers):
        connections.arrive(each, f"198.51.100.{number}")
    connections.arrive(Link(), "203.0.113.1")
    connections.arrive(Link(), "203.0.113.2")
    assert [len(each.closed) for each in known] == [0] * 4
    assert sum(len(each.closed) for each in strangers) == 1


def test_a_newcomer_is_refused_if_all_are_busy() -> None:
    connections = Connections(2)
    connections.arrive(Link(busy=True), "192.0.2.1")
    with pytest.raises(NoShareError):
        connections.arrive(Link(), "192.0.2.1")
