"""`gateway audit list` and `gateway audit verify`: what they print, and the exit codes that are their answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.audit import checkpoint as checkpoints
from gateway.audit import search, signer, storage
from gateway.audit.intents import Activated, Recovered, Refused
from gateway.audit.search import Filters
from gateway.cli import audit as cli
from gateway.cli import main
from gateway.usage.reservation import CallReservation

if TYPE_CHECKING:
    from gateway.usage.reservation import CallReservation
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


def fill(log: Log, make: Make) -> None:
    """One entry of every kind that a gateway writes, in three logs."""
    writer = log.writer()
    allowed = make.decided(fields={"agent_name": "support-bot", "action": "chat.completions", "model": "gpt-4o-mini"})
    denied = make.decided(
        allow=False,
        open=False,
        reason="policy_denied",
        reasons=["no \x1b[31mred\n", "other"],
        agent="agt_two",
        fields={"agent_name": "analyst", "action": "chat.completions", "model": "gpt-4o"},
    )
    for intent in (
        make.change(),
        allowed,
        make.completed(allowed),
        denied,
        make.change(organization="acme", what="agent.revoked"),
        Activated(event_id="act_1", actor="local:0", activation="act_1", fields={"commit": "0a1b2c"}),
        Refused(reason="bad_credentials", count=3, first_ns=1, last_ns=2),
        Recovered(organization="default", boots=frozenset()),
    ):
        writer.write_sync(intent)


def lines(done: Done) -> list[list[str]]:
    assert done.code == 0, done.err
    return [line.split() for line in done.out.splitlines()]


def test_the_list_is_a_table_oldest_first(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    heading, *rows = lines(gateway("list"))
    assert heading == ["TIME", "ORGANIZATION", "ENTRY", "KIND", "ID", "WHO", "WHAT"]
    decisions = [each["id"] for each in log.entries() if each["kind"] == "decided"]
    assert [row[4] for row in rows[1:4]] == [decisions[0], decisions[0], decisions[1]]
    assert [" ".join([*row[1:4], *row[5:]]) for row in rows] == [
        "default 0 change local:1000 agent.created name=support-bot",
        "default 1 decided support-bot allowed: chat.completions gpt-4o-mini",
        "default 2 completed support-bot ok 200 12+34 tokens",
        "default 3 decided analyst denied policy_denied: chat.completions gpt-4o (no \\x1b[31mred\\n; other)",
        "acme 0 change local:1000 agent.revoked name=support-bot",
        "system 0 activation local:0 ok 0a1b2c",
        "system 1 refused gateway bad_credentials x3",
        "default 4 recovered gateway closed 0 decisions that a dead process had left open",
    ]


def test_a_refusal_is_listed_under_the_name_that_the_agent_had_last(
    log: Log, make: Make, gateway: Callable[..., Done]
) -> None:
    def refused(organization: str, agent: str) -> Refused:
        counted = {"reason": "bad_credentials", "count": 1, "first_ns": 1, "last_ns": 2}
        return Refused(organization=organization, agent=agent, key="key_one", **counted)

    writer = log.writer()
    for intent in (
        make.decided(agent="agt_one", fields={"agent_name": "before"}),
        make.decided(agent="agt_one", fields={"agent_name": "bot"}),
        make.decided(agent="agt_two", fields={"agent_name": "other"}),
        refused("default", "agt_one"),
        refused("default", "agt_one"),
        refused("default", "agt_new"),  # nothing names it
        refused("acme", "agt_one"),  # one organization's log says nothing about another's
        make.decided(agent="agt_one", fields={"agent_name": "after"}),
    ):
        writer.write_sync(intent)
    rows = lines(gateway("list", "--kind", "refused"))[1:]
    assert [(row[1], row[5]) for row in rows] == [
        ("default", "bot"),
        ("default", "bot"),
        ("default", "agt_new"),
        ("acme", "agt_one"),
    ]


def test_the_name_of_an_agent_is_found_behind_any_number_of_refusals(log: Log, make: Make) -> None:
    refused = {"organization": "default", "agent": "agt_one", "reason": "bad_credentials", "first_ns": 1, "last_ns": 2}
    writer = log.writer()
    writer.write_sync(make.decided(agent="agt_one", fields={"agent_name": "before"}))
    for count in range(1, 81):
        writer.write_sync(Refused(**refused, count=count))  # type: ignore[arg-type]  # members of several types
        if count == 5:
            writer.write_sync(make.change(fields={"agent": "agt_one", "agent_name": "bot"}))
    log.tamper("UPDATE entry SET id = id * 256")  # each is in a part of its own, as in a log of 20,000 entries
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        names, filters = search.AgentNames(), Filters(kind="refused")
        position, found = 0, list[str]()
        while position < search.last_position(db):  # as a listing that is followed
            page, position = search.after(db, position, filters, most=7)
            found += names.of(db, page)
        assert found == ["before"] * 5 + ["bot"] * 75
        last = search.matching(db, 1, filters).found
        assert search.AgentNames().of(db, last) == names.of(db, last) == ["bot"]
        first = search.matching(db, 100, filters).found[:1]
        assert names.of(db, first) == ["before"], "an earlier page after a later one"


@pytest.mark.parametrize("reasons", ["{", "[1]", "7", ""])
def test_an_entry_that_was_changed_is_listed_all_the_same(
    log: Log, make: Make, gateway: Callable[..., Done], reasons: str
) -> None:
    log.writer().write_sync(make.decided(allow=False, open=False, reason="policy_denied"))
    log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, '\"[]\"', ?) AS BLOB)", f'"{reasons}"')
    done = gateway("list")
    assert (done.code, done.err) == (0, "")
    assert "denied policy_denied" in done.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--limit", 2], [("system", 1), ("default", 4)]),
        (["--organization", "acme"], [("acme", 0)]),
        (["--organization", "default", "-n", 2], [("default", 3), ("default", 4)]),
        (["--agent", "agt_one"], [("default", 1), ("default", 2)]),
        (["--agent", "agt_one", "-n", 1], [("default", 2)]),
        (["--agent", "agt_one", "--organization", "acme"], []),
        (["--organization", "nobody"], []),
    ],
)
def test_what_is_listed_can_be_chosen(
    log: Log, make: Make, gateway: Callable[..., Done], arguments: list[object], expected: list[tuple[str, int]]
) -> None:
    fill(log, make)
    done = gateway("list", "--json", *arguments)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(each["organization"], each["seq"]) for each in found] == expected
    assert done.code == 0


def test_json_lines_hold_the_entry_with_its_documents(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    found = [json.loads(line)["entry"] for line in gateway("list", "--json", "--org", "default").out.splitlines()]
    expected = [
        {
            name.removesuffix("_json"): json.loads(text) if name.endswith("_json") else text
            for name, text in each.items()
        }
        for each in log.entries()
    ]
    assert found == expected
    assert found[3]["reasons"] == ["no \x1b[31mred\n", "other"]


def test_an_empty_list_says_so_beside_the_result(gateway: Callable[..., Done]) -> None:
    assert gateway("list") == (0, "", "no entries\n")
    assert gateway("list", "--json") == (0, "", "")


def test_following_shows_what_is_written_meanwhile(log: Log, make: Make, tmp_path: Path) -> None:
    writer = log.writer()
    writer.write_sync(make.change(what="before"))
    output = tmp_path / "output"
    # A shell that starts the tests in the background lets its children ignore the signal.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from gateway.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "audit", "list"]
    with output.open("wb") as file:
        process = subprocess.Popen([*command, "--follow", "--json", "--data", log.data.path], stdout=file)
    try:
        wait_for(output, "before")
        writer.write_sync(make.change(what="meanwhile"))
        wait_for(output, "meanwhile")
        process.send_signal(signal.SIGINT)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
    assert [json.loads(line)["entry"]["what"] for line in output.read_text().splitlines()] == ["before", "meanwhile"]


def wait_for(output: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in output.read_text():
        assert time.monotonic() < deadline, f"`{text}` was not shown"
        time.sleep(0.02)


# -- verify ------------------------------------------------------------------------------------------------------------


def test_a_valid_log(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    log.sign()
    done = gateway("verify")
    assert done.code == 0
    assert "test/default/audit/1: 5 entries, signed to 5 by 1 checkpoint\n" in done.out
    assert "✓ the log is valid" in done.out
    assert f"checked with the key {log.verifier}" in done.out
    assert done.err == ""


def test_a_changed_byte_is_named(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    log.sign()
    log.tamper(
        "UPDATE entry SET leaf = CAST(replace(leaf, 'gpt-4o-mini', 'gpt-5o-mini') AS BLOB) WHERE agent = 'agt_one'"
    )
    done = gateway("verify")
    assert done.code == 1
    assert "✗ test/default/audit/1: entry 1: its leaf was changed" in done.out
    assert "✗ the log was tampered with" in done.out
    report = json.loads(gateway("verify", "--json").out)
    assert (report["status"], report["exit_code"]) == ("tampered", 1)
    assert {(each["origin"], each["index"]) for each in report["findings"]} == {("test/default/audit/1", 1)}


def test_an_unsigned_tail_has_its_own_exit_code(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    log.writer().write_sync(make.decided())
    done = gateway("verify")
    assert done.code == 3
    assert "! valid as far as it is signed: 1 entry is not signed yet, 1 decision is open" in done.out


def test_a_copy_is_checked_with_a_key_from_elsewhere(
    log: Log, make: Make, gateway: Callable[..., Done], tmp_path: Path
) -> None:
    """The auditor's way: one file, one key, nothing of the gateway's directory."""
    fill(log, make)
    log.sign()
    log.close()
    copy = shutil.copyfile(log.data.audit_db, tmp_path / "copy.db")
    shutil.rmtree(log.data.path)
    assert gateway("verify", "--database", copy, "--public-key", str(log.verifier)).code == 0
    (tmp_path / "key").write_text(f"{log.verifier}\n")
    assert gateway("verify", "--database", copy, "--public-key", tmp_path / "key").code == 0
    assert gateway("verify", "--database", copy).code == 2


def test_a_database_that_was_rolled_back(log: Log, make: Make, gateway: Callable[..., Done], tmp_path: Path) -> None:
    """It is sound in itself; the signer's memory shows it, or a checkpoint that somebody has kept."""
    log.writer().write_sync(make.change())
    log.sign()
    log.close()
    old = log.data.audit_db.read_bytes()
    log.writer().write_sync(make.change())
    log.sign()
    log.close()
    kept = tmp_path / "checkpoint"
    kept.write_text(gateway("checkpoint").out)
    log.data.audit_db.write_bytes(old)
    assert "entry 1: it is missing: 2 entries are signed" in gateway("verify").out
    log.data.signer_state.unlink()
    assert gateway("verify").code == 0
    done = gateway("verify", "--known-checkpoint", kept)
    assert (done.code, "entry 1: it is missing" in done.out) == (1, True)


def test_a_checkpoint_can_be_taken_away(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    assert gateway("checkpoint").err.startswith("error: `default` has no log yet")
    log.writer().write_sync(make.change())
    assert gateway("checkpoint").err.startswith("error: `default` is not signed yet")
    log.sign()
    done = gateway("checkpoint")
    assert (done.code, done.err) == (0, "")
    assert checkpoints.verify(done.out, log.verifier, "test/default/audit/1").size == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "nowhere"], "no gateway in ./nowhere"),
        (["--database", "nowhere.db", "--public-key", "KEY"], "there is no audit log at `nowhere.db`"),
        (["--public-key", "nowhere"], "cannot read the public key `nowhere`"),
        (["--public-key", "a+b"], "a verifier key is written"),
        (["--known-checkpoint", "nowhere"], "cannot read the checkpoint `nowhere`"),
        (["--database", __file__, "--public-key", "KEY"], "is not an audit log"),
        (["--frobnicate"], "no such option"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(
    log: Log, gateway: Callable[..., Done], arguments: list[str], complaint: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gateway("verify", *(str(log.verifier) if each == "KEY" else each for each in arguments))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert complaint in done.err


def test_nothing_is_held_while_something_is_printed(
    log: Log, make: Make, gateway: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pager may keep the list waiting for hours: meanwhile SQLite must be able to begin its write-ahead log anew."""
    fill(log, make)
    writer = log.writer()
    echo = cli.typer.echo
    held: list[int] = []

    def printing(*arguments: Any, **options: Any) -> None:
        writer.write_sync(make.change())
        [(busy, _, _)] = log.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        held.append(busy)
        echo(*arguments, **options)

    monkeypatch.setattr(cli.typer, "echo", printing)
    for options in ((), ("--json",), ("--agent", "agt_one"), ("--org", "default")):
        assert gateway("list", *options).code == 0
    assert len(held) > 10
    assert set(held) == {0}


def test_a_lost_memory_is_adopted_from_a_log_that_verifies(
    log: Log, make: Make, gateway: Callable[..., Done], tmp_path: Path
) -> None:
    fill(log, make)
    log.sign()
    assert "nothing to adopt" in gateway("adopt").err
    kept = tmp_path / "kept"
    kept.write_text(gateway("checkpoint").out)
    log.data.signer_state.unlink()
    assert gateway("adopt", "--known-checkpoint", kept).out == (
        "adopted the newest checkpoints of test/default/audit/1, test/acme/audit/1, test/system/audit/1\n"
    )
    assert log.entries("system")[-1]["what"] == "signer_state.adopted"
    log.sign()
    assert gateway("verify").code == 0
    # Not from one that does not: an older copy has no place in it for the checkpoint that was kept.
    log.data.signer_state.unlink()
    log.tamper("DELETE FROM entry WHERE log_id = 1 AND seq = 3")
    done = gateway("adopt", "--known-checkpoint", kept)
    assert (done.code, "tampered" in done.out, log.data.signer_state.exists()) == (1, True, False)


def test_nothing_is_adopted_beside_a_running_gateway(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    fill(log, make)
    log.sign()
    with signer.HeadSigner(log.data):
        log.data.signer_state.unlink()
        done = gateway("adopt")
    assert (done.code, "another process signs with this key" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("seq", "about"), [(5, "balances, decisions, heads, signed sizes"), (4, "rows beside the log")]
)
def test_one_missing_entry_is_one_finding(
    seq: int, about: str, log: Log, make: Make, gateway: Callable[..., Done]
) -> None:
    """Its consequences for balances, counts and other entries are counted."""
    writer = log.writer()
    for _ in range(4):
        call = make.decided(reservation=CallReservation(organization="default", scopes=("all", "agent:agt_one")))
        writer.write_sync(call)
        writer.write_sync(make.completed(call, settled=(1, 7, 0)))
        log.sign()
    writer.close()
    log.tamper("DELETE FROM entry WHERE log_id = 1 AND seq = ?", seq)
    done = gateway("verify")
    lines = [each for each in done.out.splitlines() if "✗" in each or "consequences" in each]
    assert done.code == 1
    assert lines[0] == f"✗ test/default/audit/1: entry {seq}: it is missing, entry {seq + 1} follows"
    assert "consequences of that, which --json lists: " in lines[1]
    assert about in lines[1]
    assert lines[2].startswith("✗ the log was tampered with")
    assert len(lines) == 3
    told = json.loads(gateway("verify", "--json").out)
    assert len(told["findings"]) == 1
    assert f"{len(told['consequences'])} consequences" in lines[1]


def test_without_a_missing_entry_nothing_is_a_consequence(log: Log, make: Make, gateway: Callable[..., Done]) -> None:
    call = make.decided(reservation=CallReservation(organization="default", scopes=("all",)))
    log.writer().write_sync(call)
    log.close()
    log.tamper("DELETE FROM open_decision")
    told = json.loads(gateway("verify", "--json").out)
    assert (len(told["findings"]), told["consequences"]) == (1, [])
