"""Faults where another attempt may follow: retries of bodies on disk, fallbacks, stale connections, an open breaker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.gateway.faults.acts import ANSWER
from tests.gateway.faults.rig import SETTINGS, Rig

pytestmark = pytest.mark.slow

LARGE = "x" * 3_000_000  # waits on disk
FALLBACK = "/chat/v1/chat/completions"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    settings = SETTINGS.replace("breaker_failures = 0", "breaker_failures = 5\nbreaker_pause = 10")
    made = Rig(tmp_path_factory.mktemp("resilience"), settings)
    try:
        made.run("routes", "set", "chat", "faulty", "calm")
        made.begin()
        yield made
        made.stop()
        made.check_log()
    finally:
        made.close()
        print("\n" + "\n".join(made.figures))


def pairs(rig: Rig, decision: str) -> list[tuple[str, str]]:
    """The attempts of the request that ended with this decision: upstream and outcome."""
    rig.closing(decision)
    entries = rig.entries()
    [last] = [each for each in entries if each.get("id") == decision]
    first = last.get("retry_of") or decision
    attempts = [each for each in entries if each["kind"] == "decided" and first in (each["id"], each.get("retry_of"))]
    outcomes = {each["decision"]: each["outcome"] for each in entries if each["kind"] == "completed"}
    return [(each["upstream"], outcomes[each["id"]]) for each in attempts]


def test_a_body_on_disk_is_sent_again(rig: Rig) -> None:
    for _ in range(5):
        got = rig.call("flaky", "Idempotency-Key: k", metadata={"x": LARGE})
        assert (got.status, got.beginning) == (200, ANSWER)
        assert pairs(rig, got.headers["x-decision-id"]) == [("faulty", "upstream_error"), ("faulty", "ok")]
    assert rig.faulty.seen["flaky"] == 10


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        ("reset_before_head", "upstream_error"),
        ("hang_before_head", "upstream_timeout"),
        ("hang_in_head", "upstream_timeout"),
        ("broken", "provider_error"),
        ("endless_head", "upstream_error"),
        ("endless_hints", "upstream_error"),
        ("no_http", "upstream_error"),
        ("two_lengths", "upstream_error"),
    ],
)
@pytest.mark.parametrize("large", [False, True], ids=["small", "on disk"])
def test_another_upstream_answers(rig: Rig, act: str, outcome: str, large: bool) -> None:
    assert rig.call("").status == 200  # so that no breaker opens
    members: dict[str, Any] = {"metadata": {"x": LARGE}} if large else {}
    got = rig.call(act, path=FALLBACK, **members)
    assert (got.status, got.beginning) == (200, ANSWER)
    assert pairs(rig, got.headers["x-decision-id"]) == [("faulty", outcome), ("calm", "ok")]


@pytest.mark.parametrize("act", ["hang_in_document", "reset_in_document", "half_a_document"])
def test_nobody_answers_once_an_answer_has_begun(rig: Rig, act: str) -> None:
    assert rig.call("").status == 200
    calm = rig.calm.seen["" + act]
    got = rig.call(act, path=FALLBACK)
    assert (got.status, got.complete) == (200, False)
    assert rig.calm.seen[act] == calm
    assert [each for each, _ in pairs(rig, got.headers["x-decision-id"])] == ["faulty"]


def test_a_connection_that_is_closed_while_idle_fails_nobody(rig: Rig) -> None:
    for _ in range(50):
        got = rig.call("closed_when_idle")
        assert (got.status, got.beginning) == (200, ANSWER)


def test_a_connection_that_is_closed_when_it_is_used(rig: Rig) -> None:
    """The call may have been carried out, so it is not sent again: the client is told, and may decide."""
    assert rig.call("closed_when_asked").status == 200
    seen = rig.faulty.seen.total()
    got = rig.call("")
    assert (got.status, got.headers["x-should-retry"]) == (502, "true")
    assert rig.closing(got.headers["x-decision-id"])["outcome"] == "upstream_error"
    assert rig.faulty.seen.total() == seen
    assert rig.call("").status == 200


def test_a_storm_of_errors_opens_the_breaker_which_closes_again(rig: Rig) -> None:
    assert rig.call("").status == 200
    assert rig.bystander is not None
    with rig.bystander.watching("a storm of errors", rig.figures), ThreadPoolExecutor(10) as pool:
        answers = [*pool.map(lambda _: rig.call("broken"), range(60))]
        through = rig.call("broken", path=FALLBACK)
    statuses = Counter(each.status for each in answers)
    assert set(statuses) == {500, 502}
    assert 5 <= statuses[500] <= 20  # those that were on their way when it opened
    assert all(each.headers["retry-after"] for each in answers if each.status == 502)
    outcomes = Counter(rig.closing(each.headers["x-decision-id"])["outcome"] for each in answers)
    assert outcomes == {"provider_error": statuses[500], "circuit_open": statuses[502]}
    # The other upstream answers at once.
    assert (through.status, pairs(rig, through.headers["x-decision-id"])) == (200, [("calm", "ok")])
    rig.wait(lambda: time.sleep(0.3) or rig.call("").status == 200)
    assert rig.call("").status == 200
