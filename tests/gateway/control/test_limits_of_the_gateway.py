"""An organization's operators cannot loosen a limit of the gateway's, by whatever way (limits.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.registry.agents.registration import register_agent
from gateway.registry.limits import usage_limits
from gateway.registry.organizations.changes import create_organization
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, Home, at_once
from tests.gateway.control.conftest import Client, Control

ANY = {"if-match": "*"}
NAMED = {"subject_kind": "organization", "subject": "acme", "limit": "requests_per_day"}
CAP = {"organization": True, "limit": "requests_per_day"}


@pytest.fixture
def acme(control: Control, home: Home) -> Client:
    """An owner of the organization acme, which has an agent."""
    create_organization(home.registry, actor=ACTOR, name="acme")
    register_agent(home.registry, actor=ACTOR, organization="acme", name="bot", team="blue")
    return control.operator("olga", "owner", "acme")


def values(client: Client) -> list[tuple[int, bool]]:
    found = client("GET", "/limits", organization="acme").ok()["items"]
    return [(each["value"], each["by_gateway"]) for each in found]


def refused(client: Client, method: str, path: str, body: Any = None, **more: Any) -> str:
    reply = client(method, path, body, **more)
    assert reply.problem(403) == "forbidden"
    assert "operator of the whole gateway" in reply.json["hint"]
    detail = reply.json["detail"]
    assert isinstance(detail, str)
    return detail


@pytest.mark.parametrize("at_the_machine", [pytest.param(True, marks=pytest.mark.slow), False])
def test_it_is_not_raised_ended_or_replaced(
    control: Control, owner: Client, acme: Client, at_the_machine: bool
) -> None:
    if at_the_machine:
        usage_limits.set_limit(
            control.home.registry,
            actor=ACTOR,
            organization="acme",
            kind="organization",
            subject="acme",
            name="requests_per_day",
            value=5,
        )
    else:
        owner("POST", "/limits", NAMED | {"value": 5}, organization="acme").ok(201)
    (cap,) = acme("GET", "/limits").ok()["items"]
    more = {"value": 9, "for_seconds": 60, "reason": "x"}
    assert refused(acme, "POST", "/limits/raise", NAMED | more) == (
        "`requests_per_day` of organization `acme` was set by an operator of the whole gateway"
    )
    refused(acme, "POST", f"/limits/{cap['id']}/raise", more)
    refused(acme, "POST", "/limits/remove", NAMED)
    refused(acme, "DELETE", f"/limits/{cap['id']}")
    # Any value that it sets is that of a limit of its own beside it.
    own = acme("POST", "/limits", NAMED | {"value": 9}).ok(201)
    assert values(owner) == [(5, True), (9, False)]
    acme("POST", f"/limits/{own['id']}/raise", more | {"value": 99}).ok()
    assert acme("POST", "/limits", NAMED | {"value": 3}).ok(201)["by_gateway"] is False
    assert values(owner) == [(5, True), (3, False)]
    assert acme("POST", "/limits/remove", NAMED).ok()["value"] == 3
    refused(acme, "POST", "/limits/remove", NAMED)
    # The gateway's operators change theirs, and end the organization's where there is none of theirs.
    acme("POST", "/limits", NAMED | {"value": 3}).ok(201)
    owner("POST", "/limits/raise", NAMED | more, organization="acme").ok()
    owner("POST", "/limits", NAMED | {"value": 6}, organization="acme").ok(201)
    assert values(acme) == [(3, False), (6, True)]
    assert owner("POST", "/limits/remove", NAMED, organization="acme").ok()["value"] == 6
    assert owner("POST", "/limits/raise", NAMED | more, organization="acme").ok()["by_gateway"] is False
    assert acme("POST", "/limits", NAMED | {"value": 4}).ok(201), "what they raised is still the organization's"
    assert owner("POST", "/limits/remove", NAMED, organization="acme").ok()["value"] == 4
    assert values(acme) == []
    told = [each["entry"] for each in owner("GET", "/audit/entries", organization="acme", kind="change").ok()["items"]]
    assert {(each["what"], each["by_gateway"]) for each in told if each["what"].startswith("limit.")} == {
        (what, by_gateway) for what in ("limit.set", "limit.raised", "limit.removed") for by_gateway in (True, False)
    }


def test_a_worker_compares_calls_with_both(control: Control, owner: Client, acme: Client) -> None:
    key = acme("POST", "/keys", {"agent": "bot"}).ok(201)["id"]
    blue = {"subject_kind": "team", "subject": "blue", "limit": "tokens_per_day"}
    owner("POST", "/limits", blue | {"value": 5}, organization="acme").ok(201)
    acme("POST", "/limits", blue | {"value": 3}).ok(201)
    reader = RegistryReader(control.home.data.registry_db)
    row = at_once(reader.holder(key))
    reader.close()
    assert row is not None
    limits = sorted(json.loads(row.limits), key=lambda each: each["id"])
    assert [(each["name"], each["value"], each["by_gateway"]) for each in limits] == [
        ("tokens_per_day", 5, 1),
        ("tokens_per_day", 3, 0),
    ]


@pytest.mark.slow
def test_an_organization_that_has_all_the_limits_it_may_have_gets_more(
    control: Control, owner: Client, acme: Client
) -> None:
    made = acme("POST", "/limits", NAMED | {"value": 9, "model": "m0"}).ok(201)
    of_acme: dict[str, Any] = {
        "actor": made["actor"],
        "organization": "acme",
        "kind": "organization",
        "subject": "acme",
    }
    with control.home.registry.together():
        for number in range(1, usage_limits.MAX_LIMITS):
            part = usage_limits.Part(model=f"m{number}")
            usage_limits.set_limit(control.home.registry, **of_acme, name="requests_per_day", value=9, part=part)
    assert acme("POST", "/limits", NAMED | {"value": 9}).problem(409) == "too_many_limits"
    owner("POST", "/limits", NAMED | {"value": 5}, organization="acme").ok(201)


def test_a_change_of_the_zone_begins_no_window_anew(owner: Client, acme: Client) -> None:
    """With one after the other, a day would have many."""
    zone = {"zone": "Europe/Zurich"}
    acme("POST", "/limits", NAMED | {"value": 9}).ok(201)
    owner("POST", "/limits", NAMED | {"limit": "requests_per_minute", "value": 9}, organization="acme").ok(201)
    assert acme("PATCH", "/organizations/acme", zone, headers=ANY).ok()["zone"] == "Europe/Zurich"
    owner("POST", "/limits", NAMED | {"value": 5}, organization="acme").ok(201)
    assert acme("PATCH", "/organizations/acme", zone | {"review_days": 9}, headers=ANY).ok()["review_days"] == 9
    detail = refused(acme, "PATCH", "/organizations/acme", {"zone": "UTC"}, headers=ANY)
    assert "requests_per_day" in detail
    settings = {"document": {"v": 1, "settings": {"zone": "UTC"}}}
    assert "its time zone decides" in acme("POST", "/fleet/apply", settings, headers=ANY).json["detail"]
    assert owner("PATCH", "/organizations/acme", {"zone": "UTC"}, headers=ANY).ok()["zone"] == "UTC"


@pytest.mark.slow
def test_a_file_of_the_organization_is_about_its_own(owner: Client, acme: Client) -> None:
    def apply(client: Client, *limits: dict[str, Any], **more: Any) -> Any:
        asked = {"document": {"v": 1, "limits": list(limits)}, "prune": True, **more}
        return client("POST", "/fleet/apply", asked, headers=ANY, organization="acme")

    def steps(client: Client, *limits: dict[str, Any]) -> list[str]:
        done = apply(client, *limits).ok()["steps"]
        return [" ".join((each["action"], each["name"], *each["changes"])) for each in done]

    assert steps(owner, CAP | {"value": 5}) == ["add requests_per_day of organization acme 5"]
    assert steps(acme, CAP | {"value": 9}) == ["add requests_per_day of organization acme 9"]
    assert values(acme) == [(5, True), (9, False)]
    theirs, its_own = acme("GET", "/fleet").ok(), owner("GET", "/fleet", organization="acme").ok()
    assert theirs["limits"] == [CAP | {"value": 5, "by_gateway": True}, CAP | {"value": 9}]
    assert its_own["limits"] == [CAP | {"value": 5}, CAP | {"value": 9, "by_gateway": False}]
    assert steps(acme, *theirs["limits"]) == steps(owner, *its_own["limits"]) == []
    for wrong in (
        CAP | {"value": 6, "by_gateway": True},
        {**CAP, "limit": "tokens_per_day", "value": 6, "by_gateway": True},
    ):
        reply = apply(acme, wrong)
        assert (reply.problem(422), "only an operator of the whole gateway" in reply.json["detail"]) == (
            *("invalid_fleet", True),
        )
    assert steps(acme) == ["remove requests_per_day of organization acme"]
    assert values(acme) == [(5, True)]
    assert steps(owner, CAP | {"value": 6}, CAP | {"value": 7, "by_gateway": False}) == [
        "change requests_per_day of organization acme 5 → 6",
        "add requests_per_day of organization acme (the organization's) 7",
    ]
    assert steps(owner) == [
        "remove requests_per_day of organization acme (the organization's)",
        "remove requests_per_day of organization acme",
    ]


def test_a_limit_has_a_mode_over_the_api(owner: Client, acme: Client) -> None:
    blue = {"subject_kind": "team", "subject": "blue", "limit": "tokens_per_day"}
    assert acme("POST", "/keys", {"agent": "bot"}).status == 201
    assert owner("POST", "/limits", blue | {"value": 5}, organization="acme").ok(201)["mode"] == "estimate"
    assert owner("POST", "/limits", blue | {"value": 5, "mode": "hard"}, organization="acme").ok(201)["mode"] == "hard"
    assert owner("POST", "/limits", blue | {"value": 6}, organization="acme").ok(201)["mode"] == "hard"
    assert owner("POST", "/limits", blue | {"value": 6, "mode": "soft"}, organization="acme").status == 422
    assert owner("GET", "/limits", organization="acme").ok()["items"][0]["mode"] == "hard"
