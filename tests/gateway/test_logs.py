"""Log lines: one per event, harmless, and without keys."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway import logs
from gateway.identity.credentials import generate


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    captured = io.StringIO()
    monkeypatch.setattr(sys, "stderr", captured)
    logs.configure("data")
    yield captured
    root.handlers = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    logging.getLogger("gateway.x").warning("agent %s", 'ro"bot\n{"level":"fake"}\x1b[31m\u2028')
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["process"], entry["logger"]) == ("warning", "data", "gateway.x")
    assert entry["message"] == 'agent ro"bot\\n{"level":"fake"}\\x1b[31m\\u2028'
    assert entry["time"].endswith("Z")


def test_keys_are_cut_wherever_they_stand(stream: io.StringIO) -> None:
    key = generate("agent").text
    try:
        raise ValueError(key)
    except ValueError:
        logging.getLogger("gateway.x").exception("failed with %s", key)
    line = stream.getvalue()
    assert key[20:] not in line
    assert key[:19] in line
    assert "ValueError" in json.loads(line)["traceback"]


def test_people_get_a_short_line(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    logs.configure("control")
    logging.getLogger("gateway.x").error("a\nb")
    assert stream.getvalue().rstrip("\n").endswith("error   control: a\\nb")


def test_nothing_in_a_traceback_steers_a_terminal(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    key = generate("agent").text
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    logs.configure("control")
    try:
        raise ValueError(f"\x1b[2J\u202e{key}")
    except ValueError:
        logging.getLogger("gateway.x").exception("failed")
    shown = stream.getvalue()
    assert "ValueError: \\x1b[2J\\u202eaig_sk_" in shown
    assert key[20:] not in shown
    assert len(shown.splitlines()) > 3


def test_what_uvicorn_says_is_not_ours(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    assert stream.getvalue() == ""
