"""What commands ask about webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.registry.records import WebhookRecord
    from gateway.webhooks.deliveries import State
    from gateway.webhooks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook whose URL and events were checked. Without a secret one is made."""

    url: str
    events: Sequence[str]
    secret: str | None = field(default=None, repr=False)
    insecure: bool = False
    allow_private: bool = False


class Webhooks(Protocol):
    """Webhooks of an organization, each named by its id, the beginning of it, or its URL."""

    def add(self, organization: str, new: NewWebhook) -> tuple[WebhookRecord, str | None]:
        """And the secret, if one was made."""

    def listed(self, organization: str) -> list[tuple[WebhookRecord, State]]:
        """With how they fare, the oldest first."""

    def remove(self, organization: str, webhook: str) -> WebhookRecord: ...

    def try_out(self, organization: str, webhook: str) -> Trial: ...
