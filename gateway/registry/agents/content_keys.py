"""The keys of agents whose content is kept (content.md).

Each agent has a data key of its own, wrapped by the deployment's key-encryption key (`vault.py`). To destroy it is to
erase everything that was kept of the agent, in every copy of the log.
"""

from __future__ import annotations

import base64
import os
from typing import Final

from gateway.audit.content import KEY_BYTES
from gateway.secrets.vault import SealedPlace, Vault

_PROVIDER: Final = "content"


def new(vault: Vault, organization: str, agent: str) -> bytes:
    """A new key for an agent, sealed."""
    return vault.seal(base64.b64encode(os.urandom(KEY_BYTES)).decode(), place(organization, agent))


def opened(vault: Vault, sealed: bytes, organization: str, agent: str) -> bytes:
    """The key of an agent. Raises `GatewayError` if it cannot be opened."""
    return base64.b64decode(vault.open(sealed, place(organization, agent)))


def place(organization: str, agent: str) -> SealedPlace:
    """The place that an agent's key is sealed for."""
    return SealedPlace(organization, _PROVIDER, agent, 1)
