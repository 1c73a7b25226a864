"""Text that is written to be expensive: the work that it makes grows with its length and not with the square of it.

Most of this work is one call of C, in which the interpreter lets nobody else run, so a request could stop a worker.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import marks
from gateway.dataplane.content import stream_texts
from gateway.errors import Denied
from gateway.upstream import sse
from gateway.upstream.providers import members
from gateway.upstream.taps import ArrayTap, Event, EventTap, Tap
from gateway.usage import bounds
from tests.effort import effort

# Marks of three classes in the wrong order. The last ones are letters and spacing marks to `unicodedata.category`.
_MARKS = "\u0315\u0300\u0316"
_KEPT_MARKS = "\U0001d16d\uff9e"


def _name(text: str) -> object:
    try:
        return members.check_spelling({text: 1}, frozenset())
    except Denied as denied:
        return denied


def _texts(size: int) -> object:
    event = {"a" * size: {f"b{number}": 1 for number in range(size // 8)}}
    return stream_texts(b"data: " + orjson.dumps(event) + b"\n\n")


def _fed(tap: Tap, first: bytes, piece: bytes, size: int) -> object:
    tap.feed(first, False)
    for _ in range(0, size, len(piece)):
        tap.feed(piece, False)
    return tap.finish()


def _comments(size: int) -> object:
    return _fed(EventTap(lambda event, report: Event.PERHAPS_LAST), b"data: {}\n\n", b": a comment\n\n" * 10, size)


def _array(size: int) -> object:
    return _fed(ArrayTap(lambda document, report: None), b"[{}", b" \n" * 60, size)


HOSTILE: dict[str, tuple[Callable[[int], object], int]] = {
    "marks in wrong order": (lambda size: bounds.text_size("a" + _MARKS * (size // 3)), 6_000),
    "marks of letters": (lambda size: bounds.text_size("a" + _KEPT_MARKS * (size // 2)), 6_000),
    # So long that neither size fits into the processor's cache, which alone makes a step of four.
    "short runs of marks": (lambda size: bounds.text_size(("a" + _MARKS * 10) * (size // 31)), 120_000),
    "the name of a member": (lambda size: _name("a" + _KEPT_MARKS * (size // 2)), 6_000),
    "places in a stream": (_texts, 12_000),
    "comments behind what may be the last event": (_comments, 250_000),
    "what may be the end of an array": (_array, 100_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_work_is_linear(what: str) -> None:
    work, size = HOSTILE[what]
    work(size)
    once = min(effort(lambda: work(size)) for _ in range(3))
    often = min(effort(lambda: work(8 * size)) for _ in range(3))
    assert often < 24 * once + 0.5  # a square would be 64 times as much


@pytest.mark.parametrize("line", [b"data:\n", b"x\r\n", b"a\rb\r"])
def test_an_event_of_short_lines_ends_its_stream(line: bytes) -> None:
    """Each line is an object of its own where an event is read: 31 MiB of them took ten seconds and 650 MiB."""
    splitter, piece = sse.EventSplitter(), line * (2048 // len(line))

    def feed() -> None:
        for _ in range(0, sse.MAX_EVENT_BYTES // 2, len(piece)):
            assert splitter.feed_whole(piece, lambda events: True) is None
            assert splitter.feed(piece) == []

    with pytest.raises(sse.EventTooLargeError):
        feed()
    assert splitter.unfinished < 40 * sse.MAX_EVENT_LINES
    # A provider's answers are far from it, and of events that have ended no lines are left.
    for _ in range(50):
        splitter.take_rest()
        splitter.feed(line * (sse.MAX_EVENT_LINES // 4))
        assert splitter.feed(b"\n\n" + line)
        assert splitter.unfinished in (len(line), len(line) + 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model" + _KEPT_MARKS * 16, "more than 30 combining marks in a row"),
        ("model" + "\u0301" * 30, "must be spelled `model`"),
    ],
)
def test_a_name_of_many_marks_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Denied) as refused:
        members.check_spelling({name: 1}, frozenset({"model"}))
    assert reason in refused.value.reasons[0]


def test_no_call_looks_at_the_whole_of_a_long_text() -> None:
    """One of 30 MB, searched in one call of C, held the interpreter for three seconds, and all requests with it."""
    calls: Counter[str] = Counter()

    def note(frame: object, event: str, called: object) -> None:
        if event == "c_call":
            calls[getattr(called, "__name__", "")] += 1

    text = "x\u0301t e\u0301t" * 300_000 + "\u0301" * 40
    bounds.text_size(text[:-40])  # compiles the patterns
    sys.setprofile(note)
    try:
        assert marks.has_long_run(text)
        bounds.text_size("x\u0301t " * 500_000)
    finally:
        sys.setprofile(None)
    for name in ("search", "is_normalized"):
        assert calls[name] > 20, name


def test_a_long_run_is_found_wherever_it_is() -> None:
    run = "\u0301" * (marks.LONGEST + 1)
    for before in (0, 1, 5, 16_383, 65_500, *range(65_500, 65_540, 3)):
        assert marks.has_long_run("x" * before + run + "y" * 70_000), before
        assert not marks.has_long_run("x" * before + run[:-1] + "y" * 70_000), before


@pytest.mark.slow
def test_all_marks_are_known() -> None:
    characters = [chr(each) for each in range(sys.maxunicode + 1) if not 0xD800 <= each < 0xE000]
    one, *_ = marks._patterns()
    unknown = [
        each
        for each in characters
        if not one.match(each) and all(map(unicodedata.combining, unicodedata.normalize("NFKD", each)))
    ]
    assert not unknown
    # Composing makes nothing longer, so the decomposed text is an upper bound.
    composed = [each for each in characters if unicodedata.normalize("NFC", each) == each]
    assert not [each for each in composed if len(each.encode()) > len(unicodedata.normalize("NFD", each).encode())]


@given(
    st.text(
        st.sampled_from("ab\u00e9\u0301\u0315\u0316\u0344\u1100\u1161\u11a8\uac00\uff9e\ufdfa\U0001d16d "), max_size=200
    )
)
def test_the_size_of_a_text_is_an_upper_bound(text: str) -> None:
    long = ("x" + text) * (40_000 // (len(text) + 1)) if len(text) > 150 else text
    for written in (text, text + _MARKS * 20 + text, long):
        assert bounds.text_size(written) >= len(written.encode())
        assert bounds.text_size(written) >= len(unicodedata.normalize("NFKC", written).encode())
