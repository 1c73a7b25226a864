"""Build the documentation as a site: `pip install -e ".[docs]"`, then `python docs/build_site.py [DIRECTORY]`.

Pages link to files beside `docs/` (bundles, schemas, the changelog), which a site needs as well. So the pages and the
files that they link to are copied to a directory of their own, to the same relative places. Zensical builds that. It
is strict: a link that leads nowhere ends the build with exit code 1. A test compares `mkdocs.yml` with the pages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "mkdocs.yml"


def files() -> Iterator[Path]:
    """The pages of `docs/` and the README, and all local files that they or linked pages link to."""
    left = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    seen = set(left)
    while left:
        file = left.pop()
        yield file
        if file.suffix == ".md":
            for target in linked(file):
                if target not in seen and target.exists():
                    seen.add(target)
                    left.append(target)


def linked(page: Path) -> Iterator[Path]:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            path = (page.parent / target).resolve()
            yield path / "README.md" if path.is_dir() else path


def main(output: Path) -> int:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for file in files():
            copy = place / "pages" / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        shutil.copyfile(CONFIG, place / CONFIG.name)
        built = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=place, check=False)
        if built.returncode == 0:
            shutil.rmtree(output, ignore_errors=True)
            shutil.move(place / "site", output)
        return built.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site")))
