"""Verification of calls between agents of two gateways: what a log keeps of the other one says what its own half says.

The other half is in another log, so this one shows less than `halves_check.py`: that another gateway has signed a word
about this very half. The keys are those that operators have declared, as the log tells of them.
`matching.py` compares the halves of two logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import orjson

from gateway.audit import merkle
from gateway.audit.entry import Entry
from gateway.audit.halves_check import CALLEE, OTHER_DECISION, OTHER_LEAF, Fault
from gateway.audit.intents import SYSTEM
from gateway.errors import GatewayError
from gateway.identity import jose, statements
from gateway.identity.jose import InvalidTokenError, Key
from gateway.identity.statements import Assertion, Receipt

ASSERTION: Final = "assertion"
RECEIPT: Final = "receipt"
_DECLARED: Final = ("peer.added", "peer.updated")


class Called(NamedTuple):
    """The decision of a side that calls an agent at another gateway."""

    leaf: str
    entry: Entry


class BorderCheck:
    """The calls across the border in all logs of a gateway. The methods return the fault of an entry, or None."""

    def __init__(self) -> None:
        # The keys that peers have, or had, and the organizations for which each could speak at some time.
        self._keys: dict[str, Key] = {}
        self._speak_for: dict[str, set[str]] = {}
        # Calls until their end; and statements by a key that no entry has told of yet: it may be on its way.
        self._called: dict[str, Called] = {}
        self._early: list[tuple[str, str, str]] = []

    def changed(self, entry: Entry) -> Fault | None:
        """A peer was declared."""
        if entry["what"] not in _DECLARED or entry["org"] != SYSTEM:
            return None
        try:
            keys = jose.key_set(str(entry["jwks"]))
            organizations = [str(each) for each in _list(entry)]
        except (GatewayError, ValueError, KeyError):
            return Fault(SYSTEM, "it does not say which keys the peer has, and for whom it speaks")
        for each in keys:
            self._keys[each.kid or ""] = each
            self._speak_for.setdefault(each.kid or "", set()).update(organizations)
        return None

    def decided(self, entry: Entry, leaf: bytes) -> Fault | None:
        if is_call(entry):
            if entry["allow"] is True:
                self._called[str(entry["id"])] = Called(merkle.leaf_hash(leaf).hex(), entry)
            return None
        if "peer" not in entry:
            return None
        try:
            said = statements.read_assertion(str(entry.get(ASSERTION)))
        except InvalidTokenError as error:
            return Fault(str(entry["org"]), f"the assertion of the caller's gateway is none: {error.message}")
        if different := differing(entry, told_of(said)):
            return Fault(str(entry["org"]), f"the caller's gateway has asserted another `{different}`")
        return self._signed(str(entry[ASSERTION]), said.organization, str(entry["id"]))

    def completed(self, entry: Entry) -> Fault | None:
        called = self._called.pop(str(entry["decision"]), None)
        owner = str(entry["org"])
        if called is None:
            return Fault(owner, "it has a receipt for no call to another gateway") if RECEIPT in entry else None
        if RECEIPT not in entry:
            unproven = "response_commitment" in entry or entry["outcome"] == CALLEE.refusal
            return (
                Fault(owner, "an answer was passed on that has no receipt of the other gateway") if unproven else None
            )
        try:
            said = statements.read_receipt(str(entry[RECEIPT]))
            asserted = statements.read_assertion(str(entry.get(ASSERTION)))
        except InvalidTokenError as error:
            return Fault(owner, f"the statements of the two gateways are none: {error.message}")
        mine = {"organization": called.entry["org"], "agent": called.entry["agent"], "leaf": called.leaf}
        mine |= {"decision": called.entry["id"], "action": called.entry["action"]}
        if different := next((name for name, value in mine.items() if getattr(asserted, name) != value), ""):
            return Fault(owner, f"what this gateway has asserted has another `{different}` than the decision")
        if said.assertion != statements.digest(str(entry[ASSERTION])):
            return Fault(owner, "the receipt is for another assertion")
        told = {"callee_organization": said.organization}
        if different := differing(called.entry, told) or differing(entry, _other(said)):
            return Fault(owner, f"the receipt says another `{different}`")
        if said.allow is (entry["outcome"] == CALLEE.refusal):
            return Fault(owner, f"its outcome is `{entry['outcome']}`, and the receipt says otherwise")
        return self._signed(str(entry[RECEIPT]), said.organization, str(entry["id"]))

    def rest(self) -> Iterator[Fault]:
        """What was put off; to be asked at the end."""
        for text, organization, where in self._early:
            if fault := self._fault(text, organization):
                yield Fault(SYSTEM, f"`{where}`: {fault}")

    def _signed(self, text: str, organization: str, where: str) -> Fault | None:
        if jose.parse(text).kid not in self._keys:
            self._early.append((text, organization, where))
            return None
        fault = self._fault(text, organization)
        return Fault(SYSTEM, fault) if fault else None

    def _fault(self, text: str, organization: str) -> str:
        kid = jose.parse(text).kid or ""
        key = self._keys.get(kid)
        if key is None:
            return "it is signed with a key that no peer has had"
        if organization not in self._speak_for[kid]:
            return f"it is signed by a peer that could not speak for `{organization}`"
        try:
            statements.verify(text, [key])
        except InvalidTokenError:
            return "what the other gateway is to have signed was changed"
        return ""


def is_call(entry: Entry) -> bool:
    """True for the decision of a side that calls an agent at another gateway."""
    return "callee_organization" in entry and "callee" not in entry


def told_of(said: Assertion) -> Mapping[str, object]:
    """The members of the called side's decision of which an assertion tells."""
    return {
        "caller_organization": said.organization,
        "caller": said.agent,
        "caller_name": said.agent_name,
        OTHER_DECISION: said.decision,
        "action": said.action,
    }


def _other(said: Receipt) -> Mapping[str, object]:
    return {OTHER_DECISION: said.decision, OTHER_LEAF: said.leaf}


def differing(entry: Entry, told: Mapping[str, object]) -> str:
    """The first member of an entry that has another value than was told; empty if there is none."""
    return next((name for name, value in told.items() if entry.get(name) != value), "")


def _list(entry: Entry) -> list[object]:
    found = orjson.loads(str(entry["speaks_for_json"]))
    if not isinstance(found, list):
        raise ValueError("not a list")
    return found
