"""Teams. Who is in them and what is bound to them is told only if it is asked for, as it may be long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Body, Operation, PageQuery, Query, Reasoned, cut, tag
from gateway.registry import pages
from gateway.registry.documents import plain
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import resume_team, revoke_team, suspend_team
from gateway.registry.records import TeamRecord

_LISTS = ("agents", "bundles")
_TEAM = shapes.record(TeamRecord, *_LISTS)
_WITH_MEMBERS = shapes.with_lists(_TEAM, *_LISTS)

_MEMBERS = Field(False, description="Name their agents that have not ended, and their bundles.")


class TeamQuery(Query):
    """What is to be told."""

    members: bool = _MEMBERS


class TeamPageQuery(PageQuery):
    """The same of many."""

    members: bool = _MEMBERS


class NewTeam(Reasoned):
    """A team to create."""

    name: str
    owner: str = Field("", description="Who is responsible for it.")
    description: str = ""


class TeamPatch(Body):
    """What to change of a team: what is left out stays, null clears it."""

    owner: str | None = None
    description: str | None = None
    reason: str = Field("", description="Why; it stays in the audit log.")


def _plain(record: TeamRecord) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name not in _LISTS}


def _shown(record: TeamRecord, *, members: bool = False) -> Answer:
    body = plain(record) if members else _plain(record)
    return Answer(body=body, tag=tag(record.version), location=f"/teams/{record.name}")


@Operation("GET /teams", answer=shapes.page(_WITH_MEMBERS))
def listed(ask: Ask[None, TeamPageQuery]) -> Answer:
    """List teams."""
    if ask.query.members:
        ask.check_also_reads("agents", "bindings")
        found = [plain(each) for each in teams.teams(ask.registry, ask.tenant)]
    else:
        found = [_plain(each) for each in pages.teams(ask.registry, ask.tenant)]
    place = ("teams", "members" if ask.query.members else "")
    return cut(ask, sorted(found, key=lambda each: str(each["name"])), lambda each: each["name"], *place)


@Operation("POST /teams", status=201, answer=_TEAM, tagged=True)
def create(ask: Ask[NewTeam]) -> Answer:
    """Create a team."""
    members = ask.body.model_dump()
    return _shown(teams.create_team(ask.change(), **ask.by, **members))


@Operation("GET /teams/{team}", answer=_WITH_MEMBERS, tagged=True)
def show(ask: Ask[None, TeamQuery]) -> Answer:
    """A team."""
    if ask.query.members:
        ask.check_also_reads("agents", "bindings")
    return _shown(_team(ask), members=ask.query.members)


def _team(ask: Ask) -> TeamRecord:
    return teams.team(ask.registry, ask.tenant, ask.path["team"])


@Operation("PATCH /teams/{team}", answer=_TEAM, if_match="required", tagged=True)
def update(ask: Ask[TeamPatch]) -> Answer:
    """Change a team's owner or description."""
    sent = ask.body.model_fields_set
    texts = {name: getattr(ask.body, name) or "" for name in ("owner", "description") if name in sent}
    changed = teams.update_team(
        ask.change(ask.as_seen(teams.find_team, ask.path["team"])),
        **ask.by,
        team=ask.path["team"],
        reason=ask.body.reason,
        **texts,
    )
    return _shown(changed or _team(ask))


def _transition(change: Callable[..., TeamRecord | None], ask: Ask[Reasoned]) -> Answer:
    changed = change(ask.change(), **ask.by, team=ask.path["team"], reason=ask.body.reason)
    return _shown(changed or _team(ask))


@Operation("POST /teams/{team}/suspend", answer=_TEAM, restricts=True, tagged=True)
def suspend(ask: Ask[Reasoned]) -> Answer:
    """Refuse the requests of all agents of a team until it is resumed."""
    return _transition(suspend_team, ask)


@Operation("POST /teams/{team}/resume", answer=_TEAM, tagged=True)
def resume(ask: Ask[Reasoned]) -> Answer:
    """Let the agents of a suspended team go on."""
    return _transition(resume_team, ask)


@Operation("POST /teams/{team}/revoke", answer=_TEAM, restricts=True, tagged=True)
def revoke(ask: Ask[Reasoned]) -> Answer:
    """End a team and all that its agents may do, for good."""
    return _transition(revoke_team, ask)
