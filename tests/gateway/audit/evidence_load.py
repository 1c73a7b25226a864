"""How long the verifiers take for a large bundle: `python -m tests.gateway.audit.evidence_load --entries 100000`."""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.gateway.audit.conftest import Log, Make
from tests.gateway.audit.test_evidence import BROWSER, Exporting


def filled(log: Log, entries: int) -> None:
    """A signed log of so many entries; each decision has an input of the usual size."""
    writer = log.writer()
    private = b'{"agent":{"id":"agt_one"},"request":{"padding":"%s"}}' % (b"x" * 900)
    reasons = "r" * 700
    while entries > 0:
        calls = [Make.decided(private=private, fields={"model": "m", "detail": reasons}) for _ in range(1000)]
        for waiting in [writer.submit(each) for each in calls]:
            waiting.result(60)
        for waiting in [writer.submit(Make.completed(each)) for each in calls]:
            waiting.result(60)
        entries -= 2000
    writer.close()
    log.sign()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--entries", type=int, default=100_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        log = Log(Path(directory) / "data")
        filled(log, given.entries)
        begun = time.monotonic()
        data = Exporting(log).bytes()
        print(f"export: {time.monotonic() - begun:.1f} s, {len(data) / 1e6:.1f} MB")
        (Path(directory) / "b.zip").write_bytes(data)
        from gateway.audit.evidence import verify as verifier

        begun = time.monotonic()
        command = [sys.executable, verifier.__file__, f"{directory}/b.zip", "--no-decisions"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"verify.py: {time.monotonic() - begun:.1f} s: {io.StringIO(done.stdout).readline().strip()}")
        if BROWSER is None:
            return
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page()
            shutil.copy(Path(verifier.__file__).with_suffix(".html"), directory)
            page.goto((Path(directory) / "verify.html").as_uri())
            begun = time.monotonic()
            page.set_input_files("#file", f"{directory}/b.zip")
            page.wait_for_selector("#verdict.valid, #verdict.bad", timeout=600_000)
            print(f"verify.html: {time.monotonic() - begun:.1f} s: {page.inner_text('#verdict')}")
            browser.close()


if __name__ == "__main__":
    main()
