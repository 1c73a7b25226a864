"""The order in which a request tries the members of a pool."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.attempts import drawn
from gateway.upstream.routing import Match, PoolMember


def pool(*members: tuple[str, int, int]) -> tuple[tuple[PoolMember, Match], ...]:
    """Members by name, weight and tier. The content of a match does not matter here: the name stands for it."""
    return tuple((PoolMember(name, weight, tier), cast(Match, name)) for name, weight, tier in members)


def test_the_first_draw_follows_the_weights() -> None:
    draws = random.Random(20)
    members = pool(("a", 7, 1), ("b", 2, 1), ("c", 1, 1), ("d", 100, 2))
    firsts = Counter(cast(Any, drawn(members, draws)[0]) for _ in range(1000))
    assert firsts["d"] == 0
    # Within four standard deviations, which are 14.5, 12.6 and 9.5.
    assert abs(firsts["a"] - 700) < 58
    assert abs(firsts["b"] - 200) < 51
    assert abs(firsts["c"] - 100) < 38


def test_what_is_left_of_a_tier_is_drawn_by_weight_too() -> None:
    draws = random.Random(20)
    members = pool(("a", 1000, 1), ("b", 3, 1), ("c", 1, 1))
    seconds = Counter(cast(Any, drawn(members, draws)[1]) for _ in range(1000))
    assert abs(seconds["b"] - 750) < 60


MEMBERS = st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 4)), min_size=1, max_size=8)


@given(MEMBERS, st.integers())
def test_every_member_comes_once_and_tiers_come_in_order(given_members: list[tuple[int, int]], seed: int) -> None:
    members = pool(*((f"m{at}", weight, tier) for at, (weight, tier) in enumerate(given_members)))
    order = cast(list[Any], drawn(members, random.Random(seed)))
    assert sorted(order) == sorted(f"m{at}" for at in range(len(members)))
    tiers = {member.upstream: member.tier for member, _ in members}
    assert [tiers[each] for each in order] == sorted(tiers.values())
