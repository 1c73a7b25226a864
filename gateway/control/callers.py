"""The caller of an operation, an operator or a user of the gateway's machine, and what its role and token allow."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gateway.control.problems import Problem
from gateway.identity import operator_roles
from gateway.registry.records import OperatorRecord, OperatorTokenRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An operator whose token was right. `organization` is None for one of the whole gateway."""

    operator: OperatorRecord
    token: OperatorTokenRecord

    @property
    def organization(self) -> str | None:
        return self.operator.organization

    @property
    def actor(self) -> str:
        """Its name in audit entries."""
        return f"operator:{self.operator.id}"

    def check_everywhere(self, what: str) -> None:
        """Raise `Problem` 403 for an operator of one organization; `what` says what such a one may not do."""
        if self.organization is not None:
            detail = f"an operator of one organization {what}"
            raise Problem(403, "forbidden", detail, hint="an operator of the whole gateway can")

    @property
    def is_here(self) -> bool:
        """True if it is a user of the gateway's machine, who may read its files, or a copy of some, as well."""
        return False


class LocalCaller(Caller):
    """The user whose command works on a data directory, with all rights."""

    def __init__(self) -> None:
        name = actor()
        operator = OperatorRecord(
            id=name, organization=None, name=name, role="owner", status="active", version=1, created_ns=0, since_ns=0
        )
        token = OperatorTokenRecord(
            id=name,
            token_id=name,
            organization=None,
            operator=name,
            operator_id=name,
            created_ns=0,
            expires_ns=None,
            revoked_ns=None,
            scopes=None,
            actor=name,
        )
        super().__init__(operator=operator, token=token)

    @property
    def actor(self) -> str:
        return self.operator.name

    @property
    def is_here(self) -> bool:
        return True


def actor() -> str:
    """The actor that the log names for a command: this machine's user."""
    return f"local:{os.getuid()}"


def may(caller: Caller, noun: str, *, write: bool) -> bool:
    """True if the operator's role and token are for reading or changing things of this kind."""
    token = caller.token
    return operator_roles.may(caller.operator.role, noun, write=write) and operator_roles.within(
        token.scopes, noun, write=write
    )


def check_access(caller: Caller, noun: str, *, write: bool) -> None:
    """Raise `Problem` 403 unless the operator `may`."""
    what = f"{'change' if write else 'read'} {noun if noun != 'audit' else 'audit entries'}"
    if not operator_roles.may(caller.operator.role, noun, write=write):
        detail = f"an operator with the role {caller.operator.role} may not {what}"
        raise Problem(403, "forbidden", detail, hint="an owner can give you another role")
    if not operator_roles.within(caller.token.scopes, noun, write=write):
        detail = f"this token is for {', '.join(caller.token.scopes or ())}: it may not {what}"
        raise Problem(403, "token_scope", detail, hint="use a token for that")
