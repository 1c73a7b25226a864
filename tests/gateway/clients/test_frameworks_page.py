"""The programs of frameworks.md run as they stand there, and print what the page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.gateway.dataplane.processes import ROOT, Live
from tests.rigs.clients.frameworks import needs

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/how-to/clients/frameworks.md").read_text("utf-8")
NEEDS = {"LangGraph": ("langgraph", "langchain_openai"), "AutoGen": ("autogen_agentchat", "autogen_ext")}


def shown() -> dict[str, tuple[str, str]]:
    """The program of each section, and what it prints."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```(python|js|text)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        if blocks:
            [(_, program), (kind, printed)] = blocks
            assert kind == "text"
            found[section.partition("\n")[0]] = program, printed
    return found


@pytest.mark.parametrize("title", shown())
def test_a_program(title: str, live: Live, known: dict[str, str], request: pytest.FixtureRequest) -> None:
    program, printed = shown()[title]
    for package in NEEDS.get(title, ()):
        needs(package)
    directory: Path = live.directory
    command, ending = [sys.executable], "py"
    if title == "CrewAI":
        command = [request.getfixturevalue("crewai")]
    elif title == "AI SDK":
        directory, command, ending = request.getfixturevalue("node"), ["node"], "mjs"
    path = directory / f"shown-{uuid4()}.{ending}"
    path.write_text(program, "utf-8")
    try:
        done = subprocess.run(
            [*command, str(path)],
            env=known,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
        )
    finally:
        path.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    if title == "CrewAI":  # which prints between our lines what it thinks of failed calls
        lines = [line for line in lines if line in printed.splitlines()]
    assert lines == printed.splitlines()


def test_every_framework_has_a_program() -> None:
    assert set(shown()) == {"LangGraph", "CrewAI", "AutoGen", "AI SDK"}
