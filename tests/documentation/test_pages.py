"""Every block of every page is tried: commands are typed, outputs compared, programs run, policies compiled.

A page is one session in an empty directory. A block that cannot be tried here says so in the page's source, with the
reason.
"""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from benchmarks import figures
from gateway.settings import load_settings
from policy_engine.cli.app import run as policy
from tests.documentation.pages import LANGUAGES, ROOT, Block, blocks, pages
from tests.documentation.session import Session

PAGES = [page for page in pages() if blocks(page)]
TYPED = ("sh", "console", "text", "python", "hidden")
"""Languages of blocks that need the session of their page."""

_WITH_BUNDLES = """
gateway init
cp -r "$CLONE/policies" .
cp -r policies/analytics policies/baseline policies/coding policies/support policies/tools .gateway/policies
git -C .gateway/policies add . && git -C .gateway/policies commit -qm "The bundles to copy"
gateway agents register report-bot
gateway agents register support-bot
gateway up # keeps running
echo "You help." > prompt.txt
"""
BEFORE = {
    "policies/README.md": 'cp -r "$CLONE/policies" .',
    **dict.fromkeys(
        [f"policies/{name}/README.md" for name in ("analytics", "baseline", "coding", "support", "tools")],
        _WITH_BUNDLES,
    ),
    "gateway/processes/starter_bundle/README.md": """
gateway init
gateway agents register AGENT
cd .gateway/policies
sed -i '$a # gpt-4.1' starter/data.yaml
""",
}
"""Commands that were typed before somebody reads these pages, which are copied and so have no comments about it."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def parts(*languages: str) -> list[Block]:
    return [each for page in PAGES for each in blocks(page) if each.language in languages and not each.reason]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_is_tried_or_says_why_not(page: Path) -> None:
    """A block has a language whose blocks are tried, and can be, or a reason: nothing is passed over in silence."""
    found = blocks(page)
    text = page.read_text("utf-8")
    assert sum(line.lstrip().startswith("```") for line in text.splitlines()) == 2 * len(
        [each for each in found if each.language != "hidden"]
    ), "a fence that is indented or not closed"
    assert len(re.findall(r"^<!-- not run: ", text, re.MULTILINE)) == sum(bool(each.reason) for each in found), (
        "a reason without a block"
    )
    for number, each in enumerate(found):
        assert each.reason or each.language in (*LANGUAGES, "hidden"), f"{each}: no language, and no `not run`"
        if each.language == "console" and not each.reason:
            assert each.content.startswith("$ "), each
        if each.language == "text" and not each.reason:
            before = [other for other in found[:number] if other.language in TYPED and not other.reason]
            assert before, f"{each}: an output without a command"
            assert before[-1].language in ("sh", "hidden", "python"), f"{each}: whose output is it?"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="pages commit policies with git")
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language in TYPED for b in blocks(p))], ids=name_of)
def test_what_is_typed_does_what_the_page_shows(page: Path, session: Session) -> None:
    session.begin(blocks(page))
    for block in [Block(name_of(page), 0, "hidden", BEFORE.get(name_of(page), "")), *blocks(page)]:
        if not block.reason:
            session.take(block)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    place = tmp_path / "place"
    place.mkdir()
    reader = Session(place)
    yield reader
    reader.leave()


@pytest.mark.parametrize("block", parts("rego"), ids=str)
def test_policies_compile(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also against the schema of the input, so that no page names a member that is not there.

    A part of a module stands in the module that the page has shown last.
    """
    source = block.content
    if not source.startswith("package "):
        before = [each for each in blocks(ROOT / block.page) if each.line < block.line and each.language == "rego"]
        whole = [each.content for each in before if each.content.startswith("package ")] or ["package part"]
        head = [line for line in whole[-1].splitlines() if line.startswith(("package ", "import "))]
        source = "\n".join([*head, "", source])
    (tmp_path / "module.rego").write_text(source, "utf-8")
    assert policy(["check", "--schema", "input", str(tmp_path)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("block", parts("json"), ids=str)
def test_documents_are_those_of_their_schema(block: Block) -> None:
    document = json.loads(block.content)
    if "error" in document:
        return  # a refusal, in the shape of a provider
    name = "audit-entry" if "kind" in document else "prices" if "providers" in document else "manifest"
    schema = json.loads((ROOT / f"schemas/{name}.schema.json").read_text("utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []


@pytest.mark.parametrize("block", parts("toml"), ids=str)
def test_settings_are_known(block: Block, tmp_path: Path) -> None:
    assert tomllib.loads(block.content)
    (tmp_path / "gateway.toml").write_text(block.content, "utf-8")
    load_settings(env={}, file=tmp_path / "gateway.toml")


@pytest.mark.parametrize("block", parts("yaml"), ids=str)
def test_what_other_programs_read_is_yaml(block: Block) -> None:
    """If it calls this repository's action or template, these have the inputs that it gives."""
    document = yaml.safe_load(block.content)
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    template = next(yaml.safe_load_all((ROOT / "templates/policies.yml").read_text("utf-8")))
    steps = document if isinstance(document, list) else []
    uses = [step for step in steps if "agent-identity-gateway" in step["uses"]]
    includes = document.get("include", []) if isinstance(document, dict) else []
    for given, known in [
        *((step["with"], action["inputs"]) for step in uses),
        *((each["inputs"], template["spec"]["inputs"]) for each in includes),
    ]:
        assert given.keys() <= known.keys()
    assert document


REFERENCES = runpy.run_path(str(ROOT / "docs/reference/make.py"))["PAGES"]


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_those_of_the_program(name: str) -> None:
    page = ROOT / "docs/reference" / name
    assert page.read_text("utf-8") == REFERENCES[name](), "run `python docs/reference/make.py`"


def test_figures_are_those_of_the_results() -> None:
    assert figures.PAGE.read_text("utf-8") == figures.page(), "run `python -m benchmarks.figures`"


def test_pictures_are_those_of_their_script() -> None:
    script = ROOT / "docs/pictures/make.py"
    pictures = runpy.run_path(str(script))["draw"]()
    assert {path.name for path in script.parent.glob("*.svg")} == {path.name for path in pictures}
    for path, text in pictures.items():
        assert path.read_text("utf-8") == text, f"run `python {script.relative_to(ROOT)}`"


def test_the_site_leads_to_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", text, flags=re.MULTILINE)
    pages_of_docs = [str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(each for each in listed if each.startswith("docs/")) == sorted(pages_of_docs)
    assert all((ROOT / each).exists() for each in listed)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs the extra `docs`")
def test_the_site_can_be_built(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, str(ROOT / "docs/build_site.py"), str(tmp_path / "site")], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "docs" / "tutorials" / "getting-started" / "index.html").exists()
