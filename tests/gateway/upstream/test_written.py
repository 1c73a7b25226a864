"""Exchanges in shapes that the recorded ones do not have, written by hand after the documentation of providers' APIs.

They have the form of the recordings (`tests/recordings.py`): tools that providers run, failures in the middle of
streams, comments and marks between events, usage in odd places, members of other makers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.upstream.providers.presets import PROVIDERS
from tests.recordings import Recording, all_recordings, as_recorded
from tests.rigs.upstream.sent import tap_of

WRITTEN = list(all_recordings(Path(__file__).parent / "written"))


@pytest.mark.parametrize("each", WRITTEN, ids=lambda each: each.note)
def test_the_request_is_a_call(each: Recording) -> None:
    call = PROVIDERS[each.provider].read(each.endpoint, each.head, each.body)
    assert (call.raw, call.model, call.stream) == (each.body, each.model, each.recorded["stream"])


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
@pytest.mark.parametrize("each", WRITTEN, ids=lambda each: each.note)
def test_the_answer_passes_and_its_usage_is_read(each: Recording, size: int) -> None:
    answer, kind = each.answer, each.recorded["response_headers"]["content-type"]
    tap = tap_of(PROVIDERS[each.provider], each.endpoint, kind.encode(), (), stores=False)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    before = b"".join(tap.feed(piece, last=at == len(pieces) - 1) for at, piece in enumerate(pieces))
    held = tap.finish()
    assert before + held == answer
    assert as_recorded(tap.report.usage) == each.usage
    assert tap.ended or tap.report.failed or each.recorded["status"] >= 400
    assert held or tap.report.failed
