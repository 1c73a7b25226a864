"""`gateway keys`: what it prints, what it writes, and what it says to mistakes."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path

import pytest

from gateway.audit.writer import AuditWriter
from gateway.identity import credentials, token_keys
from gateway.processes.key_duties import KeyDuties
from gateway.registry.operators import operators
from gateway.registry.secret_keys import peppers
from gateway.runtime.key_uses import KeyUses
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ORG, Home, Run


def test_a_key_for_less(home: Home, at: Run) -> None:
    home.agent()
    made = at(
        "keys",
        "create",
        "--agent",
        "bot",
        "--action",
        "chat.*",
        "--model",
        "gpt-4o*",
        "--network",
        "10.0.0.0/8",
        "--json",
    )
    assert made.json["scope"] == {"actions": ["chat.*"], "models": ["gpt-4o*"], "networks": ["10.0.0.0/8"]}
    assert "actions chat.*; models gpt-4o*; networks 10.0.0.0/8" in at("keys", "list").out
    assert "models gpt-4o*" in at("agents", "show", "bot").out


def test_a_key_for_upstreams(home: Home, at: Run) -> None:
    home.agent()
    at("upstreams", "add", "orders", "--no-key", "--base-url", "https://orders.example/v1")
    wanted = [each for name in ("orders", "ord*", "globex/sales") for each in ("--upstream", name)]
    assert at("keys", "create", "bot", *wanted, "--json").json["scope"] == {
        "upstreams": ["orders", "ord*", "globex/sales"]
    }
    assert "upstreams orders ord* globex/sales" in at("keys", "list").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bot", "--action", "chat.completion"], "did you mean `chat.completions`?"),
        (["bot", "--network", "10.0.0.1/8"], "write 10.0.0.0/8"),
        (["bot", "--model", "gpt *"], "no model"),
        (["bot", "--upstream", "ordres"], "did you mean `orders`?"),
        (["bot", "--upstream", "x*"], "unknown upstream `x*`"),
        (["bot", "--agent", "bot"], "once"),
        ([], "whose key"),
    ],
)
def test_a_mistake_makes_no_key(home: Home, at: Run, arguments: list[str], says: str) -> None:
    home.agent()
    at("upstreams", "add", "orders", "--no-key", "--base-url", "https://orders.example/v1")
    failed = at("keys", "create", *arguments)
    assert failed.code != 0
    assert says in failed.err
    assert at("keys", "list", "--json").json == []


@pytest.mark.slow
def test_rotation_prints_the_new_key_alone(home: Home, at: Run) -> None:
    home.agent()
    old = at("keys", "create", "bot").out.strip()
    rotated = at("keys", "rotate", "--agent", "bot", "--overlap", "1h")
    assert home.credential(rotated.out.strip())
    assert f"{old[:19]} works until" in rotated.err
    assert [each["status"] for each in at("keys", "list", "--json").json] == ["retiring", "active"]
    again = at("keys", "rotate", old[:19])
    assert again.code == 1
    assert "replaced already" in again.err


def test_one_key_takes_the_place_of_the_old_one_in_its_file(home: Home, at: Run, tmp_path: Path) -> None:
    """As `keys create --out` writes it: the key alone."""
    home.agent()
    out = tmp_path / "bot.key"
    at("keys", "create", "bot", "--out", str(out))
    old = out.read_text("utf-8")
    done = at("keys", "rotate", "bot", "--out", str(out))
    assert (done.code, done.out) == (0, f"rotated 1 key; the new one is in {out}\n")
    new = out.read_text("utf-8")
    assert new != old
    assert home.credential(new.removesuffix("\n"))
    assert out.stat().st_mode & 0o777 == 0o600
    # What is refused leaves the file as it was.
    assert at("keys", "rotate", "bot", "--out", str(out)).code == 1
    assert (out.read_text("utf-8"), [each.name for each in tmp_path.glob(".*.new")]) == (new, [])


@pytest.mark.slow
def test_many_keys_go_into_a_file(home: Home, at: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        home.agent(name, team="red")
        home.key(name)
    home.agent("c", team="red")
    out = tmp_path / "keys.csv"
    assert "add --out FILE" in at("keys", "rotate", "--team", "red").err
    done = at("keys", "rotate", "--team", "red", "--out", str(out))
    assert (done.code, done.out) == (0, f"rotated 2 keys; the new ones are in {out}\n")
    assert "not rotated: agent `c` has no key that works" in done.err
    assert out.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert [row["agent"] for row in rows] == ["a", "b"]
    assert all(home.credential(row["key"]) for row in rows)
    assert all(row["key"] not in at("keys", "list").out for row in rows)
    # A file that is there is not overwritten, and then nothing is rotated.
    failed = at("keys", "rotate", "--all", "--out", str(out))
    assert failed.code == 1
    assert "file exists" in failed.err


@pytest.mark.slow
def test_keys_that_are_not_rotated_leave_no_file(home: Home, at: Run, tmp_path: Path) -> None:
    home.agent()
    failed = at("keys", "rotate", "--agent", "bot", "--out", str(tmp_path / "key.csv"))
    assert failed.code == 1
    assert not (tmp_path / "key.csv").exists()
    for arguments in ([], ["--all", "--agent", "bot"], ["--agent", "bot", "--overlap", "soon"]):
        assert at("keys", "rotate", *arguments).code != 0


@pytest.mark.slow
def test_leaked_keys_are_found_and_revoked(home: Home, at: Run, tmp_path: Path) -> None:
    home.agent()
    real, safe, nobodys = home.key(), home.key(), credentials.generate("agent").text
    dump = tmp_path / "dump.txt"
    # The key lies across the border of two pieces that are read one after the other.
    dump.write_text("x" * (1024 * 1024 - 30) + f"KEY={real} {nobodys} {safe[:-1]}x {real}\n")
    found = at("keys", "leaked", str(dump))
    assert found.code == 0, found.err
    assert real[19:] not in found.out + found.err
    fates = {line.split("  ")[0]: line.split("  ")[1].strip() for line in found.out.splitlines()[1:]}
    assert fates == {real[:19]: "revoked", nobodys[:19]: "not a key of this gateway"}
    assert [each["status"] for each in at("keys", "list", "--json").json] == ["revoked", "active"]
    assert [each["fate"] for each in at("keys", "leaked", str(dump), "--json").json] == ["was revoked", "unknown"]
    entries = [json.loads(line)["entry"] for line in at("audit", "list", "--kind", "change", "--json").out.splitlines()]
    assert [each["what"] for each in entries if each.get("reason") == "leaked"] == ["key.revoked"]
    dump.write_text("nothing here")
    assert "no key of this form" in at("keys", "leaked", str(dump)).err
    assert "cannot read" in at("keys", "leaked", str(tmp_path / "none.txt")).err


def test_the_pattern_is_printed(home: Home, at: Run) -> None:
    assert re.fullmatch(at("keys", "pattern").out.strip(), home.key(home.agent() and "bot"))


@pytest.mark.slow
def test_peppers(home: Home, at: Run) -> None:
    home.agent()
    home.key()
    assert at("keys", "add-pepper").out == "pepper 2 is the newest now\n"
    assert at("keys", "peppers", "--json").json == [
        {"version": 1, "newest": False, "file": True, "keys": 1},
        {"version": 2, "newest": True, "file": True, "keys": 0},
    ]
    failed = at("keys", "remove-pepper", "1")
    assert (failed.code, "wait until" in failed.err) == (1, True)
    assert at("keys", "remove-pepper", "2").code == at("keys", "remove-pepper", "7").code == 1
    assert at("keys", "revoke", at("keys", "list", "--json").json[0]["id"]).code == 0
    assert at("keys", "remove-pepper", "1").out == "removed pepper 1\n"


@pytest.mark.slow
def test_status_knows_keys_that_need_a_look(home: Home, at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent("old")
    home.agent("busy")
    home.key("old"), home.key("busy")
    at("keys", "rotate", "--agent", "busy", "--overlap", "100d")
    retiring = at("keys", "list", "busy", "--json").json[0]["id"]
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    uses.close()
    assert "not used" not in at("status").out
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + (100 * 24 - 1) * 3_600_000_000_000)
    uses.note(retiring, None)
    uses.close()
    shown = at("status").out
    assert "of agent `busy` ends in 59 min and is still used" in shown
    assert "2 keys were not used for 90 days, of `old` and `busy`" in shown


@pytest.mark.slow
def test_the_vault_has_another_key(home: Home, at: Run) -> None:
    assert at("upstreams", "add", "openai", "--key-env", "SOME_KEY", SOME_KEY="sk-one").code == 0
    before = at("vault", "status", "--json").json
    assert (before["sealed"]["upstreams"], before["left"], before["older"]) == ({before["key"]: 1}, 0, [])
    done = at("vault", "rotate")
    assert "wrapped anew: 1 upstreams, 0 content keys, 0 webhooks" in done.out
    after = at("vault", "status", "--json").json
    assert after["key"] != before["key"]
    assert after["sealed"]["upstreams"] == {after["key"]: 1}
    assert f"{after['key']}, in keys/kek" in at("vault", "status").out
    assert "vault.rewrapped" in at("audit", "list", "--org", "system", "--json").out


def test_an_operators_token_that_leaked_is_revoked(home: Home, at: Run, tmp_path: Path) -> None:
    operators.add_operator(home.registry, actor="local:0", organization=ORG, name="olga", role="viewer")
    made = operators.create_token(home.registry, home.peppers, actor="local:0", organization=ORG, operator="olga")
    assert [each.keys for each in peppers.uses(home.registry, home.data.keys)] == [1]
    (tmp_path / "dump").write_text(f"token {made.text}")
    [fate] = at("keys", "leaked", str(tmp_path / "dump"), "--json").json
    assert (fate["fate"], fate["holder"]) == ("revoked", "olga")
    assert [each.keys for each in peppers.uses(home.registry, home.data.keys)] == [0]


@pytest.mark.slow
def test_keys_of_tokens(home: Home, at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no key yet" in at("tokens", "keys").err
    token_keys.create(home.data.keys)
    rotated = at("tokens", "rotate-key", "--json").json
    assert (rotated["key"]["number"], rotated["key"]["signs"], [each["number"] for each in rotated["older"]]) == (
        2,
        True,
        [1],
    )
    shown = at("tokens", "keys").out.splitlines()
    assert (shown[1].startswith("2    "), "signs" in shown[1], "verifies until" in shown[2]) == (True, True, True)
    duties = KeyDuties(
        home.registry,
        AuditWriter(home.data, boot="boot_test", deployment="test"),
        RuntimeStore(home.data.runtime_db),
        home.data.keys,
    )
    duties.remove_replaced()
    assert len(at("tokens", "keys", "--json").json) == 2  # its tokens may still be in use
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + token_keys.KEPT_SECONDS * 10**9)
    duties.remove_replaced()
    duties._writer.close()
    assert [each["number"] for each in at("tokens", "keys", "--json").json] == [2]
    failed = at("tokens", "keys", "--data", str(home.data.path / "none"))
    assert (failed.code, "no gateway" in failed.err) == (1, True)
    done = at("tokens", "rotate-key", "--at-once", "--reason", "it leaked")
    assert (done.out, "refused from the next request on" in done.err) == ("key 3 signs tokens now\n", True)
    assert not (home.data.keys / "token.2").exists()
    told = at("audit", "list", "--org", "system", "--json").out
    assert (told.count("token_key.rotated"), told.count("token_key.removed"), "it leaked" in told) == (2, 1, True)
