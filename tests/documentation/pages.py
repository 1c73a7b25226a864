"""A page of the documentation: its fenced blocks, in order, and what its comments say of them.

| block | is |
|---|---|
| `sh` | commands, each of which succeeds |
| `console` | lines that begin with `$ `, and what each command prints |
| `text` | what the command before it prints |
| `python`, `pycon` | a program; what is typed into Python, with its answers |
| `rego`, `json`, `yaml`, `toml` | a file if a path in backticks stands before it, else a part of one |

A comment before a block says what a reader cannot see. `<!-- not run: REASON -->` exempts the block, and
`<!-- run:` … `-->` has commands that are typed there: what the page takes for granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("sh", "console", "text", "python", "pycon", "rego", "json", "yaml", "toml")

_PARTS = re.compile(
    r"""
    ^<!--\ not\ run:\s(?P<reason>.+?)\s*-->\n
    | ^<!--\ run:\n(?P<hidden>.*?)^-->\n
    | ^`(?P<name>\S+/\S+)`\n
    | ^```(?P<language>\w*)\n(?P<content>.*?)^```\n
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Block:
    """`hidden` commands have the language `hidden`. `name` is the path of a file that the page shows whole."""

    page: str
    line: int
    language: str
    content: str
    name: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the repository."""
    folders = (".", "docs/**", "policies", "policies/*", "schemas", "gateway/processes/starter_bundle")
    return sorted(page for folder in folders for page in ROOT.glob(f"{folder}/*.md"))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return list(_blocks(page.read_text("utf-8"), str(page.relative_to(ROOT))))


def _blocks(text: str, page: str) -> Iterator[Block]:
    name = reason = ""
    end = 0
    for found in _PARTS.finditer(text):
        if text[end : found.start()].strip():  # a comment or a name is about the block that follows at once
            name = reason = ""
        end = found.end()
        line = text.count("\n", 0, found.start()) + 1
        if found["reason"]:
            reason = " ".join(found["reason"].split())
        elif found["name"]:
            name = found["name"]
        elif found["hidden"] is not None:
            yield Block(page, line, "hidden", found["hidden"])
        else:
            yield Block(page, line, found["language"], found["content"], name, reason)
            name = reason = ""


def commands(text: str) -> Iterator[str]:
    """The commands of a block of `sh`: one a line, but for here-documents."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        command = line
        if word := re.search(r"<<'?(\w+)'?", line):
            for more in lines:
                command += f"\n{more}"
                if more == word[1]:
                    break
        yield command


def typed(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a block of `console`, and what the page shows under it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown
