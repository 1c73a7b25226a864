"""Thousands of bad credentials against real processes: none is accepted, and all that are refused look alike."""

from __future__ import annotations

from contextlib import closing

import pytest

from gateway.identity.credentials import Peppers, generate
from gateway.registry import changes
from gateway.registry.database import Registry
from gateway.settings import DataDirectory
from tests.gateway.conftest import ACTOR, ORG

from . import credentials
from .case import AUTHORIZATION, BODY, HOST, JSON, LATER, Case, head, length
from .credentials import Known
from .rig import Rig

# Thousands of cases.
pytestmark = pytest.mark.slow

OTHER = "other"


def known(rig: Rig) -> Known:
    """Keys in every state, made in the registry of the running gateway."""
    data = DataDirectory(rig.data)
    peppers = Peppers.load(data.keys)
    with closing(Registry(data.registry_db)) as registry:

        def key(
            agent: str, *, organization: str = ORG, lifetime_ns: int | None = None, under: Peppers = peppers
        ) -> str:
            return changes.create_key(
                registry, under, actor=ACTOR, organization=organization, agent=agent, lifetime_ns=lifetime_ns
            ).text

        def register(name: str, organization: str = ORG) -> str:
            return changes.register_agent(registry, actor=ACTOR, organization=organization, name=name).id

        changes.create_organization(registry, actor=ACTOR, name=OTHER)
        register("tenant", OTHER)
        for name in ("second", "third", "gone"):
            register(name)
        gone, revoked = key("gone"), key("second")
        changes.revoke_agent(registry, actor=ACTOR, organization=ORG, agent="gone")
        changes.revoke_key(registry, actor=ACTOR, organization=ORG, key=revoked[:19])
        expired = key("third", lifetime_ns=1)
        with registry.read() as session:
            statement = "SELECT digest FROM api_key WHERE credential_id = ?"
            (digest,) = session.connection().exec_driver_sql(statement, (rig.key[7:19],)).one()
        return Known(
            good=rig.key,
            second=key("second"),
            tenant=key("tenant", organization=OTHER),
            revoked=revoked,
            expired=expired,
            revoked_agent=gone,
            pepper=key("third", under=Peppers({1: bytes(32)})),
            foreign=generate("agent").text,
            digest=digest,
        )


def test_no_bad_credential_opens_anything(rig: Rig) -> None:
    processes = rig.children("data") + rig.children("control")
    cases = [
        Case(note, head(HOST, *lines, JSON, length(BODY)) + BODY, "refused", LATER)
        for note, lines in credentials.cases(known(rig))
    ]
    assert len(cases) > 2300
    control = Case("the good key", head(HOST, AUTHORIZATION, JSON, length(BODY)) + BODY, "served")
    played = rig.play([control, *cases, control])
    assert [told.status for told in (played.told[0], played.told[-1])] == [200, 200]
    told = played.told[1:-1]
    assert [each.case.note for each in told if each.status not in (400, 401) or len(each.statuses) > 1] == []
    assert len(played.seen) == 2
    # A client cannot tell what is wrong with a credential.
    refusals = {(each.body, each.header(b"x-should-retry")) for each in told if each.status == 401}
    assert len(refusals) == 1
    assert {each.decisions for each in told if each.decisions} == set()
    assert sum(each.status == 401 for each in told) > 2000
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
