"""The page of figures: the last entry of each subject in `results/figures.jsonl`.

`python -m benchmarks.figures` writes it; a test compares it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "figures.jsonl"
PAGE = ROOT / "docs" / "contributing" / "figures.md"

HEAD = """# Figures

Written by `python -m benchmarks.figures` from `benchmarks/results/figures.jsonl`, which also has older results; do not
edit.

Figures were taken on a shared virtual machine with two processors, Python 3.11. Read absolute numbers as an order of
magnitude and compare only within one run. [Testing](testing.md) says what the runs are for."""


def page() -> str:
    last: dict[str, dict[str, Any]] = {}
    for line in RESULTS.read_text("utf-8").splitlines():
        entry = json.loads(line)
        last[entry["subject"]] = entry
    plain = [each for each in last.values() if "rows" not in each]
    rows = [(each["subject"], each["run"], each["said"], each.get("date", "")) for each in plain]
    parts = [HEAD, _table(("subject", "run", "result", "date"), rows)]
    for each in last.values():
        if "rows" in each:
            parts += [f"## {each['subject'].capitalize()}", f"{each['run']}. {each['said']}"]
            parts.append(_table(tuple(each["columns"]), each["rows"]))
    return "\n\n".join(parts) + "\n"


def _table(columns: tuple[str, ...], rows: list[Any]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ("---",) * len(columns), *rows))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(PAGE)
