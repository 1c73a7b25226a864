"""The line for each request: what it says, when it is there, and that nothing waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from gateway.dataplane import request_log
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.phases import Observed, Request
from gateway.dataplane.request_log import RequestLog
from gateway.shares import Shares

from .processes import COMMAND, Live, environment

# Real processes, which take their time.
pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        yield found
    finally:
        found.close()


def ask(live: Live) -> None:
    """One request of each kind: allowed, denied, with a wrong key, to nowhere, and one that the provider fails."""
    with openai.OpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)  # type: ignore[arg-type]  # plain dicts
        for model in ("o3", "mock-status-429"):
            with pytest.raises(openai.APIStatusError):
                client.chat.completions.create(model=model, messages=HELLO)  # type: ignore[arg-type]  # plain dicts
    httpx.get(live.base_url + "/models", headers={"authorization": "Bearer nonsense"}, timeout=300)
    httpx.post(live.base_url.removesuffix("/v1") + "/completions", json={}, timeout=300)


def test_when_asked_for_there_is_a_json_line_for_each_request(live: Live) -> None:
    live.start("--requests", "--workers", "2")
    assert live.up is not None
    up = live.up
    ask(live)
    up.line(r"unknown_route")
    live.stop()
    lines = [json.loads(line) for line in up.text.splitlines() if '"gateway.requests"' in line]
    assert len(lines) == 5
    by_outcome = {line["outcome"]: line for line in lines}
    ok, denied = by_outcome["ok"], by_outcome["policy_denied"]
    assert (ok["agent"], ok["model"], ok["status"]) == ("bot", "gpt-4o-mini", 200)
    assert (ok["input_tokens"], ok["output_tokens"], ok["request"]) == (2, 4, "POST /v1/chat/completions")
    assert ok["milliseconds"] >= 0
    assert (denied["agent"], denied["model"], denied["status"]) == ("bot", "o3", 403)
    decided = {entry["id"]: entry["allow"] for entry in live.entries() if entry["kind"] == "decided"}
    assert (decided[ok["decision"]], decided[denied["decision"]]) == (True, False)
    assert by_outcome["provider_error"]["status"] == 429
    assert (by_outcome["bad_credentials"]["agent"], by_outcome["bad_credentials"]["decision"]) == (None, None)
    assert by_outcome["unknown_route"]["request"] == "POST /completions"
    assert live.key not in up.text


def test_away_from_a_terminal_there_is_none_unless_asked_for(live: Live) -> None:
    live.start()
    assert live.up is not None
    up = live.up
    ask(live)
    live.stop()
    assert "gateway.requests" not in up.text


def on_a_terminal(live: Live, *flags: str, **variables: str) -> str:
    """The output of `gateway up` while one request of each kind is made."""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                return
            seen.extend(piece)

    command = [*COMMAND, "up", "--port", "0", "--control-port", "0", *flags]
    reader = threading.Thread(target=read)
    with subprocess.Popen(
        command, cwd=live.directory, env=environment(**variables), stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        reader.start()
        try:
            ends = time.monotonic() + 240
            while not (found := re.search(rb"base URL (\S+)\s", bytes(seen))):
                assert process.poll() is None, seen
                assert time.monotonic() < ends, seen
                time.sleep(0.02)
            live.base_url = found[1].decode()
            ask(live)
        finally:
            process.terminate()
            process.wait(240)
    reader.join(120)
    os.close(ours)
    return seen.decode()


def test_on_a_terminal_it_is_a_line_for_a_person(live: Live) -> None:
    text = on_a_terminal(live)
    plain = re.sub(r"\x1b\[\d+m", "", text)
    assert re.search(r"\d\d:\d\d:\d\d bot +gpt-4o-mini +ok +200 +2\+4 tokens +\d+ ms\r\n", plain), text
    assert re.search(r"bot +o3 +policy_denied +403 +\d+ ms  dec_[0-9a-f-]+\r\n", plain), text
    assert re.search(r"bot +mock-status-429 +provider_error +429 +\d+ ms  dec_", plain), text
    assert re.search(r"- +GET /v1/models +bad_credentials +401 ", plain), text
    assert "\x1b[32mok" in text
    assert "\x1b[33mpolicy_denied" in text


def test_colours_and_lines_can_be_switched_off(live: Live) -> None:
    assert "\x1b[3" not in (text := on_a_terminal(live, NO_COLOR="1"))
    assert "policy_denied" in text
    assert "policy_denied" not in on_a_terminal(live, "--quiet")


def test_the_setting_is_one_of_three_words(live: Live) -> None:
    done = subprocess.run(
        [*COMMAND, "up"], cwd=live.directory, env=environment(AIG_LOG_REQUESTS="yes"), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be one of always, never, auto" in done.stderr


def observed() -> Observed:
    budget, turn = Shares("bytes", 1), Turn(Shares("turns", 1), 1)
    request = Request(time.monotonic_ns(), "GET", b"/v1/models", None, Holding(budget), Holding(budget), turn)
    found = Observed(request, "dec_1", request.started_ns)
    found.outcome = "ok"
    return found


def test_nothing_waits_for_a_reader_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "SECONDS", 0.001)
    monkeypatch.setattr(request_log, "_MAX_WAITING", 50)
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)

    async def main() -> None:
        log = RequestLog("data", theirs)
        for _ in range(10_000):  # until the pipe is full, and then the list
            for _ in range(10):
                log.add(observed(), "GET /v1/models", 0)
                added.append(1)
            await asyncio.sleep(0.001)
            if len(added) >= 1000 and (log._writing, len(log._lines)) == (True, 50):
                break
        assert (log._writing, len(log._lines)) == (True, 50)
        reader = threading.Thread(target=read_all)
        reader.start()
        await asyncio.to_thread(log.close)
        os.close(theirs)
        await asyncio.to_thread(reader.join)

    text = bytearray()
    added: list[int] = []

    def read_all() -> None:
        while piece := os.read(ours, 65536):
            text.extend(piece)

    asyncio.run(main())
    os.close(ours)
    lines = [json.loads(line) for line in text.splitlines()]
    (remark,) = [line for line in lines if "outcome" not in line]
    assert len(lines) - 1 + int(remark["message"].split()[0]) == len(added), "each request is shown or counted"


def test_what_a_client_sends_stays_within_its_line() -> None:
    ours, theirs = os.pipe()

    async def main() -> None:
        log = RequestLog("data", theirs)
        log._form = request_log._Columns(colours=False)
        made = observed()
        made.model = "gpt\n\x1b[2J\u202e" + "x" * 10_000
        log.add(made, "GET /", 0)
        await asyncio.to_thread(log.close)

    asyncio.run(main())
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        (line,) = stream.read().decode().splitlines()
    assert "gpt\\n\\x1b[2J\\u202e" in line
    assert len(line) < 400


def test_a_line_is_never_split_between_writes() -> None:
    texts = ["ä" * (number % 97) for number in range(2000)]
    pieces = list(request_log._pieces(texts))
    assert all(len(piece) <= 4096 and piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces).decode().splitlines() == texts
    assert len(pieces) < 60


def test_a_file_of_lines(tmp_path: Path) -> None:
    """Two logs on one file, as two workers have one standard error."""
    file = os.open(tmp_path / "lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def main() -> None:
        logs = [RequestLog(name, file) for name in ("one", "two")]
        for _ in range(500):
            for log in logs:
                log.add(observed(), "GET /v1/models", 0)
            await asyncio.sleep(0)
        for log in logs:
            await asyncio.to_thread(log.close)

    asyncio.run(main())
    os.close(file)
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [sum(line["process"] == name for line in lines) for name in ("one", "two")] == [500, 500]
