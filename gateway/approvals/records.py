"""Requests for approval as queries show them: plain data, without what is sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRecord:
    """The word of one person. `meets` has the numbers of the requirements that the person counts for."""

    actor: str
    name: str
    verdict: str
    reason: str
    meets: list[int]
    created_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request for approval. `call` is what may be shown in lists; the whole call is for reviewers alone.

    `expires_ns` is when the request ends, or the approval that it was given. `escalated` are the
    numbers of the requirements that others may review by now, too. `missing` is how many more people each
    requirement needs, in their order.
    """

    id: str
    organization: str
    agent: str
    agent_name: str
    state: str
    requirements: list[dict[str, Any]]
    call: dict[str, Any]
    decision: str
    created_ns: int
    expires_ns: int
    settled_ns: int | None
    settled_by: str | None
    reason: str
    reviews: list[ReviewRecord]
    escalated: list[int]
    missing: list[int]
