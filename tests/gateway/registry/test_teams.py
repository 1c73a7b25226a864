"""Teams as rows: made on purpose or by whoever names one first."""

from __future__ import annotations

from sqlmodel import col, select

from gateway.registry.limits.usage_limits import set_limit
from gateway.registry.models import Outbox, TeamVersion
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies.bindings import bind
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.rigs.registry.changes import refusal


def entries(home: Home, what: str) -> list[tuple[str, str | None]]:
    """The teams and reasons of the waiting entries of a kind."""
    with home.registry.read() as session:
        rows = session.exec(select(Outbox).order_by(col(Outbox.position))).all()
    found = [row.entry["fields"] for row in rows if row.entry.get("what") == what]
    return [(fields["team"], fields.get("reason")) for fields in found]


def test_a_team_that_is_named_gets_a_row(home: Home) -> None:
    home.activate("support")
    home.agent(team="support")
    home.agent("other", team="support")
    given = {"actor": ACTOR, "organization": ORG, "kind": "team"}
    bind(home.registry, subject="later", bundle="support", without_members=True, **given)
    set_limit(home.registry, subject="third", name="tokens_per_day", value=1, without_members=True, **given)
    assert [(each.name, each.agents, each.bundles) for each in teams.teams(home.registry, ORG)] == [
        ("later", [], ["support"]),
        ("support", ["bot", "other"], []),
        ("third", [], []),
    ]
    assert entries(home, "team.created") == [("support", None), ("later", None), ("third", None)]


def test_a_team_with_a_row_needs_no_agent_to_be_bound(home: Home) -> None:
    home.activate("support")
    teams.create_team(home.registry, actor=ACTOR, organization=ORG, name="later")
    bound = bind(
        home.registry, actor=ACTOR, organization=ORG, kind="team", subject="later", bundle="support", reason="planned"
    )
    assert (bound.actor, bound.reason) == (ACTOR, "planned")


def test_a_team_has_an_owner_and_versions(home: Home) -> None:
    given = {"actor": ACTOR, "organization": ORG}
    made = teams.create_team(home.registry, name="support", owner="dana", reason="new", **given)
    assert (made.owner, made.description, made.status, made.version) == ("dana", "", "active", 1)
    updated = teams.update_team(home.registry, team="support", owner="bob", description="First level.", **given)
    assert updated == teams.team(home.registry, ORG, "support")
    assert teams.update_team(home.registry, team="support", owner="bob", **given) is None
    with home.registry.read() as session:
        versions = session.exec(select(TeamVersion).order_by(col(TeamVersion.version))).all()
    assert [(each.owner, each.actor, each.reason) for each in versions] == [("dana", ACTOR, "new"), ("bob", ACTOR, "")]
    with refusal("team_exists"):
        teams.create_team(home.registry, name="support", **given)
    with refusal("invalid_team"):
        teams.create_team(home.registry, name="a b", **given)
    with refusal("unknown_team"):
        teams.update_team(home.registry, team="suport", owner="x", **given)


def test_teams_of_another_organization_are_not_seen(home: Home) -> None:
    create_organization(home.registry, actor=ACTOR, name="acme")
    teams.create_team(home.registry, actor=ACTOR, organization="acme", name="support")
    assert teams.teams(home.registry, ORG) == []
    with refusal("unknown_team"):
        teams.team(home.registry, ORG, "support")
