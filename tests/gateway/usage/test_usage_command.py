"""`gateway usage` as users type it."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.registry.database import Registry
from gateway.registry.organizations.changes import create_organization, update_organization
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault

from .conftest import NS, Call, Log

Usage = Callable[..., tuple[int, str, str]]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


@pytest.fixture
def usage(log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Usage:
    """A log of two days, and the command on it."""
    log.add(
        [
            Call(at("2026-11-01T10:00"), input=1000, output=10, cost=2_600_000, response_model="gpt-4o-2024-08-06"),
            Call(at("2026-11-01T10:00:30"), agent="agt_2", team="research", input=500, output=10, cost=1_350_000),
            Call(at("2026-11-01T23:30"), agent="agt_2", team="research", input=500, output=10, cost=1_350_000),
            Call(at("2026-11-02T09:00"), model="new-model", input=7, output=1, cost=None),
        ]
    )
    monkeypatch.setenv("AIG_DATA", str(log.data.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["usage", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


MONTH = ("--since", "2026-11-01", "--until", "2026-12-01")


def test_a_table(usage: Usage) -> None:
    code, out, err = usage(*MONTH)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["AGENT", "MODEL", "REQUESTS", "INPUT", "OUTPUT", "COST"]
    assert lines[1][-4:] == ["1", "1,000", "10", "$0.0026"]
    assert lines[-1] == ["total", "4", "2,007", "31", "$0.0053"]
    assert "1 of 4 requests have no cost" in err


def test_json_and_csv(usage: Usage) -> None:
    _, out, _ = usage(*MONTH, "--by", "team,day", "--format", "json")
    found = json.loads(out)
    assert [(each["team"], each["day"], each["requests"]) for each in found] == [
        ("", "2026-11-01", 1),
        ("", "2026-11-02", 1),
        ("research", "2026-11-01", 2),
    ]
    assert (found[2]["cost_microusd"], found[2]["input"], found[1]["priced"]) == (2700, 1000, 0)
    _, out, _ = usage(*MONTH, "--by", "team,day", "--format", "csv", "--zone", "Europe/Berlin")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["team"], row["day"], row["requests"]) for row in rows] == [
        ("", "2026-11-01", "1"),
        ("", "2026-11-02", "1"),
        ("research", "2026-11-01", "1"),
        ("research", "2026-11-02", "1"),
    ]


def test_the_windows_of_a_time(usage: Usage) -> None:
    _, out, _ = usage("--at", "2026-11-01T10:00:10Z", "--by", "organization", "--format", "json")
    found = {each["window"]: (each["from"], each["requests"]) for each in json.loads(out)}
    assert found == {
        "minute": ("2026-11-01T10:00:00.000Z", 1),
        "hour": ("2026-11-01T10:00:00.000Z", 1),
        "day": ("2026-11-01T00:00:00.000Z", 1),
        "month": ("2026-11-01T00:00:00.000Z", 1),
    }
    _, out, _ = usage("--at", "2026-11-02T12:00:00Z", "--by", "", "--format", "json")
    assert {each["window"]: each["requests"] for each in json.loads(out)} == {"day": 1, "month": 4}


@pytest.mark.slow
def test_days_are_those_of_the_organizations_zone(usage: Usage, log: Log) -> None:
    registry = Registry.create(log.data, "test")
    create_organization(registry, actor="local:1", name="default")
    update_organization(registry, actor="local:1", organization="default", zone="Asia/Kolkata")
    _, out, _ = usage(*MONTH, "--by", "hour", "--format", "csv")
    assert [row["hour"] for row in csv.DictReader(io.StringIO(out))] == [
        "2026-11-01T15:00+05:30",
        "2026-11-02T05:00+05:30",  # 23:30 of UTC
        "2026-11-02T14:00+05:30",
    ]
    _, out, _ = usage(*MONTH, "--by", "day", "--format", "csv", "--zone", "UTC")
    assert [row["day"] for row in csv.DictReader(io.StringIO(out))] == ["2026-11-01", "2026-11-02"]
    # The zone holds from now on; at an earlier time days were those of UTC, and the answer for it stays.
    then, later = "2026-11-01T23:45:00Z", "2200-01-01T00:00:00Z"
    for at_, begun in ((then, "2026-11-01T00:00:00.000Z"), (later, "2199-12-31T18:30:00.000Z")):
        _, out, _ = usage("--at", at_, "--by", "", "--format", "json")
        days = [each["from"] for each in json.loads(out) if each["window"] == "day"]
        assert days in ([begun], [])
    log.add([Call(at("2026-11-03T10:00"), organization="acme")])
    create_organization(registry, actor="local:1", name="acme")
    _, out, err = usage(*MONTH, "--by", "day", "--format", "csv")
    assert "organizations have 2 zones: days and months are those of UTC" in err
    _, _, err = usage(*MONTH, "--by", "day", "--only", "organization=acme", "--format", "csv")
    assert "zones" not in err
    registry.close()


def test_an_age_is_a_time(usage: Usage, log: Log) -> None:
    log.add([Call(time.time_ns() - 3600 * NS, model="recent", input=1, output=1, cost=1)])
    for age, found in (("2h", True), ("2h ago", True), ("30m", False)):
        code, out, err = usage("--since", age, "--by", "model")
        assert (code, "recent" in out) == (0, found), err


def test_filters_and_bars(usage: Usage) -> None:
    _, out, _ = usage(*MONTH, "--only", "agent=name of agt_2", "--by", "hour", "--chart", "tokens")
    assert [line.split()[0] for line in out.splitlines()] == ["2026-11-01T10:00Z", "2026-11-01T23:00Z"]
    assert out.splitlines()[0].endswith("510")
    assert "█" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "modle"), "did you mean `model`?"),
        (("--by", "day,day"), "`day` stands twice"),
        (("--only", "team"), "write NAME=VALUE"),
        (("--only", "agent=nobody"), "agent `nobody` has used nothing yet"),
        (("--zone", "Europe/Brlin"), "did you mean `Europe/Berlin`?"),
        (("--zone", "../../etc/passwd"), "is not a time zone"),
        (
            ("--since", "7dd"),
            "`7dd` is neither a time nor an age: write 2026-11-25T14:00:00Z, 24h or 7d",
        ),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "since must be before until"),
        (("--at", "2026-11-02", "--since", "2026-11-01"), "--at excludes"),
        (("--format", "xml"), "--format must be one of table, json, csv"),
        (("--chart", "costs"), "did you mean `cost`?"),
    ],
)
def test_mistakes_are_explained(usage: Usage, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = usage(*arguments)
    assert (code, message in err) == (1, True), err


@pytest.mark.slow
def test_what_was_called_without_a_price_is_named(usage: Usage, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    Registry.create(log.data, "test").close()
    now = time.time_ns()
    log.add([Call(now, model="mystery", cost=None), Call(now, model="refused", input=None, cost=None), Call(now)])
    assert main(["prices", "check", "--json"]) == 0
    found = {each["model"]: each["requests"] for each in json.loads(capsys.readouterr().out)["unpriced"]}
    assert found["mystery"] == 1
    assert not {"refused", "gpt-4o"} & found.keys()
    main(["prices", "check"])
    assert "without a price this month: mystery at openai of default, 1 requests" in capsys.readouterr().out


@pytest.mark.slow
def test_an_invoice_is_compared_with_the_log(usage: Usage, log: Log, tmp_path: Path) -> None:
    registry = Registry.create(log.data, "test")
    vault = Vault.create(log.data.keys)
    create_organization(registry, actor="local:1", name="default")
    facts = {"actor": "local:1", "organization": "default", "secret": "s", "base_url": "https://api.openai.com/v1"}
    add_upstream(registry, vault, name="openai", provider="openai", default=True, **facts)  # type: ignore[arg-type]  # texts
    registry.close()
    invoice = tmp_path / "invoice.csv"
    # The provider names the version that answered; calls without one are of the same model.
    rows = "date,model,input_tokens,output_tokens,cost\n2026-11-01,gpt-4o-2024-11-20,2000,30,0.0053\n"
    invoice.write_text(rows + "2026-11-02,new-model,7,1,0\n2026-12-01,o1,1,1,1\n")
    arguments = ("reconcile", str(invoice), "--provider", "openai", "--month", "2026-11")
    code, out, err = usage(*arguments)
    assert (code, out.splitlines()[-1]) == (0, "everything matches"), out
    assert "1 rows are of other months" in err
    invoice.write_text(rows.replace("2000", "2001") + "2026-11-02,o1,5,1,3\n")
    code, out, _ = usage(*arguments)
    table = [line.split() for line in out.splitlines()]
    assert code == 1
    assert ["2026-11-01", "gpt-4o", "input", "2,001", "2,000", "1"] in table
    assert ["2026-11-02", "new-model", "input", "nothing", "7", "-7"] in table
    assert ["2026-11-02", "o1", "cost", "$3.00", "nothing", "$3.00"] in table
    code, out, _ = usage(*arguments, "--json")
    assert (code, json.loads(out)["matches"]) == (1, False)
    assert "did you mean `openai`?" in usage(*arguments[:3], "opnai", *arguments[4:])[2]
    assert "write 2026-11" in usage(*arguments[:5], "2026-13")[2]
