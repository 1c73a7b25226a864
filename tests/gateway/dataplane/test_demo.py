"""`gateway demo` is what a stranger sees first: every line as it should be, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from subprocess import PIPE

import httpx
import pytest

from gateway.demo.demonstration import Demo, DemoStep

from .processes import COMMAND, environment


@pytest.mark.slow
def test_every_line_is_as_it_should_be(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "demo"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    marked = [line for line in done.stdout.splitlines() if line[:1] in "✓✗"]
    assert len(marked) == 10
    assert all(line.startswith("✓") for line in marked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_is_kept_has_a_dashboard_until_it_is_stopped(tmp_path: Path) -> None:
    said = []
    with subprocess.Popen(
        [*COMMAND, "demo", "--keep"], cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), stdout=PIPE, text=True
    ) as kept:
        try:
            assert kept.stdout is not None
            for line in kept.stdout:
                said.append(line)
                if "Ctrl-C" in line:
                    break
            (link,) = [each.split()[1] for each in said if each.startswith("dashboard ")]
            shown = httpx.get(link)
            assert (shown.status_code, "/dashboard/enter" in shown.text) == (200, True)
        finally:
            kept.send_signal(signal.SIGINT)
        assert kept.wait(120) == 0
    assert [line[0] for line in said if line[:1] in "✓✗"] == ["✓"] * 8
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_is_shown_and_counted() -> None:
    shown: list[tuple[bool, str]] = []

    def broken() -> str:
        raise RuntimeError("out of order\nindeed")

    demo = Demo(lambda line: None, lambda ok, text: shown.append((ok, text)))
    assert not demo._do(DemoStep("something", broken))
    assert demo._do(DemoStep("something else", lambda: "fine"))
    assert shown == [(False, "something: RuntimeError: out of order indeed"), (True, "something else: fine")]
