"""The report of a test run, in one process and in several: skipped tests by reason, and logs that are no text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = """
import logging
import pytest

@pytest.mark.parametrize("number", range(1234))
def test_with_data(number, vectors_dir):
    raise AssertionError("it needs data that is not there")

@pytest.mark.parametrize("number", range(3))
def test_elsewhere(number):
    pytest.skip("only on the moon")

def test_log():
    logging.getLogger().warning("half a surrogate pair: \\udc80")
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_skipped_tests_are_one_line_for_each_reason(tmp_path: Path, processes: int) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_sample.py").write_text(SAMPLE, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-n", str(processes), "-p", "no:cacheprovider"]
    clean = {name: value for name, value in os.environ.items() if name not in ("VECTORS_DIR", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, errors="replace", timeout=300
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,234 skipped: set VECTORS_DIR to a folder with test vectors (rfc6962-proofs.json and others)" in lines
    assert "3 skipped: only on the moon" in lines
    assert lines[-1].startswith("1 passed, 4 skipped")
