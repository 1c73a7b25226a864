"""Names and keys that two organizations claim: the later one is refused, and both are told (control-api.md).

The one that has it could be the wrong one, so a collision is no matter of the later one alone. Each learns that
somebody else claims it and not who; the operators of the whole gateway see both in `gateway status`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NoReturn

from sqlmodel import Session, col, select

from gateway.audit.entry import ACTOR_GATEWAY
from gateway.errors import GatewayError
from gateway.registry import outbox
from gateway.registry.database import TellingError
from gateway.registry.models import Contest, Organization
from gateway.registry.records import copied


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestRecord:
    """A credential of one organization that another one has tried to register. `what` says which, in words."""

    credential: str
    what: str
    holder: str
    claimant: str
    first_ns: int
    last_ns: int


class ContestedError(TellingError):
    """Another organization has it. `credential` is the id of its row, and `what` says in words which thing it is."""

    def __init__(
        self, error: GatewayError, *, actor: str, what: str, credential: str, holder: str, claimant: str
    ) -> None:
        super().__init__(error.code, error.message, subject=error.subject, hint=error.hint, kind=error.kind)
        self._actor, self._what, self._credential = actor, what, credential
        self._holder, self._claimant = holder, claimant

    def tell(self, session: Session) -> None:
        """Remember it, with an entry in both logs the first time: whoever tries on makes no more of them."""
        now_ns = time.time_ns()
        same = select(Contest).where(Contest.credential == self._credential, Contest.organization_id == self._claimant)
        if (before := session.exec(same).first()) is not None:
            before.last_ns = now_ns
            return
        session.add(
            Contest(
                credential=self._credential,
                organization_id=self._claimant,
                holder_id=self._holder,
                what=self._what,
                first_ns=now_ns,
                last_ns=now_ns,
            )
        )
        for organization, actor in ((self._claimant, self._actor), (self._holder, ACTOR_GATEWAY)):
            tenant = session.get_one(Organization, organization)
            fields = {"contested": self._what}
            if organization == self._holder:
                fields["key"] = self._credential
            outbox.add_change(session, tenant, actor, "credential.contested", fields)


def refuse(
    error: GatewayError, tenant: Organization, *, actor: str, what: str, credential: str, holder: str
) -> NoReturn:
    """Raise the error for something of this id that an organization has; another one than `tenant` is told."""
    if holder == tenant.id:
        raise error
    raise ContestedError(error, actor=actor, what=what, credential=credential, holder=holder, claimant=tenant.id)


def contests(session: Session) -> list[ContestRecord]:
    """All of them, the newest first."""
    names = {each.id: each.name for each in session.exec(select(Organization))}
    return [
        copied(ContestRecord, row, holder=names[row.holder_id], claimant=names[row.organization_id])
        for row in session.exec(select(Contest).order_by(col(Contest.last_ns).desc()))
    ]
