"""Writes the commit into what is built, so that `gateway --version` can name it. All else is in pyproject.toml."""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithCommit(build_py):
    def run(self) -> None:
        super().run()
        place = Path(self.build_lib, "gateway", "COMMIT")
        if getattr(self, "editable_mode", False) or not place.parent.is_dir():
            return
        command = [
            "git",
            "-C",
            str(Path(__file__).parent),
            "describe",
            "--always",
            "--abbrev=40",
            "--dirty=+",
            "--exclude=*",
        ]
        try:
            commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  # fixed words
        except (OSError, subprocess.CalledProcessError):  # no clone, or no git
            return
        place.write_text(commit, "utf-8")


setup(cmdclass={"build_py": WithCommit})
