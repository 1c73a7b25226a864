"""The protocol's own conformance tool against the tools of a running gateway's control listener.

`python -m tests.gateway.mcp.conformance` runs, with npm, what two revisions require of servers. The tool sends no
credential, so a proxy adds an operator's token. Its scenarios are about an example server with tools, prompts and
resources of certain names; those that are about any server are in `APPLIES`, and fail the command if they fail.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from tests.gateway.dataplane.processes import Live

TOOL: Final = "@modelcontextprotocol/conformance@0.2.0-alpha.12"

APPLIES: Final = {
    "2026-07-28": {
        # The other four need tools of the example server: one that asks for sampling, one that elicits, one that logs.
        "server-stateless": 4,
        # prompts/list, resources/list and resources/templates/list: there are no prompts and no resources.
        "caching": 3,
        "tools-list": 0,
        "server-sse-multiple-streams": 0,
        "sep-2164-resource-not-found": 0,
        "dns-rebinding-protection": 0,
        "input-required-result-missing-input-response": 0,
        "input-required-result-unsupported-methods": 0,
        "input-required-result-ignore-extra-params": 0,
        "input-required-result-validate-input": 0,
        "http-header-validation": 0,
    },
    "2025-11-25": {"server-initialize": 0, "ping": 0, "tools-list": 0, "dns-rebinding-protection": 0},
}
"""For each revision the scenarios that apply, with the number of their checks that cannot pass here."""


def main() -> int:
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        live = Live(Path(directory))
        try:
            live.run("operators", "add", "conformance", "--role", "auditor")
            token = live.run("operators", "token", "create", "conformance", "--scope", "read").strip()
            live.start("--workers", "1")
            assert live.up is not None
            control = live.up.line(r"control plane http://(\S+)\)")[1]
            proxy = _Proxy(("127.0.0.1", 0), _adding(token, control))
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{proxy.server_port}/mcp"
            # The tool needs Node 22, which npm brings.
            command = [npm, "exec", "--yes", "--package=node@22", f"--package={TOOL}", "--", "conformance", "server"]
            failed = 0
            for revision in APPLIES:
                done = subprocess.run(
                    [*command, "--url", url, "--requirements", revision],
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=900,
                )
                failed |= _judged(revision, done.stdout + done.stderr)
        finally:
            live.close()
    return failed


class _Proxy(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Nothing: the tool resets connections that it has done with."""


def _adding(token: str, control: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Hands a request on with the token, and the answer back as it is."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            connection = http.client.HTTPConnection(control, timeout=60)
            headers = {**dict(self.headers), "authorization": f"Bearer {token}"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
            connection.close()

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing: the tool tells what it asked."""

    return Handler


def _judged(revision: str, text: str) -> int:
    """Print each scenario, and whether it applies; 1 if one of those that do has failed."""
    found = {name: int(failed) for name, failed in re.findall(r"^[✓✗] (\S+): \d+ passed, (\d+) failed$", text, re.M)}
    if not found:
        print(text)
    applies = APPLIES[revision]
    for name, failed in found.items():
        verdict = "does not apply" if name not in applies else "ok" if failed == applies[name] else "FAILED"
        print(f"{revision}  {verdict:15} {name} ({failed} failed)")
    wrong = {name for name, allowed in applies.items() if found.get(name) != allowed}
    print(f"{revision}: {len(applies) - len(wrong)} of {len(applies)} scenarios that apply are as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
