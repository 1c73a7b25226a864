"""ci.md, the GitHub action, the GitLab template and the pre-commit hooks: their steps are run, as by hand.

Most tests use the programs of this environment. One installs this checkout into an empty environment, as a CI system
does; it is slow. The commands that the page shows at the desk are typed in tests/documentation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

# Real processes, which take their time.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "how-to" / "policies" / "ci.md").read_text("utf-8")
FILES = dict(re.findall(r"^`(\S+/\S+)`\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
WORKFLOW = ".github/workflows/policies.yml"
PROGRAMS = str(Path(sys.executable).parent)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The repository that the page shows."""
    for name, content in FILES.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return tmp_path / "repository"


def break_it(repository: Path) -> str:
    """Make the change that the page describes; what it says is printed then."""
    changed, shown = re.findall(r"^```rego\n(test_\w+ if .*)\n```\n.*?\n```text\n(.*?)```", PAGE, re.M | re.S)[0]
    test = repository / "policies/research/authz_test.rego"
    test.write_text(re.sub(r"test_listed_models_are_allowed if \{.*?^\}", changed, test.read_text(), flags=re.M | re.S))
    policy = repository / "policies/research/authz.rego"
    policy.write_text(policy.read_text().replace('"gpt-4o", ', ""))
    return str(shown)


def shell(line: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", line],
        cwd=directory,
        env={**kept, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def steps() -> list[str]:
    """The commands of the workflow that the page shows."""
    (job,) = yaml.safe_load(FILES[WORKFLOW])["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflow_passes_and_fails_at_the_right_line(repository: Path) -> None:
    install, *commands = steps()
    assert (
        install
        == 'pip install "agent-identity-gateway[gateway] @ git+https://example.com/agent-identity-gateway@v0.1.0"'
    )
    for command in commands:
        done = shell(command, repository)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert "SF:policies/research/authz.rego" in (repository / "policies.lcov").read_text()
    shown = break_it(repository)
    check, test, gateway, coverage = (shell(command, repository) for command in commands)
    assert (check.returncode, check.stdout) == (0, "")
    assert (test.returncode, test.stdout) == (1, shown)
    assert (gateway.returncode, coverage.returncode) == (1, 1)
    where = "::error file=policies/research/authz_test.rego,line=5,"
    assert test.stdout.startswith(where)
    assert gateway.stdout.startswith(where)


@pytest.mark.slow
def test_the_workflow_in_an_empty_environment(repository: Path, tmp_path: Path) -> None:
    environment = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
    path = f"{environment}/bin:/usr/bin:/bin"
    install, *commands = steps()
    here = re.sub(r"agent-identity-gateway(\[\w+\]) @ [^\"]+", lambda found: f"{ROOT}{found[1]}", install)
    done = shell(here, repository, PATH=path)
    assert done.returncode == 0, done.stderr
    for command in commands:
        assert shell(command, repository, PATH=path).returncode == 0, command
    shown = break_it(repository)
    assert shell(commands[1], repository, PATH=path).stdout == shown


def action_steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["runs"]["steps"])


def run_action(repository: Path, temp: Path, **inputs: str) -> list[subprocess.CompletedProcess[str]]:
    """The action's own commands after its installation, for which the programs of this environment stand."""
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    values = {name: about["default"] for name, about in action["inputs"].items()} | inputs
    (temp / "policy").mkdir(parents=True)
    (temp / "policy/bin").symlink_to(PROGRAMS)
    done = []
    for step in action["runs"]["steps"][2:]:
        environment = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: values[found[1]], value)
            for name, value in step["env"].items()
        }
        done.append(shell(step["run"], repository, RUNNER_TEMP=str(temp), **environment))
    return done


def test_the_action_annotates_the_line(repository: Path, tmp_path: Path) -> None:
    check, test = run_action(repository, tmp_path / "one", policies="policies", threshold="80")
    assert (check.returncode, check.stderr, test.returncode, test.stderr) == (0, "", 0, "")
    shown = break_it(repository)
    _, test = run_action(repository, tmp_path / "two", policies="policies")
    assert (test.returncode, test.stdout) == (1, shown)


def test_the_action_fails_below_the_threshold_and_on_wrong_names(repository: Path, tmp_path: Path) -> None:
    (repository / "policies/research/authz_test.rego").write_text("package research.authz_test\n\ntest_x if true\n")
    _, test = run_action(repository, tmp_path / "one", threshold="80")
    assert test.returncode == 1
    assert "below the threshold" in test.stderr
    policy = repository / "policies/research/authz.rego"
    policy.write_text(policy.read_text().replace("input.resource.model", "input.resource.modle"))
    check, _ = run_action(repository, tmp_path / "two")
    assert check.returncode == 1
    assert "::error file=policies/research/authz.rego,line=5," in check.stdout
    check, _ = run_action(repository, tmp_path / "three", schema="")
    assert check.returncode == 0


def test_the_action_gives_no_input_to_the_shell() -> None:
    """The text of an input must not be run: it reaches the shell as the value of a variable."""
    runs = [step["run"] for step in action_steps() if "run" in step]
    assert runs
    assert not [line for line in runs if "${{" in line]


def test_the_template_of_gitlab_writes_its_reports(repository: Path) -> None:
    about, job = yaml.safe_load_all((ROOT / "templates/policies.yml").read_text("utf-8"))
    inputs = {name: each["default"] for name, each in about["spec"]["inputs"].items()} | {"policies": "policies"}
    (job,) = job.values()
    assert job["variables"] == {"POLICIES": "$[[ inputs.policies ]]"}
    for line in job["script"]:
        done = shell(line, repository, POLICIES=inputs["policies"])
        assert (done.returncode, done.stderr) == (0, ""), line
    reports = job["artifacts"]["reports"]
    roots = [ElementTree.parse(repository / name).getroot() for name in reports["junit"]]
    assert [root.tag for root in roots] == ["testsuites"] * 3
    assert ElementTree.parse(repository / reports["coverage_report"]["path"]).getroot().get("line-rate") == "1.0000"
    break_it(repository)
    assert shell(job["script"][1], repository, POLICIES="policies").returncode == 1
    assert ElementTree.parse(repository / "tests.xml").find("testsuite/testcase/failure") is not None


@pytest.mark.parametrize(
    "hook", yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()), ids=lambda hook: hook["id"]
)
def test_a_hook_runs_over_the_whole_directory(repository: Path, hook: dict[str, Any]) -> None:
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False
    assert all(re.search(hook["files"], name) for name in FILES if name.startswith("policies/"))
    assert not re.search(hook["files"], "policies/README.md")
    (config,) = re.findall(r"```yaml\n(repos:.*?)```", PAGE, re.S)
    (shown,) = [each for each in yaml.safe_load(config)["repos"][0]["hooks"] if each["id"] == hook["id"]]
    for arguments in (hook["args"], shown["args"]):
        done = shell(" ".join([hook["entry"], *arguments]), repository)
        assert done.returncode == 0, done.stderr
