"""The outbox: every change reaches the log once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from sqlmodel import select

from gateway.audit import storage
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.intents import Activated, Changed, Intent
from gateway.audit.writer import AuditWriter
from gateway.errors import GatewayError
from gateway.registry import outbox, queries
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.models import Outbox
from gateway.registry.policies import activations
from gateway.registry.policies.bindings import bind, unbind
from gateway.registry.upstreams.changes import add_upstream, remove_upstream
from tests.gateway.conftest import ACTOR, ORG, Home


class Memory:
    """A log that can be told to fail: before it records, or after (the answer is lost)."""

    def __init__(self) -> None:
        self.entries: dict[str, Intent] = {}
        self.fail_before: int | None = None
        self.fail_after: int | None = None

    def write_all_sync(self, intents: Sequence[Intent], seconds: float | None = None) -> list[AuditError | None]:
        """After a failure, nothing of the same batch is recorded."""
        outcomes: list[AuditError | None] = []
        for intent in intents:
            number = len(self.entries)
            error = outcomes[-1] if outcomes else None
            if error is None and self.fail_before == number:
                error = unavailable("the disk is full")
            if error is None:
                assert isinstance(intent, Changed | Activated)
                self.entries[intent.event_id] = intent
                error = unavailable("the answer is lost") if self.fail_after == number else None
            outcomes.append(error)
        return outcomes


def waiting(home: Home) -> int:
    with home.registry.read() as session:
        return len(session.exec(select(Outbox)).all())


def whats(log: Memory) -> list[str]:
    return [intent.what for intent in log.entries.values() if isinstance(intent, Changed)]


def test_everything_is_moved_in_order(home: Home) -> None:
    home.agent("a")
    home.agent("b")
    home.activate("support")
    log = Memory()
    assert outbox.drain(home.registry, log) == 4
    assert waiting(home) == 0
    assert outbox.drain(home.registry, log) == 0
    assert whats(log) == ["organization.created", "agent.registered", "agent.registered"]
    *_, activation = log.entries.values()
    assert isinstance(activation, Activated)
    assert (activation.organization, activation.outcome) == ("system", "ok")
    epochs = [intent.epoch for intent in log.entries.values()]
    assert epochs == sorted(set(epochs))


def test_what_the_log_cannot_hold_is_refused_with_its_change(home: Home, writers: list[AuditWriter]) -> None:
    """Otherwise its entry, and every later one behind it, would wait in the outbox for good."""
    emoji = chr(0x1F600)
    with pytest.raises(GatewayError, match="not_recordable") as caught:
        home.agent("large", labels={f"label{number}": emoji * 200 for number in range(64)})
    assert "labels_json" in caught.value.message
    with pytest.raises(GatewayError, match="not_recordable"):
        home.activate(*[f"bundle{number}" for number in range(400)])
    assert queries.agents(home.registry, ORG) == []
    assert queries.activation(home.registry) is None
    home.agent("large", labels={f"label{number}": emoji * 100 for number in range(64)})
    assert outbox.drain(home.registry, writers[0]) == 2
    assert waiting(home) == 0


def test_more_than_a_group(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_GROUP", 3)
    for number in range(7):
        home.agent(f"bot-{number}")
    log = Memory()
    assert outbox.drain(home.registry, log) == 8
    assert len(log.entries) == 8


@pytest.mark.parametrize("where", ["fail_before", "fail_after"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_log_that_fails(where: str, position: int, home: Home) -> None:
    home.agent("a")
    home.agent("b")
    log = Memory()
    setattr(log, where, position)
    with pytest.raises(Exception, match="audit_unavailable"):
        outbox.drain(home.registry, log)
    assert waiting(home) == 3 - position
    log.fail_before = log.fail_after = None
    outbox.drain(home.registry, log)
    assert (waiting(home), len(log.entries)) == (0, 3)


@pytest.fixture
def writers(home: Home) -> Iterator[list[AuditWriter]]:
    storage.create(home.data)
    made = [AuditWriter(home.data, boot=f"boot_{n}", deployment="test") for n in range(2)]
    yield made
    for writer in made:
        writer.close()


def events(home: Home) -> list[str]:
    connection = storage.connect(home.data.audit_db)
    rows = connection.execute("SELECT event_id FROM entry ORDER BY id").fetchall()
    connection.close()
    return [row[0] for row in rows]


def test_two_processes_drain_the_same_rows(home: Home, writers: list[AuditWriter]) -> None:
    """The real log, and the crash that matters: recorded there, not yet removed here."""
    home.agent("a")
    with home.registry.read() as session:
        rows = [row.model_dump() for row in session.exec(select(Outbox))]
    outbox.drain(home.registry, writers[0])
    with home.registry.write() as session:
        for row in rows:
            session.add(Outbox(**row))
    assert outbox.drain(home.registry, writers[1]) == 2
    assert events(home) == [row["event_id"] for row in rows]


def test_every_kind_of_change_is_an_entry(home: Home, writers: list[AuditWriter]) -> None:
    """The log accepts whatever the registry may put into a change: the longest texts, all optional fields."""
    longest = {f"label-{number:02}": "ü" * 200 for number in range(64)}
    home.agent(
        "x" * 63, owner="ü" * 200, team="t" * 63, environment="e" * 63,
        capabilities=[f"c{number:02}" + "x" * 60 for number in range(64)], labels=longest, description="ü" * 1000,
        purpose="ü" * 200, model_family="ü" * 200, expires_ns=2**62, review_days=30, reason="ü" * 200,
    )  # fmt: skip
    home.agent(parent="x" * 63)
    key = home.key(lifetime_ns=10**12)
    home.activate(*(f"bundle-{number}" for number in range(50)))
    given = {"actor": ACTOR, "organization": ORG}
    for effect in ("grant", "guard"):  # the second replaces the first
        bind(home.registry, kind="agent", subject="bot", bundle="bundle-1", effect=effect, other_effect=True, **given)
    unbind(home.registry, kind="agent", subject="bot", bundle="bundle-1", **given)
    add_upstream(
        home.registry, home.vault, name="openai", provider="openai",
        base_url="https://api.example.com/" + "v" * 900, secret="sk-x", **given,
    )  # fmt: skip
    remove_upstream(home.registry, name="openai", **given)
    revoke_key(home.registry, key=key, **given)
    revoke_agent(home.registry, agent="bot", **given)
    activations.refuse_activation(
        home.registry, actor=ACTOR, commit="d" * 40, author="ü" * 900, outcome="tests_failed", detail="ü" * 9000
    )
    assert outbox.drain(home.registry, writers[0]) == 14
    assert len(events(home)) == 14


def test_many_entries_are_moved_in_groups(home: Home) -> None:
    """Entries left by a failure in a later group are moved next time, in their order, and nothing is recorded twice."""
    log = Memory()
    outbox.drain(home.registry, log)
    before, count = len(log.entries), 1100
    with home.registry.write() as session:
        fields = [{"number": number} for number in range(count)]
        outbox.add_changes(session, queries.find_organization(session, ORG), ACTOR, "test.done", fields)
    log.fail_before = before + 600
    with pytest.raises(AuditError, match="audit_unavailable"):
        outbox.drain(home.registry, log)
    assert waiting(home) == count - 600
    log.fail_before = None
    assert outbox.drain(home.registry, log) == count - 600
    moved = [intent for intent in log.entries.values() if isinstance(intent, Changed)]
    assert [intent.fields["number"] for intent in moved[-count:]] == list(range(count))
    assert waiting(home) == 0
