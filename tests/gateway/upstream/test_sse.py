"""Cutting event streams: boundaries wherever the specification has them, and not a byte changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream import sse
from gateway.upstream.sse import EventSplitter, EventTooLargeError, data_of

pieces = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b"data:", b": note", b"a", b""]), max_size=30)


@given(pieces, st.randoms(use_true_random=False))
def test_nothing_is_lost_or_moved(parts: list[bytes], random: object) -> None:
    stream = b"".join(parts)
    splitter = EventSplitter()
    events: list[bytes] = []
    position = 0
    while position < len(stream):
        size = random.randint(1, 4)  # type: ignore[attr-defined]
        events += splitter.feed(stream[position : position + size])
        position += size
    assert b"".join(events) + splitter.rest == stream


@given(pieces)
def test_one_chunk_or_one_byte_at_a_time(parts: list[bytes]) -> None:
    """If CRLF is not torn apart, chunking does not matter; if it is, only an empty line may move."""
    stream = b"".join(parts).replace(b"\r", b"\n")
    whole, bytewise = EventSplitter(), EventSplitter()
    at_once = whole.feed(stream)
    one_by_one = [event for byte in stream for event in bytewise.feed(bytes([byte]))]
    assert at_once == one_by_one
    assert whole.rest == bytewise.rest


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r\n\r\n", b"data: b\r\n\r\n"]),
        (b"data: a\r\rdata: b\r\r", [b"data: a\r\r", b"data: b\r\r"]),
        (b"data: a\n\r\ndata: b\r\n\n", [b"data: a\n\r\n", b"data: b\r\n\n"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"data: a\r\ndata: b\r\n\r\n"]),  # CRLF is one line end, not two
        (b"data: a\n", []),
    ],
)
def test_every_line_ending(stream: bytes, events: list[bytes]) -> None:
    assert EventSplitter().feed(stream) == events


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data:[DONE]\n\n", b"[DONE]"),
        (b"data:  x\n\n", b" x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"event: x\nid: 1\ndata: a\n\n", b"a"),
        (b": comment\n\n", b""),
        (b"\n\n", b""),
        (b"datax: a\n\n", b""),
        (b"\ndata: a\n\n", b"a"),
        (b"data: a", b"a"),
        (b"data: a\rb\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
    ],
)
def test_data_of(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


def test_an_event_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    splitter = EventSplitter()
    splitter.feed(b"data: " + b"x" * 900)
    with pytest.raises(EventTooLargeError):
        splitter.feed(b"x" * 100)


def test_many_small_chunks_cost_no_more_than_their_bytes() -> None:
    splitter = EventSplitter()
    for _ in range(200_000):
        assert splitter.feed(b"x") == []
    assert splitter.feed(b"\n\n") == [b"x" * 200_000 + b"\n\n"]
