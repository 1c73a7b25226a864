"""`gateway prices`: what models cost, own prices, and updates of the table."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.gateway.conftest import Home, Run

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_a_price_is_shown_at_each_upstream_that_has_the_model(at: Run) -> None:
    at("upstreams", "add", "openai", "--key-env", "KEY", KEY="x")
    at("upstreams", "add", "groq", "--key-env", "KEY", KEY="x")
    shown = json.loads(at("prices", "show", "gpt-4o-mini", "--json").out)
    assert [(each["at"], each["entry"], each["rates"]["input"]) for each in shown] == [
        ("openai", "openai/gpt-4o-mini", "0.15")
    ]
    assert "openai/gpt-4o-mini@" in at("prices", "show", "gpt-4o-mini").out
    assert "did you mean `gpt-4o-mini`?" in at("prices", "show", "gpt-4o-mni").err
    assert "did you mean `openai`?" in at("prices", "show", "gpt-4o-mini", "--upstream", "opnai").err
    assert at("prices", "show", "gpt-4o-mini", "--upstream", "groq").code == 1


def test_the_table_is_listed(at: Run) -> None:
    assert "anthropic" in at("prices", "list").out
    row = next(line for line in at("prices", "list", "openai").out.splitlines() if line.startswith("gpt-4o "))
    assert row.split()[1:3] == ["2.50", "1.25"]
    assert "did you mean `openai`?" in at("prices", "list", "opnai").err


def test_own_prices_are_checked_and_count(at: Run, home: Home) -> None:
    assert "no prices of your own" in at("prices", "check").err
    home.data.prices.write_text((ROOT / "schemas" / "examples" / "prices.own.json").read_text())
    done = at("prices", "check")
    assert (done.code, "contract of 2026+" in done.out, "upstream our-vllm" in done.out) == (0, True, True)
    shown = json.loads(at("prices", "show", "gpt-4o", "--at", "2026-12-24", "--json").out)
    assert {each["rates"]["output"] for each in shown if each["at"] == "openai"} == {"8.00"}
    home.data.prices.write_text('{"v": 1, "provider": {}}')
    done = at("prices", "check")
    assert (done.code, "did you mean `providers`?" in done.err) == (1, True)


def test_an_update_without_the_package_says_what_to_install(at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    done = at("prices", "update")
    assert (done.code, "pip install '.[prices]'" in done.err) == (1, True)


@pytest.mark.slow
def test_an_update_replaces_the_table_and_is_in_the_log(at: Run, home: Home) -> None:
    pytest.importorskip("genai_prices", reason="needs the extra `prices`: pip install -e '.[prices]'")
    home.data.price_table.write_text('{"v": 1, "version": "old", "date": "2999-01-01", "providers": {}}')
    assert at("prices", "show", "gpt-4o-mini").code == 1
    done = json.loads(at("prices", "update", "--json").out)
    assert (done["updated"], done["before"]) == (True, "old")
    assert at("prices", "show", "gpt-4o-mini").code == 0
    assert json.loads(at("prices", "update", "--json").out)["updated"] is False
    with closing(sqlite3.connect(home.data.audit_db)) as db:
        leaves = [json.loads(leaf) for (leaf,) in db.execute("SELECT leaf FROM entry WHERE kind = 'change'")]
    (entry,) = [each for each in leaves if each["what"] == "prices.updated"]
    assert (entry["before"], entry["version"], entry["org"]) == ("old", done["version"], "system")
    assert not home.data.price_table.with_name("prices-table.json.new").exists()
