"""Making the registry what a fleet file says: all of a plan in one transaction, with an entry for each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol, cast

from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.identity.key_scope import KeyScope
from gateway.registry.agents import registration
from gateway.registry.agents.changes import AgentUpdate, resume_agent, retire_agent, suspend_agent, update_agent
from gateway.registry.database import Registry
from gateway.registry.fleet import key_items
from gateway.registry.fleet.document import FleetError, Mistake
from gateway.registry.fleet.plan import Planner, Step, Subject
from gateway.registry.keys.changes import create_keys, revoke_key
from gateway.registry.limits import usage_limits
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import update_organization
from gateway.registry.policies.bindings import bind, unbind
from gateway.registry.records import Effect, NewKey
from gateway.registry.upstreams import routes as upstream_routes
from gateway.registry.upstreams.changes import add_upstream, remove_upstream
from gateway.registry.upstreams.routes import NewMember
from gateway.secrets.vault import Vault
from gateway.usage.limits import Part


class MadeKey(NamedTuple):
    """A new key as its file has it."""

    agent: str
    id: str
    text: str


class KeyFile(Protocol):
    """The destination of new keys. They are safe there when `write` returns; `discard` undoes that.

    A second writing takes the place of the first.
    """

    def write(self, made: Sequence[MadeKey]) -> None: ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Applier:
    """Carries out the steps of one file; `actor` is who does it, and `source` the file's name in errors.

    With `suspend_now` the settings may suspend agents at once, which nobody has reviewed in time. `check_scope` raises
    unless some upstream has the actions that a key is to be for. With `replace_revoked` new agents may have the names
    of revoked ones. `key_texts` are new keys by their agents, if somebody else has made them; they must be for exactly
    those that need one.
    """

    registry: Registry
    vault: Vault
    peppers: Peppers
    actor: str
    organization: str
    source: str
    check_scope: Callable[[KeyScope | None], None]
    reason: str = ""
    suspend_now: bool = False
    replace_revoked: bool = False
    key_texts: Mapping[str, str] | None = None

    def apply(
        self, planner: Planner, check: Callable[[Sequence[Step]], None], key_file: KeyFile | None = None
    ) -> tuple[list[Step], list[NewKey]]:
        """Carry out the plan, all or nothing. `check` raises, in the transaction, if it is not to be carried out.

        The key file is written before the keys come into force: after a crash it may hold keys that never did.
        """
        written = False
        try:
            with self.registry.together():
                steps = planner.steps()
                check(steps)
                made = self._carry_out(steps)
                if made and key_file is not None:
                    key_file.write([MadeKey(each.record.agent, each.record.id, each.text) for each in made])
                    written = True
        except BaseException:
            if written and key_file is not None:
                key_file.discard()
            raise
        return steps, made

    def _carry_out(self, steps: Sequence[Step]) -> list[NewKey]:
        made: list[NewKey] = []
        for kind, group in groupby(steps, key=lambda step: (step.action, step.noun)):
            match kind:
                case "add", "agent":
                    self._register(list(group))
                case "add", "key":
                    named: dict[str, Any] = {"agents": [step.name for step in group], "texts": self.key_texts}
                    made = create_keys(self.registry, self.peppers, **self._common, **named)
                case _:
                    for step in group:
                        try:
                            self._one(step)
                        except GatewayError as error:
                            raise self._located(step, error) from error
        return made

    def _register(self, steps: list[Step]) -> None:
        now_ns = time.time_ns()
        found = []
        for step in steps:
            try:
                found.append(registration.checked(step.item["members"], now_ns))
            except GatewayError as error:
                raise self._located(step, error) from error
        registration.register_agents(self.registry, **self._common, agents=found, replace_revoked=self.replace_revoked)
        for step in steps:
            self._set_status(step)

    @property
    def _common(self) -> dict[str, Any]:
        return {"actor": self.actor, "organization": self.organization, "reason": self.reason}

    def _one(self, step: Step) -> None:
        common = self._common
        match step.noun, step.action:
            case "team", "add":
                teams.create_team(self.registry, **common, **step.item)
            case "team", "change":
                teams.update_team(self.registry, **common, team=step.name, **step.item)
            case "agent", "change":
                update: AgentUpdate = step.item["update"]
                update_agent(self.registry, **common, agent=step.name, update=update)
                self._set_status(step)
            case (("SPIFFE ID" | "public key"), "remove"):
                revoke_key(self.registry, **common, key=step.item["key"])
            case (("SPIFFE ID" | "public key"), _):
                self.check_scope(key_items.read(step.item).scope)
                key_items.add(self.registry, step.item, **common)
            case "agent", "remove":
                retire_agent(self.registry, **common, agent=step.name)
            case "upstream", "remove":
                remove_upstream(self.registry, **common, name=step.name)
            case "upstream", action:
                add_upstream(
                    self.registry, self.vault, **common, **step.item, secret=step.secret, replace=action == "change"
                )
            case "route", "remove":
                upstream_routes.remove_route(self.registry, **common, name=step.name)
            case "route", _:
                members_ = [NewMember(**{"tier": 0, "weight": 1, **each}) for each in step.item["members"]]
                default = step.item.get("default")
                upstream_routes.set_route(self.registry, **common, name=step.name, members=members_, default=default)
            case "binding", "remove":
                kind, subject, bundle, shadow = step.item["key"]
                unbind(self.registry, **common, kind=kind, subject=subject, bundle=bundle, shadow=shadow)
            case "binding", _:
                self._bind(step)
            case "organization", _:
                more = {**common, **step.item, "suspend_now": self.suspend_now}
                update_organization(self.registry, **more)
            case "limit", "remove":
                kind, subject, limit, part, by_gateway = step.item["key"]
                usage_limits.remove_limit(
                    self.registry,
                    **common,
                    kind=kind,
                    subject=subject,
                    name=limit,
                    part=part,
                    by_gateway=by_gateway,
                )
            case "limit", _:
                of = Subject.of(step.item, self.organization)
                usage_limits.set_limit(
                    self.registry,
                    **common,
                    kind=of.kind,
                    subject=of.name,
                    name=step.item["limit"],
                    value=step.item["value"],
                    part=Part.in_item(step.item),
                    mode=step.item.get("mode"),
                    by_gateway=step.item["by_gateway"],
                    without_members=True,
                )

    def _bind(self, step: Step) -> None:
        of = Subject.of(step.item, self.organization)
        bind(
            self.registry,
            **self._common,
            kind=of.kind,
            subject=of.name,
            bundle=step.item["bundle"],
            effect=cast(Effect, step.item.get("effect", "grant")),
            pinned=step.item.get("pinned") or None,
            shadow=step.item.get("shadow", False),
            # The file says it in as many words, and the plan shows it.
            without_members=True,
            other_effect=True,
        )

    def _set_status(self, step: Step) -> None:
        change = {"active": resume_agent, "suspended": suspend_agent}
        if (status := step.item.get("status")) is not None:
            change[status](self.registry, **self._common, agent=step.name)

    def _located(self, step: Step, error: GatewayError) -> GatewayError:
        if not step.line:
            return error
        mistake = Mistake(step.line, f"{step.noun} {step.name}: {error.message}")
        return FleetError(self.source, [mistake], error.hint)
