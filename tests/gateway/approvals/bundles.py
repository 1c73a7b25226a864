"""The bundle that the walk (`walk.py`) puts into force, with one of two demands: what its approvals are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEMANDS: Final = ("it is big", "it is big and dear")
USED_UP: Final = "it is used up"
MODELS: Final = ("gpt-once", "gpt-uses", "gpt-alike", "gpt-two", "gpt-late", "gpt-over")
OVER: Final = "gpt-over"
"""Its calls find no room in a limit, or, with the second demand, in two."""
LATER: Final = 1200
"""Seconds after which others may review calls of `gpt-late`, too."""
EXPIRES: Final = 6000
USES: Final = {"gpt-uses": 3, "gpt-alike": 4}
POLICY: Final = """\
package bot.authz

default allow := false

allow if startswith(input.resource.model, "gpt-")

require_approval contains {"reason": "REASON", "expires_seconds": 6000} if input.resource.model == "gpt-once"

require_approval contains {
	"reason": "REASON",
	"expires_seconds": 6000,
	"scope": {"uses": 3, "seconds": 6000},
} if input.resource.model == "gpt-uses"

require_approval contains {
	"reason": "REASON",
	"expires_seconds": 6000,
	"scope": {"uses": 4, "seconds": 6000, "pattern": "small ones"},
} if input.resource.model == "gpt-alike"

require_approval contains {
	"reason": "REASON",
	"expires_seconds": 6000,
	"quorum": 2,
	"denials": 2,
} if input.resource.model == "gpt-two"

require_approval contains {
	"reason": "REASON",
	"expires_seconds": 6000,
	"approvers": {"operators": ["dora"]},
	"escalate": {"after_seconds": 1200, "operators": ["olga"]},
} if input.resource.model == "gpt-late"

limits["requests_per_month"] := 0 if input.resource.model == "gpt-over"

over_limit contains {"reason": "USED_UP", "expires_seconds": 6000} if input.resource.model == "gpt-over"
"""
_TWO_LIMITS: Final = """
limits["requests_per_day"] := 0 if input.resource.model == "gpt-over"
"""


def bundle(demand: int) -> str:
    """The policy with one of the demands."""
    return POLICY.replace("REASON", DEMANDS[demand]).replace("USED_UP", USED_UP) + (_TWO_LIMITS if demand else "")


@dataclass(frozen=True, slots=True)
class Key:
    """A call: the agent, the model, the user, and the number of the demand that the bundle makes of it."""

    agent: str
    model: str
    user: str
    demand: int

    @property
    def reason(self) -> str:
        """The reason for which people must approve it."""
        return USED_UP if self.model == OVER else DEMANDS[self.demand]

    @property
    def quorum(self) -> int:
        """How many people approve it, or deny it."""
        return 2 if self.model == "gpt-two" else 1
