"""The nouns: what they do, what they print, and what they leave in the audit log."""

from __future__ import annotations

import fcntl
import os
import stat
import time

import orjson
import pytest

from gateway.audit import storage
from gateway.cli import output
from gateway.errors import Denied
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principals
from gateway.processes import local
from gateway.registry.reader import RegistryReader
from gateway.secrets.vault import SealedPlace
from gateway.storage.file_lock import FileLock
from tests.gateway.conftest import Home, Run, at_once
from tests.rigs.cli.commands import logged


def test_from_an_agent_to_a_key_that_works(at: Run, home: Home) -> None:
    registered = at("agents", "register", "support-bot", "--team", "support", "--label", "tier=1", "--capability", "x")
    assert (registered.code, "registered agent support-bot (agt_" in registered.out) == (0, True)
    created = at("keys", "create", "support-bot")
    key = created.out.strip()  # standard output is the key and nothing else
    assert key.startswith("aig_sk_")
    assert "only time" in created.err
    reader = RegistryReader(home.data.registry_db)
    principals = Principals([ApiKeys(reader, home.peppers)])
    assert at_once(principals.get(home.credential(key), at_once(reader.epochs()).authority)).name == "support-bot"
    # Revoked by another process: the next request is refused, here as in every worker.
    assert at("agents", "revoke", "support-bot").out.startswith("revoked agent support-bot (agt_")
    with pytest.raises(Denied) as caught:
        at_once(principals.get(home.credential(key), at_once(reader.epochs()).authority))
    assert caught.value.detail == "revoked"
    reader.close()
    assert at("agents", "revoke", "support-bot").out == "agent support-bot is already revoked\n"
    assert logged(home) == [
        ("default", what)
        for what in ("organization.created", "team.created", "agent.registered", "key.created", "agent.revoked")
    ]


def test_every_list_and_creation_speaks_json(at: Run, home: Home) -> None:
    agent = at("agents", "register", "bot", "--json").json
    assert (agent["name"], agent["version"], agent["environment"]) == ("bot", 1, "dev")
    key = at("keys", "create", "bot", "--expires", "1h", "--json").json
    assert key["key"].startswith(key["key_id"] + "_")
    home.activate("support")
    binding = at("bind", "bot", "support", "--json").json
    assert (binding["subject"], binding["effect"], binding["pinned"]) == ("bot", "grant", None)
    upstream = at("upstreams", "add", "openai", "--key-env", "KEY", "--json", KEY="sk-x").json
    assert (upstream["default"], upstream["base_url"]) == (True, "https://api.openai.com/v1")
    assert [each["id"] for each in at("agents", "list", "--json").json] == [agent["id"]]
    assert [each["status"] for each in at("keys", "list", "--json").json] == ["active"]
    assert at("bindings", "list", "bot", "--json").json == [binding]
    assert at("upstreams", "list", "--json").json == [upstream]
    shown = at("agents", "show", "bot", "--json").json
    assert [each["id"] for each in shown["keys"]] == [key["id"]]
    assert [each["id"] for each in shown["bindings"]] == [binding["id"]]
    assert shown["bindings"][0]["commit"] == "c" * 40
    assert shown["versions"] == [agent | {"actor": local.actor(), "reason": ""}]
    assert shown["keys"][0]["key_id"] == key["key_id"]
    assert "key" not in shown["keys"][0], "the secret is shown once"


def test_the_tables(at: Run, home: Home) -> None:
    assert (at("agents", "list").out, "no agents yet" in at("agents", "list").err) == ("", True)
    home.agent("a", team="support")
    home.agent("a-longer-name")
    key = home.key("a")
    home.activate("support")
    assert at("bind", "team:support", "support").code == 0
    heading, first, second = at("agents", "list").out.splitlines()
    assert heading.split() == ["NAME", "STATUS", "VERSION", "TEAM", "ENVIRONMENT", "OWNER", "ID"]
    assert first.startswith("a              active  1        support")
    assert second.startswith("a-longer-name  active  1        -")
    keys = at("keys", "list", "a").out
    assert key[:19] in keys
    assert key[20:] not in keys
    assert "team" in at("bindings", "list").out
    shown = at("agents", "show", "a").out
    assert "grant support@cccccccccccc  by team support, since " in shown
    assert key[20:] not in shown


def test_what_an_agent_was(at: Run, home: Home) -> None:
    home.agent()
    home.key()
    home.activate("support")
    at("bind", "bot", "support")
    time.sleep(0.01)
    then = output.timestamp(time.time_ns())
    time.sleep(0.01)
    at("unbind", "bot", "support")
    at("agents", "revoke", "bot")
    now, before = at("agents", "show", "bot", "--json").json, at("agents", "show", "bot", "--at", then, "--json").json
    assert (now["status"], now["version"], len(now["bindings"]), now["keys"][0]["status"]) == (
        "revoked",
        2,
        0,
        "revoked",
    )
    assert (before["status"], before["version"], len(before["bindings"])) == ("active", 1, 1)
    assert before["keys"][0]["status"] == "active"


def test_keys_rotate_without_a_gap(at: Run, home: Home) -> None:
    home.agent()
    first = at("keys", "create", "bot").out.strip()
    second = at("keys", "create", "bot", "--json").json
    assert "has 2 live keys already: revoke one first" in at("keys", "create", "bot").complains()
    # A key is named by the beginning of its text, or by its id.
    assert first[:19] in at("keys", "revoke", first[:19]).out
    assert at("keys", "revoke", first[:19]).out == "the key is already revoked\n"
    assert at("keys", "revoke", second["id"]).code == 0
    assert [each["status"] for each in at("keys", "list", "bot", "--json").json] == ["revoked", "revoked"]


def test_binding(at: Run, home: Home) -> None:
    home.agent()
    home.activate("support", "baseline", commit="a" * 40)
    assert "now applies to agent bot as a grant" in at("bind", "bot", "support").out
    assert "is bound to agent `bot` already" in at("bind", "bot", "support").complains()
    assert at("bind", "bot", "support", "--pin", "a" * 12).code == 0
    assert at("bind", "org:default", "baseline", "--effect", "guard").code == 0
    found = {each["bundle"]: each for each in at("bindings", "list", "--json").json}
    assert (found["support"]["pinned"], found["baseline"]["subject_kind"]) == ("a" * 40, "organization")
    assert at("unbind", "org:default", "baseline").out == "bundle baseline no longer applies to organization default\n"
    assert "bundle `nothing` is not in force yet" in at("bind", "bot", "nothing").complains()
    assert "no tested revision" in at("bind", "bot", "support", "--pin", "b" * 40).complains()
    assert "unknown agent `nobody`" in at("bind", "nobody", "support").complains()
    assert "is not a subject" in at("bind", "user:x", "support").complains()


def test_an_upstreams_key_is_sealed_and_never_shown(at: Run, home: Home) -> None:
    secret = "sk-very-secret"
    said = [
        at("upstreams", "add", "openai", "--key-env", "OPENAI_API_KEY", OPENAI_API_KEY=secret),
        at("upstreams", "add", "local", "--no-key", "--base-url", "http://127.0.0.1:9/v1"),
        at("upstreams", "list"),
        at("upstreams", "list", "--json"),
        at("audit", "list", "--json"),
    ]
    assert [done.code for done in said] == [0] * len(said)
    assert not any(secret in done.out + done.err for done in said)
    reader = RegistryReader(home.data.registry_db)
    row = next(each for each in at_once(reader.upstreams()) if each.name == "openai")
    reader.close()
    place = SealedPlace(row.organization, row.provider, row.id, row.version)
    assert home.vault.open(row.secret or b"", place) == secret
    assert at("upstreams", "remove", "openai").out == "removed upstream openai\n"
    assert [each["name"] for each in at("upstreams", "list", "--json").json] == ["local"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["openai"], "give one of --key-env VARIABLE, --key-file FILE, --auth KIND and --no-key"),
        (
            ["openai", "--key-env", "NOT_SET"],
            "environment variable `NOT_SET` is not set: type `export NOT_SET=…` first",
        ),
        (["openai", "--key-env", "EMPTY"], "is not set to anything"),
        (["openai", "--key-env", "sk-proj-1a2b3c"], "--key-env takes the name of an environment variable"),
        (["openai", "--key-env", "sk_live_secret"], "--key-env takes the name of an environment variable"),
        (["openai", "--key-env", "AKIA0123456789ABCDEF"], "--key-env takes the name of an environment variable"),
        (["openai", "--key-env", "ODD"], "what variable `ODD` holds is not a key"),
        (["other", "--key-env", "KEY"], "upstream `other` needs a URL: add --base-url URL"),
        (["other", "--key-env", "KEY", "--base-url", "http://10.0.0.1/v1"], "would send the secret in clear"),
        (["other", "--key-env", "KEY", "--base-url", "nowhere"], "it must be like https://api.example.com/v1"),
        (["other", "--key-env", "KEY", "--provider", "nobody"], "unknown provider `nobody`"),
        (["other", "--key-env", "KEY", "--provider", "vllm"], "upstream `other` needs a URL"),
        (["openai", "--key-env", "QUOTED"], "variable `QUOTED`: what was given as the key is in quotes, which"),
        (["openai", "--key-env", "LINE"], "variable `LINE`: what was given as the key is a line such as NAME=KEY"),
        (["openai", "--key-env", "KEY", "--provider", "nobody"], "unknown provider `nobody`: this gateway speaks"),
        (["openai", "--key-env", "KEY", "--header", "openai-project"], "is not a header: write it as `NAME: VALUE`"),
        (["openai", "--key-env", "KEY", "--header", "OpenAI-Projct: p"], "did you mean `openai-project`?"),
        (["openai", "--key-env", "KEY", "--header", "Authorization: x"], "header `Authorization` cannot be set"),
        (["openai", "--key-env", "KEY", "--header", "OpenAI-Project:"], "the value of header openai-project is not"),
        (["anthropic", "--key-env", "KEY", "--header", "x-team: a"], "provider anthropic takes none"),
    ],
)
def test_upstreams_that_are_refused(arguments: list[str], expected: str, at: Run, home: Home) -> None:
    done = at(
        "upstreams",
        "add",
        *arguments,
        KEY="sk-secret",
        EMPTY=" ",
        ODD="two words",
        QUOTED='"sk-secret"',
        LINE="A_KEY=sk-secret",
    )
    line = done.complains()
    assert expected in line
    assert "sk-secret" not in line
    assert "two words" not in line


def test_a_base_url_is_the_providers_own_or_completed_as_its_clients_do(at: Run) -> None:
    for name, more, url in (
        ("anthropic", ("--base-url", "https://api.anthropic.com"), "https://api.anthropic.com/v1"),
        ("claude", ("--provider", "anthropic"), "https://api.anthropic.com/v1"),
        (
            "proxied",
            ("--provider", "anthropic", "--base-url", "https://proxy.example/a/"),
            "https://proxy.example/a/v1",
        ),
        (
            "versioned",
            ("--provider", "anthropic", "--base-url", "https://proxy.example/v1"),
            "https://proxy.example/v1",
        ),
        ("fast", ("--provider", "groq"), "https://api.groq.com/openai/v1"),
        ("openai", ("--provider", "groq"), "https://api.groq.com/openai/v1"),
    ):
        assert at("upstreams", "add", name, "--no-key", *more, "--json").json["base_url"] == url


def test_an_upstream_is_tried_when_it_is_added(at: Run) -> None:
    """It is there all the same: its provider may come later."""
    add = ("upstreams", "add", "local", "--no-key", "--base-url", "http://127.0.0.1:1/v1")
    added = at(*add, AIG_NO_CHECK="0")
    assert (added.code, added.out.startswith("upstream local at http://127.0.0.1:1/v1, served under ")) == (0, True)
    assert added.err.startswith("warning: local is added, but does not work: 127.0.0.1:1 refuses the connection")
    assert added.err.count("\n") == 1
    for untried in (at(*add, "--replace", "--no-check", AIG_NO_CHECK="0"), at(*add, "--replace")):
        assert (untried.code, untried.err) == (0, "")


def test_headers_of_an_upstream_are_shown_and_on_record(at: Run) -> None:
    header = ("--header", "OpenAI-Organization: org_1", "--header", "OpenAI-Project:proj_1")
    headers = {"openai-organization": "org_1", "openai-project": "proj_1"}
    assert (
        at("upstreams", "add", "openai", "--key-env", "KEY", "--json", *header, KEY="sk-x").json["headers"] == headers
    )
    assert at("upstreams", "list", "--json").json[0]["headers"] == headers
    assert orjson.loads(at("audit", "list", "--json").out.splitlines()[-1])["entry"]["headers"] == headers
    at("upstreams", "add", "openai", "--key-env", "KEY", "--replace", KEY="sk-x")
    assert at("upstreams", "list", "--json").json[0]["headers"] == {}


def test_a_revocation_holds_even_without_a_log(at: Run, home: Home) -> None:
    agent = home.agent()
    key = home.credential(home.key())
    reader = RegistryReader(home.data.registry_db)
    principals = Principals([ApiKeys(reader, home.peppers)])
    at_once(principals.get(key, at_once(reader.epochs()).authority))
    away = home.data.audit_db.rename(home.data.path / "away.db")
    done = at("agents", "revoke", "bot")
    assert done.code == 0
    assert "revoked agent bot" in done.out
    assert done.err.startswith("warning: the change is in force, but not in the audit log yet: there is no audit log")
    with pytest.raises(Denied):
        at_once(principals.get(key, at_once(reader.epochs()).authority))
    reader.close()
    # A change that would give somebody more is refused before it happens.
    assert "audit" in at("agents", "register", "other").complains()
    assert [each["id"] for each in at("agents", "list", "--json").json] == [agent]
    # The entry waits and is recorded by the next command that can.
    away.rename(home.data.audit_db)
    assert at("agents", "register", "other").code == 0
    assert [what for _, what in logged(home)] == [
        "organization.created", "agent.registered", "key.created", "agent.revoked", "agent.registered",
    ]  # fmt: skip


def test_nothing_is_granted_while_the_log_is_held(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing waits in the outbox, which would have to be written first."""
    home.agent()
    assert at("agents", "register", "other").code == 0
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.05)
    with home.data.audit_lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process holds its lock" in at("keys", "create", "bot").complains()
        assert "another process holds its lock" in at("agents", "register", "third").complains()
    assert at("keys", "list", "--json").json == []
    assert len(at("agents", "list", "--json").json) == 2


def test_a_revocation_does_not_wait_for_a_log_that_is_held(
    at: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a worker that was stopped in the middle of a commit: it is in force, and that is a success."""
    home.agent()
    home.agent("other")
    keys = home.credential(home.key()), home.credential(home.key("other"))
    assert at("upstreams", "add", "openai", "--key-env", "KEY", KEY="sk-x").code == 0
    waited: list[float] = []
    acquire = FileLock.acquire

    def acquiring(lock: FileLock, timeout: float) -> bool:
        waited.append(timeout)
        return acquire(lock, 0.05)

    monkeypatch.setattr(FileLock, "acquire", acquiring)
    with home.data.audit_lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for words in (("agents", "revoke", "bot"), ("keys", "revoke", keys[1].id), ("upstreams", "remove", "openai")):
            done = at(*words)
            assert (done.code, words[1][:5] in done.out) == (0, True)
            assert done.err == (
                "warning: the change is in force, but not in the audit log yet: the audit log cannot be written: "
                "another process holds its lock: a running gateway records it when it can write the log, "
                "or the next command or start that can\n"
            )
    assert max(waited) <= 1
    reader = RegistryReader(home.data.registry_db)
    for key in keys:
        with pytest.raises(Denied):
            at_once(Principals([ApiKeys(reader, home.peppers)]).get(key, at_once(reader.epochs()).authority))
    assert at_once(reader.upstreams()) == []
    reader.close()
    assert at("agents", "register", "third").code == 0  # and records what waited
    whats = [what for _, what in logged(home)]
    assert whats[-4:] == ["agent.revoked", "key.revoked", "upstream.removed", "agent.registered"]


def test_a_key_that_is_revoked_by_its_text_is_not_shown(at: Run, home: Home) -> None:
    home.agent()
    text = home.key()
    for changed in (True, False):
        done = at("keys", "revoke", text, "--json")
        assert done.json == {"key_id": text[:19], "revoked": True, "changed": changed}


def test_changes_are_made_by_the_local_user(at: Run, home: Home) -> None:
    at("agents", "register", "bot")
    connection = storage.connect(home.data.audit_db)
    leaf = orjson.loads(connection.execute("SELECT leaf FROM entry ORDER BY id DESC LIMIT 1").fetchone()[0])
    connection.close()
    assert leaf["actor"] == f"local:{os.getuid()}"
    assert leaf["epoch"] > 1


def test_files_stay_private(at: Run, home: Home) -> None:
    at("agents", "register", "bot")
    for path in home.data.path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
