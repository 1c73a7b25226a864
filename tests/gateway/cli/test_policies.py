"""`gateway policies`: the check of a commit as a command, the hook that runs it, and new bundles."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gateway.policy.rollout.check import problems_of
from gateway.processes import bundle_template
from tests.gateway.conftest import Done, Run, environment

# Real processes, which take their time.
pytestmark = pytest.mark.slow

MANIFEST = json.dumps({"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}})
GOOD = 'package b.authz\n\ndefault allow := false\n\nallow if input.action == "models.list"\n'
TEST = "package b.authz_test\n\nimport data.b.authz\n\ntest_it if not authz.allow with input as {}\n"


@pytest.fixture
def cwd(run: Run, tmp_path: Path) -> Path:
    return tmp_path / "cwd"


def put(where: Path, **files: str) -> None:
    """Files of the bundle `b` in a directory."""
    (where / "b").mkdir(parents=True, exist_ok=True)
    names = {"manifest": ".manifest", "authz": "authz.rego", "test": "authz_test.rego"}
    for name, text in files.items():
        (where / "b" / names[name]).write_text(text)


def git(where: Path, *arguments: str, **variables: str) -> Done:
    identity = {
        "GIT_AUTHOR_NAME": "d",
        "GIT_AUTHOR_EMAIL": "d@x",
        "GIT_COMMITTER_NAME": "d",
        "GIT_COMMITTER_EMAIL": "d@x",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=where, capture_output=True, text=True, check=False,
        env=environment(**{"GIT_CONFIG_NOSYSTEM": "1", "HOME": str(where)} | (variables or identity)),
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def test_bundles_that_are_fit(run: Run, cwd: Path) -> None:
    put(cwd / "policies", manifest=MANIFEST, authz=GOOD, test=TEST)
    done = run("policies", "check", "policies")
    assert (done.code, done.out, done.err) == (0, "b: fit to be put into force (1 test passed)\n", "")
    assert run("policies", "check", "policies", "--format", "json").json == {"errors": []}


def test_a_bundle_without_tests_is_noticed(run: Run, cwd: Path) -> None:
    put(cwd, manifest=MANIFEST, authz=GOOD)
    done = run("policies", "check")
    assert (done.code, done.err.startswith("warning: bundle b has no tests")) == (0, True)


def test_modules_that_no_bundle_has_are_noticed(run: Run, cwd: Path) -> None:
    put(cwd / "policies", manifest=MANIFEST, authz=GOOD, test=TEST)
    (cwd / "policies" / "lib").mkdir()
    (cwd / "policies" / "lib" / "texts.rego").write_text("package lib\n\nx := 1\n")
    done = run("policies", "check", "policies")
    assert (done.code, "warning: `lib` has no `.manifest`, so no bundle has its modules" in done.err) == (0, True)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"authz": GOOD + "is_chat if input.x\n"}, ["b/authz.rego:6:1: bad_decision: `is_chat` is", "hint: a rule"]),
        ({"authz": GOOD + "allow := \n"}, ["b/authz.rego:6:7: compile_failed: rego_parse_error"]),
        ({"test": TEST + "test_bad if authz.allow\n"}, ["b/authz_test.rego:6:13: tests_failed: data.b.authz_test"]),
        ({"manifest": "{}"}, ["b/.manifest: bad_manifest: "]),
        ({"manifest": MANIFEST.replace("data.b.authz", "data.b.auth")}, ["bad_entrypoint", "can be data.b.authz"]),
        ({"manifest": MANIFEST.replace('["b"]', '["b/authz"]')}, ["b/authz_test.rego:1:1: roots_overlap", "rename"]),
    ],
)  # fmt: skip
def test_what_a_gateway_would_refuse(run: Run, cwd: Path, files: dict[str, str], said: list[str]) -> None:
    put(cwd, **({"manifest": MANIFEST, "authz": GOOD, "test": TEST} | files))
    done = run("policies", "check")
    assert done.code == 1
    for text in said:
        assert text in done.out
    assert done.out.endswith(": a gateway would refuse these policies\n")


def test_a_commit_is_warned_of_what_it_changes(run: Run, cwd: Path) -> None:
    """Not of the bundles beside it, at each commit for ever."""
    put(cwd, manifest=MANIFEST, authz=GOOD)
    git(cwd, "init", "-q", "-b", "main", ".")
    git(cwd, "add", ".")
    assert run("policies", "check", "--staged").err.startswith("warning: bundle b has no tests")
    assert git(cwd, "commit", "-qm", "One").code == 0
    (cwd / "README.md").write_text("more")
    git(cwd, "add", ".")
    done = run("policies", "check", "--staged")
    assert (done.code, done.err) == (0, "")
    put(cwd, authz=GOOD + "# changed\n")
    git(cwd, "add", ".")
    assert run("policies", "check", "--staged").err.startswith("warning: bundle b has no tests")


def test_reports_for_ci(run: Run, cwd: Path) -> None:
    put(cwd / "p", manifest=MANIFEST, authz=GOOD + "is_chat if input.x\n")
    [error] = json.loads(run("policies", "check", "p", "-f", "json").out)["errors"]
    assert (error["code"], error["location"]) == ("bad_decision", {"file": "p/b/authz.rego", "row": 6, "col": 1})
    github = run("policies", "check", "p", "--format", "github")
    assert (github.code, github.out.startswith("::error file=p/b/authz.rego,line=6,col=1,")) == (1, True)
    for form in ("junit", "sarif", "tap"):
        assert "is not a member of a decision" in run("policies", "check", "p", "--format", form).out


def test_builtin_errors_fail_tests_as_they_fail_requests(run: Run, cwd: Path) -> None:
    rules = GOOD + 'deny contains "rm" if regex.match("^rm ", input.request.path)\n'
    test = TEST + "test_c if count(authz.deny) == 0 with input.request.path as 1\n"
    put(cwd, manifest=MANIFEST, authz=rules, test=test)
    done = run("policies", "check")
    assert done.code == 1
    assert "b/authz.rego:6:23: tests_failed: data.b.authz_test.test_c: regex.match: operand 2" in done.out
    assert "hint: an error of a builtin ends the evaluation here" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "`nowhere` is not a directory"),
        (("empty",), "there is no bundle in `empty`: name the directory that holds the bundles"),
        (("b",), "`b` is a bundle itself: name the directory that holds it: `.`"),
        ((".", "--commit", "HEAD"), "`.` is in no git repository"),
        ((".", "--staged", "--commit", "HEAD"), "exclude each other"),
        ((".", "--data", "nowhere"), "no gateway in ./nowhere: type `gateway init --data nowhere`"),
    ],
)
def test_nothing_to_check(run: Run, cwd: Path, arguments: tuple[str, ...], said: str) -> None:
    put(cwd, manifest=MANIFEST, authz=GOOD)
    (cwd / "empty").mkdir()
    done = run("policies", "check", *arguments)
    assert said in done.complains(2)


def test_the_next_commit_and_other_commits(run: Run, cwd: Path) -> None:
    """Each of the three has its own content; files that git ignores belong to none."""
    git(cwd, "init", "-q", "-b", "main", ".")
    put(cwd / "ops", manifest=MANIFEST, authz=GOOD, test=TEST)
    (cwd / ".gitignore").write_text("/ops/old/\n")
    (cwd / "ops/old").mkdir()
    (cwd / "ops/old/.manifest").write_text("{}")
    git(cwd, "add", ".")
    assert git(cwd, "commit", "-qm", "One").code == 0
    put(cwd / "ops", authz=GOOD + "allow := 1 if input.staged\n")
    git(cwd, "add", ".")
    put(cwd / "ops", authz=GOOD + "allowed := 1 if input.later\n")
    assert "fit to be put into force" in run("policies", "check", "ops", "--commit", "main").out
    assert "fit to be put into force" in run("policies", "check", "ops", "--commit", "HEAD").out
    assert "`allow` must be a boolean, and is a number" in run("policies", "check", "ops", "--staged").out
    assert "did you mean `allow`?" in run("policies", "check", "ops").out
    assert "no commit, branch or tag `gone`" in run("policies", "check", "ops", "--commit", "gone").complains(2)


def test_a_bundle_that_somebody_is_bound_to_is_missing(run: Run, cwd: Path) -> None:
    run("init")
    put(cwd / "other", manifest=MANIFEST, authz=GOOD, test=TEST)
    assert run("policies", "check", "other").code == 0
    done = run("policies", "check", "other", "--data", ".gateway")
    assert done.code == 1
    assert "bundle_missing: bundle starter: `assistant` is bound to it" in done.out
    assert run("policies", "check", "--data", ".gateway").out == "starter: fit to be put into force (7 tests passed)\n"


def test_committing_where_init_made_a_repository(run: Run, cwd: Path) -> None:
    """The hook prints the verdict, for what is committed and not for what else lies there."""
    run("init", HOME=str(cwd), XDG_CONFIG_HOME=str(cwd))
    repository = cwd / ".gateway/policies"
    rules = repository / "starter/authz.rego"
    good = rules.read_text()
    # Nobody has told git who they are.
    bare = {"GIT_CONFIG_GLOBAL": os.devnull}
    rules.write_text(good + "helper := 1\n")
    refused = git(repository, "commit", "-qam", "Wrong", **bare)
    assert refused.code == 1
    assert "starter/authz.rego:48:1: bad_decision: `helper` is not a member of a decision" in refused.err
    git(repository, "checkout", "-q", ".")
    rules.write_text(good + "# more\n")
    git(repository, "add", ".")
    rules.write_text(good + "helper := 1\n")
    done = git(repository, "commit", "-qm", "Right", **bare)
    assert (done.code, "starter: fit to be put into force (7 tests passed)" in done.err) == (0, True)
    assert git(repository, "log", "-1", "--format=%an%ae").out.strip(), "somebody is its author"
    assert git(repository, "commit", "-qam", "Wrong", "--no-verify", **bare).code == 0


def test_an_author_that_git_knows_is_not_replaced(run: Run, cwd: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = Dana\n\temail = dana@acme.example\n")
    run("init", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert "Dana" not in (cwd / ".gateway/policies/.git/config").read_text()
    (tmp_path / ".gitconfig").write_bytes(settings.read_bytes())
    run("init", "--data", "other", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert "[user]" not in (cwd / "other/policies/.git/config").read_text()


def test_a_new_bundle_passes_the_check_and_can_be_bound(run: Run, cwd: Path) -> None:
    run("init")
    done = run("policies", "new", "support-bot")
    assert done.code == 0
    assert "gateway bind AGENT support-bot" in done.out
    assert "6 tests" not in run("policies", "check", ".gateway/policies").out
    assert "starter, support-bot: fit to be put" in run("policies", "check", ".gateway/policies").out
    assert "overlaps" in run("policies", "new", "support-bot").complains()
    assert "overlaps `support_bot` of another bundle" in run("policies", "new", "support.bot").complains()
    assert "begins like an id" in run("policies", "new", "agt_x").complains()
    assert "there is no directory `nowhere`" in run("policies", "new", "x", "nowhere").complains()


@pytest.mark.parametrize("name", ["a", "support-bot", "9lives", "default", "input", "a.b", "starter", "X"])
def test_any_name_of_a_bundle_makes_a_good_bundle(name: str) -> None:
    files = bundle_template.new_bundle(name)
    assert list(problems_of({name: files})) == []
    if name != "starter":
        assert not any(b"starter" in content.lower() for content in files.values()), "no place was forgotten"
