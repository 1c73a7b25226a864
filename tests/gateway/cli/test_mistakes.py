"""Mistakes of a first week: the earliest check that can know one finds it, and says it once, with the next step.

A case is data: what was done before, the command with the mistake or the one that finds it, its exit code, and what
must stand in its answer, each exactly once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.processes.creation import create
from tests.gateway.conftest import environment
from tests.gateway.dataplane.processes import COMMAND, Background

AUTHZ, MANIFEST, TEST = (f"policies/starter/{name}" for name in ("authz.rego", ".manifest", "authz_test.rego"))
TOML = "gateway.toml"
CHECK = "gateway policies check .gateway/policies"
OPENAI = "gateway upstreams add openai --base-url http://127.0.0.1:9/v1"


@dataclass(frozen=True)
class Mistake:
    """`edits` are replacements in a file of the data directory: from this text, or from all of it if empty, to that.

    `files` are written beside it.
    """

    note: str
    command: str
    says: tuple[str, ...]
    code: int = 1
    before: tuple[str, ...] = ()
    edits: tuple[tuple[str, str, str], ...] = ()
    removed: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


MISTAKES = [
    # Names
    Mistake("a noun", "gateway agnets list", ("no such command 'agnets': did you mean 'agents'?",), 2),
    Mistake("a verb", "gateway agents lst", ("no such command 'lst': did you mean 'list'?",), 2),
    Mistake("an option", "gateway up --prot 1", ("no such option: --prot", "--port"), 2),
    Mistake(
        "a subject as an option",
        "gateway bind --team support starter",
        ("no such option: --team: the team comes first: `gateway bind team:NAME …`",),
        2,
    ),
    Mistake("an agent", "gateway keys create asistant", ("unknown agent `asistant`: did you mean `assistant`?",)),
    Mistake("an agent in the log", "gateway audit list --agent asistant", ("did you mean `assistant`?",)),
    Mistake("a bundle", "gateway bind assistant startr", ("unknown bundle `startr`: did you mean `starter`?",)),
    Mistake(
        "a team",
        "gateway bind team:suport starter",
        ("no agent of organization `default` is in team `suport`: did you mean `support`?",),
        before=("gateway agents update assistant --team support",),
    ),
    Mistake("an organization", "gateway agents list --org defualt", ("did you mean `default`?",)),
    Mistake("a kind of subject", "gateway bind teams:x starter", ("write an agent's name, team:NAME or org:NAME",)),
    Mistake("an effect", "gateway bind assistant starter --effect gaurd", ("is not one of 'grant', 'guard'",), 2),
    Mistake(
        "an upstream",
        "gateway upstreams remove opnai",
        ("unknown upstream `opnai`: did you mean `openai`?",),
        before=(f"{OPENAI} --no-key",),
    ),
    Mistake(
        "a provider",
        "gateway upstreams add opanai --no-key",
        ("needs a URL: add --base-url URL, or did you mean `openai`?",),
    ),
    Mistake("a data directory", "gateway agents list --data .gatway", ("no gateway in ./.gatway: type `gateway init",)),
    Mistake(
        "a variable",
        "gateway up",
        ("`AIG_PROT` in the environment: did you mean `AIG_PORT`?",),
        variables={"AIG_PROT": "1"},
    ),
    Mistake(
        "a setting", "gateway up", ("unknown setting `prot`", "did you mean `port`?"), edits=((TOML, "", "prot = 1"),)
    ),
    Mistake(
        "a branch",
        "gateway status",
        ("has no branch or tag `mian`: did you mean `main`?",),
        edits=((TOML, "", 'policies_ref = "mian"'),),
    ),
    Mistake(
        "a model, to an operator",
        "gateway decide --agent assistant -i call.json",
        ("hint: did you mean the model `gpt-4o-mini`? this bundle would allow it",),
        files={"call.json": '{"action": "chat.completions", "resource": {"model": "gpt-4o-mni"}}'},
    ),
    Mistake(
        "a model in capitals, with the rules",
        "gateway decide --agent assistant -i call.json --explain",
        ("hint: did you mean the model `gpt-4o`? this bundle would allow it",),
        files={"call.json": '{"action": "chat.completions", "resource": {"model": "GPT-4o"}}'},
    ),
    Mistake(
        "a data directory first", "gateway --data x status", ("write it after it: `gateway status --data",), code=2
    ),
    # Values
    Mistake(
        "a port that is none", "gateway up --port 99999", ("--port is `99999`, but must be a whole number from 0",)
    ),
    Mistake("a file that is no TOML", "gateway up", ("is not TOML", "at line 1"), edits=((TOML, "", "port = 80 80"),)),
    Mistake(
        "a repository elsewhere",
        "gateway status",
        ("the scheme git:// is not supported: use https:// or ssh://, or a path",),
        edits=((TOML, "", 'policies_repository = "git://git.example/p"'),),
    ),
    Mistake("all addresses", "gateway up --host 0.0.0.0", ("is not a loopback address", "or add --insecure")),
    Mistake("no address", "gateway up --host 192.0.2.1 --insecure", ("choose another address with --host",)),
    Mistake("a key on the command line", f"{OPENAI} --key-env sk-proj-abc123def456", ("export OPENAI_API_KEY=…",)),
    Mistake(
        "a variable that is not set", f"{OPENAI} --key-env OPENAI_API_KEY", ("is not set: type `export OPENAI_API_KEY",)
    ),
    Mistake(
        "a URL without a scheme",
        "gateway upstreams add openai --base-url api.x.ai --no-key",
        ("must be like https://",),
    ),
    Mistake("a duration", "gateway keys create assistant --expires soon", ("write 90s, 15m, 12h or 30d",)),
    # State
    Mistake("the same once more", "gateway init", ("`.gateway` exists already", "`gateway up`")),
    Mistake(
        "a third key",
        "gateway keys create assistant",
        ("has 2 live keys already: revoke one first: `gateway keys revoke key_",),
        before=("gateway keys create assistant",),
    ),
    Mistake(
        "a grant that becomes a guard",
        "gateway bind assistant starter --effect guard",
        ("as a guard it can only deny and limit", "add --yes if that is meant"),
    ),
    Mistake(
        "an agent that comes back",
        "gateway agents resume assistant",
        ("is revoked: a revoked agent cannot come back: register another one",),
        before=("gateway agents revoke assistant",),
    ),
    Mistake(
        "an agent without a binding",
        "gateway status",
        ("agent `lonely` has no grant, so every request is denied `no_policy`: type `gateway bind lonely BUNDLE`",),
        before=("gateway agents register lonely", "gateway keys create lonely"),
    ),
    # Files
    Mistake(
        "the key of another gateway",
        "gateway status",
        ("`openai` cannot be used", "restore the `keys/kek`"),
        before=(f"{OPENAI} --key-env KEY",),
        edits=(("keys/kek", "", "k" * 32),),
        variables={"KEY": "sk-x"},
    ),
    Mistake("no key of keys", "gateway status", ("keys/kek` cannot be read", "restore it"), removed=("keys/kek",)),
    Mistake(
        "no pepper", "gateway keys create assistant", ("restore `pepper.1` from a backup",), removed=("keys/pepper.1",)
    ),
    Mistake("no repository", "gateway status", ("policies` is not a git repository",), removed=("policies",)),
    Mistake(
        "no registry",
        "gateway up",
        ("is not a gateway's data directory: it has no registry.db",),
        removed=("registry.db",),
    ),
    Mistake("no log", "gateway agents register x", ("there is no audit log",), removed=("audit.db",)),
    # Policies
    Mistake(
        "a helper rule that is public",
        CHECK,
        ("starter/authz.rego:47:1", "needs a name that begins with `_`"),
        edits=((AUTHZ, "_model_listed", "model_listed"),),
    ),
    Mistake(
        "a wrong type",
        CHECK,
        ("starter/authz.rego:18:1", "`allow` must be a boolean, and is a string"),
        edits=((AUTHZ, "default allow := false", 'default allow := "no"'),),
    ),
    Mistake(
        "a variable of a policy",
        CHECK,
        ("starter/authz.rego:22:2", "did you mean `input`?"),
        edits=((AUTHZ, "allow if {\n\t_asks_a_model", "allow if {\n\tinptu.action == 1"),),
    ),
    Mistake(
        "a member of the input",
        CHECK,
        ("starter/authz.rego:47:18", "did you mean `model`?"),
        edits=((AUTHZ, "input.resource.model", "input.resource.modle"),),
    ),
    Mistake("no tests", CHECK, ("bundle starter has no tests",), 0, removed=(TEST,)),
    Mistake(
        "a manifest that is no JSON", CHECK, ("starter/.manifest", "is not JSON"), edits=((MANIFEST, "", '{"roots": '),)
    ),
    Mistake(
        "a member of the manifest",
        CHECK,
        ("did you mean `entrypoint`?",),
        edits=((MANIFEST, "entrypoint", "entrypont"),),
    ),
    Mistake("an entrypoint", CHECK, ("there is no package data.starter.autz",), edits=((MANIFEST, ".authz", ".autz"),)),
    Mistake(
        "the bundle for its directory", f"{CHECK}/starter", ("is a bundle itself: name the directory that holds it",), 2
    ),
    Mistake("a directory without bundles", "gateway policies check .gateway/keys", ("there is no bundle in",), 2),
    # Routes
    Mistake(
        "an upstream of a route",
        "gateway routes set chat opnai:3",
        ("unknown upstream `opnai`: did you mean `openai`?",),
        before=(f"{OPENAI} --no-key",),
    ),
    Mistake(
        "a weight of nothing",
        "gateway routes set chat openai:0",
        ("the weight of `openai` must be 1 to 1000000, not 0",),
        before=(f"{OPENAI} --no-key",),
    ),
    Mistake(
        "a route's name",
        "gateway routes show chta",
        ("unknown route `chta`: did you mean `chat`?",),
        before=(f"{OPENAI} --no-key", "gateway routes set chat openai"),
    ),
    Mistake(
        "a model's new name",
        "gateway routes set chat openai --model gpt-5=x",
        ("write it as --model azure:gpt-5=gpt-5-prod",),
        before=(f"{OPENAI} --no-key",),
    ),
    Mistake(
        "a URL in clear",
        "gateway upstreams add openai --base-url http://api.openai.com/v1 --no-key",
        ("would send the secret in clear: use https",),
    ),
    Mistake("a commit to pin", "gateway bind assistant starter --pin HEAD", ("name a commit that was activated here",)),
    Mistake("a bundle that is not bound", "gateway unbind assistant startr", ("did you mean `starter`?",)),
    Mistake("an agent's name", "gateway agents register My.Ägent", ("is not a name: 1 to 63 letters, digits",)),
    Mistake("no change", "gateway agents update assistant", ("nothing to change: see `gateway agents update --help`",)),
    Mistake(
        "comments in a manifest",
        CHECK,
        ("starter/.manifest", "is not JSON", "JSON has no comments: take them out"),
        edits=((MANIFEST, "", '{\n  // mine\n  "roots": ["starter"]}'),),
    ),
    Mistake(
        "a byte order mark",
        CHECK,
        ("is not JSON", "save it without a byte order mark"),
        edits=((MANIFEST, "", '\ufeff{"roots": ["starter"]}'),),
    ),
    Mistake("the roots", CHECK, ("must list", "did you mean `root`?"), edits=((MANIFEST, '"roots"', '"root"'),)),
    Mistake("a root", CHECK, ("lies in none of its `roots` (`startr`)",), edits=((MANIFEST, '"starter"', '"startr"'),)),
    Mistake(
        "settings of the gateway", CHECK, ("did you mean `gatway`?",), edits=((MANIFEST, '"gateway"', '"gatway"'),)
    ),
    Mistake(
        "a package written as a path",
        CHECK,
        ("names the entrypoint `data/starter/authz`, which is no package", "like `data.acme.support`"),
        edits=((MANIFEST, "data.starter.authz", "data/starter/authz"),),
    ),
    Mistake(
        "a rule as entrypoint",
        CHECK,
        ("the entrypoint `data.starter.authz.allow` is a rule", "did you mean `data.starter.authz`?"),
        edits=((MANIFEST, "data.starter.authz", "data.starter.authz.allow"),),
    ),
    Mistake(
        "a base without its version",
        "gateway upstreams add openai --base-url https://api.openai.com --no-key",
        ("the API of openai begins at https://api.openai.com/v1",),
    ),
    Mistake(
        "a version's name",
        "gateway upstreams add v1 --no-key --base-url https://x.example/v1",
        ("is called like the version of an API",),
    ),
    Mistake(
        "a weight that is none",
        "gateway routes set chat openai:-1",
        ("`openai:-1` is not an upstream and its weight", "whole numbers as weights"),
    ),
    Mistake(
        "no manifest", CHECK, ("`starter` has no `.manifest`, so nobody asks its rule `allow`",), removed=(MANIFEST,)
    ),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("template") / ".gateway"
    create(made, "assistant")
    return made


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / ".gateway", symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.note)
def test_a_mistake_is_said_once_with_the_next_step(
    mistake: Mistake, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in mistake.variables.items():
        monkeypatch.setenv(name, value)
    for command in mistake.before:
        assert main(command.split()[1:]) == 0, capsys.readouterr().err
    for name, old, new in mistake.edits:
        path = place / ".gateway" / name
        text = path.read_bytes().decode("utf-8", "replace")
        assert old in text
        path.write_text(text.replace(old, new) if old else new)
    for name in mistake.removed:
        path = place / ".gateway" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in mistake.files.items():
        (place / name).write_text(text)
    capsys.readouterr()
    code = main(mistake.command.split()[1:])
    shown = capsys.readouterr()
    everything = shown.out + shown.err
    assert code == mistake.code, everything
    assert "Traceback" not in everything
    assert "abc123def456" not in everything, "a secret is never shown"
    for fragment in mistake.says:
        assert everything.count(fragment) == 1, everything
    if shown.out == "":
        assert shown.err.count("\n") == 1, shown.err


def test_no_model_is_named_that_the_bundle_would_not_allow(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here it is the action that is wrong, too."""
    (place / "call.json").write_text('{"action": "embeddings", "resource": {"model": "gpt-4o-mni"}}')
    assert main(["decide", "--agent", "assistant", "-i", "call.json"]) == 1
    assert "did you mean" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_gateway_and_a_port_that_is_busy(place: Path) -> None:
    """The gateway that runs is named, or the flag to change; nothing of the first one is disturbed."""
    first = Background("up", "--port", "0", "--control-port", "0", cwd=place, output=place / "up.txt")
    try:
        port = first.line(r"base URL http://127\.0\.0\.1:(\d+)/")[1]
        second = subprocess.run([*COMMAND, "up"], cwd=place, env=environment(), capture_output=True, text=True)
        said = json.loads(second.stderr)["message"]  # nobody reads along: each line is a document
        assert said.startswith("a gateway is running on `.gateway` already: stop it first, or name")
        other = place / "other"
        subprocess.run([*COMMAND, "init", "--data", str(other)], env=environment(), capture_output=True, check=True)
        busy = subprocess.run(
            [*COMMAND, "up", "--data", str(other), "--port", port], env=environment(), capture_output=True, text=True
        )
        assert json.loads(busy.stderr)["message"] == (
            f"cannot listen on 127.0.0.1:{port}: address already in use: choose another port with --port"
        )
        assert (second.returncode, busy.returncode, first.process.poll()) == (1, 1, None)
    finally:
        first.stop()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 40_000])
def test_a_disk_without_room_for_a_gateway(tmp_path: Path, size: int) -> None:
    """The registry has no room, or something before it."""
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    command = [sys.executable, "-c", f"{full}; from gateway.cli import main; raise SystemExit(main())", "init"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: cannot ")
    assert "internal error" not in done.stderr
    assert done.stderr.endswith(": choose another directory with --data\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("hosts", [[], ["--host", "0.0.0.0", "--insecure"]])
def test_both_planes_at_one_port(hosts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--port", "9", "--control-port", "9", *hosts]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == (
        "the data plane and the control plane cannot both have the port 9: choose another port with --control-port"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(place: Path) -> None:
    directory = place / ".gateway"
    directory.chmod(0o500)
    done = subprocess.run([*COMMAND, "up"], cwd=place, env=environment(), capture_output=True, text=True)
    directory.chmod(0o700)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is not readable and writable for this user: run as the user who typed `gateway init`" in done.stderr
