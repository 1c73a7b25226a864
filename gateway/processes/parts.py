"""The nouns that have a part in the work of the control process and in `gateway status`, each named here alone."""

from __future__ import annotations

from typing import Final, Protocol

from gateway.approvals.status import ApprovalsStatus
from gateway.processes.tool_watch import ToolWatch
from gateway.registry.upstreams.tools_status import ToolsStatus
from gateway.runtime.proposals_status import ProposalsStatus
from gateway.runtime.status_part import StatusPart
from gateway.webhooks.courier import Courier
from gateway.webhooks.status import Webhooks

STATUS: Final[tuple[type[StatusPart], ...]] = (Webhooks, ApprovalsStatus, ToolsStatus, ProposalsStatus)


class Beside(Protocol):
    """A duty on the event loop of the control process, done again and again. A failure is logged as one of `NAME`."""

    NAME: str
    SECONDS: float

    async def step(self) -> None: ...

    async def close(self) -> None: ...


BESIDE: Final = (Courier, ToolWatch)
"""They deliver events and look at MCP servers, each as a duty on the event loop."""
