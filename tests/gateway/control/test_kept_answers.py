"""Answers that are kept for pages."""

from __future__ import annotations

import threading
import time

import pytest

from gateway.control import kept_answers
from gateway.control.kept_answers import KeptAnswers


def test_a_quick_answer_is_made_anew_each_time() -> None:
    kept, made = KeptAnswers(), iter(range(9))
    assert [kept.get("q", lambda: next(made)).answer for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]  # it is there


def test_a_slow_answer_is_kept_while_a_newer_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "QUICK_SECONDS", -1.0)
    monkeypatch.setattr(kept_answers, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(kept_answers, "_PAUSE", 0)
    kept, go = KeptAnswers(), threading.Event()
    first = kept.get("q", lambda: "first")
    assert first is not None

    def second() -> str:
        go.wait(30)
        return "second"

    before = kept.get("q", second)
    assert before == first
    assert kept.get("other", lambda: "other") is None  # one at a time
    go.set()
    kept.close()
    after = kept.get("q", lambda: "third")
    assert after is not None
    assert (after.answer, after.made_ns >= first.made_ns) == ("second", True)
    kept.close()


def test_the_first_visitor_waits_for_a_while_and_is_told_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "WAIT_SECONDS", 0.05)
    kept, go = KeptAnswers(), threading.Event()
    began = time.monotonic()
    assert kept.get("q", lambda: go.wait(30)) is None
    assert time.monotonic() - began < 20
    go.set()
    kept.close()
    monkeypatch.setattr(kept_answers, "WAIT_SECONDS", 30)
    with pytest.raises(ZeroDivisionError):
        kept.get("bad", lambda: 1 // 0)
