"""`gateway apply` and `gateway export`: one file, one transaction, and the same file back."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity import public_keys
from gateway.registry import queries
from tests.gateway.conftest import ORG, Home, Run

FLEET = """\
v: 1
teams:
- {name: support, owner: dana, description: who answers}
upstreams:
- {name: openai, default: true, key: {env: OPENAI_API_KEY}}
- {name: local, provider: vllm, base_url: "http://127.0.0.1:8000/v1", key: {none: true}}
routes:
- {name: any, members: [{upstream: openai}, {upstream: local, tier: 1, models: {gpt-4o: llama}}]}
agents:
- {name: lead, team: support, owner: dana, capabilities: [tools, chat], labels: {tier: "1"}, purpose: answers}
- {name: helper, parent: lead, status: suspended}
bindings:
- {team: support, bundle: support}
- {organization: true, bundle: base, effect: guard}
limits:
- {team: support, limit: tokens_per_day, value: 5000, model: "gpt-4o*"}
- {organization: true, limit: concurrent_requests, value: 9}
"""
KEY = "sk-of-the-provider"


@pytest.fixture
def file(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home.activate("support", "base")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def test_a_file_is_applied_once_and_comes_back(at: Run, file: Path, tmp_path: Path) -> None:
    done = at("apply", "-f", str(file), "--reason", "the first fleet")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "+ team support",
        "+ upstream openai  (openai at https://api.openai.com/v1)",
        "+ upstream local  (vllm at http://127.0.0.1:8000/v1; without a key)",
        "+ route any  (openai, local)",
        "+ agent lead",
        "+ agent helper",
        "+ binding support of team support",
        "+ binding base of organization default",
        "+ limit tokens_per_day gpt-4o* of team support  (5,000)",
        "+ limit concurrent_requests of organization default  (9)",
    ]
    assert done.err == "added 10\n"
    again = at("apply", "-f", str(file))
    assert (again.code, again.out, again.err) == (0, "", "nothing to change: the registry is like the file\n")
    printed = at("export").out
    back = yaml.safe_load(printed)
    assert back["agents"] == [
        {"name": "helper", "environment": "dev", "parent": "lead", "status": "suspended"},
        {
            "name": "lead",
            "owner": "dana",
            "team": "support",
            "environment": "dev",
            "capabilities": ["chat", "tools"],
            "labels": {"tier": "1"},
            "purpose": "answers",
        },
    ]
    assert back["bindings"][1] == {"organization": True, "bundle": "base", "effect": "guard"}
    assert KEY not in printed
    for name, text in (("back.yaml", printed), ("back.json", at("export", "--json").out)):
        (tmp_path / name).write_text(text)
        assert at("apply", "-f", str(tmp_path / name)).err.startswith("nothing to change")
    told = [orjson.loads(each) for each in at("audit", "list", "--json").out.splitlines()]
    whats = [each["entry"]["what"] for each in told if each["entry"].get("reason") == "the first fleet"]
    assert {"agent.registered", "upstream.added", "limit.set", "binding.created", "route.created"} <= set(whats)


@pytest.mark.slow
def test_changes_are_shown_and_made(at: Run, file: Path) -> None:
    at("apply", "-f", str(file))
    changed = FLEET
    for before, after in (
        ('labels: {tier: "1"}', "labels: {cost: c7}"),
        ("owner: dana, capabilities: [tools, chat]", "owner: sam, capabilities: [chat]"),
        ("status: suspended", "status: active"),
        ("effect: guard", "effect: grant"),
        ("value: 5000", "value: 6000"),
        ("tier: 1,", "tier: 2,"),
        ("description: who answers", "description: who asks"),
    ):
        assert before in changed
        changed = changed.replace(before, after)
    file.write_text(changed)
    rehearsed = at("apply", "-f", str(file), "--dry-run")
    assert rehearsed.err == "would change 6\n"
    done = at("apply", "-f", str(file))
    assert done.out == rehearsed.out
    assert done.out.splitlines() == [
        "~ team support  (description: who answers → who asks)",
        "~ route any  (members: openai (tier 0, weight 1), local (tier 1, weight 1) → "
        "openai (tier 0, weight 1), local (tier 2, weight 1))",
        "~ agent lead  (owner: dana → sam; capabilities: [chat, tools] → [chat]; labels: {tier: 1} → {cost: c7})",
        "~ agent helper  (status: suspended → active)",
        "~ binding base of organization default  (effect: guard → grant)",
        "~ limit tokens_per_day gpt-4o* of team support  (5,000 → 6,000)",
    ]
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")
    assert at("agents", "show", "lead", "--json").json["owner"] == "sam"


def test_nothing_is_applied_if_anything_is_wrong(at: Run, file: Path, home: Home) -> None:
    file.write_text(FLEET.replace("bundle: base", "bundle: nope"))
    for arguments in ((), ("--dry-run",)):
        said = at("apply", "-f", str(file), *arguments).complains()
        assert said.startswith(f"{file}:14: binding nope of organization default: unknown bundle `nope`"), said
    assert queries.agents(home.registry, ORG) == []
    assert queries.upstreams(home.registry, ORG) == []
    assert "agent.registered" not in at("audit", "list", "--json").out


MISTAKES = [
    ("name: helper,", "name: help er,", ":11: agent help er: agent `help er` is not a name"),
    ("parent: lead", "parent: laed", ":11: agent helper: its parent `laed` is no agent: did you mean `lead`?"),
    ("key: {env: OPENAI_API_KEY}", "key: {env: OPENAI_KEY}", ":5: upstream openai: environment variable `OPENAI_KEY`"),
    ("key: {none: true}", "key: {file: none.txt}", "none.txt`: no such file"),
    ("provider: vllm", "provider: vlm", "unknown provider `vlm`: did you mean `vllm`?"),
    ("limit: tokens_per_day", "limit: token_per_day", "did you mean `tokens_per_day`?"),
    ("{upstream: openai}", "{upstream: opnai}", ":8: route any: unknown upstream `opnai`"),
    ("- {name: helper,", "- {name: lead,", ":11: this was said in line 10 already"),
    ("v: 1", "v: 1\norganization: acme", "unknown organization `acme`"),
]


@pytest.mark.parametrize(("before", "after", "complaint"), MISTAKES)
def test_mistakes_have_their_lines(before: str, after: str, complaint: str, at: Run, file: Path) -> None:
    assert before in FLEET
    file.write_text(FLEET.replace(before, after, 1))
    assert complaint in at("apply", "-f", str(file)).complains()


def test_what_is_removed_or_changed_is_never_summed_up(at: Run, home: Home, tmp_path: Path) -> None:
    names, file = [f"bot-{number}" for number in range(60)], tmp_path / "fleet.yaml"

    def write(kept: list[str], owner: str) -> None:
        file.write_text(yaml.safe_dump({"v": 1, "agents": [{"name": each, "owner": owner} for each in kept]}))

    write([*names, "kept"], "dana")
    assert at("apply", "-f", str(file)).out.splitlines()[-1] == "+ 21 more agents"
    write(["kept"], "dana")
    removed = [f"- agent {each}" for each in names]
    assert sorted(at("apply", "-f", str(file), "--prune", "--dry-run").out.splitlines()) == sorted(removed)
    *listed, last = at("apply", "-f", str(file), "--prune").err.splitlines()
    assert sorted(listed) == sorted(removed)
    assert last == "error: this would remove these 60: add --yes if that is meant"
    write([*names, "kept"], "grace")
    changed = at("apply", "-f", str(file)).out.splitlines()
    assert changed[-1].startswith("~ agent kept  (owner: dana → grace)")
    assert len(changed) == 61


@pytest.mark.slow
def test_prune_removes_what_the_sections_of_the_file_do_not_list(at: Run, file: Path) -> None:
    at("apply", "-f", str(file))
    small = "v: 1\nagents:\n- {name: lead}\nlimits: []\nroutes: []\n"
    file.write_text(small)
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")
    said = at("apply", "-f", str(file), "--prune").complains()
    assert "this would remove" in said
    assert said.endswith("add --yes if that is meant")
    done = at("apply", "-f", str(file), "--prune", "--yes")
    assert done.out.splitlines() == [
        "- limit concurrent_requests of organization default",
        "- limit tokens_per_day gpt-4o* of team support",
        "- agent helper",
        "- route any",
    ]
    assert at("agents", "show", "helper", "--json").json["status"] == "retired"
    assert [each["name"] for each in at("upstreams", "list", "--json").json] == ["local", "openai"]


@pytest.mark.slow
def test_keys_are_written_once_for_their_owner_only(at: Run, file: Path, tmp_path: Path, home: Home) -> None:
    out = tmp_path / "keys.csv"
    done = at("apply", "-f", str(file), "--keys", str(out))
    assert "wrote 2 keys" in done.err
    assert stat.S_IMODE(os.stat(out).st_mode) == 0o600
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [each["agent"] for each in rows] == ["lead", "helper"]
    assert not any(each["key"] in done.out + done.err for each in rows)
    assert home.credential(rows[0]["key"]).kind == "agent"
    assert at("keys", "list", "--json").json[0]["id"] in {each["id"] for each in rows}
    assert "is there already" not in at("apply", "-f", str(file), "--keys", str(out)).err  # nobody lacks one now
    file.write_text(FLEET.replace("- {name: helper,", "- {name: third}\n- {name: helper,"))
    assert "is there already" in at("apply", "-f", str(file), "--keys", str(out)).complains()
    assert "unknown agent" in at("agents", "show", "third").complains(), "all or nothing"


@pytest.mark.slow
def test_an_upstream_with_another_address_needs_its_key_again(at: Run, file: Path, tmp_path: Path) -> None:
    at("apply", "-f", str(file))
    moved = "v: 1\nupstreams:\n- {name: openai, base_url: 'https://elsewhere.example/v1'"
    file.write_text(moved + "}\n")
    assert "another address needs its key again" in at("apply", "-f", str(file)).complains()
    (tmp_path / "key.txt").write_text("sk-another\n")
    file.write_text(moved + ", key: {file: key.txt}}\n")
    done = at("apply", "-f", str(file))
    assert done.out == (
        "~ upstream openai  (base_url: https://api.openai.com/v1 → https://elsewhere.example/v1; another key)\n"
    )
    assert "sk-another" not in at("apply", "-f", str(file), "--json").out + at("audit", "list", "--json").out


def test_the_credential_of_an_upstream(at: Run, file: Path) -> None:
    def applied(members: str) -> str:
        file.write_text(
            "v: 1\nupstreams:\n- {name: orders, provider: mcp, base_url: 'https://orders.example/mcp'" + members + "}\n"
            "limits:\n- {organization: true, limit: requests_per_day, value: 5, upstream: orders, tool: 'get_*'}\n"
        )
        done = at("apply", "-f", str(file))
        return done.out if done.code == 0 else done.complains()

    key = ", key: {env: OPENAI_API_KEY}"
    assert "no key of its own" in applied(f"{key}, auth: token")
    assert applied(", auth: token").startswith("+ upstream orders  (mcp at https://orders.example/mcp; auth: token)\n")
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")
    assert applied("") == "", "what is left out stays"
    assert applied(", auth: on_behalf_of") == "~ upstream orders  (auth: token → on_behalf_of)\n"
    assert applied(key) == "~ upstream orders  (auth: on_behalf_of → key; another key)\n"
    assert applied(", auth: token") == "~ upstream orders  (auth: key → token)\n"
    assert at("upstreams", "list", "--json").json[0]["has_secret"] is False
    exported = at("export").out
    assert "auth: token" in exported
    assert "tool: 'get_*'" in exported or 'tool: "get_*"' in exported
    file.write_text(exported)
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")


def test_a_table_of_agents(at: Run, tmp_path: Path) -> None:
    table = tmp_path / "agents.csv"
    table.write_text("name,owner,capabilities\na,dana,chat;tools\nb,,\n")
    assert at("apply", "-f", str(table)).out == "+ agent a\n+ agent b\n"
    table.write_text("name,owner\na,sam\n")
    assert at("apply", "-f", str(table)).out == "~ agent a  (owner: dana → sam)\n"
    assert at("agents", "show", "a", "--json").json["capabilities"] == ["chat", "tools"]


def test_a_team_that_is_only_named_is_shown(at: Run, file: Path) -> None:
    file.write_text("v: 1\nagents:\n- {name: a, team: suport}\n- {name: b, team: suport}\n")
    assert at("apply", "-f", str(file)).out == "+ team suport  (nobody was in it yet)\n+ agent a\n+ agent b\n"
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")


NAMES = st.sampled_from(["a", "b", "c", "d", "no", "on", "1e3", "12"])
TEXTS = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=8)
AGENT = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "owner": TEXTS,
        "team": st.one_of(NAMES, st.just("")),
        "environment": NAMES,
        "capabilities": st.lists(NAMES, unique=True).map(sorted),
        "labels": st.dictionaries(NAMES, TEXTS, max_size=2),
        "status": st.sampled_from(["active", "suspended"]),
    },
)
FLEETS = st.lists(AGENT, max_size=5, unique_by=lambda agent: agent["name"])


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(first=FLEETS, second=FLEETS)
def test_whatever_is_applied_is_exported(first: list[Any], second: list[Any], at: Run, tmp_path: Path) -> None:
    file = tmp_path / "any.yaml"
    known = {each["name"]: each for each in yaml.safe_load(at("export").out).get("agents", [])}
    for agents in (first, second):
        file.write_text(yaml.safe_dump({"v": 1, "agents": agents}, allow_unicode=True))
        done = at("apply", "-f", str(file))
        assert done.code == 0, done.err
        for each in agents:
            merged = {**known.get(each["name"], {"environment": "dev"}), **each}
            merged.pop("status") if merged.get("status") == "active" else None
            known[each["name"]] = {name: value for name, value in merged.items() if value or name == "environment"}
        exported = yaml.safe_load(at("export").out)
        assert {each["name"]: each for each in exported.get("agents", [])} == known
        assert at("apply", "-f", str(file)).err.startswith("nothing to change")


def test_settings_of_the_organization(at: Run, file: Path, home: Home) -> None:
    text = "v: 1\nagents:\n- name: bot\nsettings:\n  zone: Europe/Zurich\n  review_days: 90\n  suspend_after_days: 14\n"
    file.write_text(text)
    assert at("apply", "-f", str(file)).out.splitlines() == [
        "+ agent bot",
        "~ organization default  (zone: UTC → Europe/Zurich; review_days: 0 → 90; suspend_after_days: 0 → 14)",
    ]
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")
    settings = {"zone": "Europe/Zurich", "review_days": 90, "suspend_after_days": 14}
    exported = at("export").out
    assert yaml.safe_load(exported)["settings"] == settings
    file.write_text(exported)
    assert at("apply", "-f", str(file), "--prune").err.startswith("nothing to change")
    file.write_text("v: 1\nsettings:\n  zone: Europe/Zurch\n")
    wrong = at("apply", "-f", str(file)).complains()
    assert wrong == f"{file}:2: settings: `Europe/Zurch` is not a time zone: did you mean `Europe/Zurich`?"
    with home.registry.write() as session:
        session.connection().exec_driver_sql("UPDATE agent SET created_ns = created_ns - 100 * 86400000000000")
    file.write_text("v: 1\nsettings: {suspend_after_days: 7}\n")
    for mode in ([], ["--dry-run"]):
        wrong = at("apply", "-f", str(file), *mode).complains()
        assert wrong.startswith(f"{file}:2: organization default: this would suspend agents at once: `bot`: ")
        assert "add --yes" in wrong
    assert at("apply", "-f", str(file), "--yes").out == "~ organization default  (suspend_after_days: 14 → 7)\n"
    assert queries.agent(home.registry, ORG, "bot").status == "suspended"
    file.write_text("v: 1\nagents:\n- {name: bot, status: active}\n")
    assert "was not reviewed in time, so it cannot be resumed" in at("apply", "-f", str(file)).complains()
    file.write_text("v: 1\nsettings: {zone: UTC, review_days: 0, suspend_after_days: 0}\n")
    assert at("apply", "-f", str(file)).code == 0
    assert "settings" not in yaml.safe_load(at("export").out)


@pytest.mark.slow
def test_names_and_public_keys_of_agents(at: Run, file: Path, tmp_path: Path) -> None:
    pem = public_keys.public_pem(public_keys.generate("ed25519").public_key())
    names = [
        {
            "agent": "lead",
            "spiffe_id": "spiffe://acme.example/lead",
            "models": ["gpt-4o*"],
            "expires": "2099-01-31T00:00:00Z",
        },
        {"agent": "helper", "spiffe_id": "spiffe://acme.example/helper"},
    ]
    keys = [{"agent": "lead", "public_key": pem, "actions": ["chat.*"]}]
    fleet = {**yaml.safe_load(FLEET), "spiffe_ids": names, "public_keys": keys}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(fleet))
    done = at("apply", "-f", str(more))
    assert done.code == 0, done.err
    assert "+ SPIFFE ID spiffe://acme.example/lead of agent lead\n" in done.out
    assert at("apply", "-f", str(more)).err == "nothing to change: the registry is like the file\n"
    back = yaml.safe_load(at("export").out)
    assert (back["spiffe_ids"], back["public_keys"]) == (names, keys)
    listed = {each["key_id"]: each for each in at("keys", "list", "--json").json}
    assert listed["spiffe://acme.example/lead"]["scope"] == {"models": ["gpt-4o*"]}
    assert at("keys", "add-spiffe", "spiffe://acme.example/for-now", "--agent", "lead", "--expires", "30d").code == 0
    (tmp_path / "back.yaml").write_text(at("export").out)
    assert at("apply", "-f", str(tmp_path / "back.yaml")).err.startswith("nothing to change")
    assert at("keys", "revoke", "spiffe://acme.example/for-now").code == 0
    # The facts about one do not change, and every mistake has its line.
    for section, place, change, says in (
        ("spiffe_ids", 1, {"agent": "lead"}, "it does not change, and it belongs to agent `helper`: revoke it first"),
        ("spiffe_ids", 0, {"models": []}, "what it is for is something else"),
        ("public_keys", 0, {"expires": "2099-01-31"}, "its end is another one"),
        ("public_keys", 0, {"public_key": "nonsense"}, "not the PEM of a public key"),
        ("spiffe_ids", 1, {"spiffe_id": "https://acme.example"}, "SPIFFE ID"),
        (
            "spiffe_ids",
            1,
            {"spiffe_id": "spiffe://acme.example/new", "actions": ["chatt"]},
            "no upstream has the action",
        ),
        ("spiffe_ids", 1, {"spiffe_id": "spiffe://acme.example/new", "expires": "2020-01-31"}, "in the past"),
        ("spiffe_ids", 1, {"spiffe_id": "spiffe://acme.example/new", "agent": "nobody"}, "unknown agent `nobody`"),
        ("spiffe_ids", 1, {"spiffe_id": "spiffe://acme.example/lead", "agent": "lead"}, "already"),
    ):
        items = [{**each, **change} if number == place else each for number, each in enumerate(fleet[section])]
        more.write_text(yaml.safe_dump({**fleet, section: items}))
        failed = at("apply", "-f", str(more), "--dry-run")
        assert (failed.code, says in failed.err, f"{more}:" in failed.err) == (1, True, True), failed.err
    # Pruned, they are revoked.
    more.write_text(yaml.safe_dump({**fleet, "spiffe_ids": names[1:], "public_keys": []}))
    assert at("apply", "-f", str(more)).err.startswith("nothing to change")
    done = at("apply", "-f", str(more), "--prune", "--yes")
    assert [line for line in done.out.splitlines() if line.startswith("- ")][1:] == [
        "- SPIFFE ID spiffe://acme.example/lead of agent lead"
    ]
    assert "public_keys" not in (back := yaml.safe_load(at("export").out))
    assert back["spiffe_ids"] == names[1:]


def test_an_export_leaves_out_a_parent_that_has_ended(at: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("v: 1\nagents: [{name: lead}, {name: helper, parent: lead}]\n")
    assert at("apply", "-f", str(file)).code == 0
    assert at("agents", "retire", "lead").code == 0
    first = at("export").out
    assert at("agents", "register", "lead").code == 0
    for exported in (first, at("export").out):
        assert "parent" not in exported
        file.write_text(exported)
        assert at("apply", "-f", str(file)).err.startswith("nothing to change")
    file.write_text("v: 1\nagents: [{name: helper, parent: lead}]\n")
    assert "parent: agt_" in at("apply", "-f", str(file)).out, "of the same name, but another agent"


def test_an_export_leaves_out_a_route_that_leads_nowhere(at: Run, tmp_path: Path) -> None:
    assert at("upstreams", "add", "local", "--no-key", "--base-url", "https://local.example/v1").code == 0
    assert at("routes", "set", "chat", "local").code == 0
    assert at("upstreams", "remove", "local").code == 0
    file = tmp_path / "fleet.yaml"
    file.write_text(at("export").out)
    assert "routes" not in file.read_text()
    assert at("apply", "-f", str(file)).err.startswith("nothing to change")


@pytest.mark.parametrize(
    "section", ["limits: [{agent: lead, limit: requests_per_day, value: 3}]", "bindings: [{agent: lead, bundle: base}]"]
)
def test_nothing_is_for_an_agent_that_has_ended(section: str, at: Run, file: Path) -> None:
    at("agents", "register", "lead")
    at("agents", "retire", "lead")
    file.write_text(f"v: 1\n{section}\n")
    for more in (["--dry-run"], []):
        assert "agent `lead` is retired" in at("apply", "-f", str(file), *more).complains()


def test_no_key_is_made_for_an_agent_of_a_revoked_team(at: Run, tmp_path: Path) -> None:
    at("agents", "register", "lost", "--team", "gone")
    at("teams", "revoke", "gone", "--yes")
    at("agents", "register", "bot")
    file, keys = tmp_path / "fleet.yaml", tmp_path / "keys.csv"
    file.write_text(at("export").out)
    done = at("apply", "-f", str(file), "--keys", str(keys))
    assert (done.code, done.out) == (0, "+ key bot\n")


def test_a_file_sets_the_mode_of_a_limit_and_leaves_one_that_it_does_not_name(at: Run, tmp_path: Path) -> None:
    """A file of former versions names none: with it, a limit that is exact stays so."""
    at("agents", "register", "bot")
    at("limits", "set", "bot", "tokens_per_day", "500", "--mode", "hard")
    file = tmp_path / "fleet.yaml"
    for mode, told in (
        ("", "nothing to change"),
        (", mode: estimate", "hard → estimate"),
        ("", "nothing to change"),
        (", mode: hard", "estimate → hard"),
        (", mode: soft", "soft"),
    ):
        file.write_text(f"v: 1\nlimits: [{{agent: bot, limit: tokens_per_day, value: 500{mode}}}]\n")
        done = at("apply", "-f", str(file))
        assert told in done.out + done.err
    [exported] = yaml.safe_load(at("export").out)["limits"]
    assert exported == {"agent": "bot", "limit": "tokens_per_day", "value": 500, "mode": "hard"}
