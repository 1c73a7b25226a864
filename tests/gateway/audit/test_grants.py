"""Approvals in the log: a call uses one that the log grants to it, once, and verification finds everything else."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import grants
from gateway.audit.decision import State
from gateway.audit.intents import Changed, Decided, Intent
from gateway.identifiers import new_id

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

DEMANDED = [{"reason": "big", "quorum": 1}]
ALIKE = "p" * 64
"""The commitment to a pattern."""


def demanded(uses: int = 1, seconds: int = 3600, pattern: str = "", **more: Any) -> list[Any]:
    return [{"reason": "big", "quorum": 1, "scope": {"uses": uses, "seconds": seconds, "pattern": pattern}} | more]


HOUR = 3600 * 10**9


class Case:
    """One request for approval, and the entries about it."""

    def __init__(self, make: Make, demanded: list[Any] = DEMANDED) -> None:
        self._make = make
        self.id = new_id("apr")
        self.common = {"agent": "agt_one", "approval": self.id, "approval_commitment": "c" * 64}
        self.demanded = json.dumps(demanded)

    def change(self, what: str, event_id: str = "", actor: str = "operator:a", **fields: Any) -> Changed:
        more: dict[str, Any] = {"event_id": event_id} if event_id else {}
        return self._make.change(what=what, actor=actor, fields=self.common | fields, **more)

    def asked(self, **fields: Any) -> Changed:
        return self.change(grants.REQUESTED, approvals_json=self.demanded, **fields)

    def reviewed(
        self, actor: str = "operator:a", verdict: str = "approved", meets: str = "[0]", **more: Any
    ) -> Changed:
        return self.change(grants.REVIEWED, actor=actor, verdict=verdict, meets_json=meets, **more)

    def granted(self, **fields: Any) -> Changed:
        members = {"outcome": "granted", "expires_ns": str(time.time_ns() + HOUR)} | fields
        return self.change(grants.DECIDED, grants.grant_id(self.id), **members)

    def revoked(self) -> Changed:
        return self.change(grants.REVOKED, grants.revocation_id(self.id))

    def waits(self) -> Decided:
        fields = {"approval": self.id, "approvals_json": self.demanded}
        return self._make.decided(allow=False, open=False, reason="approval_required", fields=fields)

    def runs(self, **fields: Any) -> Decided:
        members = {"approval": self.id, "approval_commitment": "c" * 64, "approvals_json": self.demanded} | fields
        return self._make.decided(fields={name: each for name, each in members.items() if each is not None})

    def given(self) -> list[Intent]:
        return [self.asked(), self.waits(), self.reviewed(), self.granted()]


@pytest.fixture
def case(make: Make) -> Case:
    return Case(make)


def test_an_approved_call_runs_once(log: Log, case: Case, make: Make) -> None:
    writer = log.writer()
    writer.write_all_sync(case.given())
    first = case.runs()
    assert writer.write_sync(first).entry["allow"] is True
    assert writer.write_sync(first).entry["allow"] is True  # the same attempt once more
    writer.write_sync(make.completed(first))
    again = writer.write_sync(case.runs())
    assert (again.entry["allow"], again.entry["open"], again.entry["reason"]) == (False, False, "approval_required")
    assert "used already" in str(again.entry["reasons_json"])
    log.sign()
    report = log.verify()
    assert (report.status, report.findings) == ("valid", [])
    decisions = report.logs[0].decisions
    assert (decisions[State.AWAITING_APPROVAL], decisions[State.CLOSED_BY_REQUEST]) == (2, 1)
    told = [each for each in log.entries() if each.get("what") == grants.USED]
    assert [each["decision"] for each in told] == [first.event_id]


def test_writers_at_once_use_it_once(log: Log, case: Case) -> None:
    """Each has a connection of its own, as two processes have."""
    writers = [log.writer() for _ in range(4)]
    writers[0].write_all_sync(case.given())
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda each: writers[each % 4].write_sync(case.runs()), range(40)))
    assert sum(each.entry["open"] is True for each in found) == 1


@pytest.mark.parametrize(
    ("prepare", "fields", "why"),
    [
        pytest.param(lambda case: [], {}, "no such approval", id="never asked"),
        pytest.param(lambda case: [case.asked(), case.reviewed()], {}, "no such approval", id="not decided"),
        pytest.param(lambda case: [case.granted(outcome="denied")], {}, "not given", id="denied"),
        pytest.param(lambda case: [*case.given(), case.revoked()], {}, "revoked", id="revoked"),
        pytest.param(lambda case: [case.granted(expires_ns="1")], {}, "expired", id="expired"),
        pytest.param(lambda case: [case.granted(expires_ns="-1")], {}, "expired", id="no time"),
        pytest.param(lambda case: case.given(), {"approval_commitment": "d" * 64}, "another call", id="another call"),
        pytest.param(lambda case: case.given(), {"approval_commitment": None}, "another call", id="any call"),
        pytest.param(lambda case: [case.granted(agent="agt_two")], {}, "another call", id="another agent's"),
        pytest.param(lambda case: case.given(), {"approval": None}, "no approval", id="not named"),
    ],
)
def test_the_log_refuses_every_other_call(log: Log, case: Case, prepare: Any, fields: Any, why: str) -> None:
    writer = log.writer()
    writer.write_all_sync(prepare(case))
    entry = writer.write_sync(case.runs(**fields)).entry
    assert (entry["allow"], entry["open"]) == (False, False)
    assert why in str(entry["reasons_json"])
    assert not [each for each in log.entries() if each.get("what") == grants.USED]
    assert log.rows("SELECT * FROM open_decision") == []


def test_another_organizations_grant_is_none(log: Log, case: Case, make: Make) -> None:
    writer = log.writer()
    fields = case.granted().fields
    writer.write_sync(
        make.change(organization="acme", what=grants.DECIDED, event_id=grants.grant_id(case.id), fields=fields)
    )
    assert writer.write_sync(case.runs()).entry["allow"] is False


def test_a_limit_without_room_leaves_the_approval(log: Log, case: Case, make: Make) -> None:
    writer = log.writer()
    writer.write_all_sync(case.given())
    full = case.runs()
    full.reservation = make.at_most(0)
    assert writer.write_sync(full).entry["reason"] == "limit_exceeded"
    assert writer.write_sync(case.runs()).entry["allow"] is True


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        pytest.param(lambda case: [case.runs()], "never asked for", id="out of nothing"),
        pytest.param(lambda case: [case.asked(), case.runs()], "not given before", id="without a grant"),
        pytest.param(lambda case: [case.asked(), case.granted(), case.runs()], "too few", id="without a review"),
        pytest.param(
            lambda case: [case.asked(), case.reviewed(verdict="denied"), case.reviewed("operator:b"), case.granted()],
            "somebody had denied",
            id="against a denial",
        ),
        pytest.param(lambda case: [*case.given(), case.runs(), case.runs()], "has used up", id="twice"),
        pytest.param(
            lambda case: [case.asked(), case.waits(), case.reviewed(), case.granted(expires_ns="1"), case.runs()],
            "expired",
            id="too late",
        ),
        pytest.param(lambda case: [*case.given(), case.revoked(), case.runs()], "revoked before", id="revoked"),
        pytest.param(
            lambda case: [*case.given(), case.runs(approvals_json='[{"quorum":9}]')], "demanded more", id="for more"
        ),
        pytest.param(lambda case: [*case.given(), case.runs(agent_x="y", approval=None)], "never asked", id="unnamed"),
        pytest.param(lambda case: [*case.given(), case.change(grants.USED)], "there was not", id="a use of nobody"),
    ],
)
def test_verification_finds_what_a_changed_gateway_writes(
    log: Log, case: Case, forged: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with the keys that does not ask the log before it runs a call."""
    monkeypatch.setattr(grants, "fault", lambda *_: "")
    monkeypatch.setattr(grants, "next_number", lambda *_: 1)
    monkeypatch.setattr(grants, "use", lambda _, decision: {**_plain(decision), "id": new_id("chg")})
    log.writer().write_all_sync(forged(case))
    assert any(why in str(each) for each in log.verify().findings), log.verify().findings


def _plain(decision: Any) -> Any:
    members = {name: decision[name] for name in ("v", "org", "boot", "actor", "epoch", "agent")}
    more = {"approval": decision.get("approval"), "approval_commitment": "c" * 64, "decision": decision["id"]}
    return members | more | {"kind": "change", "what": grants.USED}


def test_an_approval_for_several_uses_is_used_so_often(log: Log, make: Make) -> None:
    case = Case(make, demanded(5))
    writers = [log.writer() for _ in range(4)]
    writers[0].write_all_sync([case.asked(), case.waits(), case.reviewed(uses=5), case.granted(uses=5)])
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda each: writers[each % 4].write_sync(case.runs()), range(40)))
    ran = [each.entry for each in found if each.entry["open"] is True]
    assert sorted(each["approval_use"] for each in ran) == [1, 2, 3, 4, 5]
    told = [each for each in log.entries() if each.get("what") == grants.USED]
    assert [(each["number"], each["uses"]) for each in told] == [(number, 5) for number in range(1, 6)]
    assert [each["decision"] for each in told] == [each["id"] for each in sorted(ran, key=lambda e: e["approval_use"])]
    assert log.verify().findings == []


def test_what_is_left_of_an_approval_can_be_taken_back(log: Log, make: Make) -> None:
    case, writer = Case(make, demanded(9)), log.writer()
    writer.write_all_sync([case.asked(), case.waits(), case.reviewed(uses=9), case.granted(uses=9)])
    assert [writer.write_sync(case.runs()).entry["allow"] for _ in range(3)] == [True] * 3
    writer.write_sync(case.revoked())
    assert "revoked" in str(writer.write_sync(case.runs()).entry["reasons_json"])
    assert log.verify().findings == []


def test_an_approval_for_a_pattern_is_for_every_call_that_matches_it(log: Log, make: Make) -> None:
    case, writer = Case(make, demanded(9, pattern="small")), log.writer()
    writer.write_all_sync(
        [
            case.asked(pattern_commitment=ALIKE),
            case.reviewed(uses=9, for_pattern=True),
            case.granted(uses=9, pattern_commitment=ALIKE),
        ]
    )
    other = {"approval_commitment": "d" * 64}
    assert writer.write_sync(case.runs(pattern_commitment=ALIKE, **other)).entry["allow"] is True
    for outside in ({}, {"pattern_commitment": "q" * 64}, {"pattern_commitment": ALIKE, "approval": new_id("apr")}):
        assert writer.write_sync(case.runs(**{**other, **outside})).entry["allow"] is False
    assert log.verify().findings == []


BOTH = {"uses": 3, "pattern_commitment": ALIKE}


@pytest.mark.parametrize(
    ("offer", "forged", "why"),
    [
        pytest.param(demanded(3), lambda case: [case.granted(uses=4)], "the policies allow 3", id="too often"),
        pytest.param(DEMANDED, lambda case: [case.granted(uses=2)], "the policies allow 1", id="single"),
        pytest.param(demanded(3), lambda case: [case.granted(uses=0)], "the policies allow 3", id="never"),
        pytest.param(demanded(3), lambda case: [case.granted(uses="3")], "for 0 uses", id="a text"),
        pytest.param(
            demanded(3),
            lambda case: [case.reviewed("operator:b", uses=2), case.granted(uses=3)],
            "somebody approved 2",
            id="more often than one reviewer said",
        ),
        pytest.param(
            demanded(3),
            lambda case: [case.granted(uses=3, expires_ns=str(time.time_ns() + 2 * HOUR))],
            "for longer than the 3600 s",
            id="too long",
        ),
        pytest.param(demanded(3), lambda case: [case.granted(**BOTH)], "did not name", id="no pattern"),
        pytest.param(
            demanded(3, pattern="small"),
            lambda case: [case.granted(**{**BOTH, "pattern_commitment": "q" * 64})],
            "did not name",
            id="another pattern",
        ),
        pytest.param(
            demanded(3, pattern="small"),
            lambda case: [case.reviewed("operator:b", uses=3), case.granted(**BOTH)],
            "somebody approved a single call",
            id="a pattern that one reviewer did not mean",
        ),
        pytest.param(
            demanded(3, pattern="small"),
            lambda case: [case.granted(**BOTH), case.runs(pattern_commitment="q" * 64)],
            "for another call",
            id="outside of the pattern",
        ),
        pytest.param(
            demanded(3, pattern="small"),
            lambda case: [
                case.granted(**BOTH),
                case.runs(pattern_commitment=ALIKE, approvals_json=json.dumps(demanded(3, pattern="large"))),
            ],
            "demanded more",
            id="for what the policies call something else",
        ),
        pytest.param(
            demanded(3),
            lambda case: [case.granted(uses=3), *(case.runs() for _ in range(4))],
            "has used up",
            id="four of three",
        ),
        pytest.param(
            demanded(denials=2),
            lambda case: [
                case.reviewed("operator:b", verdict="denied"),
                case.reviewed("operator:c", verdict="denied"),
                case.granted(),
            ],
            "somebody had denied",
            id="against two denials of two",
        ),
    ],
)
def test_verification_finds_a_grant_that_is_for_more(
    log: Log, make: Make, offer: list[Any], forged: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with the keys that grants more than policies allow and people said, or asks the log for less."""
    used: list[str] = []
    monkeypatch.setattr(grants, "fault", lambda *_: "")
    monkeypatch.setattr(grants, "next_number", lambda *_: used.append("") or len(used))
    case = Case(make, offer)
    first = [case.asked(pattern_commitment=ALIKE), case.reviewed(uses=3, for_pattern=True)]
    log.writer().write_all_sync([*first, *forged(case)])
    assert any(why in str(each) for each in log.verify().findings), log.verify().findings


def test_one_denial_of_two_does_not_deny(log: Log, make: Make) -> None:
    case = Case(make, demanded(denials=2))
    log.writer().write_all_sync([case.asked(), case.reviewed("operator:b", "denied"), case.reviewed(), case.granted()])
    assert log.verify().findings == []


def test_two_of_two_must_have_approved(log: Log, make: Make) -> None:
    case = Case(make, [{"reason": "big", "quorum": 2}])
    same = [case.asked(), case.reviewed(), case.reviewed(), case.granted()]
    log.writer().write_all_sync(same)
    assert any("too few" in str(each) for each in log.verify().findings)
