"""Verification of limits: a call goes over one only by an approval that names it, for what it needed then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import grants
from gateway.audit.intents import Intent
from gateway.usage.limits import Applied
from gateway.usage.reservation import CallReservation
from tests.gateway.audit.test_grants import ALIKE, Case, demanded

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

SCOPE = "agent:agt_one"
OVER = [{"reason": "big", "quorum": 1, "over_limit": True}]


def named(name: str = "tokens_per_month", value: int = 10, needed: int = 7, **more: Any) -> dict[str, Any]:
    return {"limit": name, "value": value, "needed": needed, "set_by": "policy"} | more


def reservation(tokens: int = 7, value: int = 10, approvable: int | None = None) -> CallReservation:
    limit = Applied("tokens_per_month", SCOPE, "tokens_month", value, "agent:one", approvable=approvable)
    return CallReservation("default", (SCOPE,), (limit,), tokens)


class Over(Case):
    """A request to go over limits; `limits` are those that it names."""

    def __init__(self, make: Make, limits: list[dict[str, Any]], demanded: list[Any] = OVER) -> None:
        super().__init__(make, demanded)
        self.limits = limits

    def asked(self, **fields: Any) -> Any:
        more = {"approvals_json": self.demanded, "limits_json": json.dumps(self.limits)}
        return self.change(grants.REQUESTED, self.id, **more, **fields)

    def taking(self, found: CallReservation, **fields: Any) -> Any:
        intent = self.runs(**fields)
        intent.reservation = found
        return intent


def used_up(make: Make) -> Intent:
    """One call has reserved seven of ten."""
    return make.decided(reservation=reservation())


def test_it_goes_over_what_its_approval_names_and_counts(log: Log, make: Make) -> None:
    case = Over(make, [named()])
    writer = log.writer()
    writer.write_all_sync([used_up(make), *case.given()])
    committed = writer.write_sync(case.taking(reservation()))
    assert committed.entry["allow"] is True, committed.entry["reasons_json"]
    assert json.loads(str(committed.entry["reservation_json"]))["read"] == [
        [SCOPE, "tokens_month", 7, 7, 10, ""],
    ]
    again = writer.write_sync(case.taking(reservation()))
    assert again.entry["reason"] == "approval_required"
    without = writer.write_sync(make.decided(reservation=reservation(tokens=1)))
    assert without.entry["reason"] == "limit_exceeded"  # what went over is counted
    assert log.verify().findings == []


@pytest.mark.parametrize(
    ("limits", "demand", "taken"),
    [
        pytest.param([], OVER, {}, id="nothing named"),
        pytest.param([named("requests_per_month")], OVER, {}, id="another limit"),
        pytest.param([named("tokens_per_day")], OVER, {}, id="another window"),
        pytest.param([named(value=11)], OVER, {}, id="another value"),
        pytest.param([named(needed=6)], OVER, {}, id="more than it needed"),
        pytest.param([named(needed=None)], OVER, {}, id="no number"),
        pytest.param([named(set_by="registry")], OVER, {}, id="an operator's limit"),
        pytest.param([named()], demanded(), {}, id="policies demand something else"),
        pytest.param([named()], OVER, {"approvable": 13}, id="a policy that lets nobody go so far"),
        pytest.param([named()], OVER, {"approvable": 0}, id="a policy that offers nothing any more"),
    ],
)
def test_the_log_lets_no_other_call_go_over(
    log: Log, make: Make, limits: list[dict[str, Any]], demand: list[Any], taken: dict[str, Any]
) -> None:
    case = Over(make, limits, demand)
    writer = log.writer()
    writer.write_all_sync([used_up(make), *case.given()])
    refused = writer.write_sync(case.taking(reservation(**taken)))
    assert (refused.entry["open"], refused.entry["reason"]) == (False, "limit_exceeded")
    assert log.verify().findings == []


def test_calls_that_are_alike_may_need_more(log: Log, make: Make) -> None:
    offered = demanded(uses=2, pattern="small ones", over_limit=True)
    case = Over(make, [named(needed=1)], offered)
    writer = log.writer()
    reviewed = case.reviewed(uses=2, for_pattern=True)
    granted = case.granted(uses=2, pattern_commitment=ALIKE)
    writer.write_all_sync([used_up(make), case.asked(pattern_commitment=ALIKE), reviewed, granted])
    found = writer.write_sync(case.taking(reservation(), approval_commitment="d" * 64, pattern_commitment=ALIKE))
    assert found.entry["allow"] is True
    assert log.verify().findings == []


@pytest.mark.parametrize(
    ("limits", "with_approval"),
    [
        pytest.param([named()], False, id="no approval"),
        pytest.param([named(value=9)], True, id="another limit than the one that is named"),
        pytest.param([named(needed=6)], True, id="more than it needed"),
    ],
)
def test_verification_finds_what_went_over(
    log: Log, make: Make, limits: list[dict[str, Any]], with_approval: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that enforces nothing has written this log."""
    from gateway.usage import reservation as reservations

    case = Over(make, limits)
    writer = log.writer()
    writer.write_all_sync([used_up(make), *case.given()])
    taken = reservation()
    intent: Any = case.taking(taken) if with_approval else make.decided(reservation=taken)
    monkeypatch.setattr(reservations, "may_exceed", lambda *_: True)
    monkeypatch.setattr("gateway.audit.over_limits.raised", lambda *_: ("any",))
    if not with_approval:
        monkeypatch.setattr(CallReservation, "_compare", lambda self, group, *more: _unenforced(self, more[-3]))
    assert writer.write_sync(intent).entry["allow"] is True
    monkeypatch.undo()
    (finding,) = log.verify().findings
    assert "it needs 7 of tokens_month of `agent:agt_one`, of which 7 of 10 were used" in finding.message


def _unenforced(found: CallReservation, read: list[Any]) -> tuple[list[Any], list[Any]]:
    read.append([SCOPE, "tokens_month", 7, 7, found.limits[0].value, ""])
    return [], []
