"""The keys that sign the tokens."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.identity.token_keys import TokenKeyState
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry.token_keys import Rotation


class TokenKeys:
    def __init__(self, client: Client) -> None:
        self._client = client

    def listed(self) -> Sequence[TokenKeyState]:
        return documents.records(TokenKeyState, self._client.items("token-keys"))

    def rotate(self, at_once: bool, reason: str) -> Rotation:
        reply = self._client.send("POST", "token-keys", "rotate", body={"at_once": at_once, "reason": reason}).body
        return Rotation(
            key=documents.record(TokenKeyState, reply["key"]),
            older=tuple(documents.records(TokenKeyState, reply["older"])),
            at_once=reply["at_once"],
        )
