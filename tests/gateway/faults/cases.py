"""The required outcome of each fault of an upstream, as data: what the client gets, and how the record is closed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One call to the upstream's act of this `name` (`acts.py`)."""

    name: str
    # The client's part: the status, and whether the answer is whole.
    status: int
    outcome: str
    complete: bool = True
    streamed: bool = False
    # The time limit that ends it.
    timeout: str | None = None
    # At least so many bytes of the answer reach the client.
    least: int = 0
    # So many seconds pass before the next call.
    pause: float = 0.0

    def __str__(self) -> str:
        return self.name


TOO_LATE, FAILED, OK, CUT = "upstream_timeout", "upstream_error", "ok", "upstream_incomplete"
LARGE = 100_000_000

CASES = [
    Case("hang_before_head", 504, TOO_LATE, timeout="first_byte"),
    Case("hang_in_head", 504, TOO_LATE, timeout="first_byte"),
    Case("hang_after_head", 504, TOO_LATE, timeout="idle"),
    Case("hang_in_document", 200, TOO_LATE, complete=False, timeout="idle"),
    Case("hang_in_stream", 200, TOO_LATE, complete=False, streamed=True, timeout="idle"),
    Case("reset_before_head", 502, FAILED),
    Case("reset_in_document", 200, FAILED, complete=False),
    Case("reset_in_stream", 200, FAILED, complete=False, streamed=True),
    Case("half_a_document", 200, FAILED, complete=False),
    Case("half_of_json", 200, CUT),
    Case("half_a_stream", 200, FAILED, complete=False, streamed=True),
    Case("stream_without_end", 200, CUT, streamed=True),
    Case("sse_without_newline", 200, CUT, streamed=True, least=1_000_000),
    Case("sse_huge_event", 200, FAILED, complete=False, streamed=True),
    Case("sse_invalid_utf8", 200, OK, streamed=True),
    Case("sse_cr_only", 200, OK, streamed=True),
    Case("sse_tiny_events", 200, OK, streamed=True, least=1_000_000),
    Case("sse_many_events", 200, OK, streamed=True, least=8_000_000),
    Case("sse_tiny_chunks", 200, OK, streamed=True),
    Case("sse_carriage_returns", 200, OK, streamed=True, least=1_000_000),
    Case("drip", 200, TOO_LATE, complete=False, streamed=True, timeout="total"),
    Case("short_drip", 200, OK),
    Case("large_document", 200, OK, least=LARGE),
    Case("large_values", 200, OK, least=10_000_000),
    Case("large_stream", 200, OK, streamed=True, least=LARGE),
    Case("large_error", 500, "provider_error", least=LARGE),
    Case("length_too_small", 502, FAILED),
    Case("surplus_answer", 200, OK),
    Case("late_surplus_answer", 200, OK, pause=3.0),
    Case("two_lengths", 502, FAILED),
    Case("negative_length", 502, FAILED),
    Case("chunks_without_end", 200, FAILED, complete=False),
    Case("chunk_size_garbage", 200, FAILED, complete=False, streamed=True),
    Case("chunk_size_endless", 200, FAILED, complete=False, streamed=True),
    Case("closed_when_idle", 200, OK),
    Case("http_1_0", 200, OK),
    Case("http_1_0_cut", 200, CUT),
    Case("early_hints", 200, OK),
    Case("endless_hints", 502, FAILED),
    Case("switching", 502, FAILED),
    Case("endless_head", 502, FAILED),
    Case("no_content", 204, OK),
    Case("not_modified", 502, FAILED),
    Case("redirect", 502, FAILED),
    Case("compressed", 502, FAILED),
    Case("no_http", 502, FAILED),
    Case("broken", 500, "provider_error"),
]
