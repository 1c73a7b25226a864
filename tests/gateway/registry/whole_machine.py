"""The rest of what the registry does for identities, in any order with what `machine.py` has.

Keys that replace others and the end of their overlap, public keys, SPIFFE IDs, the states of teams and organizations,
and emergency stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway.identity import public_keys
from gateway.identity.credentials import parse
from gateway.identity.message_signatures import thumbprint
from gateway.registry import emergency_stops, queries
from gateway.registry.keys import rotation as key_rotation
from gateway.registry.keys.public_keys import add_public_key
from gateway.registry.keys.spiffe_ids import add_spiffe_id
from gateway.registry.organizations import changes as organization_changes
from gateway.registry.organizations import queries as tenants
from tests.gateway.conftest import ACTOR, at_once
from tests.gateway.registry.machine import HOUR, NAMES, TEAMS, RegistryMachine
from tests.gateway.registry.model import ENDED, ORGS

PUBLIC = tuple(public_keys.generate("ed25519").public_key() for _ in range(4))
SPIFFE = ("spiffe://example.org/one", "spiffe://example.org/two")
# Revoking is for good, so it is rarer: what is revoked takes little more.
STATES = ("suspended", "active", "suspended", "active", "suspended", "active", "revoked")


class WholeMachine(RegistryMachine):
    """Every change of identities."""

    def __init__(self) -> None:
        super().__init__()
        self.spiffe: dict[str, str] = {}  # by the id of the row

    # --- keys of other kinds, and keys that replace others -----------------------------------------------------------

    def refusal(self, org: str, name: str) -> tuple[str | None, str | None]:
        """The agent that a name means, and the code with which it is refused any new credential."""
        found = self.model.meant(org, name)
        if found is None:
            return None, "unknown_agent"
        agent = self.model.agents[found]
        return found, f"agent_{agent.status}" if agent.status in ENDED else self.model.revoked(org, agent.team)

    @rule(
        org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), overlap=st.integers(0, 3),
        lifetime=st.sampled_from((None, None, 5)),
    )  # fmt: skip
    def rotate_key(self, org: str, name: str, overlap: int, lifetime: int | None) -> None:
        found, code = self.refusal(org, name)
        live = self.model.live_keys(found, "api_key", self.clock.now)
        current = [each for each in live if live[each].replaced_by is None]
        if code is None and len(current) != 1:
            code = "several_keys" if current else "no_key"
        elif code is None and len(live) > 1:
            code = "too_many_keys"
        delivered: list[key_rotation.Rotated] = []
        terms = key_rotation.Terms(overlap * HOUR, None if lifetime is None else lifetime * HOUR)
        with self.refused(code):
            rotated = key_rotation.rotate_key(
                self.registry, self.peppers, actor=ACTOR, organization=org, agent=name, terms=terms,
                deliver=delivered.extend,
            )  # fmt: skip
            assert delivered == [rotated]
            (old,) = current
            credential = parse(rotated.new.text)
            assert credential is not None
            self.add(rotated.new.record, credential.id)
            before, made = self.model.keys[old], self.model.keys[rotated.new.record.id]
            lasts = terms.lifetime_ns
            if lasts is None and before.expires_ns is not None:
                lasts = before.expires_ns - before.created_ns
            assert made.expires_ns == (None if lasts is None else made.created_ns + lasts)
            ends = made.created_ns + terms.overlap_ns
            before.expires_ns = ends if before.expires_ns is None else min(before.expires_ns, ends)
            before.replaced_by = rotated.new.record.id

    @rule(org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), key=st.sampled_from(PUBLIC), hours=st.integers(0, 2))
    def add_public_key(self, org: str, name: str, key: Any, hours: int) -> None:
        found, code = self.refusal(org, name)
        if code is None and any(each.credential_id == thumbprint(key) for each in self.model.keys.values()):
            code = "key_exists"
        elif code is None and len(self.model.live_keys(found, "signature", self.clock.now)) >= 2:
            code = "too_many_keys"
        with self.refused(code):
            made = add_public_key(
                self.registry, key, actor=ACTOR, organization=org, agent=name, lifetime_ns=hours * HOUR or None
            )
            self.add(made, thumbprint(key))

    @rule(
        org=st.sampled_from(ORGS), name=st.sampled_from(NAMES), given=st.sampled_from(SPIFFE), hours=st.integers(0, 2)
    )
    def add_spiffe_id(self, org: str, name: str, given: str, hours: int) -> None:
        _, code = self.refusal(org, name)
        if code is None and any(
            taken == given and not self.model.keys[identifier].revoked for identifier, taken in self.spiffe.items()
        ):
            code = "key_exists"
        with self.refused(code):
            made = add_spiffe_id(
                self.registry, given, actor=ACTOR, organization=org, agent=name, lifetime_ns=hours * HOUR or None
            )
            self.add(made, made.id)
            self.spiffe[made.id] = given

    # --- what stands above agents -------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.teams)
    @rule(org=st.sampled_from(ORGS), team=st.sampled_from(TEAMS[1:]), wanted=st.sampled_from(STATES))
    def change_team(self, org: str, team: str, wanted: str) -> None:
        change: Callable[..., object] = {
            "active": organization_changes.resume_team,
            "suspended": organization_changes.suspend_team,
            "revoked": organization_changes.revoke_team,
        }[wanted]
        status = self.model.teams.get((org, team))
        code = "unknown_team" if status is None else None
        if status == "revoked" != wanted:
            code = "team_revoked"
        with self.refused(code):
            changed = change(self.registry, actor=ACTOR, organization=org, team=team)
            assert (changed is None) == (status == wanted)
            self.model.teams[org, team] = wanted

    @rule(org=st.sampled_from(ORGS), wanted=st.sampled_from(STATES[:-1]))
    def change_organization(self, org: str, wanted: str) -> None:
        self.set_organization(org, wanted)

    @precondition(lambda self: len(self.past) > 30)
    @rule()
    def revoke_organization(self) -> None:
        """One of them only, and late: little happens in it from then on."""
        self.set_organization(ORGS[1], "revoked")

    def set_organization(self, org: str, wanted: str) -> None:
        change: Callable[..., object] = {
            "active": organization_changes.resume_organization,
            "suspended": organization_changes.suspend_organization,
            "revoked": organization_changes.revoke_organization,
        }[wanted]
        status = self.model.organizations[org]
        with self.refused("organization_revoked" if status == "revoked" != wanted else None):
            changed = change(self.registry, actor=ACTOR, organization=org)
            assert (changed is None) == (status == wanted)
            self.model.organizations[org] = wanted

    @rule(org=st.sampled_from((*ORGS, None)))
    def stop(self, org: str | None) -> None:
        with self.refused(None):
            found, begun = emergency_stops.stop(self.registry, actor=ACTOR, organization=org, reason="drill")
            assert (found.organization, begun) == (org, org not in self.model.stops)
            self.model.stops.add(org)

    @rule(org=st.sampled_from((*ORGS, None)))
    def end_stop(self, org: str | None) -> None:
        with self.refused(None):
            ended = emergency_stops.resume(self.registry, actor=ACTOR, organization=org)
            assert (ended is None) == (org not in self.model.stops)
            self.model.stops.discard(org)

    # --- what both must say -------------------------------------------------------------------------------------------

    @invariant()
    def what_stands_above_is_the_same(self) -> None:
        assert {each.organization for each in emergency_stops.stops(self.registry)} == self.model.stops
        found = {each.name: each.status for each in tenants.organization_records(self.registry)}
        assert found == self.model.organizations
        for given in SPIFFE if self.reader is not None else ():
            had = [identifier for identifier, name in self.spiffe.items() if name == given]
            row = at_once(self.reader.workload(given))
            assert (row is None) == (not had)
            if row is not None:
                # The one in force, or else the newest.
                assert row.key_id == max(had, key=lambda each: (not self.model.keys[each].revoked, each))
        for org in ORGS:
            for name in TEAMS:
                assert tenants.standing(self.registry, org, name) == self.model.standing(org, name)
            listed = {
                each.id: (each.status(self.clock.now), each.expires_ns) for each in queries.keys(self.registry, org)
            }
            assert listed == {
                identifier: (each.status(self.clock.now), each.expires_ns)
                for identifier, each in self.model.keys.items()
                if self.model.agents[each.agent].organization == org
            }
