"""Proofs that somebody has the private half of a public key: a statement, signed with it.

The statement names the deployment, the organization, the agent and the key, so that it is of use for nothing else. It
cannot be taken for a request: the base of a signed request begins with a quotation mark (RFC 9421, section 2.5). It has
no time: whoever could repeat it can only give this key to this agent, which it says.
"""

from __future__ import annotations

import base64
import binascii
import re

from gateway.identity import message_signatures
from gateway.identity.message_signatures import PrivateKey, PublicKey, thumbprint

_PROOF = re.compile(r"[A-Za-z0-9_-]{86}", re.ASCII)
_TITLE = "public key of an agent of the Agent Identity Gateway"


def statement(key: PublicKey, *, deployment: str, organization: str, agent: str) -> bytes:
    """The bytes that are signed: five lines, the last one without its end."""
    lines = [
        _TITLE,
        f"deployment: {deployment}",
        f"organization: {organization}",
        f"agent: {agent}",
        f"key: {thumbprint(key)}",
    ]
    return "\n".join(lines).encode()


def prove(key: PrivateKey, *, deployment: str, organization: str, agent: str) -> str:
    """The proof for an agent, which is named by its name or its id: 86 characters of base64url."""
    signed = statement(key.public_key(), deployment=deployment, organization=organization, agent=agent)
    return base64.urlsafe_b64encode(message_signatures.sign(key, signed)).rstrip(b"=").decode()


def proves(proof: str, key: PublicKey, *, deployment: str, organization: str, agent: str) -> bool:
    """True if a proof is one of this key for this agent."""
    if _PROOF.fullmatch(proof) is None:
        return False
    try:
        signature = base64.b64decode(proof + "==", altchars=b"-_", validate=True)
    except binascii.Error:
        return False
    signed = statement(key, deployment=deployment, organization=organization, agent=agent)
    return message_signatures.verify(key, signature, signed)
