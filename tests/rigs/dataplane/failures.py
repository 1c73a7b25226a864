"""Shared parts of the tests in `tests/gateway/dataplane/test_failures.py`."""

from __future__ import annotations

from typing import Any

from gateway.audit.errors import unavailable
from tests.gateway.dataplane.conftest import (
    Gateway,
)


class FailingWriter:
    """Stands before the real writer and fails for one kind of intent, as a full disk would."""

    def __init__(self, gateway: Gateway, kind: type) -> None:
        self._real = gateway.writer
        self._kind = kind
        gateway.plane._recorder._writer = self  # type: ignore[assignment]

    async def write(self, intent: Any) -> Any:
        if isinstance(intent, self._kind):
            raise unavailable("no space left on device")
        return await self._real.write(intent)
