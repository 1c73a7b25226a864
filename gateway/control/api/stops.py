"""Emergency stops: every agent of an organization, or of all, is refused at once (revocation.md).

An operator of one organization stops that one, and ends such stops, but not one that an operator of the whole gateway
has made. It also sees a stop of all, because its agents are refused too, but not who said so and why: that may concern
others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pydantic import Field
from sqlmodel import Session

from gateway.control import tenants
from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.registry import emergency_stops
from gateway.registry.records import StopRecord


class NewStop(Body):
    """Whom to stop, and why."""

    everybody: bool = Field(False, description="The agents of all organizations, and not those of one.")
    reason: str = Field(description="Why, for whoever has to end it.")


def _shown(ask: Ask, stop: StopRecord) -> StopRecord:
    foreign = ask.caller.organization is not None and stop.organization is None
    return dataclasses.replace(stop, actor="", reason="") if foreign else stop


@Operation("GET /stops", about="home", question="Is everything stopped at the moment?")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[StopRecord]]:
    """List the emergency stops that are in force."""
    found = sorted(emergency_stops.stops(ask.registry, ask.organization), key=lambda each: each.id)
    return cut(ask, [_shown(ask, each) for each in found], lambda each: each.id, "stops")


@Operation("POST /stops", about="home", restricts=True)
def begin(ask: Ask[NewStop]) -> Answer[StopRecord]:
    """Refuse every agent of an organization, or of all, from the next request on."""
    if ask.body.everybody:
        ask.caller.check_everywhere("may not stop the agents of all")
    if ask.body.everybody == (ask.organization is not None):
        hint = 'send ?organization=NAME, or "everybody": true'
        raise Problem(422, "invalid_body", "it must be said whose agents are meant, once", hint=hint)
    whose = ask.organization
    stop, _ = emergency_stops.stop(ask.change(), actor=ask.actor, organization=whose, reason=ask.body.reason)
    return Answer(body=stop)


def _one(ask: Ask) -> StopRecord:
    found = emergency_stops.find(ask.registry, ask.path["stop"], ask.organization)
    if found is None:
        hint = "GET /api/v1/stops lists those in force"
        raise Problem(404, "unknown_stop", "there is no such stop", hint=hint)
    return found


@Operation("GET /stops/{stop}", about="home")
def show(ask: Ask) -> Answer[StopRecord]:
    """An emergency stop, also one that has ended."""
    return Answer(body=_shown(ask, _one(ask)))


@Operation("POST /stops/{stop}/resume", about="home")
def end(ask: Ask[Reasoned]) -> Answer[StopRecord]:
    """End an emergency stop; agents that were suspended or revoked stay so."""
    stop = _one(ask)
    if stop.organization is None:
        ask.caller.check_everywhere("may not end a stop of all")
    ended = emergency_stops.resume(
        ask.change(_still(stop), _its_own(ask, stop)),
        actor=ask.actor,
        organization=stop.organization,
        reason=ask.body.reason,
    )
    return Answer(body=ended or stop)


def _still(stop: StopRecord) -> Callable[[Session], None]:
    """The condition that no other stop has taken its place: that one was not meant."""

    def check(session: Session) -> None:
        others = [each for each in emergency_stops.in_force(session) if each.organization == stop.organization]
        if any(each.id != stop.id for each in others):
            hint = f"end {others[0].id}, if that is meant"
            raise Problem(409, "stop_ended", "it has ended, and another one is in force", hint=hint)

    return check


def _its_own(ask: Ask, stop: StopRecord) -> Callable[[Session], None]:
    """The condition that the operator may end this stop, if it has not ended yet."""

    def check(session: Session) -> None:
        if stop.ended_ns is None:
            tenants.check_may_undo(session, ask.caller, stop.actor, "stopped")

    return check
