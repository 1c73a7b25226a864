"""Requests that nobody decides in time go to others: not before, by an entry, and as `gateway audit verify` proves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.approvals import reviews
from gateway.approvals.reviewers import Reviewer
from gateway.audit import grants
from gateway.audit.approval_check import ApprovalCheck
from gateway.errors import ForbiddenError
from gateway.policy.approvals import Escalation, Requirement
from gateway.registry.organizations.teams import create_team
from gateway.webhooks import shapes
from tests.gateway.approvals.test_reviews import Desk, desk
from tests.gateway.conftest import ACTOR, ORG

__all__ = ["desk"]  # the fixture
SOON = 601 * 10**9
BIG = Requirement("big", operators=("dora",), escalate=Escalation(600, ("red",), ("olga",)))


def faults(entries: list[dict[str, Any]]) -> list[str]:
    check = ApprovalCheck()
    return [fault for each in entries if (fault := check.changed(each))]


def test_others_may_review_once_the_time_is_over(desk: Desk) -> None:
    asked = desk.ask(b"{}", BIG)
    create_team(desk.home.registry, actor=ACTOR, organization=ORG, name="red", owner="rosa")
    olga, rosa, sam = (desk.person(name) for name in ("olga", "rosa", "sam"))
    for person in (olga, rosa, sam):
        with pytest.raises(ForbiddenError):
            reviews.approve(desk.home.registry, person, ORG, asked.id)
    made = reviews.one(desk.home.registry, ORG, asked.id).created_ns
    assert (desk.tend(made + 599 * 10**9), desk.tend(made + SOON), desk.tend(made + SOON)) == (0, 1, 0)
    assert reviews.one(desk.home.registry, ORG, asked.id).escalated == [0]
    with pytest.raises(ForbiddenError):
        reviews.approve(desk.home.registry, sam, ORG, asked.id)
    assert reviews.approve(desk.home.registry, rosa, ORG, asked.id, "in time").state == "approved"
    told = {each["what"]: each for each in desk.entries()}
    later = told[grants.ESCALATED]
    assert (later["id"], later["requirement"], later["model"]) == (grants.escalation_id(asked.id, 0), 0, "m")
    assert later["approval_commitment"] == told[grants.REQUESTED]["approval_commitment"]
    assert told[grants.REVIEWED]["escalated_json"] == "[0]"
    assert grants.DECIDED in told
    said = shapes.message("slack", grants.ESCALATED, {**later, "approvals": json.loads(later["approvals_json"])})
    assert b"bot still waits for an approval" in said


def test_each_requirement_goes_to_others_at_its_own_time(desk: Desk) -> None:
    late = Requirement("late", operators=("dora",), escalate=Escalation(1200, operators=("olga",)))
    asked = desk.ask(b"{}", BIG, late, Requirement("never", operators=("dora",)))
    made = reviews.one(desk.home.registry, ORG, asked.id).created_ns
    assert (desk.tend(made + SOON), desk.tend(made + 2 * SOON), desk.tend(made + 3 * SOON)) == (1, 1, 0)
    found = reviews.one(desk.home.registry, ORG, asked.id)
    assert [found.requirements[each]["reason"] for each in found.escalated] == ["big", "late"]
    record = reviews.approve(desk.home.registry, desk.person("olga"), ORG, asked.id)
    assert dict(zip([each["reason"] for each in record.requirements], record.missing, strict=True)) == {
        "big": 0,
        "late": 0,
        "never": 1,
    }


def test_a_review_of_others_does_not_count_if_the_registry_forgets(desk: Desk) -> None:
    """The quorum is counted by what is written down."""
    two = Requirement("two", operators=("dora",), quorum=2, escalate=Escalation(600, operators=("olga", "dora")))
    asked = desk.ask(b"{}", two)
    made = reviews.one(desk.home.registry, ORG, asked.id).created_ns
    desk.tend(made + SOON)
    assert reviews.approve(desk.home.registry, desk.person("olga"), ORG, asked.id).missing == [1]
    with desk.home.registry.write() as session:
        from gateway.registry.models import ApprovalRequest

        row = session.get_one(ApprovalRequest, asked.id)
        row.escalated = []
        session.add(row)
    assert reviews.approve(desk.home.registry, desk.person("dora"), ORG, asked.id).missing == [1]


@pytest.fixture
def told(desk: Desk) -> list[dict[str, Any]]:
    """The entries of a request that others have approved, as if ten minutes had passed."""
    asked = desk.ask(b"{}", BIG)
    made = reviews.one(desk.home.registry, ORG, asked.id).created_ns
    desk.tend(made + SOON)
    olga = desk.person("olga")
    reviews.approve(desk.home.registry, olga, ORG, asked.id)
    found = desk.entries()
    for each in found[1:]:
        each["time"] = str(int(each["time"]) + SOON)
    return found


def without(what: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda entries: [each for each in entries if each["what"] != what]


def early(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each | {"time": entries[0]["time"]} for each in entries]


def never(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    demanded = json.loads(entries[0]["approvals_json"])
    del demanded[0]["escalate"]
    return [entries[0] | {"approvals_json": json.dumps(demanded)}, *entries[1:]]


def another(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each | {"requirement": 7} if each["what"] == grants.ESCALATED else each for each in entries]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (list, ""),
        (without(grants.ESCALATED), "that others could not review yet"),
        (early, "before 600 s are over"),
        (never, "the policy does not say so"),
        (another, "for a requirement that there is not"),
    ],
)
def test_verification_finds_whoever_reviewed_too_early(
    told: list[dict[str, Any]], change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], fault: str
) -> None:
    found = faults(change(told))
    assert fault in found[0] if fault else found == []


def test_a_person_of_the_machine_is_no_other(desk: Desk) -> None:
    asked = desk.ask(b"{}", BIG)
    made = reviews.one(desk.home.registry, ORG, asked.id).created_ns
    desk.tend(made + SOON)
    with pytest.raises(ForbiddenError):
        reviews.approve(desk.home.registry, Reviewer("local:7", "local:7", "local:7"), ORG, asked.id)
