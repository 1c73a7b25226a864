"""Requests for approval as queries show them: plain data, without what is sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRecord:
    """The word of one person. `meets` has the numbers of the requirements that the person counts for, `uses` how often
    the person lets the approval be used.
    """

    actor: str
    name: str
    verdict: str
    reason: str
    meets: list[int]
    created_ns: int
    uses: int | None
    for_pattern: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The most that an approval may be for, as policies say it, and that in words."""

    uses: int
    seconds: int
    pattern: str | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request for approval. `call` is what may be shown in lists; the whole call is for reviewers alone.

    `expires_ns` is when the request ends, or the approval that it was given. `escalated` are the numbers of the
    requirements that others may review by now, too. `missing` is how many more people each requirement needs, in
    their order. `over_limit` are the limits that the approval lets the call go over, as they stood when it asked,
    each with what that means in `words`. An approval may be used so many times (`uses`), lists know of those that
    are `used`, and `words` says for what.
    """

    id: str
    organization: str
    agent: str
    agent_name: str
    state: str
    requirements: list[dict[str, Any]]
    call: dict[str, Any]
    over_limit: list[dict[str, Any]]
    decision: str
    created_ns: int
    expires_ns: int
    settled_ns: int | None
    settled_by: str | None
    reason: str
    reviews: list[ReviewRecord]
    escalated: list[int]
    missing: list[int]
    offer: Offer
    uses: int
    used: int
    for_pattern: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one of several requests was not reviewed."""

    code: str
    detail: str
    hint: str

    @classmethod
    def of(cls, error: GatewayError) -> Self:
        return cls(code=error.code, detail=error.message, hint=str(error.hint))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedRecord:
    """What became of one of several requests: its state after the review, with how many more people each requirement
    needs if it still waits; or why it was not reviewed, and then it is as it was.
    """

    id: str
    state: str | None
    missing: list[int]
    refused: Refusal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRecord:
    """How many requests wait that the caller may review, of how many agents. `cursor` begins a denial of exactly these,
    and is null if there are none.
    """

    count: int
    agents: int
    cursor: str | None
