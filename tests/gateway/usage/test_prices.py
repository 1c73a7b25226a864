"""The cost of a call: rates, kinds of tokens, steps, dates, names, and ceilings."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import Usage
from gateway.usage.prices import MOST, Model, ModelList, OwnPrices, Period, Price, PriceTable, dollars
from gateway.usage.rates import NANO, Rates


def rate(of: str) -> int:
    return int(Fraction(of) * NANO)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NANO


def price(**rates: object) -> Price:
    return Price("openai/x", "1", Rates(**rates))  # type: ignore[arg-type]


def test_every_kind_of_token_has_its_rate() -> None:
    kinds = (("cached", rate("0.5")), ("cache_write", rate("6")), ("audio_input", rate("30")))
    thoughts = (("reasoning", rate("12")), ("audio_output", rate("60")))
    one = price(input=rate("5"), output=rate("10"), input_parts=kinds, output_parts=thoughts)
    usage = Usage(1000, 100, cached=200, cache_write=100, audio_input=50, reasoning=40, audio_output=10)
    dollars_per_million = 650 * 5 + 200 * 0.5 + 100 * 6 + 50 * 30 + 50 * 10 + 40 * 12 + 10 * 60
    assert one.cost(usage) == dollars_per_million * 1000


def test_a_kind_without_a_rate_costs_what_other_tokens_do() -> None:
    assert price(input=rate("2"), output=rate("4")).cost(Usage(10, 10, cached=5, reasoning=7)) == 60_000


def test_a_write_that_is_kept_longer_has_its_own_rate() -> None:
    one = price(input=rate("3"), input_parts=(("cache_write", rate("3.75")),), cache_write_1h=rate("6"))
    assert one.cost(Usage(100, 0, cache_write=100, cache_write_1h=40)) == 60 * 3750 + 40 * 6000


def test_a_sum_is_rounded_up_once() -> None:
    # A token costs half a nano-dollar, and so does another one.
    one = price(input=rate("0.0005"), output=rate("0.0005"))
    assert [one.cost(Usage(*counts)) for counts in ((0, 0), (1, 0), (1, 1), (2, 1))] == [0, 1, 1, 2]


def test_parts_that_overlap_are_not_charged_below_zero() -> None:
    one = price(input=rate("1"), input_parts=(("cached", rate("0.1")), ("audio_input", rate("10"))))
    assert one.cost(Usage(100, 0, cached=100, audio_input=100)) == 100 * 100 + 100 * 10_000


def test_a_long_input_makes_the_whole_call_dearer() -> None:
    one = Price("a/x", "1", Rates(rate("3"), rate("15")), above=((200_000, Rates(rate("6"), rate("22.5"))),))
    assert one.cost(Usage(200_000, 1000)) == 200_000 * 3000 + 1000 * 15_000
    assert one.cost(Usage(200_001, 1000)) == 200_001 * 6000 + 1000 * 22_500


def test_seconds_requests_and_images() -> None:
    one = price(hour=rate("0.36"), minimum_seconds=10, request=rate("0.012"), image=rate("0.04"))
    assert one.cost(None, seconds=3) == 10 * 100_000 + 12_000_000
    assert one.cost(None, seconds=61, images=2) == 61 * 100_000 + 12_000_000 + 80_000_000
    assert one.cost(None) == 12_000_000
    assert not one.counts_tokens


def test_a_service_tier_has_its_own_price_and_an_unknown_one_the_usual() -> None:
    flex = Price("a/x", "1", Rates(rate("1"), 0))
    one = Price("a/x", "1", Rates(rate("2"), 0), service_tiers={"flex": flex})
    costs = [one.cost(Usage(10, 0), service_tier=tier) for tier in ("", "default", "flex")]
    assert costs == [20_000, 20_000, 10_000]
    assert one.ceiling(10, 0, service_tier="flex") == 20_000
    assert [one.knows(*each) for each in (("", ""), ("flex", ""), ("fast", ""), ("", "us"))] == [
        True,
        True,
        False,
        False,
    ]


def test_a_region_makes_tokens_dearer_and_nothing_else() -> None:
    one = Price("a/x", "1", Rates(rate("1"), rate("2"), request=500), regions={"us": 1100, "moon": 2000})
    costs = [one.cost(Usage(11, 1), region=region) for region in ("", "us", "moon")]
    assert costs == [13_500, 14_800, 26_500]
    # A call that names none may be served in any.
    assert one.ceiling(11, 1) == 26_500
    # The exact sum is rounded once: a third of a nano-dollar, and a tenth more.
    thirds = Price("a/x", "1", Rates(input=333_334), regions={"us": 1100})
    assert [thirds.cost(Usage(count, 0), region="us") for count in (1, 2, 3)] == [1, 1, 2]


def test_a_cost_is_never_more_than_the_log_can_hold() -> None:
    one = price(input=10**6 * NANO)
    assert one.cost(Usage(2**52, 0)) == one.ceiling(2**52, 0) == MOST


def test_a_ceiling_can_leave_out_kinds_that_a_call_cannot_have() -> None:
    one = price(input=1000, output=2000, input_parts=(("audio_input", 9000), ("cache_write", 1500)))
    millions = 10**6, 10**6
    assert one.ceiling(*millions) == 9000 + 2000
    assert one.ceiling(*millions, modalities=("audio",)) == 9000 + 2000
    assert one.ceiling(*millions, modalities=()) == 1500 + 2000


_rates = st.builds(
    Rates,
    input=st.integers(0, 10**11),
    output=st.integers(0, 10**11),
    input_parts=st.lists(
        st.tuples(st.sampled_from(["cached", "cache_write", "audio_input", "image_input"]), st.integers(0, 10**11)),
        unique_by=lambda pair: pair[0],
    ).map(tuple),
    output_parts=st.lists(
        st.tuples(st.sampled_from(["reasoning", "audio_output", "image_output"]), st.integers(0, 10**11)),
        unique_by=lambda pair: pair[0],
    ).map(tuple),
    cache_write_1h=st.none() | st.integers(0, 10**11),
    hour=st.integers(0, 10**11),
    minimum_seconds=st.integers(0, 20),
    request=st.integers(0, 10**8),
)
_prices = st.builds(
    Price,
    st.just("a/x"),
    st.just("1"),
    _rates,
    st.lists(st.tuples(st.integers(0, 400), _rates), max_size=2, unique_by=lambda pair: pair[0]).map(
        lambda steps: tuple(sorted(steps, key=lambda step: step[0], reverse=True))
    ),
    regions=st.dictionaries(st.just("us"), st.integers(1000, 3000)),
)


@settings(max_examples=40, deadline=None)
@given(_prices, st.lists(st.integers(0, 100), min_size=9, max_size=9), st.integers(0, 100), st.integers(0, 50))
def test_a_cost_is_never_above_the_ceiling(one: Price, counts: list[int], more: int, seconds: int) -> None:
    fresh, text, cached, written, thoughts, heard, said, seen, drawn = counts
    usage = Usage(
        input=fresh + cached + written + heard + seen,
        output=text + thoughts + said + drawn,
        cached=cached,
        cache_write=written,
        cache_write_1h=written // 2,
        reasoning=thoughts,
        audio_input=heard,
        audio_output=said,
        image_input=seen,
        image_output=drawn,
    )
    limit = one.ceiling(usage.input + more, usage.output + more, seconds=seconds)
    assert one.cost(usage, seconds=seconds) <= limit
    assert one.cost(usage, seconds=seconds, region="us") <= limit


# ---- which price


def model(name: str, *names: str, cost: int = 1, excluded: tuple[str, ...] = ()) -> Model:
    return Model(name, names or (name,), (Period(Price(name, "1", Rates(input=cost))),), excluded)


def found(models: ModelList, name: str) -> str | None:
    one = models.find(name)
    return None if one is None else one.id


def test_an_exact_name_comes_before_a_pattern() -> None:
    models = ModelList([model("any", "gpt-4o*"), model("mini", "gpt-4o-mini"), model("dated", "o1-####-##-##")])
    names = ("gpt-4o-2024", "gpt-4o-mini", "GPT-4o-Mini", "o1-2024-12-17", "o1-20241217", "o1-2024-12-1x", "gpt-4")
    assert [found(models, each) for each in names] == ["any", "mini", "mini", "dated", "dated", None, None]


def test_a_pattern_can_have_exceptions() -> None:
    models = ModelList([model("text", "gemini-2.5-pro*", excluded=("*-tts", "*-tts-*"))])
    names = "gemini-2.5-pro-tts", "gemini-2.5-pro-preview-tts-1", "gemini-2.5-pro-preview"
    assert [found(models, each) for each in names] == [None, None, "text"]


def test_a_fine_tuned_model_does_not_have_its_base_models_price() -> None:
    models = ModelList([model("gpt-4o"), model("ft:gpt-4o", "ft:gpt-4o-2024-*")])
    assert found(models, "ft:gpt-4o-2024-08-06:acme::8kX") == "ft:gpt-4o"
    assert found(models, "ft:gpt-4o-mini:acme::8kX") is None


def test_dates_and_hours() -> None:
    def of(cost: int) -> Price:
        return Price("d/x", "1", Rates(input=cost * 10**6))

    periods = (
        Period(of(1)),
        Period(of(2), at("2026-03-01")),
        Period(of(3), at("2026-03-01"), (at("1970-01-01T22:30"), at("1970-01-01T06:00"))),
    )
    table = PriceTable("1", {"d": ModelList([Model("x", ("x",), periods)])})
    times = {
        "2026-02-28T23:59": 1,
        "2026-03-01T12:00": 2,
        "2026-03-01T22:30": 3,
        "2026-03-02T05:59": 3,
        "2026-03-02T06:00": 2,
    }
    for time, cost in times.items():
        priced = table.find("d", "d", "x", at(time), "default")
        assert priced is not None
        assert priced.cost(Usage(1, 0)) == cost, time


def test_the_ceiling_of_a_usual_call_is_that_of_its_price_at_every_time() -> None:
    """It is remembered for as long as no other price applies, so the times come in any order and twice."""

    def of(cost: int, **more: object) -> Price:
        return Price("d/x", "1", Rates(cost * 10**6, 2 * cost * 10**6, request=cost), **more)  # type: ignore[arg-type]

    def models(**periods: tuple[Period, ...]) -> ModelList:
        return ModelList([Model(name, (name,), each) for name, each in periods.items()])

    night = at("1970-01-01T22:30"), at("1970-01-01T06:00")
    parts = Rates(10**6, 10**6, (("cached", 3 * 10**6),), (("reasoning", 5 * 10**6),))
    table = PriceTable(
        "1",
        {
            "d": models(
                dated=(Period(of(1)), Period(of(2), at("2026-03-01")), Period(of(4), at("2026-05-01"))),
                late=(Period(of(3), at("2026-03-01")),),
                hours=(Period(of(1)), Period(of(3), at("2026-03-01"), night)),
                long=(Period(of(1, above=((1000, Rates(9 * 10**6)),))),),
                parts=(Period(Price("d/x", "1", parts)),),
                dear=(Period(of(2**40)),),
                far=(Period(of(1, regions={"us": 1100})),),
            )
        },
    )
    times = [
        at(each) for each in ("2026-04-01T12:00", "2026-02-28T23:59", "2026-03-01", "2026-05-02T23:00", "2026-05-01")
    ]
    asked = list(
        itertools.product(times, ("dated", "late", "hours", "long", "parts", "dear", "far", "none"), (1, 999, 2**30))
    )
    for time, name, tokens in (*asked, *reversed(asked)):
        priced = table.find("d", "u", name, time, "default")
        wanted = 0 if priced is None else priced.ceiling(tokens, tokens + 1)
        assert table.ceiling("d", "u", name, time, "default", tokens, tokens + 1) == wanted, (time, name, tokens)


def test_own_prices_come_first_the_organizations_before_all() -> None:
    def lists(cost: int) -> ModelList:
        return ModelList([model(f"x{cost}", "x", cost=cost)])

    table = PriceTable(
        "1",
        {"openai": ModelList([model("x"), model("y")]), "azure": ModelList([], also=["openai"])},
        own=OwnPrices(providers={"openai": lists(2)}, upstreams={"special": lists(3)}),
        organizations={"acme": OwnPrices(providers={"openai": lists(4)})},
    )
    asked = [("openai", "openai"), ("openai", "special"), ("azure", "azure")]
    ids = [
        [
            priced and priced.id
            for provider, upstream in asked
            if (priced := table.find(provider, upstream, "x", 0, org)) or True
        ]
        for org in ("default", "acme")
    ]
    assert ids == [["x2", "x3", "x"], ["x4", "x4", "x"]]
    assert table.find("openai", "openai", "y", 0, "acme") is not None
    assert table.find("openai", "openai", "z", 0, "acme") is None
    assert table.find("groq", "groq", "x", 0, "acme") is None
    assert table.find("openai", "openai", "y" * 300, 0, "acme") is None


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (12_345_678, "$0.012346"),
        (12 * NANO, "$12.00"),
        (1_234_567_800_000, "$1,234.5678"),
    ],
)
def test_an_amount_for_people(nano: int, text: str) -> None:
    assert dollars(nano) == text
