"""Taps: what may be sent now and what only after the closing record, whatever the chunks are."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Reference, Usage
from gateway.upstream import taps
from gateway.upstream.providers.openai.answers import OpenAIAnswers, read_usage
from gateway.upstream.taps import DocumentTap, EventTap, Tap

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(document: object) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def chunk(**more: object) -> dict[str, object]:
    return {"object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {}}], **more}


FIRST = event(chunk(usage=None))
SECOND = event(chunk(usage=None, choices=[{"index": 0, "delta": {"content": 'say "usage" and "error"'}}]))
USAGE_ONLY = event({**chunk(usage=USAGE), "choices": []})
DONE = b"data: [DONE]\n\n"


def events(*, hide_usage: bool = False, stores: bool = False) -> EventTap:
    answers = OpenAIAnswers(stores=stores, hide_usage=hide_usage)
    return EventTap(answers.event, answers.silent)


def run(tap: Tap, chunks: list[bytes]) -> tuple[bytes, bytes]:
    """The bytes sent before the closing record, and those sent after it."""
    before = b"".join(tap.feed(piece, position == len(chunks) - 1) for position, piece in enumerate(chunks))
    return before, tap.finish()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


sizes = st.lists(st.integers(1, 60), max_size=40)


@given(sizes)
def test_the_terminal_event_is_held_back_in_any_chunking(sizes: list[int]) -> None:
    tap = events()
    assert run(tap, cut(FIRST + SECOND + USAGE_ONLY + DONE, sizes)) == (FIRST + SECOND + USAGE_ONLY, DONE)
    assert (tap.report.usage, tap.report.model, tap.ended, tap.report.failed) == (Usage(7, 3), "m", True, False)


@given(sizes)
def test_exactly_the_usage_only_event_is_hidden(sizes: list[int]) -> None:
    tap = events(hide_usage=True)
    assert run(tap, cut(FIRST + SECOND + USAGE_ONLY + DONE, sizes)) == (FIRST + SECOND, DONE)
    assert tap.report.usage == Usage(7, 3)


PIECES = (
    FIRST,
    SECOND,
    USAGE_ONLY,
    DONE,
    b": a comment\n\n",
    b"\n",
    b"data: a\r\n\r\n",
    event(chunk(error={"code": 1})),
)


@given(st.lists(st.sampled_from((SECOND, *PIECES)), max_size=12), sizes, st.booleans())
def test_events_that_say_nothing_pass_together_as_they_do_one_by_one(
    pieces: list[bytes], sizes: list[int], hide_usage: bool
) -> None:
    chunks = cut(FIRST + b"".join(pieces), [10 * size for size in sizes])
    together, single = events(hide_usage=hide_usage), EventTap(OpenAIAnswers(stores=False, hide_usage=hide_usage).event)
    passed, one_by_one = run(together, chunks), run(single, chunks)
    assert b"".join(passed) == b"".join(one_by_one)
    assert passed[1].lstrip(b"\n") == one_by_one[1].lstrip(b"\n")
    assert (together.report, together.ended) == (single.report, single.ended)


def test_a_byte_order_mark_before_a_document_is_skipped() -> None:
    tap = DocumentTap(OpenAIAnswers(stores=False).document, expected=True)
    body = b"\xef\xbb\xbf" + orjson.dumps({"model": "m", "usage": USAGE})
    sent, held = run(tap, [body[:2], body[2:]])
    assert sent + held == body
    assert (tap.report.usage, tap.report.model, tap.ended) == (Usage(7, 3), "m", True)


def test_usage_beside_a_choice_is_not_hidden() -> None:
    last = event(chunk(usage=USAGE))
    tap = events(hide_usage=True)
    assert run(tap, [FIRST, last + DONE]) == (FIRST + last, DONE)
    assert tap.report.usage == Usage(7, 3)


def test_what_follows_the_end_is_held_back_with_it() -> None:
    tap = events()
    assert run(tap, [FIRST + DONE + b": bye\n\n", b"data: more\n\n"]) == (
        FIRST,
        DONE + b": bye\n\ndata: more\n\n",
    )


def test_a_stream_without_an_end() -> None:
    tap = events()
    assert run(tap, [FIRST, SECOND, b"data: {"]) == (FIRST + SECOND, b"data: {")
    assert not tap.ended


def finishing(reason: str | None, **more: object) -> bytes:
    return event(chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason}], **more))


@pytest.mark.parametrize(
    ("last", "whole"),
    [
        (finishing("stop", usage=USAGE), True),
        (finishing("stop", usage=USAGE) + b": bye\n\n", True),
        (finishing("stop", usage=USAGE).rstrip(), True),
        # Not all of it: usage is still to come, comes with every event, or another event has begun.
        (finishing("stop"), False),
        # Servers that report usage by itself send `[DONE]`.
        (finishing("stop") + USAGE_ONLY, False),
        (finishing(None, usage=USAGE), False),
        (finishing("stop", usage=USAGE) + finishing(None, usage=USAGE), False),
        (finishing("stop", usage=USAGE) + b"data: {", False),
    ],
)
@pytest.mark.parametrize("hide", [False, True])
def test_some_servers_send_no_terminal_event(hide: bool, last: bytes, whole: bool) -> None:
    tap = events(hide_usage=hide)
    run(tap, [FIRST, last])
    assert tap.ended == whole


def test_an_end_without_its_blank_line() -> None:
    tap = events()
    assert run(tap, [FIRST + b"data: [DONE]\n"]) == (FIRST, b"data: [DONE]\n")
    assert tap.ended


@pytest.mark.parametrize(
    "end", [b"data: [DONE] \n\n", b"data:  [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE]!\n\n"]
)
def test_an_end_is_what_clients_take_for_one(end: bytes) -> None:
    """The SDKs stop at any data that begins with the word: it must not reach them before the closing record."""
    tap = events()
    assert run(tap, [FIRST + end, b": bye\n\n"]) == (FIRST, end + b": bye\n\n")


def test_usage_is_found_beside_another_that_is_null() -> None:
    both = event(chunk(choices=[], details={"usage": None}, usage=USAGE))
    tap = events(hide_usage=True)
    assert run(tap, [FIRST + both + DONE]) == (FIRST, DONE)
    assert tap.report.usage == Usage(7, 3)


def test_hidden_usage_without_its_blank_line_stays_hidden() -> None:
    tap = events(hide_usage=True)
    assert run(tap, [FIRST + USAGE_ONLY[:-1]]) == (FIRST, b"")
    assert tap.report.usage == Usage(7, 3)


def test_done_as_a_word_in_the_answer_is_no_end() -> None:
    talk = event(chunk(choices=[{"index": 0, "delta": {"content": "data: [DONE]\n\n"}}]))
    tap = events()
    assert run(tap, [talk + DONE]) == (talk, DONE)


def test_a_failure_inside_a_stream_is_seen_and_held_back() -> None:
    failure = event({"error": {"message": "overloaded", "type": "server_error"}})
    tap = events()
    assert run(tap, [FIRST + failure]) == (FIRST, failure)
    assert (tap.report.failed, tap.ended) == (True, False)


def test_comments_and_garbage_pass() -> None:
    noise = b": keep-alive\n\n" + b"data: not json\n\n" + b"data: [1]\n\n"
    tap = events(hide_usage=True)
    assert run(tap, [noise + DONE]) == (noise, DONE)


@given(st.binary(min_size=1, max_size=200), sizes)
def test_a_document_holds_back_its_last_byte_at_least(body: bytes, sizes: list[int]) -> None:
    pieces = cut(body, sizes)
    before, after = run(DocumentTap(lambda document, report: None), pieces)
    assert before + after == body
    assert after == pieces[-1]


@given(st.binary(min_size=1, max_size=200), sizes)
def test_a_document_whose_end_comes_as_a_surprise(body: bytes, sizes: list[int]) -> None:
    tap = DocumentTap(lambda document, report: None)
    before = b"".join(tap.feed(piece, False) for piece in cut(body, sizes))
    assert (before, tap.finish()) == (body[:-1], body[-1:])


def test_usage_of_a_document() -> None:
    tap = DocumentTap(OpenAIAnswers(stores=False).document)
    run(tap, cut(orjson.dumps({"model": "m", "usage": USAGE}), [10, 10]))
    assert (tap.report.usage, tap.report.model) == (Usage(7, 3), "m")


def test_an_empty_body() -> None:
    tap = DocumentTap(OpenAIAnswers(stores=False).document)
    assert run(tap, []) == (b"", b"")
    assert tap.report.usage is None


def test_a_huge_document_is_relayed_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "MAX_DOCUMENT_BYTES", 100)
    tap = DocumentTap(OpenAIAnswers(stores=False).document)
    body = orjson.dumps({"usage": USAGE, "pad": "x" * 200})
    before, after = run(tap, cut(body, [50] * 5))
    assert before + after == body
    assert tap.report.usage is None


def test_a_document_of_very_many_values_is_relayed_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it would stop the event loop for seconds."""
    monkeypatch.setattr(taps, "MAX_VALUES", 100)
    body = orjson.dumps({"usage": USAGE, "pad": [[]] * 200})
    tap = DocumentTap(OpenAIAnswers(stores=False).document, expected=True)
    before, after = run(tap, cut(body, [50] * 5))
    assert before + after == body
    assert (tap.report.usage, tap.ended) == (None, True)
    crowded = event(chunk(usage=USAGE, pad=[[]] * 200))
    stream = events()
    assert run(stream, [FIRST + crowded + DONE]) == (FIRST + crowded, DONE)
    assert stream.report.usage is None


def test_a_document_that_was_cut_off() -> None:
    for body, expected, ended in ((b'{"a":', True, False), (b'{"a":', False, True), (b"[1]", True, True)):
        tap = DocumentTap(OpenAIAnswers(stores=False).document, expected=expected)
        run(tap, [body])
        assert tap.ended == ended, body


@pytest.mark.parametrize(
    ("identifier", "kept"),
    [("audio_1", True), ("", False), ("a b", False), ('"' * 9, False), ("a" * 257, False), (7, False)],
)
def test_only_plain_ids_are_kept(identifier: object, kept: bool) -> None:
    """They are written into the log, whose entries have a size."""
    document = {"model": "m", "choices": [{"message": {"audio": {"id": identifier}}}]}
    tap = DocumentTap(OpenAIAnswers(stores=False).document)
    run(tap, [orjson.dumps(document)])
    assert tap.report.created == ([Reference("audio", str(identifier))] if kept else [])


def test_a_completion_is_kept_only_if_that_was_asked_for() -> None:
    for stores in (True, False):
        tap = events(stores=stores)
        run(tap, [event(chunk(id="chatcmpl-1")) + FIRST + DONE])
        assert tap.report.created == ([Reference("completion", "chatcmpl-1")] if stores else [])


@pytest.mark.parametrize(("total", "output"), [(15, 3), (20, 8), (None, 3)])
def test_thoughts_count_as_output_whether_the_provider_counts_them_there_or_not(total: int | None, output: int) -> None:
    details = {"reasoning_tokens": 5}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": total, "completion_tokens_details": details}
    assert read_usage({"usage": usage}) == Usage(12, output, reasoning=5)
