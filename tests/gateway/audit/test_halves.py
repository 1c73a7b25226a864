"""Calls between agents in the log: both halves are there or none is, and verification compares them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import merkle, recovery
from gateway.audit.entry import decode, encode
from gateway.audit.halves_check import HalvesCheck
from gateway.audit.intents import Completed, Decided, Denial
from gateway.identifiers import new_id

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log

OTHER = "globex"


def call(*, allow: bool = True, theirs: bool | None = True, organization: str = OTHER, **more: Any) -> Decided:
    """The decision on a call to an agent of this organization; `theirs` is that of its side, None if it has none."""
    mine, other = new_id("dec_"), new_id("dec_")
    fields = {"action": "a2a.message.send", "callee": "agt_sales", "callee_organization": organization}
    received = None
    if theirs is not None:
        fields["other_decision"] = other
        said = {"direction": "receive", "caller": "agt_bot", "caller_organization": "acme", "other_decision": mine}
        received = Decided(
            organization=organization,
            event_id=other,
            agent="agt_sales",
            key=None,
            allow=theirs,
            reason="allowed" if theirs else "policy_denied",
            open=theirs,
            fields={"action": "a2a.message.send", **said},
        )
    reason = "allowed" if allow else "callee_refused"
    return Decided(
        organization="acme", event_id=mine, agent="agt_bot", key="key_1", allow=allow, reason=reason, open=allow,
        fields=fields, others=() if received is None else (received,), **more,
    )  # fmt: skip


def end(decided: Decided, outcome: str = "ok") -> Completed:
    assert decided.others
    other = Completed(
        organization=decided.others[0].organization,
        decision_id=decided.others[0].event_id,
        agent="agt_sales",
        outcome=outcome,
    )
    return Completed(
        organization="acme", decision_id=decided.event_id, agent="agt_bot", outcome=outcome, others=(other,)
    )


def entries(log: Log, organization: str) -> list[dict[str, Any]]:
    query = "SELECT leaf FROM entry JOIN log ON log.id = log_id WHERE organization = ? ORDER BY seq"
    return [dict(decode(leaf)) for (leaf,) in log.rows(query, organization)]


@pytest.mark.parametrize("organization", [OTHER, "acme"])
def test_each_half_has_the_leaf_of_the_other(log: Log, organization: str) -> None:
    writer, decided = log.writer(), call(organization=organization)
    committed = writer.write_sync(decided)
    assert log.rows("SELECT count(*) FROM open_decision") == [(2,)]
    writer.write_sync(end(decided))
    found = {str(each["id"]): each for each in entries(log, "acme") + entries(log, organization)}
    assert decided.others
    theirs, mine = found[decided.others[0].event_id], found[decided.event_id]
    closing = found["end_" + decided.others[0].event_id.removeprefix("dec_")]
    assert committed.entry["other_leaf"] == merkle.leaf_hash(encode(theirs)).hex()
    assert closing["other_leaf"] == merkle.leaf_hash(encode(mine)).hex()
    assert log.rows("SELECT count(*) FROM open_decision") == [(0,)]
    assert log.verify().findings == []


def test_what_is_submitted_twice_is_recorded_once(log: Log) -> None:
    writer, decided = log.writer(), call()
    first, again = writer.write_sync(decided), writer.write_sync(decided)
    assert first.entry == again.entry
    ended = end(decided)
    assert writer.write_sync(ended).entry == writer.write_sync(ended).entry
    assert [len(entries(log, each)) for each in ("acme", OTHER)] == [2, 2]
    assert log.verify().findings == []


def test_a_denial_of_the_other_side_has_its_half(log: Log) -> None:
    log.writer().write_sync(call(allow=False, theirs=False))
    assert [len(entries(log, each)) for each in ("acme", OTHER)] == [1, 1]
    assert log.verify().findings == []


class Full:
    """A limit without room."""

    def take(self, *_: Any) -> Denial:
        return Denial(reasons=["nothing is left"])


def test_a_call_that_a_limit_refuses_leaves_nothing_at_the_other_side(log: Log) -> None:
    committed = log.writer().write_sync(call(reservation=Full()))
    assert committed.entry["allow"] is False
    assert entries(log, OTHER) == []
    assert log.rows("SELECT count(*) FROM open_decision") == [(0,)]


def test_both_halves_of_a_dead_process_are_closed(log: Log) -> None:
    log.writer(boot="boot_dead").write_sync(call())
    log.close()
    recovery.recover(log.writer(boot="boot_new"), {"boot_new"})
    assert [entries(log, each)[1]["outcome"] for each in ("acme", OTHER)] == ["unknown", "unknown"]
    assert log.verify().findings == []


def faults(mine: Decided, log: Log, **changed: Any) -> list[str]:
    """What the check finds if the caller's entry says this instead."""
    log.writer().write_sync(mine)
    check = HalvesCheck()
    found = [check.decided(each, encode(each)) for each in entries(log, OTHER)]
    for each in entries(log, "acme"):
        said = {name: value for name, value in {**each, **changed}.items() if value is not ...}
        found.append(check.decided(said, encode(each)))
    found += check.alone()
    return [each.text for each in found if each is not None]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"other_leaf": "0" * 64}, "not the one that it names"),
        ({"other_decision": "dec_other"}, "not before it"),
        ({"action": "a2a.tasks.cancel"}, "has another `action`"),
        ({"callee": "agt_other"}, "has another `agent`"),
        ({"agent": "agt_other"}, "has another `caller`"),
        ({"id": "dec_other"}, "has another `other_decision`"),
    ],
)
def test_a_half_that_says_something_else_is_found(log: Log, changed: dict[str, Any], why: str) -> None:
    assert why in faults(call(), log, **changed)[0]


def test_a_call_that_ran_against_the_other_side_is_found(log: Log) -> None:
    assert "denied it" in faults(call(theirs=False), log)[0]


def test_a_call_that_ran_without_the_other_side_is_found(log: Log) -> None:
    assert "did not decide" in faults(call(theirs=None), log)[0]
    log.writer()
    assert any("did not decide" in each.message for each in log.verify().findings)


def test_a_half_without_the_other_is_found(log: Log) -> None:
    decided = call()
    assert decided.others
    log.writer().write_sync(replace(decided.others[0], open=False, allow=False, reason="policy_denied"))
    assert ["no decision of" in each.message for each in log.verify().findings] == [True]


def test_a_closing_that_names_another_call_is_found(log: Log) -> None:
    writer, decided = log.writer(), call()
    writer.write_sync(decided)
    writer.write_sync(end(decided))
    check = HalvesCheck()
    theirs, closing = entries(log, OTHER)
    mine = entries(log, "acme")[0]
    for each in (theirs, mine):
        assert check.decided(each, encode(each)) is None
    found = check.completed({**closing, "other_leaf": "0" * 64})
    assert found is not None
    assert "not the one" in found.text
