"""What `permissions.py` answers, for those who only show it: these records need no policy engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOT_CONSIDERED: Final = ("limits", "usage", "networks", "tokens of issuers", "persons")
"""What the answer does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTool:
    """A tool that a call would have."""

    type: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall:
    """A call that is asked about, as people are told of it."""

    action: str
    upstream: str
    provider: str
    model: str
    tools: list[AskedTool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one binding said of a call: `code` is `allowed` or a reason code."""

    binding: str
    subject_kind: str
    subject: str
    bundle: str
    effect: str
    commit: str
    code: str
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Whether an agent could make a call, with the key that it would have used, and what made it so.

    `code` is `allowed`, a reason code of the data plane, or why no policy was asked: `agent_suspended`, `no_key` and
    the like. `call` counts from 0.
    """

    agent: str
    agent_id: str
    version: int
    team: str
    call: int
    allowed: bool
    code: str
    reasons: list[str]
    key: str | None
    bindings: list[Judged]
