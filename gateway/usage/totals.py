"""Usage, added up: the counts of one call as the log has them, and what they are counted by.

A call counts when its end is recorded, so what was used until a time is a prefix of the log and never changes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.audit.completions import Completion


class UsageSubject(NamedTuple):
    """The subject of usage. `agent` is an id, whose name is kept apart: names can be given again."""

    organization: str
    team: str
    agent: str
    upstream: str
    provider: str
    model: str
    """The model that was asked for; where policies have put another in its place, that one."""
    response_model: str
    """The model that has answered, as the provider calls it; empty if it did not say."""


class UsageCounts(NamedTuple):
    """How much. `priced` are the requests whose cost is known."""

    requests: int = 0
    priced: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio: int = 0
    images: int = 0
    seconds: int = 0
    cost_nanousd: int = 0

    @property
    def tokens(self) -> tuple[int, int]:
        return self.input, self.output

    def plus(self, other: UsageCounts) -> UsageCounts:
        return UsageCounts(*map(sum, zip(self, other, strict=True)))


ZERO: Final = UsageCounts()


def subject_of(call: Completion) -> UsageSubject:
    text = {name: value for name, value in call.decided.items() if isinstance(value, str)}.get
    return UsageSubject(
        organization=call.organization,
        team=text("team", ""),
        agent=str(call.completed.get("agent") or ""),
        upstream=text("upstream", ""),
        provider=text("provider", ""),
        model=text("forwarded_model") or text("model", ""),
        response_model=str(call.completed.get("response_model") or ""),
    )


def counts_of(call: Completion) -> UsageCounts:
    def count(name: str) -> int:
        value = call.completed.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    return UsageCounts(
        requests=1,
        priced=int("cost_nanousd" in call.completed),
        input=count("input_tokens"),
        output=count("output_tokens"),
        cached=count("cached_tokens"),
        cache_write=count("cache_write_tokens"),
        reasoning=count("reasoning_tokens"),
        audio=count("audio_input_tokens") + count("audio_output_tokens"),
        images=count("images"),
        seconds=count("audio_seconds"),
        cost_nanousd=count("cost_nanousd"),
    )
