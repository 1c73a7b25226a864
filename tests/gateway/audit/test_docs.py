"""`audit-log.md` says what the code does: kinds, members, exit codes, options, files, and an example entry."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from gateway import cli
from gateway.audit import entry as entries
from gateway.audit import report, writer
from gateway.cli import audit, audit_list, decide, upstreams
from gateway.cli import options as options_of_all

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "how-to" / "audit" / "audit-log.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called so."""
    lines = TEXT[TEXT.index(f"| {heading} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_kind_is_described_with_its_members() -> None:
    table = {code(kind)[0]: code(members) for kind, _, members in rows("kind")}
    assert table == {kind: list(members) for kind, members in entries.KINDS.items()}


def test_the_common_members_are_named() -> None:
    [sentence] = re.findall(r"Every entry has (.+?) \(the registry's\)", TEXT, re.DOTALL)
    assert set(code(sentence)) == set(entries.COMMON)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{entries.MAX_LEAF:,} bytes" in TEXT
    assert (entries.MAX_STRING, entries.MAX_DOCUMENT) == (4 * 1024, 48 * 1024)
    assert f"{writer.QUEUE:,} entries wait" in TEXT


def test_the_exit_codes() -> None:
    table = {int(number): meaning for number, meaning in rows("exit code")}
    assert set(table) == {*report.EXIT_CODES.values(), 2}
    for status, number in report.EXIT_CODES.items():
        assert table[number].split()[0].rstrip(":") == ("valid" if status == report.INCOMPLETE else status)


def test_every_option_it_names_exists() -> None:
    source = "".join(map(inspect.getsource, (cli, audit, audit_list, decide, upstreams, options_of_all)))
    options = set(re.findall(r"(?<=[ `])--[a-z-]+", TEXT))
    assert options
    for option in options:
        assert f'"{option}"' in source or option.removeprefix("--").replace("-", "_") in source


def test_every_file_is_named() -> None:
    named = {name for names, _ in rows("file in `gateway/audit/`") for name in code(names)}
    there = {path.name for path in (ROOT / "gateway" / "audit").glob("*.py")}
    assert named == there - {"__init__.py", "errors.py"}


def test_the_example_is_an_entry() -> None:
    [leaf] = re.findall(r"```json\n(.+?)\n```", TEXT)
    entry = entries.decode(leaf.encode())
    assert entry["kind"] == "decided"
