"""Teams. Their agents are `GET /agents?team=NAME`, their bundles among the bindings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pydantic import Field
from sqlmodel import Session

from gateway.control import shapes
from gateway.control.api.agents import tag
from gateway.control.operation import Answer, Ask, Body, Operation, PageQuery, Reasoned, cut
from gateway.registry import pages, queries, teams, tenant_changes
from gateway.registry.documents import plain
from gateway.registry.records import TeamRecord

_LISTS = ("agents", "bundles")
_TEAM = shapes.record(TeamRecord, *_LISTS)


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


def _shown(record: TeamRecord, status: int = 200) -> Answer:
    location = f"/teams/{record.name}" if status == 201 else None
    return Answer(body=_plain(record), status=status, tag=tag(record.version), location=location)


def listed(ask: Ask) -> Answer:
    found = [_plain(each) for each in pages.teams(ask.registry, ask.tenant)]
    return cut(ask, sorted(found, key=lambda each: str(each["name"])), lambda each: each["name"], "teams")


def create(ask: Ask) -> Answer:
    members = ask.body.model_dump()
    return _shown(teams.create_team(ask.change(), actor=ask.actor, organization=ask.tenant, **members), 201)


def show(ask: Ask) -> Answer:
    return _shown(teams.team(ask.registry, ask.tenant, ask.path["team"]))


def update(ask: Ask) -> Answer:
    def current(session: Session) -> str:
        tenant = queries.find_organization(session, ask.tenant)
        return tag(teams.find_team(session, tenant, ask.path["team"]).version)

    sent = ask.body.model_fields_set
    texts = {name: getattr(ask.body, name) or "" for name in ("owner", "description") if name in sent}
    changed = teams.update_team(
        ask.change(ask.if_match(current)),
        actor=ask.actor,
        organization=ask.tenant,
        team=ask.path["team"],
        reason=ask.body.reason,
        **texts,
    )
    return _shown(changed) if changed else show(ask)


def _transition(change: Callable[..., TeamRecord | None], ask: Ask) -> Answer:
    changed = change(
        ask.change(), actor=ask.actor, organization=ask.tenant, team=ask.path["team"], reason=ask.body.reason
    )
    return _shown(changed) if changed else show(ask)


_TRANSITIONS: list[tuple[str, str, Callable[..., TeamRecord | None]]] = [
    ("suspend", "Refuse the requests of all agents of a team until it is resumed", tenant_changes.suspend_team),
    ("resume", "Let the agents of a suspended team go on", tenant_changes.resume_team),
    ("revoke", "End a team and all that its agents may do, for good", tenant_changes.revoke_team),
]

OPERATIONS = [
    Operation(
        method="GET",
        path="/teams",
        noun="teams",
        summary="List teams",
        function=listed,
        query=PageQuery,
        answer=shapes.page(_TEAM),
    ),
    Operation(
        method="POST",
        path="/teams",
        noun="teams",
        summary="Create a team",
        function=create,
        body=NewTeam,
        status=201,
        answer=_TEAM,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/teams/{team}",
        noun="teams",
        summary="A team",
        function=show,
        answer=_TEAM,
        tagged=True,
    ),
    Operation(
        method="PATCH",
        path="/teams/{team}",
        noun="teams",
        summary="Change a team's owner or description",
        function=update,
        body=TeamPatch,
        answer=_TEAM,
        if_match="required",
        tagged=True,
    ),
    *(
        Operation(
            method="POST",
            path=f"/teams/{{team}}/{name}",
            noun="teams",
            summary=summary,
            function=functools.partial(_transition, change),
            body=Reasoned,
            answer=_TEAM,
            restricts=name != "resume",
            tagged=True,
        )
        for name, summary, change in _TRANSITIONS
    ),
]
