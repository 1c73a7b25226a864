"""`gateway adopt`: what an operator is told of old provider keys, and what is never shown."""

from __future__ import annotations

import io
import sys
import time

import pytest

from gateway.identity.principals import CredentialRow, principal_of
from gateway.registry import adoptions
from gateway.registry.upstreams.changes import add_upstream
from gateway.runtime.legacy_clients import LegacyClients
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ACTOR, ORG, Home, Run
from tests.rigs.dataplane.provider_secret import files_with

OLD = "sk-canary-old-2c9b1f0a77d34e58"
START = ("adopt", "start", "--upstream", "openai", "--until", "5d", "--owner", "dana", "--key-env", "OLD_KEY")


def upstream(home: Home, organization: str = ORG) -> None:
    add_upstream(
        home.registry, home.vault, actor=ACTOR, organization=organization, name="openai", provider="openai",
        base_url="https://api.example.com/v1", secret=OLD,
    )  # fmt: skip


def test_start_status_list_and_stop(at: Run, home: Home) -> None:
    upstream(home)
    done = at(*START, OLD_KEY=OLD)
    assert done.code == 0
    assert done.out.startswith("registered agent legacy (agt_")
    assert "warning: no policy allows agent legacy anything, so every such call is denied `no_policy`" in done.err
    home.activate("support")
    at("bind", "legacy", "support")
    again = at(*START[:5], "20d", *START[6:], "--json", OLD_KEY=OLD)  # moves the end
    assert (again.json["registered"], again.json["granted"]) == (False, True)
    listed = at("adopt", "list", "--json").json["adoptions"]
    assert [(each["state"], each["upstream"], each["agent"]) for each in listed] == [
        ("stopped", "openai", "legacy"),
        ("running", "openai", "legacy"),
    ]
    assert "the old key passes until" in at("adopt", "status").out
    assert "old key of openai  active" in at("agents", "show", "legacy").out
    assert at("adopt", "stop").out == "1 old key opens nothing any more\n"
    assert "organization `default` adopts no key" in at("adopt", "stop").complains()
    assert "agent `legacy` of `default` has nothing left to do" in at("status").out
    assert files_with(home.data.path, OLD) == []


@pytest.mark.slow
def test_a_dry_run_knows_that_it_is_an_old_key(at: Run, home: Home) -> None:
    upstream(home)
    at(*START, OLD_KEY=OLD)
    shown = at("decide", "--agent", "legacy", "--route", "GET /v1/models")
    assert "no key that works" not in shown.err
    assert "no_policy" in shown.out


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        (["--upstream", "opena", "--until", "5d"], OLD, "unknown upstream `opena`: did you mean `openai`?"),
        (["--upstream", "openai", "--until", "2020-01-01"], OLD, "the end is in the past"),
        (["--upstream", "openai", "--until", "never"], OLD, "an old key must have an end"),
        (["--upstream", "openai", "--until", "2y"], OLD, "`2y` is no time to expire at"),
        (["--upstream", "openai", "--until", "500d"], OLD, "the end is more than 366 days away"),
        (["--upstream", "openai", "--until", "5d"], OLD, "there is no agent `legacy` yet"),
        (["--upstream", "openai", "--until", "5d"], "sk-short", "20 to 512 visible ASCII characters"),
        (["--upstream", "openai", "--until", "5d"], "aig_sk_" + "x" * 40, "in this gateway's form"),
        (["--upstream", "openai", "--until", "5d"], "eyJhbGciOiJub25lIn0.eyJ4IjoxfQ.xxxxxx", "in this gateway's form"),
    ],
)
def test_mistakes(arguments: list[str], key: str, expected: str, at: Run, home: Home) -> None:
    upstream(home)
    said = at("adopt", "start", *arguments, "--key-env", "OLD_KEY", OLD_KEY=key).complains()
    assert expected in said
    assert key not in said


def test_the_key_is_never_an_argument(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream(home)
    said = at("adopt", "start", "--upstream", "openai", "--until", "5d", "--key-env", OLD).complains()
    assert OLD not in said
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"\n{OLD}\n{OLD}2\n".encode())))
    done = at("adopt", "start", "--upstream", "openai", "--until", "5d", "--owner", "dana")
    assert "calls to openai with 2 old keys pass until" in done.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert "no key was given" in at("adopt", "start", "--upstream", "openai", "--until", "5d").complains()


@pytest.mark.slow
def test_a_key_means_one_organization_and_one_upstream(at: Run, home: Home) -> None:
    upstream(home)
    at(*START, OLD_KEY=OLD)
    at("orgs", "create", "acme")
    upstream(home, "acme")
    assert "another organization adopts this key" in at(*START, "--org", "acme", OLD_KEY=OLD).complains()
    at("upstreams", "add", "spare", "--base-url", "https://spare.example.com/v1", "--no-key")
    other = [each if each != "openai" else "spare" for each in START]
    assert "adopted for the upstream `openai` already" in at(*other, OLD_KEY=OLD).complains()
    at("keys", "add-pepper")
    assert "another organization adopts this key" in at(*START, "--org", "acme", OLD_KEY=OLD).complains()


@pytest.mark.slow
def test_status_reminds_of_the_end(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream(home)
    at(*START, OLD_KEY=OLD)
    row = CredentialRow(
        "lgk_1", b"", 1, None, None, "agt_1", ORG, "legacy", 1, "", "", "", "active", "[]", "{}", "[]",
        adopting=True, upstream="openai",
    )  # fmt: skip
    noted = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)
    noted.note(principal_of(row, "", 0, "legacy"), "OpenAI/Python 2.8.0", "10.0.0.1", "gpt-4o\x1b[2J")
    noted.close()
    found = at("adopt", "status").out.splitlines()
    assert found[1].split()[:3] == ["CLIENT", "FROM", "CALLS"]
    assert found[2].startswith("OpenAI/Python  ")
    assert r"gpt-4o\x1b[2J" in found[2]
    assert at("adopt", "status", "--address", "10.0.0.1", "--json").json["to_move"][0]["client"] == "OpenAI/Python"
    assert at("adopt", "status", "--address", "10.0.0.2", "--json").json["to_move"] == []
    what = "the old key of upstream `openai` of `default`"
    assert f"remark: {what} ends in 4 days, and 1 client has not moved" in at("status").out
    day_ns, now_ns = 86_400 * 10**9, time.time_ns()
    found_ = adoptions.adoptions(home.registry, ORG)
    assert adoptions.reminders(found_, now_ns + 6 * day_ns) == [(f"{what} has ended", True)]
    assert adoptions.reminders(found_, now_ns - 20 * day_ns) == []
