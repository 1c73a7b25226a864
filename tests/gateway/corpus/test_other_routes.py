"""Thousands of raw requests to Google's and Azure's routes, to those that take forms, and to all that name a model."""

from __future__ import annotations

from collections import Counter

import pytest

from . import azure, google, json_api, multipart, named_twice
from .rig import Rig
from .verdict import violations

# Thousands of cases.
pytestmark = pytest.mark.slow

CASES = [*google.cases(), *azure.cases(), *multipart.cases(), *named_twice.cases(), *json_api.cases()]


def test_notes_are_unique() -> None:
    assert [note for note, times in Counter(case.note for case in CASES).items() if times > 1] == []
    assert len(CASES) > 8000


def test_no_provider_is_asked_for_what_was_not_judged(rig: Rig) -> None:
    processes = rig.children("data") + rig.children("control")
    played = rig.play(CASES)
    assert "\n".join(violations(rig, played)) == ""
    # Every API was reached, so that there was something to compare.
    assert {each.api for each in played.seen} == {"openai", "anthropic", "gemini", "azure", "crm"}
    assert len(played.seen) > len(CASES) / 40
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
