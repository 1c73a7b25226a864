"""Keys of agents. What names a key is sent without its secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.identity.credentials import public_part
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry.agent_states import ENDED
from gateway.registry.records import KeyRecord, NewKey
from gateway.runtime.key_uses import Uses

if TYPE_CHECKING:
    from gateway.identity.key_scope import KeyScope
    from gateway.identity.message_signatures import PublicKey
    from gateway.registry.key_rotation import Rotated, Skipped, Terms

_ENDED_MEANWHILE: Final = ("agent_revoked", "agent_retired")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """Whose a new key is, how long it works, and what it is for; None: for ever, and for everything.

    `prove` makes the proof that a public key needs, for the deployment with this name.
    """

    agent: str
    lifetime_ns: int | None = None
    scope: KeyScope | None = None
    prove: Callable[[str], str] | None = None


class Keys:
    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, organization: str, new: NewCredential, reason: str) -> NewKey:
        return _new(self._client.send("POST", "keys", body=_body(new, reason), organization=organization).body)

    def add_public(self, organization: str, key: PublicKey, new: NewCredential, reason: str) -> KeyRecord:
        from gateway.identity.public_keys import public_pem

        body = _body(new, reason) | {"public_key": public_pem(key)}
        # An older gateway does not say its name, and takes no proof.
        if new.prove is not None and (deployment := self._client.get("me").body.get("deployment")) is not None:
            body["proof"] = new.prove(deployment)
        reply = self._client.send("POST", "keys", "public", body=body, organization=organization)
        return documents.record(KeyRecord, reply.body)

    def add_spiffe(self, organization: str, spiffe_id: str, new: NewCredential, reason: str) -> KeyRecord:
        body = _body(new, reason) | {"spiffe_id": spiffe_id}
        reply = self._client.send("POST", "keys", "spiffe", body=body, organization=organization)
        return documents.record(KeyRecord, reply.body)

    def listed(self, organization: str, agent: str | None) -> tuple[list[KeyRecord], Uses]:
        found = self._client.items("keys", organization=organization, agent=agent)
        uses = Uses()
        for each in found:
            if (used := each.get("last_used")) is not None:
                uses[each["id"]] = documents.nanoseconds(used)
        return documents.records(KeyRecord, found), uses

    def rotate(
        self,
        organization: str,
        key: str | None,
        agent: str | None,
        terms: Terms,
        deliver: Callable[[Sequence[Rotated]], None],
    ) -> Rotated:
        body = _terms(terms)
        path = ("keys", public_part(key), "rotate") if key is not None else ("agents", agent or "", "keys", "rotate")
        here = self._client.transport.is_here
        reply = self._client.send(
            "POST", *path, body=body, organization=organization, deliver=deliver if here else None
        )
        rotated = _rotated(reply.body)
        if here:
            return rotated
        try:
            deliver([rotated])
        except GatewayError as error:  # the gateway has carried it out already
            made = rotated.new.record.id
            message = f"{error.message}; key {made} is in force, and its text is lost"
            raise GatewayError(error.code, message, hint=_after_loss(made)) from error
        return rotated

    def rotate_many(
        self, organization: str, team: str | None, terms: Terms, deliver: Callable[[Sequence[Rotated]], None]
    ) -> tuple[list[Rotated], list[Skipped]]:
        """Here all in one transaction; elsewhere one agent after the other, so that one lost answer loses one key."""
        from gateway.registry.key_rotation import SKIPPED, Skipped, nobody

        if self._client.transport.is_here:
            sent = _terms(terms) | {"team": team}
            done = self._client.send("POST", "keys", "rotate", body=sent, organization=organization, deliver=deliver)
            return [_rotated(each) for each in done.body["rotated"]], documents.records(Skipped, done.body["skipped"])

        rotated: list[Rotated] = []
        skipped: list[Skipped] = []
        members = self._client.items("agents", organization=organization, team=team)
        living = [each for each in members if each["status"] not in ENDED]
        if not living:
            raise nobody(organization, team)
        for each in sorted(living, key=lambda each: str(each["name"])):
            try:
                rotated.append(self.rotate(organization, None, each["id"], terms, deliver))
            except GatewayError as error:
                if error.code in SKIPPED:
                    skipped.append(Skipped(each["name"], error.message))
                elif error.code not in _ENDED_MEANWHILE:
                    raise _broken_off(error, each["name"], len(rotated)) from error
        return rotated, skipped

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None:
        before = self._client.get("keys", public_part(key), organization=organization).body
        reply = self._client.send(
            "POST", "keys", before["id"], "revoke", body={"reason": reason}, organization=organization
        )
        return None if before["revoked"] is not None else documents.record(KeyRecord, reply.body)


def _body(new: NewCredential, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = {"agent": new.agent, "expires_in": documents.seconds(new.lifetime_ns), "reason": reason}
    return body if new.scope is None else body | {"scope": new.scope.document()}


def _terms(terms: Terms) -> dict[str, Any]:
    return {
        "overlap": documents.seconds(terms.overlap_ns),
        "expires_in": documents.seconds(terms.lifetime_ns),
        "reason": terms.reason,
    }


def _rotated(document: dict[str, Any]) -> Rotated:
    from gateway.registry.key_rotation import Rotated

    return Rotated(_new(document), documents.record(KeyRecord, document["replaces"]))


def _new(document: dict[str, Any]) -> NewKey:
    made = documents.record(KeyRecord, document)
    if document["key"] is None:  # the first answer was lost, and secrets are not kept for the second
        message = f"key {made.id} was created, but its text was lost on the way"
        raise GatewayError("answer_lost", message, hint=_after_loss(made.id))
    return NewKey(record=made, text=document["key"])


def _after_loss(key: str) -> str:
    return f"type `gateway keys revoke {key}` and create another"


def _broken_off(error: GatewayError, agent: str, rotated: int) -> GatewayError:
    if not rotated:
        return error
    kept = "the key that was rotated before stays" if rotated == 1 else f"the {rotated} keys rotated before stay"
    message = f"at agent {agent}: {error.message}; {kept} in the file"
    again = "the same command with another file rotates the rest"
    return GatewayError(error.code, message, hint=f"{error.hint}; {again}" if error.hint else again)
