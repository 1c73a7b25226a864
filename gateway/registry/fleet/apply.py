"""Making the registry what a fleet file says: all of a plan in one transaction, with an entry for each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, cast

from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.identity.key_scope import KeyScope
from gateway.registry import agent_updates, changes, registration, teams, tenant_changes, upstream_routes, usage_limits
from gateway.registry.agent_updates import AgentUpdate
from gateway.registry.database import Registry
from gateway.registry.fleet import key_items
from gateway.registry.fleet.document import FleetError, Mistake
from gateway.registry.fleet.plan import Planner, Step, Subject
from gateway.registry.records import Effect, NewKey
from gateway.registry.upstream_routes import NewMember
from gateway.registry.usage_limits import Part
from gateway.registry.vault import Vault


class RollBack(Exception):  # it is no error
    """Raised inside the transaction to undo what was only tried."""


class KeyFile(Protocol):
    """Where new keys go. They are safe there when `write` returns; `discard` undoes that."""

    def write(self, made: Sequence[NewKey]) -> None: ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Applier:
    """Carries out the steps of one file; `actor` is who does it, and `source` the file's name in errors.

    With `suspend_now` the settings may suspend agents at once, which nobody has reviewed in time. `check_scope` raises
    unless some upstream has the actions that a key is to be for.
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

    def apply(self, planner: Planner, shown: Sequence[Step], key_file: KeyFile | None) -> None:
        """Carry out what was shown, all or nothing. Raises `changed_meanwhile` if it is not the plan any more.

        The key file is written before the keys come into force: after a crash it may hold keys that never did.
        """
        written = False
        try:
            with self.registry.together():
                if planner.steps() != list(shown):
                    raise GatewayError(
                        "changed_meanwhile", "the registry was changed since the plan was made", hint="apply it again"
                    )
                made = self._carry_out(shown)
                if made and key_file is not None:
                    key_file.write(made)
                    written = True
        except BaseException:
            if written and key_file is not None:
                key_file.discard()
            raise

    def rehearse(self, steps: Sequence[Step]) -> None:
        """Carry out the steps and undo them: raises what `apply` would raise."""
        try:
            with self.registry.together():
                self._carry_out(steps)
                raise RollBack
        except RollBack:
            pass

    def _carry_out(self, steps: Sequence[Step]) -> list[NewKey]:
        made: list[NewKey] = []
        for kind, group in groupby(steps, key=lambda step: (step.action, step.noun)):
            match kind:
                case "add", "agent":
                    self._register(list(group))
                case "add", "key":
                    made = self._create_keys(list(group))
                case _:
                    for step in group:
                        try:
                            self._one(step)
                        except GatewayError as error:
                            raise self._located(step, error) from error
        return made

    def _register(self, steps: list[Step]) -> None:
        now_ns = time.time_ns()
        for step in steps:
            try:
                registration.checked(step.item["members"], now_ns)
            except GatewayError as error:
                raise self._located(step, error) from error
        registration.register_agents(
            self.registry,
            actor=self.actor,
            organization=self.organization,
            agents=[step.item["members"] for step in steps],
            reason=self.reason,
        )
        for step in steps:
            self._set_status(step)

    def _create_keys(self, steps: list[Step]) -> list[NewKey]:
        return registration.create_keys(
            self.registry,
            self.peppers,
            actor=self.actor,
            organization=self.organization,
            agents=[step.name for step in steps],
            reason=self.reason,
        )

    def _one(self, step: Step) -> None:
        common: dict[str, Any] = {"actor": self.actor, "organization": self.organization, "reason": self.reason}
        match step.noun, step.action:
            case "team", "add":
                teams.create_team(self.registry, **common, **step.item)
            case "team", "change":
                teams.update_team(self.registry, **common, team=step.name, **step.item)
            case "agent", "change":
                update: AgentUpdate = step.item["update"]
                agent_updates.update_agent(self.registry, **common, agent=step.name, update=update)
                self._set_status(step)
            case (("SPIFFE ID" | "public key"), "remove"):
                changes.revoke_key(self.registry, **common, key=step.item["key"])
            case (("SPIFFE ID" | "public key"), _):
                self.check_scope(key_items.read(step.item).scope)
                key_items.add(self.registry, step.item, **common)
            case "agent", "remove":
                changes.retire_agent(self.registry, **common, agent=step.name)
            case "upstream", "remove":
                changes.remove_upstream(self.registry, **common, name=step.name)
            case "upstream", action:
                changes.add_upstream(
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
                changes.unbind(self.registry, **common, kind=kind, subject=subject, bundle=bundle, shadow=shadow)
            case "binding", _:
                self._bind(step)
            case "organization", _:
                more = {**common, **step.item, "suspend_now": self.suspend_now}
                tenant_changes.update_organization(self.registry, **more)
            case "limit", "remove":
                kind, subject, limit, upstream, model = step.item["key"]
                part = Part(upstream, model)
                usage_limits.remove_limit(self.registry, **common, kind=kind, subject=subject, name=limit, part=part)
            case "limit", _:
                of = Subject.of(step.item, self.organization)
                usage_limits.set_limit(
                    self.registry,
                    **common,
                    kind=of.kind,
                    subject=of.name,
                    name=step.item["limit"],
                    value=step.item["value"],
                    part=Part(step.item.get("upstream", ""), step.item.get("model", "")),
                    without_members=True,
                )

    def _bind(self, step: Step) -> None:
        of = Subject.of(step.item, self.organization)
        changes.bind(
            self.registry,
            actor=self.actor,
            organization=self.organization,
            reason=self.reason,
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
        change = {"active": agent_updates.resume_agent, "suspended": agent_updates.suspend_agent}
        if (status := step.item.get("status")) is not None:
            change[status](
                self.registry,
                actor=self.actor,
                organization=self.organization,
                agent=step.name,
                reason=self.reason,
            )

    def _located(self, step: Step, error: GatewayError) -> GatewayError:
        if not step.line:
            return error
        mistake = Mistake(step.line, f"{step.noun} {step.name}: {error.message}")
        return FleetError(self.source, [mistake], error.hint)
