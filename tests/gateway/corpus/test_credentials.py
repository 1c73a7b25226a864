"""Thousands of bad credentials against real processes: none is accepted, and no answer helps whoever guesses."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import closing

import pytest

from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers, generate
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR, ORG

from . import credentials, told
from .azure import DEPLOYED
from .case import AUTHORIZATION, HOST, JSON, KEY, Case, head, length
from .credentials import Known
from .google import WAYS as GOOGLE
from .named_twice import WAYS
from .rig import Rig, Told
from .routes import Way

# Thousands of cases.
pytestmark = pytest.mark.slow

OTHER = "other"
_ID = re.compile(rb"rfs_[0-9a-f-]+")
LONG = 20.0  # each is answered; a client that ended its side before, on a busy machine, would get no answer


def known(rig: Rig) -> Known:
    """Keys in every state, made in the registry of the running gateway."""
    data = DataDirectory(rig.data)
    peppers = Peppers.load(data.keys)
    with closing(Registry(data.registry_db)) as registry:

        def key(
            agent: str, *, organization: str = ORG, lifetime_ns: int | None = None, under: Peppers = peppers
        ) -> str:
            return create_key(
                registry, under, actor=ACTOR, organization=organization, agent=agent, lifetime_ns=lifetime_ns
            ).text

        def register(name: str, organization: str = ORG) -> str:
            return register_agent(registry, actor=ACTOR, organization=organization, name=name).id

        create_organization(registry, actor=ACTOR, name=OTHER)
        register("tenant", OTHER)
        for name in ("second", "third", "gone"):
            register(name)
        gone, revoked = key("gone"), key("second")
        revoke_agent(registry, actor=ACTOR, organization=ORG, agent="gone")
        revoke_key(registry, actor=ACTOR, organization=ORG, key=revoked[:19])
        expired = key("third", lifetime_ns=1)
        with registry.read() as session:
            statement = "SELECT digest FROM api_key WHERE credential_id = ?"
            (digest,) = session.connection().exec_driver_sql(statement, (rig.key[7:19],)).one()
        return Known(
            good=rig.key,
            operator=generate("operator").text,
            second=key("second"),
            tenant=key("tenant", organization=OTHER),
            revoked=revoked,
            expired=expired,
            revoked_agent=gone,
            pepper=key("third", under=Peppers({1: bytes(32)})),
            foreign=generate("agent").text,
            digest=digest,
        )


# One route of every API, in turn: what a credential may not open, it may not open anywhere.
ROUTES = (
    WAYS["chat"], WAYS["messages"], GOOGLE["generate"], DEPLOYED["azure chat"], WAYS["create"], WAYS["responses"],
    GOOGLE["stream"], WAYS["ollama chat"],
)  # fmt: skip


def _sent(way: Way, *lines: bytes, query: bytes = b"") -> bytes:
    body = way.body.encode()
    target = way.target + (b"&" if b"?" in way.target else b"?") + query if query else way.target
    return head(HOST, *lines, JSON, length(body), method=way.method, target=target) + body


def _cases(keys: Known) -> list[tuple[Way, str, bool, Case]]:
    """Each with the answer that it must get, and whether it is a guess at the secret of a known id."""
    found = [
        (
            way := ROUTES[number % len(ROUTES)],
            told.kind_of(lines, keys),
            told.has_known_id(lines, keys),
            Case(note, _sent(way, *lines), "refused", LONG),
        )
        for number, (note, lines) in enumerate(credentials.cases(keys))
    ]
    for way in ROUTES:
        for name in (
            "key",
            "api_key",
            "api-key",
            "access_token",
            "token",
            "Authorization",
            "x-goog-api-key",
            "%6bey",
            "KEY",
        ):
            query = name.encode() + b"=" + KEY
            case = Case(f"{way.note}: only in the query as {name}", _sent(way, query=query), "refused", LONG)
            found.append((way, "in query" if name == "key" else "missing", False, case))
            for text, kind in (("x", "no key"), (keys.revoked, "revoked"), (keys.operator, "operator")):
                case = Case(
                    f"{way.note}: {text[:12]} in a header and {name} in the query",
                    _sent(way, b"Authorization: Bearer " + text.encode(), query=query), "refused", LONG,
                )  # fmt: skip
                found.append((way, kind, False, case))
    return found


def _answer(each: Told) -> bytes:
    """A whole answer without the moment, and without the id by which its refusal is looked up."""
    found = each.header(b"x-refusal-id")
    assert _ID.fullmatch(found), each.case.note
    assert found in each.body, each.case.note
    return re.sub(rb"\r\ndate: [^\r]*", b"", each.data.replace(found, b"ID"))


def test_no_bad_credential_opens_anything(rig: Rig) -> None:
    processes = rig.children("data") + rig.children("control")
    cases = _cases(known(rig))
    assert len(cases) > 4000
    controls = [Case(f"the good key: {way.note}", _sent(way, AUTHORIZATION), "served") for way in ROUTES]
    played = rig.play([*controls, *(each[-1] for each in cases), *controls])
    assert [each.status for each in played.told if each.case in controls] == [200] * 2 * len(ROUTES)
    answers = played.told[len(ROUTES) : -len(ROUTES)]
    assert [each.case.note for each in answers if each.status not in (400, 401) or len(each.statuses) > 1] == []
    assert len(played.seen) == 2 * len(ROUTES)
    # A client is told what it may know of what it sent, each time in the very same bytes; each API has its own shape.
    refusals: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    ids: dict[bool, set[bytes]] = defaultdict(set)
    for (way, kind, guessed, _), each in zip(cases, answers, strict=True):
        if each.status == 401:
            refusals[way.note, kind].add(_answer(each))
            if kind == "unknown":
                ids[guessed].add(each.header(b"x-refusal-id"))
    assert {asked: len(found) for asked, found in refusals.items() if len(found) != 1} == {}
    assert {kind for _, kind in refusals} == {*told.TEXTS, "aws"}
    for (_, kind), (answer,) in refusals.items():
        assert kind == "aws" or told.message(kind).encode() in answer
    # The id tells as little as the text: a secret of an id that is known has that of one which nobody has.
    assert ids[True] & ids[False]
    assert {each.decisions for each in answers if each.decisions} == set()
    assert sum(each.status == 401 for each in answers) > 2000
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
