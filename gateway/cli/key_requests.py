"""Requests about keys, as several commands make them. What names a key is sent without its secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.cli import output
from gateway.errors import GatewayError
from gateway.identity.credentials import public_part
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.identity.key_scope import KeyScope
    from gateway.identity.message_signatures import PublicKey
    from gateway.management.client import Client
    from gateway.registry.keys.rotation import Rotated, Skipped, Terms
    from gateway.registry.records import KeyRecord, NewKey

_ENDED_MEANWHILE: Final = ("agent_revoked", "agent_retired")


def body(agent: str, expires: str | None, scope: KeyScope | None, reason: str) -> dict[str, Any]:
    """Whose a new key is, how long it works, and what it is for; None: for ever, and for everything."""
    lifetime_ns = None if expires is None else output.parse_duration(expires)
    found: dict[str, Any] = {"agent": agent, "expires_in": documents.seconds(lifetime_ns), "reason": reason}
    return found if scope is None else found | {"scope": scope.document()}


def added(gateway: Client, organization: str, kind: str, sent: dict[str, Any]) -> KeyRecord:
    """A credential of this kind (`public`, `spiffe`) that is no secret."""
    from gateway.registry.records import KeyRecord

    return documents.record(KeyRecord, gateway.send("POST", "keys", kind, body=sent, organization=organization).body)


def add_public(
    gateway: Client, organization: str, key: PublicKey, sent: dict[str, Any], prove: Callable[[str], str] | None
) -> KeyRecord:
    """`prove` makes the proof that a public key needs, for the deployment with this name."""
    from gateway.identity.public_keys import public_pem

    sent = sent | {"public_key": public_pem(key)}
    # An older gateway does not say its name, and takes no proof.
    if prove is not None and (deployment := gateway.get("me").body.get("deployment")) is not None:
        sent["proof"] = prove(deployment)
    return added(gateway, organization, "public", sent)


def rotate(
    gateway: Client,
    organization: str,
    key: str | None,
    agent: str | None,
    terms: Terms,
    deliver: Callable[[Sequence[Rotated]], None],
) -> Rotated:
    """Replace this key, or the one that this agent has. `deliver` takes the new key to where it is kept."""
    sent = _terms(terms)
    path = ("keys", public_part(key), "rotate") if key is not None else ("agents", agent or "", "keys", "rotate")
    here = gateway.transport.is_here
    reply = gateway.send("POST", *path, body=sent, organization=organization, deliver=deliver if here else None)
    rotated = _rotated(reply.body)
    if here:
        return rotated
    try:
        deliver([rotated])
    except GatewayError as error:  # the gateway has carried it out already
        lost = rotated.new.record.id
        message = f"{error.message}; key {lost} is in force, and its text is lost"
        raise GatewayError(error.code, message, hint=_after_loss(lost)) from error
    return rotated


def rotate_many(
    gateway: Client, organization: str, team: str | None, terms: Terms, deliver: Callable[[Sequence[Rotated]], None]
) -> tuple[list[Rotated], list[Skipped]]:
    """Here all in one transaction; elsewhere one agent after the other, so that one lost answer loses one key."""
    from gateway.registry.agents.states import ENDED
    from gateway.registry.keys.rotation import SKIPPED, Skipped, nobody

    if gateway.transport.is_here:
        sent = _terms(terms) | {"team": team}
        done = gateway.send("POST", "keys", "rotate", body=sent, organization=organization, deliver=deliver)
        return [_rotated(each) for each in done.body["rotated"]], documents.records(Skipped, done.body["skipped"])

    rotated: list[Rotated] = []
    skipped: list[Skipped] = []
    members = gateway.items("agents", organization=organization, team=team)
    living = [each for each in members if each["status"] not in ENDED]
    if not living:
        raise nobody(organization, team)
    for each in sorted(living, key=lambda each: str(each["name"])):
        try:
            rotated.append(rotate(gateway, organization, None, each["id"], terms, deliver))
        except GatewayError as error:
            if error.code in SKIPPED:
                skipped.append(Skipped(each["name"], error.message))
            elif error.code not in _ENDED_MEANWHILE:
                raise _broken_off(error, each["name"], len(rotated)) from error
    return rotated, skipped


def _terms(terms: Terms) -> dict[str, Any]:
    return {
        "overlap": documents.seconds(terms.overlap_ns),
        "expires_in": documents.seconds(terms.lifetime_ns),
        "reason": terms.reason,
    }


def _rotated(document: dict[str, Any]) -> Rotated:
    from gateway.registry.keys.rotation import Rotated
    from gateway.registry.records import KeyRecord

    return Rotated(made(document), documents.record(KeyRecord, document["replaces"]))


def made(document: dict[str, Any]) -> NewKey:
    """A key with its text, as it was answered."""
    from gateway.registry.records import KeyRecord, NewKey

    record = documents.record(KeyRecord, document)
    if document["key"] is None:  # the first answer was lost, and secrets are not kept for the second
        message = f"key {record.id} was created, but its text was lost on the way"
        raise GatewayError("answer_lost", message, hint=_after_loss(record.id))
    return NewKey(record=record, text=document["key"])


def _after_loss(key: str) -> str:
    return f"type `gateway keys revoke {key}` and create another"


def _broken_off(error: GatewayError, agent: str, rotated: int) -> GatewayError:
    if not rotated:
        return error
    kept = "the key that was rotated before stays" if rotated == 1 else f"the {rotated} keys rotated before stay"
    message = f"at agent {agent}: {error.message}; {kept} in the file"
    again = "the same command with another file rotates the rest"
    return GatewayError(error.code, message, hint=f"{error.hint}; {again}" if error.hint else again)
