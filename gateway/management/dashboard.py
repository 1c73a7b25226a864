"""The link by which a user of the gateway's machine enters its dashboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient


def link(gateway: ManagementClient, operator: str | None = None, page: str = "") -> tuple[str, AnswerDocument]:
    """It, and what the gateway says of it. Raises `GatewayError` if the gateway is not running.

    `page` is where it leads: a path of the dashboard, or the whole address that a browser shows.
    """
    # A gateway that runs may have another port than its settings say.
    runs = gateway.get("status", organization=None)["gateway"].get("control_plane")
    if not runs:
        hint = "start it with `gateway up`, then ask for the link again"
        raise GatewayError("not_running", "the gateway is not running", hint=hint)
    body: dict[str, Any] = {"page": re.sub(r"^https?://[^/]*", "", page)}
    if operator is not None:
        body["operator"] = operator
    made: AnswerDocument = gateway.send("POST", "login", "link", body=body)
    return f"{made['origin'] or runs}{made['path']}", made
