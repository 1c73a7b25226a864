"""`gateway limits`: what operators type, and what they are told."""

from __future__ import annotations

import json
import re

import pytest

from gateway.registry.limits import usage_limits
from gateway.registry.operators import operators
from tests.gateway.conftest import ACTOR, ORG, Home, Run

MISTAKES = [
    ("set bot token_per_day 1", "`token_per_day` is not a limit: did you mean `tokens_per_day`?"),
    ("set bot tokens_per_week 1", "`tokens_per_week` is not a limit"),
    ("set bto tokens_per_day 1", "unknown agent `bto`"),
    ("set team:reserch tokens_per_day 1", "no agent of organization `default` is in team `reserch`"),
    ("set bot tokens_per_day 1 --model g*t", "`g*t` is not the name of a model"),
    ("set bot tokens_per_day 1 --upstream nope", "unknown upstream `nope`"),
    (f"set bot tokens_per_day {2**53}", "is not a limit: it must be from 0 to 2**53 - 1"),
    ("raise bot tokens_per_month 9 --for 2h --reason x", "has no limit `tokens_per_month`"),
    ("raise bot requests_per_day 100 --for 2h --reason x", "is 100, and 100 is not more"),
    ("raise bot requests_per_day 200 --for 32d --reason x", "a limit is raised for at most 31d"),
    ("raise bot requests_per_day 200 --for soon --reason x", "`soon` is not a duration"),
    ("remove bot tokens_per_day", "agent `bot` has no limit `tokens_per_day`"),
]


@pytest.fixture(autouse=True)
def bot(home: Home) -> None:
    home.agent("bot", team="research")


def test_a_limit_from_set_to_remove(at: Run) -> None:
    assert at("limits", "list").err == "no limits: type `gateway limits set SUBJECT LIMIT VALUE`\n"
    made = at("limits", "set", "team:research", "tokens_per_day", "500")
    assert made.out == "team research now has the limit tokens_per_day 500\n"
    made = at("limits", "set", "agent:bot", "requests_per_day", "9", "--model", "gpt-4o*")
    assert made.out == "agent bot (only model gpt-4o*) now has the limit requests_per_day 9\n"
    assert "are counted from now on" in made.err
    at("limits", "set", "org:default", "concurrent_requests", "3")
    raised = at("limits", "raise", "team:research", "tokens_per_day", "900", "--for", "2h", "--reason", "a test")
    assert re.fullmatch(r"tokens_per_day of team research is raised from 500 to 900 until \S+Z\n", raised.out)
    assert re.search(r"team:research +tokens_per_day +500 +- +to 900 until \S+ +a test", at("limits", "list").out)
    shown = at("limits", "show", "bot").out
    assert re.search(r"team:research +tokens_per_day +900 \(raised\) +0 +0 +900 +\S+T00:00:00.000Z", shown)
    assert re.search(r"org:default +concurrent_requests +3 +0 +0 +3 +- +-", shown)
    team = at("limits", "show", "team:research", "--json").json
    assert {each["limit"] for each in team} == {"tokens_per_day", "concurrent_requests"}
    gone = at("limits", "remove", "team:research", "tokens_per_day")
    assert gone.out == "team research no longer has the limit tokens_per_day 500\n"
    told = at("audit", "list", "--kind", "change").out
    assert [what in told for what in ("limit.set", "limit.raised", "limit.removed")] == [True] * 3


def test_the_same_limit_of_the_gateway_and_of_the_organization(at: Run, home: Home) -> None:
    """Commands on the machine are the gateway's operators'; they tell of what else holds."""
    operator = operators.add_operator(home.registry, actor=ACTOR, organization=ORG, name="olga", role="admin")
    its_own = {"actor": f"operator:{operator.id}", "organization": ORG, "kind": "team", "subject": "research"}
    usage_limits.set_limit(home.registry, **its_own, name="requests_per_day", value=5)  # type: ignore[arg-type]  # as above
    still = "the organization's limit of 5 still holds"
    assert still in at("limits", "set", "team:research", "requests_per_day", "9").err
    told = at("limits", "raise", "team:research", "requests_per_day", "99", "--for", "2h", "--reason", "x")
    assert (told.out[:50], still in told.err) == ("requests_per_day of team research is raised from 9", True)
    listed = at("limits", "list").out
    assert re.search(r"requests_per_day +5 .* organization\n", listed)
    assert re.search(r"requests_per_day +9 .* gateway\n", listed)
    assert re.search(r"requests_per_day +5 +0 .* organization\n", at("limits", "show", "bot").out)
    assert "requests_per_day 5  by team research, set by the organization\n" in at("agents", "show", "bot").out
    told = at("limits", "remove", "team:research", "requests_per_day")
    assert (told.out, still in told.err) == ("team research no longer has the limit requests_per_day 9\n", True)
    told = at("limits", "remove", "team:research", "requests_per_day")
    assert (told.out, told.err) == ("team research no longer has the limit requests_per_day 5\n", "")


def test_mistakes_are_explained(at: Run) -> None:
    at("limits", "set", "bot", "requests_per_day", "100")
    for command, complaint in MISTAKES:
        assert complaint in at("limits", *command.split()).complains(), command
    said = at("limits", "raise", "bot", "requests_per_day", "200", "--for", "2h", "--reason", "").complains()
    assert said.startswith("a raise needs a reason")
    assert at("limits", "set", "bot", "tokens_per_day", "-1").code == 2


@pytest.mark.parametrize(
    ("value", "microusd", "shown"),
    [
        ("500usd", 500_000_000, "$500.00"),
        ("0.25USD", 250_000, "$0.25"),
        ("0.000001usd", 1, "$0.000001"),
        ("7", 7, "$0.000007"),
        ("$0.01", 10_000, "$0.01"),
        ("$ 1,500 USD", 1_500_000_000, "$1,500.00"),
        ("1500000000 ($1,500.00)", 1_500_000_000, "$1,500.00"),  # as it is printed
    ],
)
def test_money_may_be_given_in_dollars(at: Run, value: str, microusd: int, shown: str) -> None:
    made = at("limits", "set", "bot", "spend_microusd_per_day", value)
    assert made.out == f"agent bot now has the limit spend_microusd_per_day {microusd} ({shown})\n"


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        *(
            ("spend_microusd_per_day", each)
            for each in ("5.00", "usd", "$", "$5 ($5)", "5 ($5)", "5eur", "1e3usd", "0.0000001usd", "٥usd")
        ),
        ("tokens_per_day", "5usd"),
        ("tokens_per_day", "5.0"),
        ("tokens_per_day", "9" * 5000),
    ],
)
def test_a_value_that_could_mean_something_else_is_refused(at: Run, limit: str, value: str) -> None:
    done = at("limits", "set", "bot", limit, value)
    assert (done.code, "must be a whole number" in done.err) == (2, True), done.err


def test_limits_on_money_and_tokens_work_by_estimates_unless_they_are_hard(at: Run, home: Home) -> None:
    """A limit from before there were modes is hard, and stays so with another value: an upgrade loosens nothing."""

    def modes() -> dict[str, str]:
        shown = json.loads(at("limits", "show", "bot", "--json").out)
        listed = json.loads(at("limits", "list", "--json").out)
        assert {each["id"]: each["mode"] for each in shown} == {each["id"]: each["mode"] for each in listed}
        return {each["limit"]: each["mode"] for each in shown}

    assert "`--mode hard`" in at("limits", "set", "bot", "tokens_per_day", "500").err
    assert at("limits", "set", "bot", "requests_per_day", "5").err.count("--mode") == 0
    at("limits", "set", "bot", "spend_microusd_per_day", "$5", "--mode", "hard")
    wanted = {"tokens_per_day": "estimate", "requests_per_day": "hard", "spend_microusd_per_day": "hard"}
    assert modes() == wanted
    at("limits", "set", "bot", "spend_microusd_per_day", "$6")
    raised = at("limits", "raise", "bot", "spend_microusd_per_day", "$7", "--for", "2h", "--reason", "x")
    assert (raised.code, modes()) == (0, wanted)
    at("limits", "set", "bot", "tokens_per_day", "500", "--mode", "hard")
    assert modes()["tokens_per_day"] == "hard"
    for name, mode, why in (("requests_per_day", "estimate", "always exact"), ("tokens_per_day", "soft", "`hard` or")):
        done = at("limits", "set", "bot", name, "9", "--mode", mode)
        assert (done.code, why in done.err) == (1, True)
    shown = at("limits", "show", "bot").out
    assert re.search(r"spend_microusd_per_day +7000000 \(\$7\.00\) \(raised\) .* hard +gateway\n", shown)
