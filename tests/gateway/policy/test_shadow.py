"""Bundles that are asked and do not count."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Call
from gateway.identity.principals import BoundBundle
from gateway.policy import shadow

from .conftest import NOW_NS

if TYPE_CHECKING:
    from .conftest import Court


def seat(court: Court, rules: str, effect: Any = "grant", *, load: bool = True) -> None:
    court.refs["s"] = court.publish("s", rules)
    if load:
        court.cache.load(court.refs["s"].digest)
    court.bindings.append(BoundBundle("bnd_s", "s", effect, None, True))


def ask(court: Court, asked: Call | None = None, seconds: float = 10) -> dict[str, Any]:
    found = court.decide(asked)
    [answer] = json.loads(shadow.ask(found.panel.shadows, found.input, NOW_NS, time.monotonic() + seconds))
    assert answer.pop("name") == "s"
    assert answer.pop("digest") == court.refs["s"].digest
    assert answer.pop("commit") == court.refs["s"].commit
    return dict(answer)


@pytest.mark.parametrize(
    ("rules", "effect", "expected"),
    [
        ("allow := true", "grant", {"code": "allowed"}),
        ("allow := false", "grant", {"code": "policy_denied"}),
        ("", "grant", {"code": "policy_undefined"}),
        ("", "guard", {"code": "allowed"}),
        ('deny contains "no"', "guard", {"code": "policy_denied", "reasons": ["no"]}),
        ("limits := {}\n\nnope := 1", "guard", {"code": "policy_bad_decision"}),
        ("allow if 1 / 0 == 1", "grant", {"code": "policy_error"}),
        ("allow if rand.intn(input.action, 3) >= 0", "grant", {"code": "allowed"}),
        ("allow if input.request.body.temperature == 0.2", "grant", {"code": "allowed"}),
        (
            'allow := true\n\nobligations := {"model": "m"}',
            "grant",
            {"code": "allowed", "obligations": {"model": "m"}},
        ),
    ],
)
def test_what_it_would_decide(court: Court, rules: str, effect: Any, expected: dict[str, Any]) -> None:
    court.seat("a", "allow := true")
    before = court.decide()
    seat(court, rules, effect)
    found = ask(court)
    found.pop("detail", None)
    assert found == {"effect": effect, "reasons": [], **expected}
    # It changes neither the decision nor what is recorded of it.
    after = court.decide()
    assert (after.allow, after.fields(), after.kept_input) == (before.allow, before.fields(), before.kept_input)


def test_it_is_no_grant(court: Court) -> None:
    seat(court, "allow := true")
    assert court.decide().code == "no_policy"
    assert ask(court)["code"] == "allowed"


def test_one_that_is_not_in_memory_refuses_nothing(court: Court) -> None:
    court.seat("a", "allow := true")
    seat(court, "allow := true", load=False)
    assert court.decide().allow
    assert ask(court)["code"] == "policy_not_loaded"
    court.cache.load(court.refs["s"].digest)
    assert ask(court)["code"] == "allowed"


def test_it_has_a_deadline_of_its_own(court: Court) -> None:
    court.seat("a", "allow := true")
    seat(court, "allow := true")
    assert ask(court, seconds=-1)["code"] == "policy_deadline"


def test_several_models(court: Court, make_call: Callable[..., Call]) -> None:
    court.seat("a", "allow := true", models=True)
    seat(court, "allow := true")
    assert ask(court, make_call(models=("a", "b")))["code"] == "policy_denied"


def test_what_it_says_is_cut(court: Court) -> None:
    court.seat("a", "allow := true")
    long = "x" * 500
    seat(court, f'deny contains concat("", [sprintf("%d", [n]), "{long}"]) if some n in numbers.range(1, 50)')
    found = ask(court)
    assert (len(found["reasons"]), max(map(len, found["reasons"]))) == (4, 200)


def test_what_does_not_fit_is_left_out(court: Court) -> None:
    court.seat("a", "allow := true")
    tools = ", ".join(f'"{"x" * 60}{number}"' for number in range(200))
    seat(court, "allow := true\n\nobligations.strip_tools := {" + tools + "}")
    assert ask(court) == {"effect": "grant", "code": "allowed", "reasons": []}


def test_a_text_that_cannot_be_recorded_stops_nothing(court: Court) -> None:
    court.seat("a", "allow := true")
    seat(court, "allow := true")
    found = court.decide()
    refs = [replace(each, bundle=Speaking()) for each in found.panel.shadows]  # type: ignore[arg-type]
    [answer] = json.loads(shadow.ask(refs, found.input, NOW_NS, time.monotonic() + 10))
    assert (answer["code"], answer["reasons"]) == ("policy_denied", [])


class Speaking:
    """A bundle whose reason is half of a surrogate pair."""

    models, nondeterministic = True, False

    def decide(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(value={"deny": ["\ud800"]}, nondeterministic=None)
