"""Every recorded exchange with a real provider, through the provider that speaks its API.

The request is a call of the model that was meant, and passes unchanged if nothing has to be changed in it. The answer's
bytes pass unchanged in whatever pieces they come, and its usage is what was billed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import Denied
from gateway.upstream.providers.presets import PROVIDERS
from tests.recordings import COUNT, WITHOUT_BODY, all_recordings, as_recorded
from tests.rigs.upstream.sent import tap_of


def test_every_request_is_a_call(recordings_dir: Path) -> None:
    seen = calls = 0
    for each in all_recordings(recordings_dir):
        seen += 1
        if each.recorded["request"] is None:
            continue
        try:
            call = PROVIDERS[each.provider].read(each.endpoint, each.head, each.body)
        except Denied as denied:
            pytest.fail(f"{each.note}: {denied.text}")
        assert (call.raw, call.body) == (each.body, each.recorded["request"])
        assert call.model == each.model, each.note
        assert call.stream == each.recorded["stream"], each.note
        assert dict(call.query) == dict(each.head.query)
        calls += 1
    assert (seen, calls) == (COUNT, COUNT - WITHOUT_BODY)


def test_a_call_goes_where_it_went(recordings_dir: Path) -> None:
    for each in all_recordings(recordings_dir):
        if each.recorded["request"] is None:
            continue
        provider = PROVIDERS[each.provider]
        call = provider.read(each.endpoint, each.head, each.body)
        sent = provider.prepare(call, "https://maker.example" + each.base, "secret", {})
        query = f"?{each.recorded['query']}" if each.recorded["query"] else ""
        assert str(sent.url) == f"https://maker.example{each.recorded['path']}{query}", each.note
        assert (sent.method, sent.body) == (each.recorded["method"], each.body)


@pytest.mark.parametrize("size", [1, 7, 4096, 1_000_000])
def test_every_answer_passes_and_its_usage_is_read(recordings_dir: Path, size: int) -> None:
    for each in all_recordings(recordings_dir):
        answer = each.answer
        if len(answer) // size > 20_000:
            continue
        kind = b"text/event-stream" if each.recorded["stream"] else b"application/json"
        tap = tap_of(PROVIDERS[each.provider], each.endpoint, kind, (), stores=False)
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        before = b"".join(tap.feed(piece, last=at == len(pieces) - 1) for at, piece in enumerate(pieces))
        held = tap.finish()
        assert before + held == answer, each.note
        assert held or tap.report.failed, each.note
        assert as_recorded(tap.report.usage) == each.usage, each.note
        if each.recorded["status"] == 200:
            assert tap.ended or tap.report.failed, each.note
