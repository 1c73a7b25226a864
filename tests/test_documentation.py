"""The documentation is true: its commands are the ones that CI runs, its links lead somewhere."""

from __future__ import annotations

import doctest
import functools
import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

import policy_engine
from gateway.cli import main as gateway
from policy_engine import errors
from policy_engine.cli.app import run as policy
from policy_engine.compiler import STAGES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(page for place in (".", "changelog.d", "docs/**", "policies/**") for page in ROOT.glob(f"{place}/*.md"))


def shell(page: Path) -> list[str]:
    """The lines of a page's shell examples, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+# .*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_first_two_commands_are_complete() -> None:
    """A reader who copies them on a bare machine needs nothing else, and either works without the other."""
    demo, tests = shell(ROOT / "README.md")[:2]
    for command in (demo, tests):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert demo.endswith(" && .venv/bin/gateway demo")
    assert tests.endswith(" && .venv/bin/pytest")


def test_the_readme_fits_a_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 100


def test_entries_of_the_changelog_are_for_a_reader() -> None:
    """Each file of changelog.d names its reader, and holds bullets."""
    folder = ROOT / "changelog.d"
    readers = re.findall(r"^\| `(\w+)` \|", (folder / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    entries = sorted(set(folder.iterdir()) - {folder / "README.md"})
    assert readers
    assert [each.name for each in entries if not re.fullmatch(rf"[\w-]+\.({'|'.join(readers)})\.md", each.name)] == []
    assert [each.name for each in entries if not each.read_text("utf-8").startswith("- ")] == []


def test_ci_runs_the_commands_that_are_documented() -> None:
    commands = dict(re.findall(r"^(\w+_COMMAND)='(.*)'$", (ROOT / ".ci/run").read_text("utf-8"), flags=re.MULTILINE))
    assert commands["TEST_COMMAND"] == shell(ROOT / "README.md")[1]
    assert commands["SLOW_COMMAND"] in shell(ROOT / "CONTRIBUTING.md")
    assert f"`{commands['SLOW_COMMAND'].removeprefix('.venv/bin/')}`" in (
        ROOT / "docs/contributing/testing.md"
    ).read_text("utf-8")


@functools.cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(page), flags=re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each local link names a file of the repository and, behind `#`, a heading of it."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (heading and heading not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_pages_that_are_cited_are_there() -> None:
    """Texts for users cite a page by its path from the root, docstrings and comments by its name."""
    names = [page.name for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "README.md"]
    assert len(names) == len(set(names)), "two pages of one name"
    patterns = ("gateway/**/*.py", "policy_engine/**/*.py", "benchmarks/**/*.py", "tests/**/*.py", "schemas/*.json")
    others = (
        "deploy/*",
        "templates/*",
        ".ci/*",
        "*.yml",
        "pyproject.toml",
        "gateway/processes/starter_bundle/**/*.yaml",
    )
    cited = {
        (str(source.relative_to(ROOT)), path)
        for pattern in (*patterns, *others)
        for source in ROOT.glob(pattern)
        for path in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.md", source.read_text("utf-8"))
    }
    assert len(cited) > 10
    assert [each for each in sorted(cited) if not (ROOT / each[1]).exists()] == []


def test_the_tests_that_are_named_are_there() -> None:
    named = {path for page in PAGES for path in re.findall(r"\btests/[\w/]*\w(?:\.\w+)?", page.read_text("utf-8"))}
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_architecture_is_that_of_the_code() -> None:
    """Each section that a docstring cites is there, each file that the page names too, and no module goes unnamed."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    cited: set[str] = set()
    for folder in ("gateway", "policy_engine", "tests", "benchmarks"):
        for source in (ROOT / folder).rglob("*.py"):
            text = source.read_text("utf-8")
            for numbers in re.findall(r"architecture\.md,\s+sections?\s+(\d+(?:(?:, | and )\d+)*)", text):
                cited.update(re.findall(r"\d+", numbers))
    assert cited
    assert cited <= set(re.findall(r"^## (\d+)\. ", page, flags=re.MULTILINE))
    named = set(re.findall(r"`(?:\w+/)*(\w+\.py)`", page))
    there = {path.name for package in ("gateway", "policy_engine") for path in (ROOT / package).rglob("*.py")}
    assert named - there == {"test_architecture.py"}
    unnamed = {path.name for path in (ROOT / "gateway").glob("*.py")} - {"__init__.py"} - named
    assert not unnamed, "give each a place in docs/explanation/architecture.md, section 2"


@pytest.mark.parametrize("page", [p for p in PAGES if "```pycon" in p.read_text("utf-8")], ids=lambda page: page.name)
def test_examples_in_python_run(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that a page shows as typed into Python give what it shows, at the root of a clone."""
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried
    assert failed == 0, capsys.readouterr().out


def test_the_engines_page_is_complete() -> None:
    page = (ROOT / "docs" / "reference" / "policy-engine.md").read_text("utf-8")

    def rows(heading: str) -> list[str]:
        """The names in the first column of the table under this heading of a column."""
        table = page[page.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
        return [name for row in table for name in re.findall(r"`([^`]+)`", row.split("|")[1])]

    assert sorted(rows("name")) == sorted(policy_engine.__all__)
    assert rows("stage") == list(STAGES)
    codes = {value for name, value in vars(errors).items() if name.endswith("_ERROR") or name == "INVALID_INPUT"}
    assert sorted(rows("code")) == sorted(codes)


def named_files(page: Path) -> dict[str, str]:
    """The files that a page shows whole: a path in backticks, alone on its line, and a block."""
    text = page.read_text("utf-8")
    return dict(re.findall(r"^`(\S+/\S+)`\n\n```\w+\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", [p for p in PAGES if named_files(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_policies_shown_pass_the_tests_shown(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in named_files(page).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    assert policy(["test", "--strict-builtin-errors", "--fail-on-empty", str(tmp_path)]) == 0, capsys.readouterr()


def commands() -> list[tuple[str, str]]:
    """Each different command of our own that a page shows, up to its first argument, with its options."""
    found: dict[str, str] = {}
    for page in PAGES:
        for line in shell(page):
            for part in re.split(r"\s*(?:&&|\||;)\s*", line):
                words = part.removeprefix(".venv/bin/").split()
                if words and words[0] in ("policy", "gateway"):
                    found.setdefault(" ".join(words), f"{page.relative_to(ROOT)}")
    return sorted(found.items())


@functools.cache
def help_page(program: str, *verbs: str) -> tuple[int, str, str]:
    """The exit code of `--help`, and what it prints: to standard output, and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    main = {"policy": policy, "gateway": gateway}[program]
    with mock.patch.dict(os.environ, {"COLUMNS": "200"}), redirect_stdout(out), redirect_stderr(err):
        code = main([*verbs, "--help"])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(("command", "page"), commands(), ids=lambda value: value)
def test_commands_exist(command: str, page: str) -> None:
    """Every command a page shows has a help page that knows each option shown: no example outlives its option."""
    program, *words = command.split()
    while words[:1] in (["--server"], ["--token-file"]):  # which every command can have before it
        words = words[2:]
    verbs = []
    for word in words:
        nested = verbs[1:2] in (["rule"], ["token"], ["login-provider"], ["login-rule"])  # `gateway issuers rule add`
        if not re.fullmatch(r"[a-z][a-z-]*", word) or len(verbs) == 2 + nested:
            break
        verbs.append(word)
    options = [word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)]
    for length in (len(verbs), 1):  # the second word may be a verb or already an argument
        code, shown, complaint = help_page(program, *verbs[:length])
        if code == 0:
            break
    assert code == 0, f"{page}: {complaint}"
    assert [option for option in options if option not in shown] == [], f"{page} shows options unknown to --help"
