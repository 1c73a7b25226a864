"""Searching the log with filters: `gateway audit list --id --kind --decision --reason --model --since --until`."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.audit import search, storage
from gateway.audit.intents import Refused
from gateway.audit.search import Filters
from gateway.cli import main, output

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def gateway(log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `gateway audit …` on the log, in this process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    monkeypatch.setenv("AIG_DATA", str(log.data.path))

    def run(*arguments: object) -> Done:
        code = main(["audit", *map(str, arguments)])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def fill(log: Log, make: Make) -> list[str]:
    """Decisions of two agents and two organizations, and what belongs to them; the ids of the three decisions."""
    writer = log.writer()
    mini = make.decided(fields={"agent_name": "bot", "model": "gpt-4o-mini", "action": "chat.completions"})
    text = 'x","model":"gpt-9'  # in JSON it does not look like a member: its quotes are escaped
    denied = make.decided(
        allow=False, open=False, reason="policy_denied", agent="agt_two", fields={"model": "gpt-4o", "detail": text}
    )
    other = make.decided(organization="acme", agent="agt_two", allow=False, open=False, reason="no_policy", fields={})
    for intent in (
        make.change(),
        mini,
        make.completed(mini, outcome="upstream_error"),
        denied,
        other,
        Refused(reason="bad_credentials", count=3, first_ns=1, last_ns=2),
    ):
        writer.write_sync(intent)
    return [mini.event_id, denied.event_id, other.event_id]


def listed(gateway: Callable[..., Done], *arguments: object) -> list[tuple[str, int]]:
    done = gateway("list", "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    return [(each["organization"], each["seq"]) for each in map(json.loads, done.out.splitlines())]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kind", "change"], [("default", 0)]),
        (["--kind", "refused"], [("system", 0)]),
        (["--decision", "allow"], [("default", 1)]),
        (["--decision", "deny"], [("default", 3), ("acme", 0)]),
        (["--decision", "deny", "-n", "1"], [("acme", 0)]),
        (["--decision", "deny", "--kind", "completed"], []),
        (["--reason", "policy_denied"], [("default", 3)]),
        (["--reason", "bad_credentials"], [("system", 0)]),
        (["--reason", "upstream_error"], [("default", 2)]),
        (["--model", "gpt-4o"], [("default", 3)]),
        (["--model", "gpt-4o-mini"], [("default", 1)]),
        (["--model", "gpt-9"], []),
        (["--model", 'quo"te'], []),
        (["--agent", "agt_two", "--org", "acme"], [("acme", 0)]),
        (["--agent", "agt_two", "--model", "gpt-4o"], [("default", 3)]),
        (["--since", "1h", "--kind", "change"], [("default", 0)]),
        (["--since", "1h", "--org", "acme"], [("acme", 0)]),
        (["--until", "1h"], []),
        (["--until", "1h", "--org", "default"], []),
        (["--since", "2100-01-01"], []),
        (["--since", "2020-01-01T00:00:00Z", "--until", "2100-01-01", "--org", "acme"], [("acme", 0)]),
    ],
)
def test_each_filter(
    log: Log, make: Make, gateway: Callable[..., Done], arguments: list[str], expected: list[tuple[str, int]]
) -> None:
    fill(log, make)
    assert listed(gateway, *arguments) == expected


def test_an_id_finds_a_decision_and_its_end(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    first, second, _ = fill(log, make)
    both = [("default", 1), ("default", 2)]
    assert listed(gateway, "--id", first) == both
    assert listed(gateway, "--id", first.replace("dec_", "end_")) == both
    assert listed(gateway, "--id", first[:20], "--agent", "agt_one") == both
    assert listed(gateway, "--id", second) == [("default", 3)]
    assert listed(gateway, "--id", "dec_", "--decision", "deny") == [("default", 3), ("acme", 0)]
    assert listed(gateway, "--id", "dec_no") == []


def test_times_are_exact(log: Log, make: Make) -> None:
    """Against every entry's own time, with all walks: of everything, of one log, of one agent."""
    fill(log, make)
    rows = log.rows(
        "SELECT event_id, entry.time_ns, organization, agent FROM entry JOIN log ON log.id = log_id ORDER BY entry.id"
    )
    with closing(storage_of(log)) as db:
        for organization, agent in ((None, None), ("default", None), (None, "agt_two"), ("acme", "agt_two")):
            mine = [
                (event, time)
                for event, time, its_organization, its_agent in rows
                if organization in (None, its_organization) and agent in (None, its_agent)
            ]
            for _, time, _, _ in rows:
                for since, until in ((time, None), (None, time), (time + 1, None), (None, time + 1)):
                    filters = Filters(organization=organization, agent=agent, since_ns=since, until_ns=until)
                    found = [each.event_id for each in search.matching(db, 100, filters).found]
                    assert found == [
                        event for event, at in mine if (since is None or at >= since) and (until is None or at < until)
                    ]


def storage_of(log: Log) -> sqlite3.Connection:
    return storage.connect_read_only(log.data.audit_db)


def test_a_search_that_gives_up_says_where(
    log: Log, make: Make, gateway: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, make)
    with closing(storage_of(log)) as db:
        page = search.matching(db, 10, Filters(kind="change"), most=3)
        assert (page.found, page.stopped_ns) == ([], db.execute("SELECT time_ns FROM entry WHERE id = 4").fetchone()[0])
        following = Filters(kind="change", until_ns=page.stopped_ns)
        assert [each.kind for each in search.matching(db, 10, following, most=3).found] == ["change"]
    monkeypatch.setattr("gateway.control.api.audit._MOST", 3)
    monkeypatch.setattr("gateway.audit.search.MOST_LOOKED_AT", 3)
    done = gateway("list", "--kind", "change")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("looked at 3 entries, back to 20")
    assert f"--until {output.timestamp((page.stopped_ns or 0) + 999_999)}" in done.err


def test_a_search_with_filters_walks_an_index(log: Log, make: Make) -> None:
    """None of the statements may sort, and none but the walk of everything may scan."""
    fill(log, make)
    statements: list[str] = []
    with closing(storage_of(log)) as db:
        db._db.set_trace_callback(statements.append)
        for filters in (
            Filters(kind="change"),
            Filters(organization="acme", reason="no_policy"),
            Filters(agent="agt_two", since_ns=1),
            Filters(id="dec_0"),
            Filters(since_ns=5, until_ns=2**62),
        ):
            search.matching(db, 10, filters)
        db._db.set_trace_callback(None)
        plans = [row[3] for each in statements for row in db.execute(f"EXPLAIN QUERY PLAN {each}")]
    assert plans
    assert [plan for plan in plans if "B-TREE" in plan or plan.startswith("SCAN entry")] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--since", "yesterday"],
            "--since: `yesterday` is neither a time nor an age: write 2026-11-25T14:00:00Z, 24h or 7d",
        ),
        (["--until", "2h30m"], "`2h30m` is neither a time nor an age"),
        (["--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["--kind", "decide"], "'decide' is not one of"),
        (["--decision", "maybe"], "'maybe' is not one of"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    log: Log, gateway: Callable[..., Done], arguments: list[str], complaint: str
) -> None:
    done = gateway("list", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert done.err.count("\n") == 1


def test_a_reason_that_does_not_exist_has_a_suggestion(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    assert gateway("list", "--reason", "polcy_denied").err == "no entries: did you mean `--reason policy_denied`?\n"
    assert gateway("list", "--reason", "limit_exceeded").err == "no entries\n"


def test_an_agent_is_found_in_every_part_of_a_long_log(log: Log, make: Make) -> None:
    """Its entries are indexed by parts of 256 entries: no part may be missed, and none be read twice."""
    writer = log.writer()
    due: list[str] = []
    for number in range(6):
        mine = [make.decided(agent="agt_rare") for _ in range(number % 3)]
        writer.write_all_sync([*mine, *(make.decided(agent="agt_busy") for _ in range(256 - len(mine)))])
        due += [str(each.event_id) for each in mine]
    with closing(storage_of(log)) as db:
        assert [each.event_id for each in search.matching(db, 100, Filters(agent="agt_rare")).found] == due
        pages, before = list[str](), None
        while True:
            page = search.matching(db, 2, Filters(agent="agt_rare"), before=before)
            pages = [each.event_id for each in page.found] + pages
            if (before := page.older) is None:
                break
        assert pages == due
        assert len(search.matching(db, 10_000, Filters(agent="agt_busy")).found) == 6 * 256 - len(due)
